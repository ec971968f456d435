"""What Kubernetes is asked for: a TrainJob of Kubeflow Trainer 2, and the runtime that says what its pods look like.

Trainer 2 has no runtime for TensorFlow, and its forerunner's TFJob, which set TF_CONFIG, is no longer developed
(github.com/kubeflow/trainer, issue 2699). So the runtime is a plain one, made with the job, and a worker finds its
place by the index that Kubernetes gives to each pod of an indexed Job, and the others by the names that JobSet gives
to pods: <job>-<replicated job>-0-<index>.<job>.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import Field

from siamese.params import Section

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
JOBS, RUNTIMES = "trainjobs", "trainingruntimes"
JOB_OF_POD = "jobset.sigs.k8s.io/jobset-name"  # label of a pod: the JobSet's name, which is the TrainJob's
ADDRESSES = "SIAMESE_WORKERS"
INDEX = "JOB_COMPLETION_INDEX"
PORT = 2222
# What Kubeflow Pipelines gives the launcher of its MLflow server, but for logins, which a manifest must not hold.
HANDED_ON = ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_AUTH", "MLFLOW_WORKSPACE")
NODE = "node"  # what Trainer calls the job and the container that train
TIME_TO_STOP = 120  # seconds from SIGTERM to SIGKILL: a checkpoint is written meanwhile


class PodSpec(Section):
    """What workers look like: as the pipeline's step `train` would on this cluster, several times.

    Attributes:
        count: of workers.
        image: with this package.
        pull_secrets: names of secrets that let it be pulled.
        requests, limits: resources of each worker, by Kubernetes' names and in its quantities.
        node_selector, tolerations: where they may run.
        shared_memory: size of /dev/shm; None: the node's usual.
        timeout: seconds until an attempt is ended; None: never.
        restarts: how often all workers are started again when one has failed.
        claim, path: the volume that all of them share with the launcher, and where it is mounted in each.
        secrets: names of secrets, and which variable each of their keys becomes.
        environment: further variables.
        user, group: numeric ids; None: the image's.
        non_root: whether root is refused.
    """

    count: int = Field(ge=2)
    image: str = Field(min_length=1)
    pull_secrets: list[str]
    requests: dict[str, str]
    limits: dict[str, str]
    node_selector: dict[str, str]
    tolerations: list[dict[str, str | int]]
    shared_memory: str | None = None
    timeout: int | None = None
    restarts: int = Field(ge=0)
    claim: str = Field(min_length=1)
    path: str = Field(pattern="^/.")
    secrets: dict[str, dict[str, str]]
    environment: dict[str, str]
    user: int | None = None
    group: int | None = None
    non_root: bool


def job(name: str, look: PodSpec) -> dict[str, Any]:
    """The TrainJob."""
    runtime = {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": name}
    spec = {"runtimeRef": runtime, "trainer": {"numNodes": look.count}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": _named(name), "spec": spec}


def owned_by(job: dict[str, Any]) -> dict[str, Any]:
    """What to merge into the TrainingRuntime, so that Kubernetes deletes it once its TrainJob is gone.

    The owner isn't blocked: Trainer keeps a runtime while a job uses it, so each would wait for the other.

    Args:
        job: the TrainJob, as the API gives it.
    """
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": name, "uid": uid}
    return {"metadata": {"ownerReferences": [owner]}}


def runtime(name: str, look: PodSpec, folder: str) -> dict[str, Any]:
    """Its TrainingRuntime.

    Args:
        name: the job's, too.
        look: what workers look like.
        folder: the shared folder, as workers see it.
    """
    # One worker alone can't go on: where one fails, all end, and all begin again from the newest checkpoint.
    of_job: dict[str, Any] = {
        "completionMode": "Indexed",
        "parallelism": look.count,
        "completions": look.count,
        "backoffLimit": 0,
        "template": _pod(name, look, folder),
    }
    if look.timeout:
        of_job["activeDeadlineSeconds"] = look.timeout
    template = {"metadata": {"labels": {f"{GROUP}/trainjob-ancestor-step": "trainer"}}, "spec": of_job}
    job_set = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "failurePolicy": {"maxRestarts": look.restarts},
        "replicatedJobs": [{"name": NODE, "replicas": 1, "template": template}],
    }
    spec = {"mlPolicy": {"numNodes": look.count}, "template": {"spec": job_set}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainingRuntime", "metadata": _named(name), "spec": spec}


def addresses(name: str, count: int) -> list[str]:
    """Host and port of each worker, the chief's first."""
    return [f"{name}-{NODE}-0-{index}.{name}:{PORT}" for index in range(count)]


def _pod(name: str, look: PodSpec, folder: str) -> dict[str, Any]:
    volumes = [{"name": "shared", "persistentVolumeClaim": {"claimName": look.claim}}]
    mounts = [{"name": "shared", "mountPath": look.path}]
    if look.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": look.shared_memory}
        volumes.append({"name": "shared-memory", "emptyDir": memory})
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    of_launcher = {variable: os.environ[variable] for variable in HANDED_ON if variable in os.environ}
    from_secrets = {variable for keys in look.secrets.values() for variable in keys.values()}
    given = {ADDRESSES: ",".join(addresses(name, look.count)), **look.environment}
    given |= {variable: value for variable, value in of_launcher.items() if variable not in from_secrets}
    variables: list[dict[str, Any]] = [{"name": variable, "value": value} for variable, value in given.items()]
    for secret, keys in look.secrets.items():
        for key, variable in keys.items():
            variables.append({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    who = {"runAsUser": look.user, "runAsGroup": look.group, "runAsNonRoot": look.non_root}
    container = {
        "name": NODE,
        "image": look.image,
        "command": ["python3", "-m", "siamese.orchestration.k8s", folder],
        "env": variables,
        "resources": {"requests": look.requests, "limits": look.limits},
        "securityContext": {key: value for key, value in who.items() if value is not None},
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # so that its last lines are in its pod's status
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": TIME_TO_STOP,
        "containers": [container],
        "volumes": volumes,
    }
    if look.node_selector:
        spec["nodeSelector"] = look.node_selector
    if look.tolerations:
        spec["tolerations"] = look.tolerations
    if look.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in look.pull_secrets]
    # Istio's proxy would neither let workers talk before it is up nor end when they do.
    metadata = {"labels": {"sidecar.istio.io/inject": "false"}, "annotations": {"sidecar.istio.io/inject": "false"}}
    return {"metadata": metadata, "spec": spec}


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "labels": {"app.kubernetes.io/name": "siamese", "app.kubernetes.io/component": "training"}}
