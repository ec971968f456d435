"""A disk that is full, out of inodes or read-only: one line that says so, nothing half written, and the same command
goes on when there is room."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_disk import ROOMY, Answer, SmallDisk
from trained import weights_of

SIAMESE = [sys.executable, "-c", "from siamese import cli; cli.main()"]
CHECKPOINT = 3 * 4 * 38_964_545  # weights and Adam's two moments; a third more where the best weights aren't the last
FULL, READ_ONLY = "No space left on device", "Read-only file system"

# For each artifact: the command that writes it, other parameters than those of the workspace, and the option that names
# its place. The other artifacts of the command have room.
WRITERS = {
    "catalog.parquet": (["catalog", "-S", "catalog.seed=5"], "--catalog"),
    "rejected.csv": (["catalog", "--data", "odd"], "--rejected"),
    "pairs.parquet": (["pairs", "-S", "pairs.seed=5"], "--pairs"),
    "images": (["preprocess", "-S", "preprocess.images_per_shard=10"], "--images"),
    "transform": (["preprocess", "-S", "preprocess.standardise=true"], "--transform"),
    "threshold.json": (["evaluate", "-S", "evaluate.threshold=far=0.1"], "--threshold-file"),
    "plots": (["evaluate", "-S", "evaluate.threshold=far=0.1"], "--plots"),
    "report.html": (["evaluate", "-S", "evaluate.threshold=far=0.1"], "--report"),
    "metrics.json": (["evaluate", "-S", "evaluate.threshold=far=0.1"], "--metrics"),
    "calibrated.json": (["calibrate", "-S", "evaluate.threshold=far=0.1"], "--threshold-file"),
    "scores.csv": (["score", "wanted.csv", "--threshold", "0.7"], "--output"),
    "inspected.html": (["inspect", "data/sample"], "--html"),
    "network.svg": (["summary"], "--draw"),
    "network.png": (["summary"], "--draw"),
}
OLDER = {  # what is replaced must be a command's own
    "calibrated.json": b'{"older": true}\n',
    "scores.csv": b"older,score,same\n",
    "inspected.html": b'<!DOCTYPE html>\n<html><meta name="generator" content="siamese inspect">older',
}
# `siamese` that waits for a line of input, or for its end, when training begins.
WAITS = """
import sys
from siamese import console
log = console.log
def log_and_wait(line):
    log(line)
    if line.startswith("training "):
        sys.stdin.readline()
console.log = log_and_wait
from siamese import cli
cli.main()
"""
QUICK = ["catalog.parquet", "pairs.parquet", "network.svg"]


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    try:
        made = SmallDisk(tmp_path_factory.mktemp("faults") / "disk")
    except OSError as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    with made:
        yield made


@pytest.fixture
def disk(mounted: SmallDisk) -> Iterator[SmallDisk]:
    """An empty one, with room."""
    yield mounted
    mounted.room(ROOMY)
    for path in mounted.place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def folder(workspace: Path, tmp_path: Path) -> Path:
    """A working folder with the workspace's data and artifacts, whose own outputs have room."""
    for path in (workspace / "artifacts").iterdir():
        (tmp_path / "artifacts").mkdir(exist_ok=True)
        (tmp_path / "artifacts" / path.name).symlink_to(path)
    for name in ("params.yaml", "data"):
        (tmp_path / name).symlink_to(workspace / name)
    shutil.copytree(workspace / "data/sample", tmp_path / "odd")
    for number in range(300):
        (tmp_path / f"odd/no image of anybody {number}.txt").write_text("")
    images = sorted(str(path.relative_to(workspace)) for path in workspace.glob("data/sample/*/*"))
    lines = [f"{anchor},{other}" for anchor in images for other in images]
    (tmp_path / "wanted.csv").write_text("\n".join(["anchor,other", *lines]) + "\n")
    return tmp_path


def older(name: str, workspace: Path, disk: SmallDisk) -> Path:
    """An artifact of the workspace's own run on the disk, or a file where it has none."""
    made = next((place / name for place in (workspace, workspace / "artifacts") if (place / name).exists()), None)
    if made and made.is_dir():
        shutil.copytree(made, disk.place / name)
    else:
        (disk.place / name).write_bytes(made.read_bytes() if made else OLDER.get(name, b"older\n"))
    return disk.inside / name


def command_for(name: str, place: Path) -> list[str | Path]:
    """The command that writes an artifact to `place`, and all others of it into the working folder."""
    command, option = WRITERS[name]
    elsewhere = {
        "catalog": ["--catalog", "own/catalog.parquet", "--rejected", "own/rejected.csv"],
        "preprocess": ["--images", "own/images", "--transform", "own/transform"],
        "evaluate": ["--threshold-file", "own/threshold.json"],
    }.get(command[0], [])
    return [*command, *elsewhere, option, place]  # of an option given twice the last counts


