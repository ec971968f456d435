"""`python -m pipelines vertex …`: the same pipeline on Vertex AI.

Vertex reads the first of the two documents that kfp compiles, and nothing of the second, which is for Kubernetes:
secrets, volumes, node selectors, tolerations, shared memory and security contexts don't reach it. What is left is
changed in three places (`adapted`): which GPU a step gets has Vertex's name, the longest pause between retries is
Vertex's, and training on several machines becomes Vertex's own kind of job.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from pipelines.arguments import Checkpoints, ClusterFile, Repository, Revision, TrackingUri, arguments
from pipelines.cron import checked
from pipelines.options import Caching
from pipelines.schedule import moving
from pipelines.submit import PIPELINE, specification, tasks_of
from siamese.cli.options import AsJson, ParamsFile, Settings, answer
from siamese.console import log
from siamese.errors import InputError

if TYPE_CHECKING:
    from pipelines.cluster import Cluster

# Runs the job of several machines, and ends when it does. Of google-cloud-pipeline-components, whose form this follows.
LAUNCHER_IMAGE = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0"
LAUNCHER = ["python3", "-u", "-m", "google_cloud_pipeline_components.container.v1.custom_job.launcher"]
CONSOLE = "https://console.cloud.google.com/vertex-ai"
TRAINING = "comp-train"
GKE_CARD = "cloud.google.com/gke-accelerator"  # label of a node: which GPU it has
LONGEST_TRAINING = "604800s"  # Vertex's own limit: seven days
LONGEST_PAUSE = 3600  # seconds between retries, Vertex's own limit
ANSWER_WITHIN = 60  # seconds

app = typer.Typer(help="The pipeline on Vertex AI: submit, schedule.", no_args_is_help=True)

Project = Annotated[
    str | None,
    typer.Option(envvar=["VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT"], help="Google Cloud project.", show_default="none"),
]
Region = Annotated[str | None, typer.Option(envvar="VERTEX_REGION", help="Such as europe-west4.", show_default="none")]
PipelineRoot = Annotated[
    str | None,
    typer.Option(envvar="VERTEX_PIPELINE_ROOT", help="gs:// folder for what the steps write.", show_default="none"),
]
ServiceAccount = Annotated[
    str | None,
    typer.Option(
        envvar="VERTEX_SERVICE_ACCOUNT", help="What the steps may do.", show_default="Compute Engine's default"
    ),
]
Network = Annotated[
    str | None,
    typer.Option(envvar="VERTEX_NETWORK", help="Peered network: projects/NUMBER/global/networks/NAME."),
]
EncryptionKey = Annotated[
    str | None, typer.Option(envvar="VERTEX_ENCRYPTION_KEY", help="Cloud KMS key for all that is kept.")
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="For the bill; may be repeated.")
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Start no more steps once one has failed.")]
Accelerator = Annotated[
    str | None,
    typer.Option(
        envvar="VERTEX_ACCELERATOR",
        help="Which GPU, by Vertex's or GKE's name: NVIDIA_TESLA_T4, nvidia-h100-80gb.",
        show_default="as the cluster file has it",
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Machines that train together.")]
MachineType = Annotated[
    str | None,
    typer.Option(
        envvar="VERTEX_MACHINE_TYPE",
        help="Of each of them, such as n1-standard-16.",
        show_default="one machine: what fits the step's CPUs and memory",
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(envvar="VERTEX_ENDPOINT", help="Address of the API, where it is private.", show_default="public"),
]


@dataclass(frozen=True)
class VertexSettings:
    """Where on Google Cloud a pipeline runs, and as whom.

    Attributes:
        project, region: of Vertex AI.
        root: gs:// folder.
        service_account, network, encryption_key: None: the project's default, none, Google's.
        endpoint: of the API; None: the public one.
    """

    project: str
    region: str
    root: str
    service_account: str | None = None
    network: str | None = None
    encryption_key: str | None = None
    endpoint: str | None = None

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.region}"


@dataclass(frozen=True)
class Machines:
    """What trains.

    Attributes:
        accelerator: Vertex's name of the GPU; None: as cluster.yaml has it.
        workers: machines that train together.
        machine_type: of each; None, for one alone: Vertex takes what fits the CPUs and memory asked for.
    """

    accelerator: str | None = None
    workers: int = 1
    machine_type: str | None = None


@app.command()
def submit(
    project: Project = None,
    region: Region = None,
    pipeline_root: PipelineRoot = None,
    service_account: ServiceAccount = None,
    network: Network = None,
    encryption_key: EncryptionKey = None,
    label: Labels = None,
    job_id: Annotated[
        str | None, typer.Option(help="Of the run: a second one of the same ID is refused.", show_default="a new one")
    ] = None,
    caching: Caching = None,
    fail_fast: FailFast = False,
    accelerator: Accelerator = None,
    workers: Workers = 1,
    machine_type: MachineType = None,
    endpoint: Endpoint = None,
    repository: Repository = None,
    revision: Revision = None,
    tracking_uri: TrackingUri = None,
    checkpoints: Checkpoints = "",
    cluster_file: ClusterFile = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Start a run on Vertex AI."""
    place = placed(project, region, pipeline_root, service_account, network, encryption_key, endpoint)
    machines = Machines(accelerator and vertex_name(accelerator), workers, machine_type)
    given = arguments(params_file, settings, repository, revision, tracking_uri, checkpoints)
    job = pipeline_job(place, machines, cluster_file, given, labels_of(label), caching, fail_fast)
    number = _job_id(job_id)
    url = f"{CONSOLE}/locations/{place.region}/pipelines/runs/{number}?project={place.project}"
    log(f"submitting run {number}")  # before it is: whoever interrupts this knows what to look for
    with explained(place, f"run {number}"):
        client = _client("PipelineServiceClient", place)
        client.create_pipeline_job(parent=place.parent, pipeline_job=job, pipeline_job_id=number, timeout=ANSWER_WITHIN)
    answer({"job_id": number, "url": url}, f"run {number}: {url}", as_json)


