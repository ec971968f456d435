"""The pods behind a run, as Kubernetes has them: to read what they say, and to lose them."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import pytest

from siamese.orchestration.k8s.manifests import GROUP, JOB_OF_POD, JOBS, NODE, RUNTIMES, VERSION

RUN = "pipeline/runid"  # label of a run's pods
PLACE = "workflows.argoproj.io/node-name"  # annotation, as `siamese-x7k2p.root.exit-handler-1.train.executor(0)`
MAIN = "main"  # the container in which a step runs
ARGO = ("argoproj.io", "v1alpha1", "workflows")
DEFAULT_POLICY = "OnFailure"  # Argo's, where a workflow and its templates name none
# Run in a pod: kills the process that runs a step. It isn't the container's first, which no signal of its own
# container reaches.
KILL = """
import os, pathlib, signal
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if b"{module}" in (folder / "cmdline").read_bytes().split(b"\\0") and int(folder.name) != os.getpid():
        os.kill(int(folder.name), signal.SIGKILL)
        print("killed")
"""


class Pods:
    """Those of one namespace, by KUBECONFIG or, in a pod, by its service account."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @cached_property
    def api(self) -> Any:
        """Kubernetes' core API; a check that needs it doesn't run where there is none."""
        from kubernetes import client, config

        try:
            config.load_config()
        except config.ConfigException:
            pytest.skip("no Kubernetes credentials: set KUBECONFIG")
        return client.CoreV1Api()

    @cached_property
    def objects(self) -> Any:
        """Its API for kinds of objects that were added to it."""
        from kubernetes import client

        return client.CustomObjectsApi(self.api.api_client)

    def step(self, run: str, step: str) -> str | None:
        """The newest pod of a run's step; None: none has begun."""
        found = self.api.list_namespaced_pod(self.namespace, label_selector=f"{RUN}={run}").items
        begun = [pod for pod in found if _runs(pod, step) and pod.status.phase != "Pending"]
        begun.sort(key=lambda pod: str(pod.metadata.creation_timestamp or ""))
        return begun[-1].metadata.name if begun else None

    def worker(self, run: str, index: int) -> str | None:
        """The newest pod of a worker of the run's training; None: none has begun."""
        found = self.api.list_namespaced_pod(self.namespace, label_selector=f"{JOB_OF_POD}={self._job(run)}").items
        begun = [pod for pod in found if f"-{NODE}-0-{index}-" in pod.metadata.name and pod.status.phase == "Running"]
        begun.sort(key=lambda pod: str(pod.metadata.creation_timestamp or ""))
        return begun[-1].metadata.name if begun else None

    def of_trainer(self, run: str) -> list[str]:
        """The objects of Kubeflow Trainer that a run made and that are there."""
        listed = [(kind, self._listed(kind)) for kind in (JOBS, RUNTIMES)]
        names = [(kind, each["metadata"]["name"]) for kind, items in listed for each in items]
        return [f"{kind}/{name}" for kind, name in names if name == self._job(run)]

    def has_trainer(self) -> bool:
        """Whether there are such objects here, and they may be listed."""
        from kubernetes.client import ApiException

        try:
            self._listed(JOBS)
        except ApiException:
            return False
        return True

    def retry_policy(self, run: str) -> str:
        """Argo's policy for the run's steps: of its workflow, as the controller has filled it in."""
        found = self.objects.list_namespaced_custom_object(
            ARGO[0], ARGO[1], self.namespace, ARGO[2], label_selector=f"{RUN}={run}"
        )["items"]
        if not found:
            pytest.skip(f"no workflow of run {run} in namespace {self.namespace}: its retry policy isn't known")
        spec = found[0]["spec"]
        of_templates = [
            each.get("retryStrategy", {}) for each in [*spec["templates"], spec.get("templateDefaults", {})]
        ]
        named = [strategy["retryPolicy"] for strategy in of_templates if strategy.get("retryPolicy")]
        return named[0] if named else DEFAULT_POLICY

    def log(self, pod: str, container: str = MAIN) -> list[str]:
        """What a pod has said; [] where it is gone or hasn't begun."""
        from kubernetes.client import ApiException

        try:
            # Without the client's own conversion, which prints bytes as a Python literal.
            answer = self.api.read_namespaced_pod_log(pod, self.namespace, container=container, _preload_content=False)
        except ApiException:
            return []
        return answer.data.decode(errors="replace").splitlines()

    def delete(self, pod: str) -> None:
        """Deletes it at once, as when its node is gone."""
        self.api.delete_namespaced_pod(pod, self.namespace, grace_period_seconds=0)

    def kill(self, pod: str, module: str) -> None:
        """Kills the process that runs a module in it."""
        from kubernetes import stream

        said = stream.stream(
            self.api.connect_get_namespaced_pod_exec, pod, self.namespace, container=MAIN,
            command=["python3", "-c", KILL.replace("{module}", module)], stdout=True, stderr=True,
        )  # fmt: skip
        assert "killed" in said, said

    def _job(self, run: str) -> str:
        """The TrainJob's name, which the launching step says; "": it hasn't yet."""
        launcher = self.step(run, "train-on-workers")
        said = "\n".join(self.log(launcher)) if launcher else ""
        found = re.search(r"^workers: (?:launched|taking up) job (\S+)", said, flags=re.MULTILINE)
        return found[1] if found else ""

    def _listed(self, kind: str) -> list[dict[str, Any]]:
        answer = self.objects.list_namespaced_custom_object(GROUP, VERSION, self.namespace, kind)
        return list(answer["items"])


def _runs(pod: Any, step: str) -> bool:
    """Whether it is an attempt at the step: not its driver, which KFP adds."""
    place = (pod.metadata.annotations or {}).get(PLACE, "")
    parts = [re.sub(r"\([^)]*\)$", "", part) for part in place.split(".")]
    return parts[-2:] == [step, "executor"]
