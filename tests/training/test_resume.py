"""Whose checkpoint is taken: real runs through the command line, and `siamese train --resume`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import working_folder

from siamese import cli

INPUTS = {"catalog": "catalog.parquet", "pairs": "pairs.parquet", "images": "images", "transform": "transform"}
BEGUN = "continuing after epoch 1, step 0"


@pytest.fixture(scope="module")
def folder(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a run of one epoch has left its checkpoint: a file lies where its model's folder was to be."""
    made = tmp_path_factory.mktemp("resume")
    for name in ("params.yaml", "artifacts", "data"):
        (made / name).symlink_to(workspace / name)
    (made / "notes.txt").write_text("")
    with working_folder(made):
        assert cli.run(train("notes.txt/model")) == 2
        for command in (
            ["sample", "other/data", "--seed", "1"],
            ["catalog", "--data", "other/data", "--catalog", "other/catalog.parquet",
             "--rejected", "other/rejected.csv"],
            ["pairs", "--catalog", "other/catalog.parquet", "--pairs", "other/pairs.parquet"],
            ["preprocess", "--data", "other/data", "--catalog", "other/catalog.parquet", "--images", "other/images",
             "--transform", "other/same"],
            ["preprocess", "-S", "preprocess.standardise=true", "--images", "other/same pixels",
             "--transform", "other/transform"],
        ):  # fmt: skip
            assert cli.run(command) == 0
    assert len(checkpoints(made)) == 1
    yield made
    shutil.rmtree(made)  # half a gigabyte a checkpoint


def train(model: str, *changes: str) -> list[str]:
    return ["train", "-S", "train.epochs=1", "--model", model, "--history", "history.csv", *changes]


def other(*names: str) -> list[str]:
    """Options that name these inputs of the other data set, or the other transform."""
    return [word for name in names for word in (f"--{name}", f"other/{INPUTS[name]}")]


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(".siamese/checkpoints/*/epoch-*"))


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


CHANGES = [
    (["-S", "train.seed=1"], "train.seed is 0 there, 1 here"),
    (other("catalog", "pairs", "images"), "other catalog, pairs, images"),
    (other("transform"), "other transform"),
]


@pytest.mark.parametrize(("changes", "difference"), CHANGES, ids=["parameters", "data", "transform"])
def test_another_run_starts_from_nothing(folder: Path, capsys, changes: list[str], difference: str) -> None:
    before = checkpoints(folder)
    with working_folder(folder):
        assert cli.run(train("notes.txt/model", *changes)) == 2
    lines = said(capsys)
    assert [line for line in lines if line.startswith("epoch 1/1 ")]
    assert not [line for line in lines if "continuing" in line or "checkpoint " in line]
    added = set(checkpoints(folder)) - set(before)
    assert len(added) == 1 and set(before) < set(checkpoints(folder))
    shutil.rmtree(added.pop().parent)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        *CHANGES,
        (["-S", "train.epochs=2"], "train.epochs is 1 there, 2 here"),
        (["-S", "train.precision=bfloat16"], 'train.precision is "float32" there, "bfloat16" here'),
        (["-S", "train.optimizer.learning_rate=0.1"], "train.optimizer.learning_rate is 0.0001 there, 0.1 here"),
    ],
)
@pytest.mark.parametrize("named", ["checkpoint", "run"])
def test_resuming_another_run_is_refused(folder: Path, capsys, named: str, changes: list[str], difference: str) -> None:
    (checkpoint,) = checkpoints(folder)
    with working_folder(folder):
        asked = ["--resume", str(checkpoint if named == "checkpoint" else checkpoint.parent)]
        assert cli.run(train("model", *changes, *asked)) == 2
    (line,) = said(capsys)
    assert line == (
        f"siamese: {checkpoint} is another run's ({difference}): "
        "give the parameters and inputs it was made with, or train without --resume"
    )
    assert not (folder / "model").exists()


def test_a_run_stays_the_same_whenever_its_checkpoints_are_written(folder: Path, capsys) -> None:
    with working_folder(folder):
        assert (
            cli.run(train("notes.txt/model", "-S", "train.checkpoint_every=3", "-S", "train.checkpoint_minutes=7")) == 2
        )
    assert BEGUN in said(capsys)


def test_resuming_what_is_no_checkpoint_is_refused(folder: Path, capsys) -> None:
    with working_folder(folder):
        assert cli.run(train("model", "--resume", "data")) == 2
    (line,) = said(capsys)
    assert line.startswith("siamese: data is no checkpoint: name a folder as epoch-0010-step-000000")


def test_resuming_a_damaged_one_is_refused(folder: Path, capsys, tmp_path: Path) -> None:
    damaged = shutil.copytree(checkpoints(folder)[0], tmp_path / "epoch-0001-step-000000", copy_function=os.link)
    (damaged / "state.json").unlink()
    text = (checkpoints(folder)[0] / "state.json").read_text()
    (damaged / "state.json").write_text(text.replace('"epoch": 1', '"epoch": 0', 1))
    with working_folder(folder):
        assert cli.run(train("model", "--resume", str(damaged))) == 2
    (line,) = said(capsys)
    assert line.startswith(
        f"siamese: {damaged} is damaged (state.json isn't what was written): name another checkpoint"
    )


def test_a_checkpoint_that_was_moved_is_resumed_and_stays(folder: Path, capsys) -> None:
    """Its epochs are all done already: what is left is to write the model."""
    (checkpoint,) = checkpoints(folder)
    mine = checkpoint.rename(folder / "mine")
    with working_folder(folder):
        assert cli.run(train("model", "--resume", "mine")) == 0
    assert BEGUN in said(capsys)
    assert sorted(path.name for path in mine.iterdir()) == ["last.npz", "state.json"]
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["servable", "siamese.keras", "trained_on.npz"]
    checkpoint.parent.mkdir()
    mine.rename(checkpoint)
