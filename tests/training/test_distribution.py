"""Several devices and workers: what one device would make of the same images, and a clear end when one is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from signalled import AT_A_STEP
from trained import INPUTS, weights_of
from waiting import PATIENCE

from siamese.errors import InputError
from siamese.training import distribution

SOME_STEPS = [sys.executable, str(ROOT / "tests/helpers/some_steps.py")]

TRAIN = [sys.executable, "-c", f"{AT_A_STEP}from siamese import cli; cli.main()"]
OPTIONS = ["train", "-S", "train.checkpoint_every=1"]
STEPS_AN_EPOCH = 4  # 28 training images in steps of 8 at most


def two_workers(command: Callable[[int], Sequence[str]], folder: Callable[[int], Path]) -> list[subprocess.Popen]:
    """Two processes on loopback that TF_CONFIG makes work together; the first is the chief."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in (first, second)]

    def environment(index: int) -> dict[str, str]:
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        return os.environ | {"TF_CONFIG": json.dumps(task)}

    return [
        subprocess.Popen(
            command(index),
            cwd=folder(index),
            env=environment(index),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]


def ends(workers: Sequence[subprocess.Popen]) -> tuple[list[int], list[str]]:
    """Exit code of each, and what it went on to say."""
    try:
        rests = [worker.communicate(timeout=PATIENCE)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [worker.returncode for worker in workers], rests


def arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as content:
        return {name: content[name] for name in content.files}


def assert_equal_up_to_rounding(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Weights, Adam's moments and losses within 1e-5 of their norm."""
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"replicas"}:
        apart = np.linalg.norm(ours[name].astype(float) - theirs[name])
        assert apart <= 1e-5 * np.linalg.norm(theirs[name].astype(float)), name


@pytest.fixture(scope="module")
def on_one_device(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Twenty steps in float32."""
    return twenty_steps("one", workspace, tmp_path_factory.mktemp("one"))


def twenty_steps(strategy: str, workspace: Path, folder: Path) -> dict[str, np.ndarray]:
    command = [*SOME_STEPS, "float32", "20", f"{strategy}={folder / 'weights.npz'}"]
    subprocess.run(command, cwd=workspace, check=True, timeout=PATIENCE)
    return arrays(folder / "weights.npz")


@pytest.mark.slow
def test_two_processors_give_the_weights_of_one(
    workspace: Path, tmp_path: Path, on_one_device: dict[str, np.ndarray]
) -> None:
    one, two = on_one_device, twenty_steps("mirrored", workspace, tmp_path)
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert one["losses"][-1] < one["losses"][0]
    assert_equal_up_to_rounding(two, one)


def test_two_processes_give_the_weights_of_one(workspace: Path, tmp_path, on_one_device: dict[str, np.ndarray]) -> None:
    workers = two_workers(
        lambda index: [*SOME_STEPS, "float32", "20", f"multi_worker={tmp_path / str(index)}.npz"],
        lambda index: workspace,
    )
    codes, _ = ends(workers)
    assert codes == [0, 0]
    for index in range(2):
        ours = arrays(tmp_path / f"{index}.npz")
        assert ours["replicas"] == 2
        assert_equal_up_to_rounding(ours, on_one_device)


@pytest.mark.long
def test_loss_scaling_of_float16_sees_the_gradients_of_all_replicas(workspace: Path, tmp_path) -> None:
    """Its scale begins at 32,768; where a gradient overflows on one replica, both must skip the step and halve it."""
    runs = {strategy: tmp_path / f"{strategy}.npz" for strategy in ("one", "mirrored")}
    command = [*SOME_STEPS, "float16", "3", *(f"{strategy}={file}" for strategy, file in runs.items())]
    subprocess.run(command, cwd=workspace, check=True, timeout=PATIENCE)
    assert_equal_up_to_rounding(*(arrays(file) for file in runs.values()))


class Pair:
    """A chief and a worker, in folders of their own that hold the inputs of training."""

    def __init__(self, workspace: Path, place: Path) -> None:
        self.folders = [place / "chief", place / "worker"]
        for folder in self.folders:
            for name in ("params.yaml", *map(str, INPUTS)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(workspace / name)

    def train(
        self, send: signal.Signals | None = None, at_step: int = 0, options: Sequence[str] = ()
    ) -> tuple[list[int], list[str]]:
        """Both from start to end: exit codes, and what they said. The worker may be sent a signal at a step."""
        sent = [("0", "0"), (str(int(send or 0)), str(at_step))]
        return ends(two_workers(lambda index: [*TRAIN, *sent[index], *OPTIONS, *options], self.folders.__getitem__))

    def checkpoints(self) -> list[str]:
        return sorted(place.name for place in self.folders[0].glob(".siamese/checkpoints/*/epoch-*"))

    def assert_ended_as(self, alone: Path) -> None:
        """The chief's model and history are those of one process left alone; the other worker wrote nothing."""
        chief, worker = self.folders
        for ours, theirs in zip(
            weights_of(chief / "artifacts/model"), weights_of(alone / "artifacts/model"), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
        histories = [pd.read_csv(folder / "artifacts/history.csv") for folder in (alone, chief)]
        pd.testing.assert_frame_equal(*(history.drop(columns="images_per_second") for history in histories))
        written = {str(path.relative_to(worker)) for path in worker.rglob("*") if not path.is_symlink()}
        assert {name for name in written if not name.startswith(".coverage")} == {"artifacts"}


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_end_as_one_process_left_alone(workspace: Path, tmp_path) -> None:
    """Worker 1 is killed in the second epoch; the chief ends with one line; both are started again, and now save after
    each step."""
    pair = Pair(workspace, tmp_path)
    codes, told = pair.train(signal.SIGKILL, at_step=STEPS_AN_EPOCH + 2)
    assert codes == [2, -signal.SIGKILL], told
    assert told[0].splitlines()[-1].startswith("siamese: worker 0: lost another of the 2 workers")
    assert not (pair.folders[0] / "artifacts/model").exists()
    assert pair.checkpoints() == ["epoch-0001-step-000000"]

    codes, told = pair.train(options=["-S", "train.checkpoint_minutes=1e-9"])
    assert codes == [0, 0], told
    assert all("continuing after epoch 1, step 0\n" in one for one in told)
    assert "train: wrote artifacts/model\n" in told[0] and "train: nothing to write here\n" in told[1]
    assert [one.count("tracking: run ") for one in told] == [1, 0]  # the chief alone records
    pair.assert_ended_as(workspace)


@pytest.mark.long
def test_a_sigterm_to_one_worker_stops_both_with_a_checkpoint(workspace: Path, tmp_path) -> None:
    pair = Pair(workspace, tmp_path)
    codes, told = pair.train(signal.SIGTERM, at_step=2)
    assert codes == [128 + signal.SIGTERM] * 2, told
    (checkpoint,) = pair.checkpoints()
    assert checkpoint.startswith("epoch-0000-step-00000")

    codes, told = pair.train()
    assert codes == [0, 0], told
    assert all("continuing after epoch 0, step" in one for one in told)
    pair.assert_ended_as(workspace)


@pytest.mark.parametrize("parameter", ["train.seed", pytest.param("train.checkpoint_minutes", marks=pytest.mark.slow)])
def test_workers_that_differ_in_parameters_are_refused(workspace: Path, parameter: str) -> None:
    workers = two_workers(lambda index: [*TRAIN, "0", "0", *OPTIONS, "-S", f"{parameter}={index}"], lambda _: workspace)
    codes, told = ends(workers)
    assert codes == [2, 2]
    assert all("the workers differ in inputs, parameters or precision" in one for one in told)


@pytest.mark.parametrize(
    ("cluster", "task", "said"),
    [
        ("{", None, "TF_CONFIG is not understood"),
        ({"worker": ["a:1", "b:1"]}, None, "TF_CONFIG is not understood"),
        ({"worker": "a:1"}, {"type": "worker", "index": 0}, "TF_CONFIG is not understood"),
        ({"worker": 5}, {"type": "worker", "index": 0}, "TF_CONFIG is not understood"),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 2}, "task worker 2 isn't among"),
        ({"worker": ["a:1", "b:1"]}, {"type": "chief", "index": 0}, "task chief 0 isn't among"),
        ({"worker": ["a:1"], "ps": ["b:1"]}, {"type": "worker", "index": 0}, "TF_CONFIG names ps"),
    ],
)  # fmt: skip
def test_a_tf_config_that_cannot_be_used_is_one_line(monkeypatch, cluster: object, task: object, said: str) -> None:
    text = cluster if isinstance(cluster, str) else json.dumps({"cluster": cluster} | ({"task": task} if task else {}))
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=said):
        distribution.start("auto")


@pytest.mark.parametrize(
    ("task", "worker"),
    [({"type": "chief", "index": 0}, 0), ({"type": "worker", "index": 0}, 1), ({"type": "worker", "index": 1}, 2)],
)
def test_the_chief_is_worker_0_and_workers_follow_it(task: dict, worker: int) -> None:
    """As Kubeflow Trainer and Vertex write TF_CONFIG."""
    content = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": task}
    assert distribution._WorkerCluster(json.dumps(content)).worker == worker


def test_multi_worker_without_tf_config_says_what_to_set(monkeypatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match=r"the environment variable TF_CONFIG is missing: set it on every worker"):
        distribution.start("multi_worker")


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}'])
def test_auto_is_one_device_where_tf_config_names_no_other_worker(monkeypatch, text: str) -> None:
    """Vertex sets TF_CONFIG for a single machine too."""
    monkeypatch.setenv("TF_CONFIG", text)
    started = distribution.start("auto")
    assert (started.count, started.worker, started.workers, started.chief) == (1, 0, 1, True)
