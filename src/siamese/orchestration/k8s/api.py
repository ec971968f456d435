"""The part of Kubernetes' API that a job of workers needs. All calls may be repeated, and are while the API is away."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from siamese.console import log
from siamese.errors import InputError
from siamese.orchestration.k8s.manifests import GROUP, JOB_OF_POD, VERSION

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")  # of the pod that this runs in
PATIENCE: dict[str, Any] = {"_request_timeout": (10, 60)}  # seconds to connect, and to answer
LONGEST_AWAY = 600.0  # seconds without an answer
BETWEEN = 2.0  # seconds between two questions
NOT_FOUND, CONFLICT = 404, 409
PASSING = (429, 500, 502, 503, 504)
HELP = "see docs/kubeflow.md, Several workers"


@dataclass(frozen=True)
class Pod:
    """One worker, as it is now.

    Attributes:
        name: of the pod.
        number: of the worker; None: not known yet.
        state: `Pending`, `Running`, `Succeeded`, `Failed`, or why it can't start.
        ended: when, as Kubernetes writes it; "": it hasn't.
        told: exit code and last line; "": it hasn't ended.
    """

    name: str
    number: int | None
    state: str
    ended: str
    told: str


class KubernetesClient:
    """One namespace, as the service account of this pod; outside of pods, as kubectl's current context."""

    def __init__(self) -> None:
        from kubernetes import client, config

        try:
            api, self.namespace = connect()
        except config.ConfigException as error:
            raise InputError(f"no Kubernetes cluster to launch workers on ({_flat(error)}): {HELP}") from None
        self._objects, self._pods = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self.host = api.configuration.host

    def made(self, kind: str, manifest: dict[str, Any]) -> bool:
        """Has an object made if there is none of its name; False: it was there. One that is being deleted is waited
        for.

        Raises:
            InputError: the cluster refuses, or gives no answer.
        """
        name = manifest["metadata"]["name"]
        while True:
            answer = self._asked(
                "create",
                kind,
                lambda: self._objects.create_namespaced_custom_object(*self._place(kind), manifest, **PATIENCE),
            )
            if answer != CONFLICT:
                return True
            there = self.get(kind, name)
            if there and not there["metadata"].get("deletionTimestamp"):
                return False
            time.sleep(BETWEEN)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object; None: there is none.

        Raises:
            InputError: the cluster refuses, or gives no answer.
        """
        found = self._asked(
            "get", kind, lambda: self._objects.get_namespaced_custom_object(*self._place(kind), name, **PATIENCE)
        )
        return None if found == NOT_FOUND else found

    def patch(self, kind: str, name: str, changes: dict[str, Any]) -> None:
        """Merge changes into an object; one that is gone is left alone.

        Raises:
            InputError: the cluster refuses, or gives no answer.
        """
        self._asked(
            "patch",
            kind,
            lambda: self._objects.patch_namespaced_custom_object(*self._place(kind), name, changes, **PATIENCE),
        )

    def delete(self, kind: str, name: str) -> None:
        """Has an object removed, after what belongs to it: its name is taken as long as its pods may still write.

        Raises:
            InputError: the cluster refuses, or gives no answer.
        """
        self._asked(
            "delete",
            kind,
            lambda: self._objects.delete_namespaced_custom_object(
                *self._place(kind), name, propagation_policy="Foreground", **PATIENCE
            ),
        )

    def pods(self, job: str) -> list[Pod]:
        """The workers that a job has now.

        Raises:
            InputError: the cluster refuses, or gives no answer.
        """
        listed = self._asked(
            "list",
            "pods",
            lambda: self._pods.list_namespaced_pod(self.namespace, label_selector=f"{JOB_OF_POD}={job}", **PATIENCE),
        )
        return [_pod(one) for one in listed.items]

    def _place(self, kind: str) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, kind

    def _asked(self, verb: str, kind: str, call: Callable[[], Any]) -> Any:
        """What the call gives, or NOT_FOUND or CONFLICT where that says something.

        Raises:
            InputError: the cluster refuses, or gives no answer.
        """
        from kubernetes.client import ApiException

        began, said = time.monotonic(), False
        while True:
            try:
                return call()
            except ApiException as error:
                if error.status == CONFLICT and verb == "create":
                    return CONFLICT
                if error.status == NOT_FOUND and verb in ("get", "patch", "delete"):
                    return NOT_FOUND
                reason = _reason(error)
                if error.status not in PASSING:
                    raise self._refused(verb, kind, error.status, reason) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                reason = _flat(error)
            if time.monotonic() - began > LONGEST_AWAY:
                raise InputError(f"{self.host} gives no answer ({reason}): is the cluster there?")
            if not said:
                said = True
                log(f"{self.host} gives no answer ({reason}): trying again")
            time.sleep(BETWEEN)

    def _refused(self, verb: str, kind: str, status: int, reason: str) -> InputError:
        what = kind if kind == "pods" else f"{kind}.{GROUP}"
        if status in (401, 403):
            return InputError(f"the step's service account may not {verb} {what} in {self.namespace}: {HELP}")
        if status == NOT_FOUND:
            return InputError(f"the cluster knows no {what}: install Kubeflow Trainer 2, {HELP}")
        return InputError(f"the cluster refuses to {verb} {what} (HTTP {status}): {reason}")


def connect() -> tuple[Any, str]:
    """Return a client of Kubernetes' API, and the namespace of this pod or of kubectl's current context.

    Raises:
        ConfigException: there are no credentials, or they can't be read.
    """
    from kubernetes import client, config

    settings = client.Configuration()
    if NAMESPACE.exists():
        config.load_incluster_config(settings)
        namespace = NAMESPACE.read_text(encoding="utf-8").strip()
    else:
        file = os.environ.get("KUBECONFIG")  # the package itself reads it once, when it is imported
        config.load_kube_config(file, client_configuration=settings)
        namespace = config.list_kube_config_contexts(file)[1]["context"].get("namespace") or "default"
    settings.retries = False  # urllib3's own would be silent
    return client.ApiClient(settings), namespace


def ended(job: dict[str, Any]) -> tuple[str, str] | None:
    """How a TrainJob ended, `Complete` or `Failed`, and why; None: it hasn't."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return condition["type"], " ".join(str(condition.get("message", "")).split())
    return None


def why_not_started(pod: Any) -> tuple[str, str] | None:
    """Reason and message of what keeps a pod, as the API gives it, from starting.

    Returns None if it runs, has ended, or is on its way.
    """
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.reason or "Unschedulable", _flat(condition.message or "")
    for container in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = container.state and container.state.waiting
        if waiting and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            return waiting.reason, _flat(waiting.message or "")
    return None


def _pod(found: Any) -> Pod:
    index = (found.metadata.annotations or {}).get("batch.kubernetes.io/job-completion-index")
    state, over, told = found.status.phase or "Pending", "", ""
    for container in found.status.container_statuses or []:
        now = container.state
        if now and now.terminated:
            last = (now.terminated.message or now.terminated.reason or "").strip().splitlines()
            over = str(now.terminated.finished_at or "")
            told = f"exit code {now.terminated.exit_code}{f': {last[-1].strip()}' if last else ''}"
    if obstacle := why_not_started(found):
        state = " ".join(obstacle).strip()
    if state == "Failed" and not told:  # evicted, or its node is gone
        told = f"{found.status.reason or 'lost'} {_flat(found.status.message or '')}".strip()
    return Pod(found.metadata.name, int(index) if index else None, state, over, told)


def _reason(error: Any) -> str:
    try:
        return _flat(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return _flat(error.reason)


def _flat(error: object) -> str:
    return " ".join(str(error).split())[:300]
