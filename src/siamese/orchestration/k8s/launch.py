"""Launches workers, follows them to their end, and hands on what they made."""

from __future__ import annotations

import csv
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from siamese.console import log
from siamese.errors import InputError
from siamese.orchestration.k8s import manifests
from siamese.orchestration.k8s.api import BETWEEN, KubernetesClient, Pod, ended
from siamese.orchestration.k8s.job import JobSpec, Shared
from siamese.orchestration.k8s.manifests import JOBS, RUNTIMES, PodSpec
from siamese.params import TrainParams
from siamese.process import handle_signals

FOLDER = "workers"  # of the volume
SHOWN = (("loss", 4), ("accuracy", 3), ("auc", 3), ("eer", 3))  # figures of an epoch, and their decimal places


def launch(
    inputs: Sequence[Path],
    model: Path,
    history: Path,
    run: Path,
    order: JobSpec,
    params: TrainParams,
    look: PodSpec,
    step: str,
) -> None:
    """Trains on several machines: `model`, `history` and `run` as one would have written them.

    Started again after it was killed, it takes up the job that it began. When it ends, the job is removed, however it
    ends; so is the shared folder when all went well. Where not, a retry goes on from the newest checkpoint in it.

    Args:
        inputs: catalog, pairs, stored pixels and transform.
        model, history, run: to write.
        order: what is trained.
        params: the order's section `train`.
        look: the workers.
        step: what names this step of this run alone.

    Raises:
        InputError: a worker failed, and which; the cluster refuses; or what workers can't train by.
    """
    _check(order, params, look)
    name = order.name(step)
    shared = Shared(Path(look.path) / FOLDER / name)
    shared.lay(inputs, order)
    cluster = KubernetesClient()
    # SIGTERM unwinds the stack: a run that is ended leaves no machines at work.
    with handle_signals(lambda *_: sys.exit(128 + signal.SIGTERM), signal.SIGTERM):
        try:
            _begin(cluster, name, look, shared.folder)
            failure = _follow(cluster, name, shared.history)
        finally:
            _remove(cluster, name)
    if failure:
        raise InputError(failure)
    shared.hand_on(model, history, run)
    shared.remove()


def _check(order: JobSpec, params: TrainParams, look: PodSpec) -> None:
    if params.strategy not in ("auto", "multi_worker"):
        raise InputError(
            f"train.strategy {params.strategy}: {look.count} workers train together by auto or multi_worker alone"
        )
    place = order.checkpoints
    if place and "://" not in place and not Path(place).is_relative_to(look.path):
        raise InputError(f"checkpoints {place}: workers share {look.path} alone: name a folder of it, or a URI")


def _begin(cluster: KubernetesClient, name: str, look: PodSpec, folder: Path) -> None:
    there = cluster.get(JOBS, name)
    past = ended(there) if there else None
    if past and past[0] == "Failed":  # of a launcher that was killed before it removed it
        _remove(cluster, name)
    cluster.made(RUNTIMES, manifests.runtime(name, look, str(folder)))
    made = cluster.made(JOBS, manifests.job(name, look))  # which Trainer only takes once its runtime is there
    if job := cluster.get(JOBS, name):
        try:
            cluster.patch(RUNTIMES, name, manifests.owned_by(job))  # the launcher may be killed before it removes it
        except InputError as error:
            log(f"{RUNTIMES} {name} stays behind if this step is terminated ({error})")
    log(f"workers: {'launched' if made else 'taking up'} job {name} of {look.count} in {cluster.namespace}")


def _follow(cluster: KubernetesClient, name: str, history: Path) -> str | None:
    """Waits for the end, telling of pods and epochs; gives why it failed, in one line, or None."""
    failed: dict[str, Pod] = {}
    states: dict[str, str] = {}
    epochs = 0
    while True:
        job = cluster.get(JOBS, name)
        if job is None:
            return f"job {name} was deleted by somebody else"
        end = ended(job)
        pods = cluster.pods(name)
        for pod in pods:
            if pod.state == "Failed":
                failed[pod.name] = pod
            if states.get(pod.name) != pod.state:
                states[pod.name] = pod.state
                log(f"{_who(pod)} ({pod.name}): {pod.state}{f', {pod.told}' if pod.name in failed else ''}")
        epochs = _tell(history, epochs)
        if end and end[0] == "Complete":
            return None
        if end:
            # Of several attempts the last; whoever lost another worker ended after it.
            last = [pod for pod in pods if pod.name in failed] or failed.values()
            told = [f"{_who(pod)}: {pod.told}" for pod in sorted(last, key=lambda one: one.ended)]
            return f"job {name} failed: {'; '.join(told) or end[1]}"
        time.sleep(BETWEEN)


def _who(pod: Pod) -> str:
    return "a worker" if pod.number is None else f"worker {pod.number}"


def _tell(history: Path, said: int) -> int:
    """Says the epochs that are new in the table which the chief writes; gives how many it has."""
    with suppress(OSError):
        rows = list(csv.DictReader(history.read_text(encoding="utf-8").splitlines()))
        for row in rows[said:]:
            figures = (f"{key} {float(row[key]):.{places}f}" if row[key] else f"{key} -" for key, places in SHOWN)
            log("  ".join((f"epoch {row['epoch']}", *figures)))
        return max(said, len(rows))
    return said


def _remove(cluster: KubernetesClient, name: str) -> None:
    for kind in (JOBS, RUNTIMES):
        try:
            cluster.delete(kind, name)
        except InputError as error:
            log(f"{kind} {name} can't be removed ({error}): kubectl delete {kind} {name} -n {cluster.namespace}")
