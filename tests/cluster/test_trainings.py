"""Trainings that are interrupted: a pod that is lost, a process that is killed, a worker, a run that is cancelled.

What is retried depends on the installation (docs/kubeflow.md, "What is retried"). Whatever it is, a training that is
submitted again goes on from its checkpoint.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_until

from cluster.conftest import Saw
from cluster.endpoint import Ended, Endpoint, Following
from cluster.pods import MAIN, Pods
from siamese.orchestration.k8s.manifests import NODE

pytestmark = pytest.mark.cluster

EPOCHS = 8  # long enough to be interrupted after the second
LOST, KILLED = "a lost pod", "a killed process"
RETRIED = {"OnError": {LOST}, "OnFailure": {KILLED}, "Always": {LOST, KILLED}}  # by Argo's retry policy
PARAMETERS = 38_964_545  # of the specification's network
CLOSE = 1e-5  # of weights, computed in another order


@pytest.fixture
def checkpoints(endpoint: Endpoint) -> str:
    """Where trainings keep their checkpoints."""
    address = endpoint.given.get("SIAMESE_CHECKPOINTS")
    if not address:
        pytest.skip("SIAMESE_CHECKPOINTS names no place that outlives a pod")
    return address


@pytest.mark.parametrize("loss", [LOST, KILLED], ids=["lost_pod", "killed_process"])
def test_an_interrupted_training(
    endpoint: Endpoint, pods: Pods, first: Ended, checkpoints: str, tmp_path: Path, saw: Saw, loss: str
) -> None:
    """Retried by the installation or not, as its retry policy says; submitted again, it goes on."""
    seed = endpoint.seed + (10 if loss == LOST else 11)

    def begin() -> Following:
        return endpoint.begin(
            tmp_path, cluster={"backoff": {"first": 1}}, train__seed=seed, train__epochs=EPOCHS,
            train__checkpoint_every=1,
        )  # fmt: skip

    following = begin()
    run, pod = in_the_third_epoch(following, pods)
    policy = pods.retry_policy(run)
    pods.delete(pod) if loss == LOST else pods.kill(pod, "kfp.dsl.executor_main")
    ended = following.ended()
    retried = loss in RETRIED[policy]
    assert ended.exit_code == (0 if retried else 5), ended
    if not retried:
        again = begin()
        run = wait_until(again.run_id, again.still_goes_on)
        ended = again.ended()
        assert ended.exit_code == 0, ended
    said = pods.log(pods.step(run, "train"))
    (epoch,) = re.findall(r"continuing after epoch (\d+)", "\n".join(said))
    assert int(epoch) >= 1  # the second's checkpoint may still have been on its way
    how = "retried" if retried else "not retried; submitted again"
    saw(f"retry policy {policy}: {how}, the training went on after epoch {epoch}")


def test_a_run_that_is_cancelled_is_not_called_failed(
    endpoint: Endpoint, pods: Pods, first: Ended, tmp_path: Path, saw: Saw
) -> None:
    following = endpoint.begin(tmp_path, train__seed=endpoint.seed + 12, train__epochs=EPOCHS)
    run, _ = in_the_third_epoch(following, pods)
    endpoint.terminate(run)
    cancelled = following.ended()
    assert (cancelled.exit_code, cancelled.answer["state"]) == (5, "CANCELED"), cancelled
    saw(f"exit code 5: {cancelled.lines[-1]}")


def test_two_workers_train_what_one_machine_trains(
    endpoint: Endpoint, pods: Pods, first: Ended, tmp_path: Path, saw: Saw
) -> None:
    """Also where one of them is lost in the middle."""
    needs_trainer(endpoint, pods)
    seed = endpoint.seed + 13
    before = endpoint.versions()
    alone = endpoint.submit(tmp_path, train__seed=seed, train__epochs=EPOCHS, train__checkpoint_every=1)
    assert alone.exit_code == 0, alone
    following = endpoint.begin(
        tmp_path, cluster={"workers": {"count": 2}}, train__seed=seed, train__epochs=EPOCHS, train__checkpoint_every=1
    )
    run = wait_until(following.run_id, following.still_goes_on)
    lost = wait_until(lambda: in_third_epoch(pods, pods.worker(run, 1), NODE), following.still_goes_on)
    pods.delete(lost)
    together = following.ended()
    assert together.exit_code == 0, together
    assert {"train_on_workers", "register"} <= together.ended_as("succeeded"), together
    # Of weights that are equal to the bit, the registry makes one version.
    versions = [version for version in endpoint.versions() if version not in before]
    one, two = endpoint.weights(versions[0], tmp_path / "alone"), endpoint.weights(versions[-1], tmp_path / "together")
    assert one.keys() == two.keys() and sum(array.size for array in one.values()) >= PARAMETERS
    largest = max(float(np.abs(one[name] - two[name]).max()) for name in one)
    assert largest <= CLOSE
    saw(f"worker {lost} was lost and the job went on; weights differ by at most {largest:.1g}")


def test_a_cancelled_run_leaves_no_workers(
    endpoint: Endpoint, pods: Pods, first: Ended, tmp_path: Path, saw: Saw
) -> None:
    needs_trainer(endpoint, pods)
    following = endpoint.begin(
        tmp_path, cluster={"workers": {"count": 2}}, train__seed=endpoint.seed + 14, train__epochs=EPOCHS
    )
    run = wait_until(following.run_id, following.still_goes_on)
    wait_until(lambda: in_third_epoch(pods, pods.worker(run, 0), NODE), following.still_goes_on)
    made = pods.of_trainer(run)
    endpoint.terminate(run)
    cancelled = following.ended()
    assert cancelled.answer["state"] == "CANCELED", cancelled
    wait_until(lambda: not pods.of_trainer(run))
    saw(f"{', '.join(made)}: gone after the run was cancelled")


def needs_trainer(endpoint: Endpoint, pods: Pods) -> None:
    """Skips where several machines can't train together."""
    if not endpoint.cluster.get("volume"):
        pytest.skip("the cluster file names no volume that workers could share")
    if not pods.has_trainer():
        pytest.skip("Kubeflow Trainer isn't installed, or its objects mayn't be listed")


def in_the_third_epoch(following: Following, pods: Pods) -> tuple[str, str]:
    """The run, and its training's pod, once two epochs are behind it."""
    run = wait_until(following.run_id, following.still_goes_on)
    return run, wait_until(lambda: in_third_epoch(pods, pods.step(run, "train")), following.still_goes_on)


def in_third_epoch(pods: Pods, pod: str | None, container: str = MAIN) -> str | None:
    """The pod, if two epochs are behind it."""
    return pod if pod and any(line.startswith(f"epoch 2/{EPOCHS}") for line in pods.log(pod, container)) else None
