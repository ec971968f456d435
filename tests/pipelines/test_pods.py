"""Pods of a run: which task each belongs to, what keeps it from starting, its last lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_server import NAMESPACE, KubernetesServer

from pipelines.pods import last_lines, pods_of_run, task_of
from siamese.workers.cluster import connect

RUN = "0b6e5d2c"


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes") as server:
        monkeypatch.setenv("KUBECONFIG", str(server.configuration))
        yield server


def add_pod(server: KubernetesServer, name: str, node: str, run: str = RUN, **status: Any) -> None:
    metadata = {
        "labels": {"pipeline/runid": run},
        "annotations": {"workflows.argoproj.io/node-name": f"siamese-x7k2p.root.{node}"},
        "creationTimestamp": "2026-11-30T10:00:00Z",
    }
    spec = {"containers": [{"name": "main"}, {"name": "wait"}]}
    server.add("pods", name, metadata=metadata, spec=spec, status={"phase": "Pending", **status})


def unschedulable(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"conditions": [condition]}


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    content = {"reason": reason} | ({"message": message} if message else {})
    container = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    return {"containerStatuses": [{**container, "state": {"waiting": content}}]}


@pytest.mark.parametrize(
    ("node", "task", "is_driver"),
    [
        ("wf.root.exit-handler-1.train.executor(0)", "train", False),
        ("wf.root.exit-handler-1.train.executor", "train", False),
        ("wf.root.exit-handler-1.train-driver(1)", "train", True),
        ("wf.root.exit-handler-1-driver(0)", "exit-handler-1", True),
        ("wf.root.exit-handler-1.condition-2.register.executor(2)", "register", False),
        ("wf.root.for-loop-1.iteration-iterations(1:1).iteration-item.train.executor(0)", "train", False),
        ("wf.root.exit-handler-1.onExit.notify.executor(0)", "notify", False),
        ("wf.root.exit-handler-1.importer(0)", "importer", False),
        ("wf.root-driver(0)", "root", True),
    ],
)
def test_a_node_of_argo_names_its_task(node: str, task: str, is_driver: bool) -> None:
    assert task_of(node) == (task, is_driver)


@pytest.mark.parametrize(
    ("status", "obstacle"),
    [
        (unschedulable("0/1 nodes are available:\n 1 Insufficient cpu."),
         "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."),
        (unschedulable('persistentvolumeclaim "siamese" not found'),
         'Unschedulable: persistentvolumeclaim "siamese" not found'),
        (waiting("ImagePullBackOff", 'Back-off pulling image "x"'), 'ImagePullBackOff: Back-off pulling image "x"'),
        (waiting("CreateContainerConfigError", 'secret "mlflow-login" not found'),
         'CreateContainerConfigError: secret "mlflow-login" not found'),
        (waiting("InvalidImageName"), "InvalidImageName"),
        (waiting("ContainerCreating"), ""),
        (waiting("PodInitializing"), ""),
        ({"phase": "Running"}, ""),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_starting_is_read_from_its_status(
    kubernetes: KubernetesServer, status: dict[str, Any], obstacle: str
) -> None:
    add_pod(kubernetes, "siamese-x7k2p-1", "exit-handler-1.train.executor(0)", **status)
    client, namespace = connect()
    (pod,) = pods_of_run(client, namespace, RUN)
    assert (namespace, pod.name, pod.task, pod.obstacle) == (NAMESPACE, "siamese-x7k2p-1", "train", obstacle)


def test_the_image_of_the_launcher_can_be_the_obstacle(kubernetes: KubernetesServer) -> None:
    status = waiting("ErrImagePull", "no such host")["containerStatuses"]
    add_pod(kubernetes, "p", "catalog.executor(0)", initContainerStatuses=status, **waiting("PodInitializing"))
    (pod,) = pods_of_run(*connect(), RUN)
    assert pod.obstacle == "ErrImagePull: no such host"


def test_an_image_that_is_not_pulled_is_one_obstacle_however_it_is_put(kubernetes: KubernetesServer) -> None:
    kinds = set()
    for status in (waiting("ErrImagePull", "not found"), waiting("ImagePullBackOff", "Back-off pulling image")):
        add_pod(kubernetes, "p", "train.executor(0)", **status)
        kinds.add(pods_of_run(*connect(), RUN)[0].obstacle_kind)
    assert kinds == {"ErrImagePull"}


def test_pods_of_other_runs_are_left_out(kubernetes: KubernetesServer) -> None:
    add_pod(kubernetes, "mine", "train.executor(0)")
    add_pod(kubernetes, "other", "train.executor(0)", run="another")
    assert [pod.name for pod in pods_of_run(*connect(), RUN)] == ["mine"]


def test_the_last_lines_of_a_pod_are_those_of_its_main_container(kubernetes: KubernetesServer) -> None:
    add_pod(kubernetes, "p", "train.executor(0)", phase="Failed")
    kubernetes.logs["p"] = "".join(f"line {number}\n" for number in range(30)) + "größer\n"
    client, namespace = connect()
    assert last_lines(client, namespace, "p", lines=3) == ["line 28", "line 29", "größer"]
    assert len(last_lines(client, namespace, "p")) == 20
