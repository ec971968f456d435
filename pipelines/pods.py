"""Pods of a run: why one can't start, and the last lines of its log.

A run's pods have the label `pipeline/runid`. Argo writes the node's name into an annotation, such as
`siamese-x7k2p.root.exit-handler-1.train.executor(0)`: the workflow, the tasks that contain each other, and the attempt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from siamese.workers.cluster import why_not_started

RUN = "pipeline/runid"  # label
NODE = "workflows.argoproj.io/node-name"  # annotation
MAIN = "main"  # container
ANSWER_WITHIN = {"_request_timeout": (5, 15)}  # seconds to connect, and to answer
PULLING = ("ErrImagePull", "ImagePullBackOff")  # follow each other again and again


@dataclass(frozen=True)
class TaskPod:
    """A pod of one of the pipeline's tasks.

    Attributes:
        name: of the pod.
        task: as in the compiled pipeline, such as `train`; several pods have the same in a loop or after a retry.
        is_driver: whether it is KFP's own pod, which prepares the task.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        started: when, as Kubernetes writes it; "" before.
        obstacle: what keeps it from starting; "" if nothing does.
        obstacle_kind: the same while only the wording of the obstacle differs.
    """

    name: str
    task: str
    is_driver: bool
    phase: str
    started: str
    obstacle: str
    obstacle_kind: str


def pods_of_run(client: Any, namespace: str, run_id: str) -> list[TaskPod]:
    """List the pods of a run, the oldest first.

    Args:
        client: `kubernetes.client.ApiClient`.
        namespace: of the pods.
        run_id: KFP's.

    Raises:
        ApiException, HTTPError: the API refuses, or doesn't answer in time.
    """
    from kubernetes.client import CoreV1Api

    listed = CoreV1Api(client).list_namespaced_pod(namespace, label_selector=f"{RUN}={run_id}", **ANSWER_WITHIN)
    pods = sorted(listed.items, key=lambda pod: (str(pod.metadata.creation_timestamp or ""), pod.metadata.name))
    return [_task_pod(pod) for pod in pods if NODE in (pod.metadata.annotations or {})]


def last_lines(client: Any, namespace: str, pod: str, lines: int = 20) -> list[str]:
    """Return the last lines of a pod's log.

    Args:
        client: `kubernetes.client.ApiClient`.
        namespace, pod: names.
        lines: how many at most.

    Raises:
        ApiException, HTTPError: the pod is gone, the API refuses, or doesn't answer in time.
    """
    from kubernetes.client import CoreV1Api

    # The package's own text conversion prints bytes as a Python literal.
    answer = CoreV1Api(client).read_namespaced_pod_log(
        pod, namespace, container=MAIN, tail_lines=lines, _preload_content=False, **ANSWER_WITHIN
    )
    return str(answer.data.decode("utf-8", "replace")).splitlines()


def task_of(node: str) -> tuple[str, bool]:
    """Name the task of one of Argo's nodes, and say whether the node is its driver."""
    parts = [re.sub(r"\([^)]*\)$", "", part) for part in node.split(".")]
    if parts[-1] == "executor" and len(parts) > 1:
        return parts[-2], False
    return parts[-1].removesuffix("-driver"), parts[-1].endswith("-driver")


def _task_pod(pod: Any) -> TaskPod:
    task, is_driver = task_of(pod.metadata.annotations[NODE])
    kind, message = why_not_started(pod) or ("", "")
    return TaskPod(
        name=pod.metadata.name,
        task=task,
        is_driver=is_driver,
        phase=pod.status.phase or "Pending",
        started=str(pod.status.start_time or ""),
        obstacle=f"{kind}: {message}" if message else kind,
        obstacle_kind=PULLING[0] if kind in PULLING else f"{kind}: {message}",
    )
