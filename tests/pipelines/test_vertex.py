"""`python -m pipelines vertex …`: what google-cloud-aiplatform sends, taken in by a server of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Done, here, process
from google.protobuf import json_format
from storage_servers import free_port
from vertex_server import VertexServer, service_account, vertex_server

ACCOUNT = "trainer@demo.iam.gserviceaccount.com"
NETWORK = "projects/12345/global/networks/inner"
KEY = "projects/demo/locations/europe-west4/keyRings/ring/cryptoKeys/key"
IMAGES = """\
image: europe-docker.pkg.dev/demo/siamese/training:v1
gpu_image: europe-docker.pkg.dev/demo/siamese/training-gpu:v1
"""
GPU = "steps: {train: {accelerator: {type: nvidia.com/gpu, count: 2}}}\n"
GKE = (
    "steps: {train: {accelerator: {type: nvidia.com/gpu, count: 8}, "
    "node_selector: {cloud.google.com/gke-accelerator: nvidia-h100-80gb}}}\n"
)


@pytest.fixture
def server() -> Iterator[VertexServer]:
    with vertex_server() as started:
        yield started


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_account(tmp_path_factory.mktemp("key") / "key.json")


class Commands:
    """The commands, with what they always need."""

    def __init__(self, address: str, folder: Path, key_file: Path) -> None:
        self.environment = {
            "VERTEX_PROJECT": "demo",
            "VERTEX_REGION": "europe-west4",
            "VERTEX_PIPELINE_ROOT": "gs://demo-runs/siamese",
            "VERTEX_ENDPOINT": address,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
            "SIAMESE_CLUSTER": str(folder / "cluster.yaml"),
            "CLOUDSDK_CONFIG": str(folder),
            "NO_GCE_CHECK": "true",
            "HTTPS_PROXY": "http://127.0.0.1:1",  # what Google's library asks elsewhere, on its own, ends here
            "NO_PROXY": "127.0.0.1",
        }
        self.cluster_file = folder / "cluster.yaml"
        self.cluster("")

    def cluster(self, more: str) -> None:
        self.cluster_file.write_text(IMAGES + more)

    def submit(self, *options: str, **environment: str) -> Done:
        return here("vertex", "submit", "--revision", "abc123", *options, **self.environment | environment)

    def schedule(self, *options: str) -> Done:
        return here("vertex", "schedule", "--revision", "abc123", *options, **self.environment)


@pytest.fixture
def vertex(server: VertexServer, tmp_path: Path, key_file: Path) -> Commands:
    return Commands(server.address, tmp_path, key_file)


def refused(done: Done) -> str:
    assert (done.exit_code, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    return done.line


def the_job(server: VertexServer, done: Done) -> tuple[str, Any, dict]:
    """Name, job and pipeline of the one that came in."""
    assert done.exit_code == 0, done
    ((name, job),) = server.jobs.items()
    return name, job, server.specs[name]


def executor(spec: dict, step: str) -> dict:
    return spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]


# A run


def test_a_run_is_one_request(server: VertexServer, vertex: Commands) -> None:
    done = process("vertex", "submit", "--revision", "abc123", "-S", "train.epochs=3", **vertex.environment)
    name, job, spec = the_job(server, done)
    parent, _, number = name.rpartition("/pipelineJobs/")
    assert parent == "projects/demo/locations/europe-west4"
    assert job.runtime_config.gcs_output_directory == "gs://demo-runs/siamese"
    given = json_format.MessageToDict(type(job).pb(job))["runtimeConfig"]["parameterValues"]
    assert (given["revision"], given["train_params"]["epochs"]) == ("abc123", 3)
    assert spec["pipelineInfo"]["name"] == "siamese"
    page = f"https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/{number}?project=demo"
    assert done.out == f"run {number}: {page}\n"
    assert len(server.authorizations) == 1  # nothing else is asked of Google
    assert server.authorizations[0].startswith("Bearer ")


def test_account_network_key_and_labels_reach_the_run(server: VertexServer, vertex: Commands) -> None:
    options = ("--service-account", ACCOUNT, "--network", NETWORK, "--encryption-key", KEY)
    _, job, _ = the_job(server, vertex.submit(*options, "--label", "team=faces", "--label", "cost-centre=7"))
    assert (job.service_account, job.network, job.encryption_spec.kms_key_name) == (ACCOUNT, NETWORK, KEY)
    assert dict(job.labels) == {"team": "faces", "cost-centre": "7"}


@pytest.mark.parametrize(("options", "policy"), [((), "SLOW"), (("--fail-fast",), "FAST")])
def test_what_a_failed_step_means_for_others(
    server: VertexServer, vertex: Commands, options: tuple[str, ...], policy: str
) -> None:
    _, job, _ = the_job(server, vertex.submit(*options))
    assert job.runtime_config.failure_policy.name == f"PIPELINE_FAILURE_POLICY_FAIL_{policy}"


@pytest.mark.parametrize(
    ("give_up_after", "longest_pause"),
    [(604800, "3600s"), (1800, "1800s")],  # for all attempts on Kubernetes; on Vertex between two, at most an hour
)
def test_vertex_gets_the_compiled_pipeline_with_pauses_that_it_allows(
    server: VertexServer, vertex: Commands, tmp_path: Path, give_up_after: int, longest_pause: str
) -> None:
    import yaml

    vertex.cluster(f"backoff: {{give_up_after: {give_up_after}}}\n")
    compiled = tmp_path / "pipeline.yaml"
    assert here("compile", "--output", str(compiled), **vertex.environment).exit_code == 0
    text = compiled.read_text().replace(f"backoffMaxDuration: {give_up_after}s", f"backoffMaxDuration: {longest_pause}")
    pipeline, _of_kubernetes = yaml.safe_load_all(text)
    _, _, spec = the_job(server, vertex.submit())
    assert spec == pipeline


def test_caching_can_be_switched_off_for_all(server: VertexServer, vertex: Commands) -> None:
    _, _, spec = the_job(server, vertex.submit("--no-caching"))
    graphs = [spec["root"], *spec["components"].values()]
    tasks = [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).values()]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks)


def test_one_id_makes_one_run(server: VertexServer, vertex: Commands) -> None:
    assert vertex.submit("--job-id", "weekly-7").exit_code == 0
    assert "run weekly-7 is already there" in refused(vertex.submit("--job-id", "weekly-7"))
    assert len(server.jobs) == 1


# GPUs


@pytest.mark.parametrize(
    ("cluster", "options", "card", "count"),
    [
        (GPU, ("--accelerator", "NVIDIA_TESLA_T4"), "NVIDIA_TESLA_T4", 2),
        (GPU, ("--accelerator", "nvidia-tesla-t4"), "NVIDIA_TESLA_T4", 2),
        (GPU.replace("nvidia.com/gpu", "NVIDIA_L4"), (), "NVIDIA_L4", 2),
        (GKE, (), "NVIDIA_H100_80GB", 8),
        (GKE, ("--accelerator", "nvidia-tesla-a100"), "NVIDIA_TESLA_A100", 8),
    ],
)
def test_the_gpu_has_vertexs_name(
    server: VertexServer, vertex: Commands, cluster: str, options: tuple[str, ...], card: str, count: int
) -> None:
    vertex.cluster(cluster)
    _, _, spec = the_job(server, vertex.submit(*options))
    container = executor(spec, "train")
    asked = container["resources"]["accelerator"]
    assert {asked.get("type", card), asked["resourceType"]} == {card}
    assert int(asked["resourceCount"]) == count
    assert container["image"] == "europe-docker.pkg.dev/demo/siamese/training-gpu:v1"
    assert "accelerator" not in executor(spec, "evaluate")["resources"]


@pytest.mark.parametrize(
    ("gke", "vertexs"),
    [
        ("nvidia-tesla-t4", "NVIDIA_TESLA_T4"),
        ("nvidia-tesla-v100", "NVIDIA_TESLA_V100"),
        ("nvidia-l4", "NVIDIA_L4"),
        ("nvidia-tesla-a100", "NVIDIA_TESLA_A100"),
        ("nvidia-a100-80gb", "NVIDIA_A100_80GB"),
        ("nvidia-h100-80gb", "NVIDIA_H100_80GB"),
        ("nvidia-h100-mega-80gb", "NVIDIA_H100_MEGA_80GB"),
        ("nvidia-h200-141gb", "NVIDIA_H200_141GB"),
    ],
)
def test_gkes_names_of_gpus_are_vertexs_in_capitals(gke: str, vertexs: str) -> None:
    from pipelines.vertex import vertex_name

    assert vertex_name(gke) == vertex_name(vertexs) == vertexs


def test_a_gpu_that_nobody_names_is_told(server: VertexServer, vertex: Commands) -> None:
    vertex.cluster(GPU)
    assert "which GPU is train to have? Set --accelerator" in refused(vertex.submit())
    assert "it has NVIDIA_TESLA_T4" in refused(vertex.submit("--accelerator", "nvidia-tesla-t5"))
    assert server.jobs == {}


# Training on several machines


def test_workers_become_two_pools_of_one_job(server: VertexServer, vertex: Commands) -> None:
    from google.cloud import aiplatform_v1

    vertex.cluster(GPU + "environment: {TF_CPP_MIN_LOG_LEVEL: '1'}\n")
    alone = the_job(server, vertex.submit("--accelerator", "NVIDIA_TESLA_T4"))[2]
    server.jobs.clear()
    options = ("--accelerator", "NVIDIA_TESLA_T4", "--workers", "4", "--machine-type", "n1-standard-16")
    who = ("--service-account", ACCOUNT, "--network", NETWORK, "--encryption-key", KEY)
    _, _, spec = the_job(server, vertex.submit(*options, *who))

    launcher = executor(spec, "train")
    arguments = dict(zip(launcher["args"][::2], launcher["args"][1::2], strict=True))
    component = spec["components"]["comp-train"]
    pools = component["inputDefinitions"]["parameters"]["worker_pool_specs"]["defaultValue"]
    payload = arguments["--payload"].replace("{{$.inputs.parameters['worker_pool_specs']}}", json.dumps(pools))
    job = aiplatform_v1.CustomJob()
    json_format.ParseDict(json.loads(payload), type(job).pb(job))  # which knows no other fields

    chief, workers = job.job_spec.worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 3)
    for pool in (chief, workers):
        assert pool.machine_spec.machine_type == "n1-standard-16"
        assert pool.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
        assert pool.machine_spec.accelerator_count == 2
        assert pool.container_spec.image_uri == "europe-docker.pkg.dev/demo/siamese/training-gpu:v1"
        assert list(pool.container_spec.command) == executor(alone, "train")["command"]
        assert [(one.name, one.value) for one in pool.container_spec.env] == [("TF_CPP_MIN_LOG_LEVEL", "1")]
    assert (job.job_spec.service_account, job.job_spec.network) == (ACCOUNT, NETWORK)
    assert job.encryption_spec.kms_key_name == KEY

    # The step is the same to its neighbours, and every machine is told its inputs, escaped for a text within a text.
    before = alone["components"]["comp-train"]
    assert component["inputDefinitions"]["artifacts"] == before["inputDefinitions"]["artifacts"]
    assert component["outputDefinitions"]["artifacts"] == before["outputDefinitions"]["artifacts"]
    assert before["inputDefinitions"]["parameters"].items() <= component["inputDefinitions"]["parameters"].items()
    was = executor(alone, "train")["args"]
    assert list(chief.container_spec.args) == ["{{$.json_escape[1]}}" if one == "{{$}}" else one for one in was]
    assert "{{$}}" in was
    others = {name: one for name, one in spec["deploymentSpec"]["executors"].items() if name != "exec-train"}
    assert others == {name: one for name, one in alone["deploymentSpec"]["executors"].items() if name != "exec-train"}


def test_several_machines_need_a_kind(vertex: Commands) -> None:
    assert "Set --machine-type or VERTEX_MACHINE_TYPE" in refused(vertex.submit("--workers", "2"))


# A schedule


def test_a_schedule_holds_the_run(server: VertexServer, vertex: Commands) -> None:
    when = ("--cron", "30 4 * * 1", "--time-zone", "Europe/Zurich")
    who = ("--service-account", ACCOUNT, "--network", NETWORK, "--encryption-key", KEY, "--label", "team=faces")
    done = vertex.schedule("weekly", *when, *who, "--concurrency", "2", "--queue", "--fail-fast")
    assert done.exit_code == 0, done
    (made,) = server.schedules.values()
    assert (made.display_name, made.cron) == ("weekly", "TZ=Europe/Zurich 30 4 * * 1")
    assert (made.max_concurrent_run_count, made.allow_queueing) == (2, True)
    request = made.create_pipeline_job_request
    job = request.pipeline_job
    assert request.parent == "projects/demo/locations/europe-west4"
    assert (job.service_account, job.network, job.encryption_spec.kms_key_name) == (ACCOUNT, NETWORK, KEY)
    assert dict(job.labels) == {"team": "faces"}
    assert job.runtime_config.gcs_output_directory == "gs://demo-runs/siamese"
    assert job.runtime_config.failure_policy.name == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
    assert server.specs[made.name]["pipelineInfo"]["name"] == "siamese"
    assert "/pipelines/schedules/1?project=demo" in done.out


def test_a_schedule_is_there_once(server: VertexServer, vertex: Commands) -> None:
    assert vertex.schedule("weekly", "--cron", "30 4 * * 1").exit_code == 0
    assert "schedule weekly is already there" in refused(vertex.schedule("weekly", "--cron", "0 5 * * 1"))
    assert [one.cron for one in server.schedules.values()] == ["TZ=UTC 30 4 * * 1"]


# What is told in a line


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ({"VERTEX_PROJECT": ""}, (), "Set --project or VERTEX_PROJECT"),
        ({"VERTEX_REGION": ""}, (), "Set --region or VERTEX_REGION"),
        ({"VERTEX_PIPELINE_ROOT": ""}, (), "Set --pipeline-root or VERTEX_PIPELINE_ROOT"),
        ({"VERTEX_PIPELINE_ROOT": "s3://runs"}, (), "writes to gs://BUCKET/FOLDER only"),
        ({}, ("--network", "inner"), "write projects/NUMBER/global/networks/NAME"),
        ({}, ("--label", "Team=Faces"), "write key=value, in small letters"),
        ({}, ("--job-id", "Weekly"), "write small letters, digits and -"),
        ({}, ("--checkpoints", "/siamese/checkpoints"), "only a gs:// folder outlives a step"),
        ({}, ("-S", "train.epochs=0"), "train.epochs"),
        ({"SIAMESE_CLUSTER": ""}, (), "image siamese-training:latest is on this machine only"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(
    server: VertexServer, vertex: Commands, changed: dict[str, str], options: tuple[str, ...], said: str
) -> None:
    assert said in refused(vertex.submit(*options, **changed))
    assert server.authorizations == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cron", "0 30 4 * * 1"), "write minute, hour, day, month and weekday"),
        (("--cron", "30 4 * * 1", "--time-zone", "Mars/Olympus"), "--time-zone Mars/Olympus: is no time zone"),
    ],
)
def test_times_that_are_none_are_told(
    server: VertexServer, vertex: Commands, options: tuple[str, ...], said: str
) -> None:
    assert said in refused(vertex.schedule("weekly", *options))
    assert server.authorizations == []


def test_runs_of_one_commit_alone_are_refused(vertex: Commands) -> None:
    line = refused(here("vertex", "schedule", "weekly", "--cron", "30 4 * * 1", **vertex.environment))
    assert "Set --revision to a branch" in line


def test_what_vertex_does_not_read_of_the_cluster_file_is_told(vertex: Commands) -> None:
    vertex.cluster("secrets: [{name: mlflow-login, keys: {user: MLFLOW_TRACKING_USERNAME}}]\n")
    done = vertex.submit()
    assert done.exit_code == 0, done
    assert "Vertex AI doesn't read secrets of the cluster file" in done.err


def test_workers_of_the_cluster_file_are_none_of_vertexs(server: VertexServer, vertex: Commands) -> None:
    """They would be launched by Kubernetes."""
    vertex.cluster("workers: {count: 2}\n")
    done = vertex.submit()
    _, _, spec = the_job(server, done)
    assert "comp-train" in spec["components"] and "comp-train-on-workers" not in spec["components"]
    assert "Vertex AI doesn't read workers of the cluster file" in done.err


def test_nobody_logged_in_is_told(vertex: Commands) -> None:
    line = refused(vertex.submit(GOOGLE_APPLICATION_CREDENTIALS=""))
    assert "nobody is logged in" in line
    assert "gcloud auth application-default login" in line


def test_a_refusal_is_told_in_vertexs_words(server: VertexServer, vertex: Commands) -> None:
    server.refusing = (403, "Permission 'aiplatform.pipelineJobs.create' denied")
    line = refused(vertex.submit())
    assert "Vertex AI in demo, europe-west4 refuses (403): " in line
    assert "'aiplatform.pipelineJobs.create' denied" in line


def test_an_address_where_nobody_is_is_told(vertex: Commands) -> None:
    line = refused(vertex.submit("--job-id", "weekly-7", VERTEX_ENDPOINT=f"http://127.0.0.1:{free_port()}"))
    assert "gave no answer" in line
    assert "look whether run weekly-7 is there before you try again" in line


def test_without_googles_library_the_extra_is_named(vertex: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    assert "pip install 'siamese[vertex]'" in refused(vertex.submit())
