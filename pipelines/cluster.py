"""How the steps run on a cluster: cluster.yaml, typed, and applied to a step's task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from kfp import dsl, kubernetes
from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from siamese import config
from siamese.config import deep_merge
from siamese.errors import InputError
from siamese.params import Section, TrainParams

PACKAGED = Path(__file__).with_name("cluster.yaml")
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[kKMGTP]i?)?$"


class Accelerator(Section):
    """What a step computes on: both parts, since a cluster honours neither alone."""

    type: str = Field(min_length=1)
    count: int = Field(ge=1)


class Resources(Section):
    """Of one step's container."""

    cpu_request: str = Field(pattern=QUANTITY)
    cpu_limit: str = Field(pattern=QUANTITY)
    memory_request: str = Field(pattern=QUANTITY)
    memory_limit: str = Field(pattern=QUANTITY)
    accelerator: Accelerator | None
    node_selector: dict[str, str]
    tolerations: list[dict[str, str | int]]
    shared_memory: str | None = Field(pattern=QUANTITY)
    timeout: int | None = Field(ge=1)
    retries: int = Field(ge=0)
    mount_volume: bool


class Backoff(Section):
    """Pauses between the attempts of a step, and the time after which it isn't attempted again."""

    first: int = Field(ge=0)
    factor: float = Field(ge=1)
    give_up_after: int = Field(ge=1)


class Volume(Section):
    """A persistent volume claim, and where steps find it."""

    claim: str = Field(min_length=1)
    path: str = Field(pattern="^/.")


class Secret(Section):
    """A Kubernetes secret, whose keys become environment variables."""

    name: str = Field(min_length=1)
    keys: dict[str, str]


class Security(Section):
    """Who the containers run as."""

    user: int | None
    group: int | None
    non_root: bool


class Workers(Section):
    """Machines that train together, each with the resources, timeout and retries of the step `train`."""

    count: int = Field(ge=2)


class Sweep(Section):
    """Trainings of which the one that does best on validation pairs goes on.

    Attributes:
        parallel: how many at a time.
        candidates: what each has otherwise than the section `train` of a run.
    """

    parallel: int = Field(ge=1)
    candidates: list[dict[str, Any]] = Field(min_length=2)


class Cluster(Section):
    """cluster.yaml as a whole."""

    image: str = Field(min_length=1)
    gpu_image: str = Field(min_length=1)
    pull_secrets: list[str]
    data: Literal["repository", "uri"]
    defaults: Resources
    steps: dict[str, dict[str, Any]]
    workers: Workers | None
    sweep: Sweep | None
    backoff: Backoff
    volume: Volume | None
    secrets: list[Secret]
    environment: dict[str, str]
    security: Security

    def of(self, step: str) -> Resources:
        """The resources of one step."""
        return Resources.model_validate(self.defaults.model_dump() | self.steps.get(step, {}))


def load(file: Path | None = None) -> Cluster:
    """The packaged cluster.yaml, and what `file` says otherwise.

    Raises:
        InputError: it can't be read, or holds what isn't allowed, in one line.
    """
    values = _read(PACKAGED)
    if file:
        given = _read(file)
        backoff = given.get("backoff")
        if isinstance(backoff, dict) and "longest" in backoff:
            renamed = "is now `give_up_after`, since it limits all attempts of a step together"
            raise InputError(f"{file}: backoff.longest: {renamed}; rename the key, and allow more than the step takes")
        values = deep_merge(values, given)
    try:
        cluster = Cluster.model_validate(values)
        for step in cluster.steps:
            cluster.of(step)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"{file or PACKAGED.name}: {key}: {first['msg'].lower()}, not {first['input']!r}") from None
    if cluster.sweep and cluster.workers:
        raise InputError(f"{file}: sweep and workers: only one of the two")
    if cluster.sweep:
        train = config.load_params(config.packaged_file()).train.model_dump()
        for candidate in cluster.sweep.candidates:
            config.parse_section(TrainParams, deep_merge(train, candidate))
    return cluster


