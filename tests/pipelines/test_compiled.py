"""What the compiled pipeline asks a cluster for: caching, retries, conditions, accelerators, secrets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT
from pipeline_spec import executor_of, specification

from pipelines import cluster
from pipelines.compile import COMPILED, compiled
from siamese import config
from siamese.errors import InputError

PURE = {"fetch-data", "catalog", "pairs", "preprocess", "train", "evaluate"}
READ_WHAT_CHANGES = {"data-version", "register", "promote", "notify"}
FAIL_FOR_REASONS_OUTSIDE = {"data-version", "fetch-data", "train", "register", "promote"}
OWN = """
image: registry.example/siamese-training:v1
gpu_image: registry.example/siamese-training-gpu:v1
pull_secrets: [registry-login]
steps:
  train:
    accelerator: {type: nvidia.com/gpu, count: 2}
    node_selector: {gpu: a100}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
    timeout: 86400
volume: {claim: siamese, path: /siamese}
secrets: [{name: mlflow-login, keys: {username: MLFLOW_TRACKING_USERNAME}}]
environment: {HTTPS_PROXY: "http://proxy:3128"}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    file = tmp_path_factory.mktemp("plain") / "pipeline.yaml"
    compiled(cluster.load(), file)
    return specification(file)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "cluster.yaml").write_text(OWN)
    compiled(cluster.load(folder / "cluster.yaml"), folder / "pipeline.yaml")
    return specification(folder / "pipeline.yaml")