def assert_told(answer: Answer, reason: str, *, of: Path) -> None:
    assert answer.code == 2, answer.said
    assert answer.said[-1].startswith(f"siamese: {of}: can't be written ({reason})"), answer.said
    assert not [line for line in answer.said if len(line) > 300 or "Error" in line or "Traceback" in line], answer.said


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_and_the_older_artifact_stays_as_it_was(
    workspace: Path, folder: Path, disk: SmallDisk, name: str
) -> None:
    """Full after half the older one's size, so that some of it fits; there is room for the new one afterwards."""
    place = older(name, workspace, disk)
    command = command_for(name, place)
    before = disk.content()
    disk.room(sum(path.stat().st_size for path in disk.place.rglob("*") if path.is_file()) // 2)
    assert_told(disk.siamese(*command, folder=folder), FULL, of=place)
    assert disk.content() == before

    disk.room(ROOMY)
    assert disk.siamese(*command, folder=folder).code == 0
    written = disk.content()
    assert written != before and not [path for path in written if path.startswith(".")]


def test_the_sample_on_a_full_disk_leaves_nothing(folder: Path, disk: SmallDisk) -> None:
    place = disk.inside / "drawn"
    for room, inodes in ((0, 100), (40_000, 100), (ROOMY, 5)):
        disk.room(room) if inodes == 100 else disk.inodes(inodes)
        assert_told(disk.siamese("sample", place, folder=folder), FULL, of=place)
        assert disk.content() == {}
    disk.room(ROOMY)
    assert disk.siamese("sample", place, folder=folder).code == 0


@pytest.mark.parametrize("name", QUICK)
def test_a_disk_out_of_inodes_is_told_as_full(workspace: Path, folder: Path, disk: SmallDisk, name: str) -> None:
    place = older(name, workspace, disk)
    before = disk.content()
    disk.inodes(0)
    assert_told(disk.siamese(*command_for(name, place), folder=folder), FULL, of=place)
    assert disk.content() == before


@pytest.mark.parametrize("name", [*QUICK, "images"])
def test_a_disk_that_became_read_only_is_one_line(workspace: Path, folder: Path, disk: SmallDisk, name: str) -> None:
    place = older(name, workspace, disk)
    before = disk.content()
    disk.read_only(True)
    assert_told(disk.siamese(*command_for(name, place), folder=folder), READ_ONLY, of=place)
    assert disk.content() == before


# Training


@pytest.mark.long
def test_training_on_a_full_disk_keeps_its_last_checkpoint_and_goes_on_to_the_same_end(
    workspace: Path, folder: Path, disk: SmallDisk
) -> None:
    """Two epochs. First the second checkpoint doesn't fit, then the model, then the history; then there is room."""
    (disk.place / "model").mkdir()
    (disk.place / "model/siamese.keras").write_text("older")
    train = [
        sys.executable, "-c", WAITS, "train", "-S", "train.checkpoint_every=1",
        "--checkpoints", disk.inside / "checkpoints",
        "--model", disk.inside / "model", "--history", disk.inside / "history.csv",
    ]  # fmt: skip

    def checkpoints() -> list[str]:
        return sorted(path.name for path in disk.place.glob("checkpoints/*/*"))

    def no_room(size: float) -> Answer:
        """Trains; from the moment that it begins to, there is room for `size` bytes."""
        disk.room(ROOMY)
        answer = disk.process(*train, folder=folder, when="training ", room=int(size))
        assert answer.code == 2
        assert answer.said[-1].endswith(f"can't be written ({FULL}): make room, then run again"), answer.said
        assert not [path for path in disk.content() if "/." in path and not path.endswith(".lock")]
        return answer

    answer = no_room(1.5 * CHECKPOINT)
    assert "/epoch-0002-step-000000: can't" in answer.said[-1]
    assert checkpoints() == ["epoch-0001-step-000000"]

    answer = no_room(1.5 * CHECKPOINT)
    assert "continuing after epoch 1, step 0" in answer.said
    assert answer.said[-1].startswith(f"siamese: {disk.inside}/model: can't")
    assert checkpoints() == ["epoch-0001-step-000000", "epoch-0002-step-000000"]
    assert (disk.place / "model/siamese.keras").read_text() == "older"

    before = (disk.place / "history.csv").read_text()
    answer = no_room(0)
    assert answer.said[-1].startswith(f"siamese: {disk.inside}/history.csv: can't")
    assert (disk.place / "history.csv").read_text() == before
    assert checkpoints() == ["epoch-0001-step-000000", "epoch-0002-step-000000"]

    disk.room(ROOMY)
    answer = disk.process(*train, folder=folder)
    assert answer.code == 0 and "continuing after epoch 2, step 0" in answer.said
    assert checkpoints() == []
    for one, other in zip(weights_of(workspace / "artifacts/model"), weights_of(disk.place / "model"), strict=True):
        np.testing.assert_array_equal(one, other)


# What is printed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_an_answer_that_cannot_be_written_is_one_line(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*SIAMESE, "params"], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == f"siamese: [Errno 28] {FULL}: make room, then run again\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_log_that_cannot_be_written_ends_no_work(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = [
            subprocess.run([*SIAMESE, "pairs", *wrong], cwd=folder, stderr=full, check=False).returncode
            for wrong in (["--pairs", "own.parquet"], ["-S", "pairs.sed=1"])
        ]
    assert done == [0, 2]
