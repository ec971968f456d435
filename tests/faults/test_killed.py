"""Killed by SIGKILL: what is written is the older or the newer, and training ends as if it had been left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import working_folder
from trained import weights_of

from siamese import cli, paths
from siamese.tracking.client import connect

HELPERS = Path(__file__).parents[1] / "helpers"
INPUTS = [f"artifacts/{name}" for name in ("catalog.parquet", "pairs.parquet", "images", "transform")]
LAST = {"start": 4400, "step": 8, "validation": 2, "history": 8, "checkpoint": 18, "model": 14, "prune": 8}
AFTER_EACH_STEP = ["-S", "train.checkpoint_minutes=1e-9"]
LONGEST_DELAY = 0.5  # seconds from the moment announced to the kill: a checkpoint of 470 MB takes about as long


# Killed while writing, at every moment there is


@pytest.mark.parametrize(
    ("work", "older", "newer"),
    [
        ("File", ["older"], ["newer"]),
        ("Folder", ["older", "older"], ["newer", "newer"]),
        ("Checkpoint", [2, 2, -2], [3, 3, -3]),  # epoch, what its last and what its best weights are filled with
        ("Pruning", [2, 2, -2], None),
    ],
)
def test_the_older_or_the_newer_is_found_and_what_is_left_is_cleared(
    tmp_path: Path, work: str, older: Any, newer: Any
) -> None:
    """Whole in every case: the older one as long as the new one isn't in its place, the new one from then on."""
    program = [sys.executable, HELPERS / "killed_at_every_moment.py", work, tmp_path]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    moments = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(moments) > 8 and [moment["killed"] for moment in moments] == [True] * (len(moments) - 1) + [False]
    found = [moment["found"] for moment in moments]
    taken = found.count(older)
    assert taken > 1 and found == [older] * taken + [newer] * (len(moments) - taken)
    assert any(".unfinished-" in name or ".unneeded" in name for moment in moments for name in moment["left"])
    assert all(moment["after"] == moments[-1]["after"] for moment in moments)
    assert not [name for name in moments[0]["after"] if "/." in name or name.startswith(".")]
    assert "damaged" not in done.stderr


# Killed while training, at random moments


@dataclass(frozen=True)
class Kill:
    """SIGKILL, `delay` seconds after a process has announced a kind of moment for the `number`-th time."""

    moment: str
    number: int
    delay: float


def kills(seed: int) -> Iterator[Kill]:
    """Without end: each kind of moment once, in random order, then again."""
    draw = random.Random(seed)
    while True:
        for moment in draw.sample([*LAST], len(LAST)):
            yield Kill(moment, draw.randint(1, LAST[moment]), draw.uniform(0, LONGEST_DELAY))


def train(folder: Path, settings: list[str], kill: Kill | None) -> tuple[bool, str]:
    """Trains in `folder` as a process of its own: whether it was killed before its end, and what it said."""
    reading, writing = os.pipe()
    command = [sys.executable, HELPERS / "announced.py", str(writing), "train", *settings]
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, cwd=folder, pass_fds=[writing], stderr=said)
        os.close(writing)
        with os.fdopen(reading) as moments:
            seen: Counter[str] = Counter()
            for moment in map(str.strip, moments):
                seen[moment] += 1
                if kill and moment == kill.moment and seen[moment] == kill.number:
                    time.sleep(kill.delay)  # part of the random moment: nothing waits for anything here
                    process.kill()
                    break
        code = process.wait()
        said.seek(0)
        text = said.read()
    assert code in (0, -signal.SIGKILL), text
    return code != 0, text


def ends(folder: Path, settings: list[str], planned: Iterator[Kill], wanted: int) -> None:
    """Trains in `folder`, killed so many times and started again until done.

    Every start must take up the newest whole checkpoint. A kill may be planned for a moment that doesn't come any more:
    then the run ends, and the next one begins anew.
    """
    killed = continued = 0
    done = False
    while not done:
        kill = next(planned) if killed < wanted else None
        there = [place.name.split("-") for place in sorted(folder.glob(".siamese/checkpoints/*/epoch-*"))]
        died, said = train(folder, settings, kill)
        begun = [line for line in said.splitlines() if line.startswith("continuing")]
        newest = [f"continuing after epoch {int(epoch)}, step {int(step)}" for _, epoch, _, step in there[-1:]]
        print(f"{kill or 'left alone'}: {'killed' if died else 'ended'}; {' '.join(begun or ['begun anew'])}")
        assert begun == newest or (died and not begun), said  # it may have died before it said so
        assert "damaged" not in said
        killed, continued, done = killed + died, continued + len(begun), kill is None
    print(f"{killed} kills, {continued} continued")
    assert killed == wanted and continued >= bool(wanted)
    assert not list(folder.glob(".siamese/checkpoints/*/"))
    left = {path.name for path in (folder / "artifacts").iterdir()} - {Path(name).name for name in INPUTS}
    assert left == {"model", "history.csv", "run.json"}


def with_inputs_of(workspace: Path, folder: Path) -> Path:
    for name in ("params.yaml", *INPUTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(workspace / name)
    return folder


def assert_equal_results(left_alone: Path, killed: Path) -> None:
    """Weights, history and the metrics of `siamese evaluate`, to the bit."""
    weights = [weights_of(folder / "artifacts/model") for folder in (left_alone, killed)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    one, other = (
        pd.read_csv(folder / "artifacts/history.csv").drop(columns="images_per_second")
        for folder in (left_alone, killed)
    )
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    with working_folder(killed):
        assert cli.run(["evaluate"]) == 0
    assert json.loads((killed / "metrics.json").read_text()) == json.loads((left_alone / "metrics.json").read_text())


def assert_one_run(folder: Path) -> None:
    """However often it was killed, the training is one MLflow run, which has each epoch once."""
    with working_folder(folder):
        named = json.loads(paths.RUN.read_text())
        runs = connect().search_runs(["1"], f"tags.`siamese.training` = '{named['training']}'")
        assert [(run.info.run_id, run.info.status) for run in runs] == [(named["run_id"], "FINISHED")]
        logged = [(one.step, one.value) for one in connect().get_metric_history(named["run_id"], "loss")]
        history = pd.read_csv(paths.HISTORY)
        assert sorted(logged) == list(zip(history.epoch, history.loss, strict=True))


@pytest.mark.slow
def test_training_killed_three_times_ends_as_left_alone(workspace: Path, tmp_path: Path) -> None:
    """In the second epoch, in the writing of a checkpoint and of the model. The workspace's own run, which wrote no
    checkpoint before its end, is the one left alone."""
    folder = with_inputs_of(workspace, tmp_path)
    ends(folder, AFTER_EACH_STEP, kills(seed=3333), wanted=3)
    assert_equal_results(workspace, folder)
    assert_one_run(folder)


@pytest.mark.long
def test_training_killed_twenty_times_ends_as_left_alone(workspace: Path, tmp_path: Path) -> None:
    settings = [*AFTER_EACH_STEP, "-S", "train.epochs=4"]
    left_alone, killed = (with_inputs_of(workspace, tmp_path / name) for name in ("left_alone", "killed"))
    ends(left_alone, ["-S", "train.epochs=4"], iter(()), wanted=0)
    with working_folder(left_alone):
        assert cli.run(["evaluate"]) == 0
    ends(killed, settings, kills(seed=0), wanted=20)
    assert_equal_results(left_alone, killed)
    assert_one_run(killed)