def tasks(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    graphs = [pipeline["root"], *pipeline["components"].values()]
    return {name: task for graph in graphs for name, task in graph.get("dag", {}).get("tasks", {}).items()}


def steps(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: task for name, task in tasks(pipeline).items() if name in PURE | READ_WHAT_CHANGES}


def test_the_committed_pipeline_is_that_of_the_components(tmp_path: Path) -> None:
    compiled(cluster.load(), tmp_path / "pipeline.yaml")
    assert (tmp_path / "pipeline.yaml").read_text() == (ROOT / COMPILED).read_text(), (
        "run `python -m pipelines compile`"
    )


def test_pure_steps_are_cached_and_those_that_read_what_changes_are_not(plain: tuple) -> None:
    cached = {name for name, task in steps(plain[0]).items() if task["cachingOptions"].get("enableCache")}
    assert cached == PURE
    assert set(steps(plain[0])) == PURE | READ_WHAT_CHANGES


def test_a_cluster_file_with_other_images_than_for_training_changes_the_cache_key_of_training_alone(
    own: tuple, tmp_path: Path
) -> None:
    """KFP 2.17.0's key (`GenerateCacheKey` in backend/src/v2/cacheutils): inputs, outputs, image, command, claims."""
    (tmp_path / "cluster.yaml").write_text("image: registry.example/siamese-training:v1\n")
    compiled(cluster.load(tmp_path / "cluster.yaml"), tmp_path / "pipeline.yaml")
    plain, _ = specification(tmp_path / "pipeline.yaml")
    mounting = own[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in PURE - {"train"}:  # which has the other image
        keys = [
            (
                steps(pipeline)[name]["inputs"],
                pipeline["components"][f"comp-{name}"],
                {part: executor_of(pipeline, name)["container"][part] for part in ("image", "command", "args")},
            )
            for pipeline in (plain, own[0])
        ]
        assert keys[0] == keys[1], name
        assert "pvcMount" not in mounting[f"exec-{name}"], name
    assert mounting["exec-train"]["pvcMount"][0]["constant"] == "siamese"


def test_the_data_is_fetched_by_its_hash_and_the_commit_that_brought_it(plain: tuple) -> None:
    """So that the cache finds it again whatever was committed since, and misses it when the data is another."""
    inputs = tasks(plain[0])["fetch-data"]["inputs"]["parameters"]
    of_version = {name: one["taskOutputParameter"] for name, one in inputs.items() if "taskOutputParameter" in one}
    assert {name: (one["producerTask"], one["outputParameterKey"]) for name, one in of_version.items()} == {
        "hash": ("data-version", "hash"),
        "commit": ("data-version", "commit"),
    }
    assert "pipelinechannel--revision" not in str(inputs)


def test_what_may_fail_for_reasons_outside_is_tried_again_ever_later(plain: tuple) -> None:
    again = {name: task["retryPolicy"] for name, task in steps(plain[0]).items() if "retryPolicy" in task}
    assert set(again) == FAIL_FOR_REASONS_OUTSIDE
    four_weeks = 4 * 7 * 24 * 60 * 60
    for policy in again.values():
        assert policy == {
            "maxRetryCount": 3, "backoffDuration": "60s", "backoffFactor": 2.0, "backoffMaxDuration": f"{four_weeks}s",
        }  # fmt: skip


def test_the_former_name_of_the_time_for_all_attempts_is_refused_with_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("backoff: {longest: 3600}")
    with pytest.raises(InputError) as refused:
        cluster.load(file)
    assert str(refused.value).startswith(f"{file}: backoff.longest: is now `give_up_after`")
    assert "\n" not in str(refused.value)


def requests(pipeline: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """CPU and memory that each step asks for."""
    of_steps = {name: executor_of(pipeline, name)["container"]["resources"] for name in steps(pipeline)}
    return {name: (one["resourceCpuRequest"], one["resourceMemoryRequest"]) for name, one in of_steps.items()}


def without_requests(pipeline: dict[str, Any]) -> dict[str, Any]:
    rest = copy.deepcopy(pipeline)
    for name in steps(rest):
        resources = executor_of(rest, name)["container"]["resources"]
        for key in ("cpuRequest", "memoryRequest", "resourceCpuRequest", "resourceMemoryRequest"):
            del resources[key]
    return rest


def test_every_step_fits_beside_other_pods_on_a_node_of_two_cpus(plain: tuple) -> None:
    """KFP's launcher, in each step's pod, asks for 100m of a CPU anyway; memory was measured with the sample."""
    assert {cpu for cpu, _ in requests(plain[0]).values()} == {"100m"}
    assert {name: memory for name, (_, memory) in requests(plain[0]).items() if memory != "512Mi"} == {
        "preprocess": "1Gi", "train": "3Gi", "evaluate": "1536Mi", "register": "1536Mi", "promote": "1536Mi",
    }  # fmt: skip


def test_the_example_for_large_nodes_asks_for_more_and_changes_nothing_else(plain: tuple, tmp_path: Path) -> None:
    compiled(cluster.load(ROOT / "pipelines/cluster-large.yaml"), tmp_path / "pipeline.yaml")
    pipeline, platform = specification(tmp_path / "pipeline.yaml")
    expected = dict.fromkeys(steps(pipeline), ("1", "2Gi")) | {"preprocess": ("2", "2Gi"), "train": ("4", "8Gi")}
    assert requests(pipeline) == expected
    assert without_requests(pipeline) == without_requests(plain[0]) and platform == plain[1]


def test_only_a_model_that_is_good_enough_is_registered(plain: tuple) -> None:
    condition = tasks(plain[0])["condition-2"]
    asked = "inputs.parameter_values['pipelinechannel--evaluate-Output'] == true"
    assert condition["triggerPolicy"]["condition"] == asked
    verdict = condition["inputs"]["parameters"]["pipelinechannel--evaluate-Output"]["taskOutputParameter"]
    assert verdict == {"producerTask": "evaluate", "outputParameterKey": "Output"}
    within = plain[0]["components"][condition["componentRef"]["name"]]["dag"]["tasks"]
    assert set(within) == {"register", "promote"}
    assert within["promote"]["dependentTasks"] == ["register"]


def test_notify_runs_whatever_became_of_the_rest(plain: tuple) -> None:
    outside = plain[0]["root"]["dag"]["tasks"]
    assert set(outside) == {"exit-handler-1", "notify"}
    assert outside["notify"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert outside["notify"]["dependentTasks"] == ["exit-handler-1"]


def test_the_user_interface_shows_each_step_by_its_own_name(plain: tuple) -> None:
    names = {name: task["taskInfo"]["name"] for name, task in steps(plain[0]).items()}
    assert names == {name: name.replace("-", "_") for name in PURE | READ_WHAT_CHANGES}


def test_notify_is_given_the_names_by_which_people_know_the_run(plain: tuple) -> None:
    inputs = plain[0]["root"]["dag"]["tasks"]["notify"]["inputs"]["parameters"]
    given = {name: one["runtimeValue"]["constant"] for name, one in inputs.items() if name != "status"}
    assert given == {"run": "{{$.pipeline_job_name}}", "run_id": "{{$.pipeline_job_uuid}}"}


def test_the_parameters_are_those_of_params_yaml_with_its_defaults(plain: tuple) -> None:
    found = plain[0]["root"]["inputDefinitions"]["parameters"]
    assert [name for name, one in found.items() if not one.get("isOptional")] == ["repository", "revision"]
    packaged = config.load_params(config.packaged_file()).model_dump()
    sections = {name.removesuffix("_params"): one["defaultValue"] for name, one in found.items() if "_params" in name}
    assert sections == {name: packaged[name] for name in sections}
    assert found["data_path"]["defaultValue"] == packaged["data"]["path"]


def test_an_accelerator_has_type_and_count_and_its_own_image(own: tuple) -> None:
    container = executor_of(own[0], "train")["container"]
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["resources"]["accelerator"]["resourceCount"] == "2"
    assert container["image"] == "registry.example/siamese-training-gpu:v1"
    others = {executor_of(own[0], name)["container"]["image"] for name in steps(own[0]) if name != "train"}
    assert others == {"registry.example/siamese-training:v1"}


def test_an_accelerator_without_a_count_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("steps: {train: {accelerator: {type: nvidia.com/gpu}}}")
    with pytest.raises(InputError, match=r"accelerator.count") as refused:
        cluster.load(tmp_path / "c.yaml")
    assert "\n" not in str(refused.value)


def test_kubernetes_is_told_where_and_as_whom_the_step_runs(own: tuple) -> None:
    said = own[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert said["nodeSelector"]["labels"] == {"gpu": "a100"}
    assert said["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert said["activeDeadlineSeconds"] == "86400"
    assert said["emptyDirMounts"][0] | {"volumeName": ""} == {
        "medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "1Gi", "volumeName": "",
    }  # fmt: skip


def test_training_gets_the_volume_and_every_step_secrets_and_a_user_without_rights(own: tuple) -> None:
    executors = own[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {f"exec-{name}" for name in steps(own[0])}
    mounted = {name: said["pvcMount"] for name, said in executors.items() if "pvcMount" in said}
    assert list(mounted) == ["exec-train"]
    assert (mounted["exec-train"][0]["constant"], mounted["exec-train"][0]["mountPath"]) == ("siamese", "/siamese")
    for said in executors.values():
        assert said["secretAsEnv"][0]["secretName"] == "mlflow-login"
        keys = said["secretAsEnv"][0]["keyToEnv"]
        assert keys == [{"envVar": "MLFLOW_TRACKING_USERNAME", "secretKey": "username"}]
        assert said["securityContext"] == {"runAsUser": "10001", "runAsGroup": "0", "runAsNonRoot": True}
        assert said["imagePullSecret"][0]["secretName"] == "registry-login"
    for name in steps(own[0]):
        environment = executor_of(own[0], name)["container"]["env"]
        assert environment == [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]


def test_a_cluster_file_may_mount_the_volume_into_every_step(tmp_path: Path) -> None:
    """For a file that all steps read, as certificates."""
    (tmp_path / "cluster.yaml").write_text(OWN + "defaults: {mount_volume: true}\n")
    compiled(cluster.load(tmp_path / "cluster.yaml"), tmp_path / "pipeline.yaml")
    executors = specification(tmp_path / "pipeline.yaml")[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(said["pvcMount"][0]["constant"] == "siamese" for said in executors.values())


def test_no_secret_stands_in_the_pipeline(own: tuple) -> None:
    assert "password" not in yaml.safe_dump(own[0]).lower()


def test_data_in_an_object_store_is_imported_and_only_told_apart_by_its_address_and_revision(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("data: uri\n")
    compiled(cluster.load(tmp_path / "cluster.yaml"), tmp_path / "pipeline.yaml")
    pipeline, _ = specification(tmp_path / "pipeline.yaml")
    assert {"data-version", "fetch-data"}.isdisjoint(tasks(pipeline))
    importer = tasks(pipeline)["importer"]
    assert importer["inputs"]["parameters"]["uri"]["componentInputParameter"] == "pipelinechannel--repository"
    imported = pipeline["deploymentSpec"]["executors"]["exec-importer"]["importer"]
    assert not imported.get("reimport")
    given = tasks(pipeline)["catalog"]["inputs"]
    assert given["artifacts"]["data"]["taskOutputArtifact"]["producerTask"] == "importer"
    assert importer["taskInfo"]["name"] == "importer"
    assert given["parameters"]["revision"]["componentInputParameter"] == "pipelinechannel--revision"


SWEEP = "sweep: {parallel: 2, candidates: [{seed: 1}, {epochs: 20, optimizer: {learning_rate: 3.0e-4}}]}\n"


def test_of_a_sweep_the_training_that_is_chosen_is_measured_and_registered(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(SWEEP)
    compiled(cluster.load(tmp_path / "cluster.yaml"), tmp_path / "pipeline.yaml")
    pipeline, _ = specification(tmp_path / "pipeline.yaml")
    (loop,) = [task for task in tasks(pipeline).values() if "parameterIterator" in task]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 2
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == [
        {"seed": 1}, {"epochs": 20, "optimizer": {"learning_rate": 3.0e-4}},
    ]  # fmt: skip
    within = pipeline["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    assert set(within) == {"train"}
    measured = tasks(pipeline)["evaluate"]["inputs"]["artifacts"]
    assert {measured[name]["taskOutputArtifact"]["producerTask"] for name in ("model", "history")} == {"choose"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sweep: {parallel: 1, candidates: [{seed: 1}, {sead: 2}]}\n", "sead"),
        ("sweep: {parallel: 1, candidates: [{seed: 1}]}\n", "sweep.candidates"),
        (SWEEP + "workers: {count: 2}\nvolume: {claim: a, path: /a}\n", "only one of the two"),
    ],
)
def test_a_sweep_that_can_not_be_is_told_before_anything_runs(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(InputError, match=said) as refused:
        cluster.load(tmp_path / "cluster.yaml")
    assert "\n" not in str(refused.value)