def look_of_workers(cluster: Cluster) -> dict[str, Any]:
    """Return `siamese.orchestration.k8s.manifests.PodSpec` as plain values, an argument of the step `train_on_workers`.

    Raises:
        InputError: there are no workers, or no volume that they share.
    """
    if not cluster.workers:
        raise InputError("the cluster file names no workers: `workers: {count: 2}`")
    if not cluster.volume:
        raise InputError("workers need a volume that they share: add `volume: {claim: …, path: …}` to the cluster file")
    wanted, who = cluster.of("train"), cluster.security
    devices = {wanted.accelerator.type: str(wanted.accelerator.count)} if wanted.accelerator else {}
    if any("/" not in kind for kind in devices):
        raise InputError(f"workers ask Kubernetes for {', '.join(devices)}: name its resource, as nvidia.com/gpu")
    look = {
        "count": cluster.workers.count,
        "image": cluster.gpu_image if devices else cluster.image,
        "pull_secrets": cluster.pull_secrets,
        "requests": {"cpu": wanted.cpu_request, "memory": wanted.memory_request, **devices},
        "limits": {"cpu": wanted.cpu_limit, "memory": wanted.memory_limit, **devices},
        "node_selector": wanted.node_selector,
        "tolerations": wanted.tolerations,
        "shared_memory": wanted.shared_memory,
        "timeout": wanted.timeout,
        "restarts": wanted.retries,
        "claim": cluster.volume.claim,
        "path": cluster.volume.path,
        "secrets": {secret.name: secret.keys for secret in cluster.secrets},
        "environment": cluster.environment,
        "user": who.user,
        "group": who.group,
        "non_root": who.non_root,
    }
    return {name: value for name, value in look.items() if value is not None}  # kfp has no null in arguments


def apply(task: dsl.PipelineTask, step: str, cluster: Cluster) -> dsl.PipelineTask:
    """Gives a step's task its image, resources, retries, volume, secrets and user."""
    wanted = cluster.of(step)
    task.set_container_image(cluster.gpu_image if wanted.accelerator else cluster.image)
    task.set_cpu_request(wanted.cpu_request).set_cpu_limit(wanted.cpu_limit)
    task.set_memory_request(wanted.memory_request).set_memory_limit(wanted.memory_limit)
    if wanted.accelerator:
        task.set_accelerator_type(wanted.accelerator.type).set_accelerator_limit(wanted.accelerator.count)
    if wanted.retries:
        back = cluster.backoff
        task.set_retry(wanted.retries, f"{back.first}s", back.factor, f"{back.give_up_after}s")
    for name, value in cluster.environment.items():
        task.set_env_variable(name, value)
    for label, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, label_key=label, label_value=value)
    for toleration in wanted.tolerations:
        kubernetes.add_toleration(task, **toleration)
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(
            task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=wanted.shared_memory
        )
    if wanted.timeout:
        kubernetes.set_timeout(task, seconds=wanted.timeout)
    if cluster.volume and wanted.mount_volume:
        kubernetes.mount_pvc(task, pvc_name=cluster.volume.claim, mount_path=cluster.volume.path)
    for secret in cluster.secrets:
        kubernetes.use_secret_as_env(task, secret_name=secret.name, secret_key_to_env=secret.keys)
    if cluster.pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.pull_secrets)
    who = cluster.security
    kubernetes.set_security_context(task, run_as_user=who.user, run_as_group=who.group, run_as_non_root=who.non_root)
    return task


def _read(file: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, YAMLError) as error:
        raise InputError(f"{file}: can't be read as YAML ({' '.join(str(error).split())[:150]}): mend it") from None
    if not isinstance(values, dict):
        raise InputError(f"{file}: holds no settings: start from {PACKAGED.name}")
    return values