@app.command()
def schedule(
    name: Annotated[str, typer.Argument(help="Its name; no two have the same.")],
    cron: Annotated[str, typer.Option(help="When: minute, hour, day, month, weekday, such as '30 4 * * 1'.")],
    time_zone: Annotated[str, typer.Option(help="Of these times, such as Europe/Zurich.")] = "UTC",
    concurrency: Annotated[int, typer.Option(min=1, help="Runs that may go on at the same time.")] = 1,
    queue: Annotated[bool, typer.Option("--queue", help="What is one too many waits, and isn't left out.")] = False,
    project: Project = None,
    region: Region = None,
    pipeline_root: PipelineRoot = None,
    service_account: ServiceAccount = None,
    network: Network = None,
    encryption_key: EncryptionKey = None,
    label: Labels = None,
    caching: Caching = None,
    fail_fast: FailFast = False,
    accelerator: Accelerator = None,
    workers: Workers = 1,
    machine_type: MachineType = None,
    endpoint: Endpoint = None,
    repository: Repository = None,
    revision: Revision = None,
    tracking_uri: TrackingUri = None,
    checkpoints: Checkpoints = "",
    cluster_file: ClusterFile = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Have the pipeline run again and again on Vertex AI."""
    moving(revision)
    when = f"TZ={_known_zone(time_zone)} {' '.join(checked(cron))}"
    place = placed(project, region, pipeline_root, service_account, network, encryption_key, endpoint)
    machines = Machines(accelerator and vertex_name(accelerator), workers, machine_type)
    given = arguments(params_file, settings, repository, revision, tracking_uri, checkpoints)
    job = pipeline_job(place, machines, cluster_file, given, labels_of(label), caching, fail_fast)
    with explained(place, f"schedule {name}"):
        wanted = _aiplatform().Schedule(
            display_name=name,
            cron=when,
            max_concurrent_run_count=concurrency,
            allow_queueing=queue,
            create_pipeline_job_request={"parent": place.parent, "pipeline_job": job},
        )
        client = _client("ScheduleServiceClient", place)
        for _ in client.list_schedules(request={"parent": place.parent, "filter": f'display_name="{name}"'}):
            raise InputError(f"schedule {name} is already there: name another, or delete that one in the console")
        made = client.create_schedule(parent=place.parent, schedule=wanted, timeout=ANSWER_WITHIN)
    number = made.name.rpartition("/")[2]
    url = f"{CONSOLE}/locations/{place.region}/pipelines/schedules/{number}?project={place.project}"
    answer({"name": made.name, "cron": when, "url": url}, f"schedule {name}, cron {when}: {url}", as_json)


def placed(
    project: str | None,
    region: str | None,
    pipeline_root: str | None,
    service_account: str | None,
    network: str | None,
    encryption_key: str | None,
    endpoint: str | None,
) -> VertexSettings:
    """The place.

    Raises:
        InputError: project, region or folder is missing, or no such thing; says which.
    """
    if not project:
        raise InputError("which Google Cloud project? Set --project or VERTEX_PROJECT")
    if not region:
        raise InputError("which region? Set --region or VERTEX_REGION, such as europe-west4")
    if not pipeline_root:
        raise InputError("where do the steps write? Set --pipeline-root or VERTEX_PIPELINE_ROOT, gs://BUCKET/FOLDER")
    if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", pipeline_root):
        raise InputError(f"--pipeline-root {pipeline_root}: Vertex AI writes to gs://BUCKET/FOLDER only")
    if network and not re.fullmatch(r"projects/\d+/global/networks/[^/]+", network):
        raise InputError(f"--network {network}: write projects/NUMBER/global/networks/NAME, with the project's number")
    return VertexSettings(project, region, pipeline_root, service_account, network, encryption_key, endpoint)


def vertex_name(accelerator: str) -> str:
    """Vertex's name of a GPU: GKE's, which a node selector has, in capitals.

    Raises:
        InputError: there is no such GPU.
    """
    known = set(_aiplatform().AcceleratorType.__members__) - {"ACCELERATOR_TYPE_UNSPECIFIED"}
    name = accelerator.upper().replace("-", "_")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
        raise InputError(f"GPU {accelerator}: Vertex AI has no such one; it has {', '.join(near)}")
    return name


def labels_of(given: list[str] | None) -> dict[str, str]:
    """Labels from `key=value`.

    Raises:
        InputError: not of that form, or with what Google Cloud doesn't allow in labels.
    """
    labels = {}
    for one in given or []:
        found = re.fullmatch(r"([a-z][a-z0-9_-]{0,62})=([a-z0-9_-]{0,63})", one)
        if not found:
            raise InputError(f"--label {one}: write key=value, in small letters, digits, - and _")
        labels[found[1]] = found[2]
    return labels


def adapted(pipeline: dict[str, Any], cluster: Cluster, machines: Machines, place: VertexSettings) -> dict[str, Any]:
    """A copy of the compiled pipeline, as Vertex wants it.

    Args:
        pipeline: the first of the two documents that kfp compiles.
        cluster: what it was compiled for.
        machines: what trains.
        place: where it is to run.

    Raises:
        InputError: a step wants GPUs and nobody says which; an image that only this machine has.
    """
    own = copy.deepcopy(pipeline)
    executors = own["deploymentSpec"]["executors"]
    for component in own["components"].values():
        container = executors.get(component.get("executorLabel"), {}).get("container")
        if container is None:
            continue
        if not re.match(r"[^/]+[.:][^/]*/", container["image"]):
            image = container["image"]
            raise InputError(f"image {image} is on this machine only: push it to a registry, and name it in --cluster")
        wanted = container.get("resources", {}).get("accelerator")
        if wanted:
            step = component["executorLabel"].removeprefix("exec-").replace("-", "_")
            card = machines.accelerator or vertex_name(card_of(cluster, step))
            wanted.update({key: card for key in ("type", "resourceType") if key in wanted})
    for task in tasks_of(own):
        if policy := task.get("retryPolicy"):
            seconds = int(policy["backoffMaxDuration"].removesuffix("s"))
            policy["backoffMaxDuration"] = f"{min(seconds, LONGEST_PAUSE)}s"
    if machines.workers > 1:
        _share_training(own, machines, place)
    return own


def card_of(cluster: Cluster, step: str) -> str:
    """Which GPU cluster.yaml has for a step: as its type, or, for Kubernetes, as what the node must have.

    Raises:
        InputError: it only has how many.
    """
    wanted = cluster.of(step)
    if wanted.accelerator and "/" not in wanted.accelerator.type:
        return wanted.accelerator.type
    if GKE_CARD in wanted.node_selector:
        return wanted.node_selector[GKE_CARD]
    raise InputError(f"which GPU is {step} to have? Set --accelerator or VERTEX_ACCELERATOR, such as NVIDIA_TESLA_T4")


def _share_training(pipeline: dict[str, Any], machines: Machines, place: VertexSettings) -> None:
    """Has `train` launch a CustomJob: a pool with its first machine, one with the others, TF_CONFIG set by Vertex.

    The step keeps its inputs and outputs, and each machine runs its container with the same arguments.
    """
    if machines.machine_type is None:
        raise InputError("which machines? Set --machine-type or VERTEX_MACHINE_TYPE, such as n1-standard-16")
    component = pipeline["components"][TRAINING]
    executor = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]
    pools = worker_pools(executor["container"], machines)
    inputs = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    for name, kind, value in (
        ("project", "STRING", "{{$.pipeline_google_cloud_project_id}}"),
        ("location", "STRING", "{{$.pipeline_google_cloud_location}}"),
        ("worker_pool_specs", "LIST", pools),
    ):
        inputs[name] = {"defaultValue": value, "isOptional": True, "parameterType": kind}
    outputs = component.setdefault("outputDefinitions", {}).setdefault("parameters", {})
    outputs["gcp_resources"] = {"parameterType": "STRING"}
    executor["container"] = {
        "image": LAUNCHER_IMAGE,
        "command": LAUNCHER,
        "args": [
            *("--type", "CustomJob"),
            *("--payload", custom_job(place)),
            *("--project", "{{$.inputs.parameters['project']}}"),
            *("--location", "{{$.inputs.parameters['location']}}"),
            *("--gcp_resources", "{{$.outputs.parameters['gcp_resources'].output_file}}"),
        ],
    }


def worker_pools(container: dict[str, Any], machines: Machines) -> list[dict[str, Any]]:
    """The machines of a CustomJob: one that leads, and its workers, all with the step's own container."""
    accelerator = container.get("resources", {}).get("accelerator", {})
    machine: dict[str, Any] = {"machine_type": machines.machine_type}
    if accelerator:
        count = int(accelerator.get("resourceCount") or accelerator["count"])
        machine |= {"accelerator_type": accelerator.get("resourceType") or accelerator["type"]}
        machine |= {"accelerator_count": count}
    # The step's inputs stand in a JSON text within a JSON text: they are escaped once more.
    arguments = ["{{$.json_escape[1]}}" if one == "{{$}}" else one for one in container.get("args", [])]
    spec = {
        "image_uri": container["image"],
        "command": container["command"],
        "args": arguments,
        "env": container.get("env", []),
    }
    return [
        {"machine_spec": machine, "replica_count": replicas, "container_spec": spec}
        for replicas in (1, machines.workers - 1)
    ]


def custom_job(place: VertexSettings) -> str:
    """The launcher's order, JSON with a placeholder. A run's account, network and key don't pass on to it by
    themselves."""
    rest: dict[str, Any] = {"scheduling": {"timeout": LONGEST_TRAINING, "restart_job_on_worker_restart": True}}
    if place.service_account:
        rest["service_account"] = place.service_account
    if place.network:
        rest["network"] = place.network
    order: dict[str, Any] = {"display_name": f"{PIPELINE}-train", "job_spec": {"worker_pool_specs": "POOLS", **rest}}
    if place.encryption_key:
        order["encryption_spec"] = {"kms_key_name": place.encryption_key}
    return json.dumps(order).replace('"POOLS"', "{{$.inputs.parameters['worker_pool_specs']}}")


def pipeline_job(
    place: VertexSettings,
    machines: Machines,
    cluster_file: Path | None,
    given: dict[str, Any],
    labels: dict[str, str],
    caching: bool | None,
    fail_fast: bool,
) -> Any:
    """The run as Vertex's API has it.

    `aiplatform.PipelineJob.submit` would do more: it makes the bucket where there is none, gives an account rights to
    it, and asks the Resource Manager whose it is.

    Raises:
        InputError: an argument or setting that Vertex AI can't use.
    """
    from pipelines import cluster

    if given["checkpoints"] and not given["checkpoints"].startswith("gs://"):
        raise InputError(f"--checkpoints {given['checkpoints']}: on Vertex AI only a gs:// folder outlives a step")
    configured = cluster.load(cluster_file)
    # Kubernetes' workers are none of Vertex's, which `machines` says.
    compiled = specification(configured.model_copy(update={"workers": None}), caching)
    pipeline = adapted(compiled.get("pipeline_spec", compiled), configured, machines, place)
    unread = [name for name in ("secrets", "volume", "workers", "pull_secrets") if getattr(configured, name)]
    if unread:
        log(f"Vertex AI doesn't read {', '.join(unread)} of the cluster file: see docs/vertex.md")
    return _aiplatform().PipelineJob(
        display_name=PIPELINE,
        pipeline_spec=pipeline,
        runtime_config={
            "gcs_output_directory": place.root,
            "parameter_values": given,
            "failure_policy": f"PIPELINE_FAILURE_POLICY_FAIL_{'FAST' if fail_fast else 'SLOW'}",
        },
        labels=labels,
        service_account=place.service_account or "",
        network=place.network or "",
        encryption_spec={"kms_key_name": place.encryption_key} if place.encryption_key else None,
    )


@contextmanager
def explained(place: VertexSettings, what: str) -> Iterator[None]:
    """Turns what Google's libraries raise into one line.

    Raises:
        InputError: not logged in, not allowed, no such thing, not reached.
    """
    from google.api_core.exceptions import Conflict, GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    where = f"Vertex AI in {place.project}, {place.region}"
    try:
        yield
    except GoogleAuthError as error:
        line = f"{where}: nobody is logged in ({_first_line(error)}): `gcloud auth application-default login`"
        raise InputError(f"{line}, or set GOOGLE_APPLICATION_CREDENTIALS") from error
    except Conflict as error:
        raise InputError(f"{what} is already there: nothing new is made") from error
    except (RequestException, RetryError) as error:
        line = f"{where} gave no answer ({_first_line(error)}): look whether {what} is there before you try again"
        raise InputError(line) from error
    except GoogleAPICallError as error:
        raise InputError(f"{where} refuses ({error.code}): {_first_line(error.message or error)}") from error


def _client(kind: str, place: VertexSettings) -> Any:
    """A client of Vertex's API by HTTP, which passes proxies that gRPC doesn't."""
    endpoint = place.endpoint or f"{place.region}-aiplatform.googleapis.com"
    return getattr(_aiplatform(), kind)(transport="rest", client_options={"api_endpoint": endpoint})


def _aiplatform() -> Any:
    """Google's library.

    Raises:
        InputError: it isn't installed.
    """
    try:
        return importlib.import_module("google.cloud.aiplatform_v1")
    except ImportError as error:
        line = f"Vertex AI needs Google's library ({error}): `pip install 'siamese[vertex]'`"
        raise InputError(line) from error


def _job_id(given: str | None) -> str:
    number = given or f"{PIPELINE}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", number):
        raise InputError(f"--job-id {number}: write small letters, digits and -, a letter first")
    return number


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InputError(f"--time-zone {name}: is no time zone; write it as Europe/Zurich") from None
    return name


def _first_line(error: object) -> str:
    text = " ".join(str(error).split())
    return re.sub(r"^(GET|POST) \S+: ", "", text)[:300]  # what was asked, with its address
