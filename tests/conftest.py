"""What many tests share: one small run of the whole pipeline through the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from siamese import cli, params

SMALL = {
    "sample.identities": 12,
    "sample.images": 4,
    "train.epochs": 2,
    "train.batch": 8,
    "train.precision": "float32",
    "evaluate.bootstrap": 100,
    "evaluate.one_shot_trials": 20,
}


@contextmanager
def working_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def small_params() -> str:
    """params.yaml of a run that takes seconds: the specification's network, few images, two epochs."""
    return params.to_yaml(params.load(params.packaged_file(), [f"{key}={value}" for key, value in SMALL.items()]))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_params: str) -> Path:
    """A folder in which every step has run once, by the commands that dvc.yaml calls. Tests must not change it."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "params.yaml").write_text(small_params)
    with working_folder(folder):
        for step in ("sample", "catalog", "pairs", "preprocess", "train", "evaluate"):
            assert cli.run([step]) == 0, step
    return folder
