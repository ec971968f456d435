"""The whole pipeline on real photographs, in both layouts. Runs where SIAMESE_REAL_DATA names a folder with `orl_faces`
in it (40 folders s1 … s40 of 10 images each, as the publisher lays them out)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import working_folder

from siamese import cli

ORL = Path(os.environ.get("SIAMESE_REAL_DATA", "nowhere")) / "orl_faces"

pytestmark = pytest.mark.skipif(not (ORL / "s1").is_dir(), reason="SIAMESE_REAL_DATA names no folder with orl_faces")


def run_all(folder: Path, data: Path, parameters: str) -> tuple[pd.DataFrame, dict]:
    """Every step on `data`, by the commands; gives the catalog and the figures."""
    (folder / "params.yaml").write_text(parameters)
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    with working_folder(folder):
        assert cli.run(["catalog", "--data", str(data)]) == 0
        assert cli.run(["pairs"]) == 0
        assert cli.run(["preprocess", "--data", str(data)]) == 0
        for step in ("train", "evaluate"):
            assert cli.run([step, "-S", "train.epochs=1", "-S", f"data.path={data}"]) == 0
    assert {file: file.read_bytes() for file in data.rglob("*") if file.is_file()} == before
    figures = json.loads((folder / "metrics.json").read_text())
    return pd.read_parquet(folder / "artifacts/catalog.parquet"), figures


def test_identity_folders(tmp_path: Path, small_params: str) -> None:
    """40 people of 10 images: 28, 8 and 4 people, none in two splits; 8 x 45 positive test pairs."""
    catalog, figures = run_all(tmp_path, ORL, small_params)
    assert catalog.groupby("split").identity.nunique().to_dict() == {"test": 8, "train": 28, "validation": 4}
    assert (catalog.groupby("identity").split.nunique() == 1).all()
    assert figures["counts"]["test"]["positive_pairs"] == 8 * 45
    assert 0 < figures["test"]["eer"] < 0.5


def test_role_folders(tmp_path: Path, small_params: str) -> None:
    """One person's 10 images as anchor and positive, 8 others' as negative: every split has all three roles' pairs."""
    roles = tmp_path / "roles"
    for role, people, images in (("anchor", [1], range(1, 6)), ("positive", [1], range(6, 11)),
                                 ("negative", range(2, 10), range(1, 11))):  # fmt: skip
        (roles / role).mkdir(parents=True)
        for person in people:
            for image in images:
                shutil.copy(ORL / f"s{person}" / f"{image}.png", roles / role / f"{person}-{image}.png")
    work = tmp_path / "work"
    work.mkdir()
    catalog, figures = run_all(work, roles, small_params)
    assert set(catalog.identity.dropna()) == {"target"}
    assert catalog[catalog.role == "negative"].identity.isna().all()
    for split in ("train", "validation", "test"):
        assert figures["counts"][split]["positive_pairs"] >= 1
        assert figures["counts"][split]["negative_pairs"] >= 1
    assert figures["test"]["accuracy"] is not None
