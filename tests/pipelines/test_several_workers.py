"""Training on several machines of a cluster: the job that is asked for, how it is followed, and what comes of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import ROOT, here
from kfp import dsl
from kubernetes_server import KubernetesServer, kind_of
from mlflow_servers import mlflow_server
from pipeline_spec import executor_of, specification
from trained import INPUTS, weights_of
from waiting import PATIENCE, wait_until

from components.choose import choose
from components.train_on_workers import train_on_workers
from pipelines import cluster
from pipelines.compile import compiled
from pipelines.values_on_cluster import stored
from siamese import config
from siamese.config import parse_section
from siamese.errors import InputError
from siamese.orchestration.k8s import manifests, worker
from siamese.orchestration.k8s.job import JobSpec, Shared
from siamese.orchestration.k8s.launch import launch
from siamese.orchestration.k8s.manifests import PodSpec
from siamese.tracking.client import connect

OWN = """
gpu_image: registry.example/siamese-training-gpu:v1
pull_secrets: [registry-login]
steps:
  train:
    accelerator: {type: nvidia.com/gpu, count: 1}
    node_selector: {gpu: a100}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
    timeout: 86400
workers: {count: 2}
volume: {claim: siamese, path: /siamese}
secrets: [{name: mlflow-login, keys: {username: MLFLOW_TRACKING_USERNAME}}]
environment: {HTTPS_PROXY: "http://proxy:3128"}
"""
LAUNCH = """
import json, sys
from pathlib import Path
from siamese.config import load_params, packaged_file
from siamese.orchestration.k8s.job import JobSpec
from siamese.orchestration.k8s.launch import launch
from siamese.orchestration.k8s.manifests import PodSpec
told = json.loads(sys.argv[1])
files = [Path(name) for name in told["outputs"]]
given = load_params(packaged_file()).train
inputs = [Path(name) for name in told["inputs"]]
launch(inputs, *files, JobSpec(**told["order"]), given, PodSpec(**told["look"]), "a step")
"""
# A short substitute for training: waits for a file, as long as the test runs, and writes as the chief does.
TRAINS = """
import os, sys, time
from pathlib import Path
folder, index = Path(sys.argv[1]), os.environ["JOB_COMPLETION_INDEX"]
test = os.getppid()
while not (Path.cwd() / "go").exists():
    assert os.getppid() == test
    time.sleep(0.05)
assert (folder / "inputs/images/a").read_text() == "pixels" and (folder / "order.json").exists()
if index == "0":
    (folder / "outputs/model/servable").mkdir(parents=True)
    (folder / "outputs/model/siamese.keras").write_text("weights")
    (folder / "outputs/history.csv").write_text("epoch,loss,accuracy,auc,eer\\n1,0.69312348,0.8,,0.18799999\\n")
    (folder / "outputs/run.json").write_text("{}")
"""
FAILS = "import sys; print('siamese: no room on the volume'); sys.exit(2)"


def look(path: Path | str, **other: Any) -> PodSpec:
    plain: dict[str, Any] = {
        "count": 2, "image": "siamese-training:v1", "pull_secrets": [], "requests": {"cpu": "1"}, "limits": {},
        "node_selector": {}, "tolerations": [], "shared_memory": None, "timeout": None, "restarts": 0,
        "claim": "siamese", "path": str(path), "secrets": {}, "environment": {}, "user": None, "group": None,
        "non_root": True,
    }  # fmt: skip
    return PodSpec(**plain | other)


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    with KubernetesServer(tmp_path / "kubernetes") as server:
        monkeypatch.setenv("KUBECONFIG", str(server.configuration))
        server.program = lambda _index, _attempt: ["python3", "-c", TRAINS]
        (server.folder / "go").touch()
        yield server


class Training:
    """A launcher and what it is given."""

    def __init__(self, folder: Path) -> None:
        self.volume = folder / "volume"
        self.inputs = [folder / name for name in ("catalog", "pairs", "images", "transform")]
        for file in self.inputs[:2]:
            file.write_text(file.name)
        for tree in self.inputs[2:]:
            tree.mkdir()
            (tree / "a").write_text("pixels")
        self.outputs = [folder / "made" / name for name in ("model", "history", "run")]
        self.order = JobSpec({"train": {"epochs": 1}}, {"path": "data"}, "", "")

    @property
    def shared(self) -> Path:
        return self.volume / "workers" / self.order.name("a step")

    def here(self, **other: Any) -> None:
        given = config.load_params(config.packaged_file()).train
        launch(self.inputs, *self.outputs, self.order, given, look(self.volume, **other), "a step")

    def process(self, **other: Any) -> subprocess.Popen[str]:
        told = {
            "inputs": [str(file) for file in self.inputs],
            "outputs": [str(file) for file in self.outputs],
            "order": asdict(self.order),
            "look": look(self.volume, **other).model_dump(),
        }
        return subprocess.Popen([sys.executable, "-c", LAUNCH, json.dumps(told)], stderr=subprocess.PIPE, text=True)

    def assert_handed_on(self) -> None:
        model, history, run = self.outputs
        assert (model / "siamese.keras").read_text() == "weights" and (model / "servable").is_dir()
        assert history.read_text().startswith("epoch,") and run.read_text() == "{}"
        assert not self.shared.exists()


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_the_job_asks_for_as_many_workers_as_the_cluster_file_says(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(OWN)
    told = cluster.look_of_workers(cluster.load(tmp_path / "cluster.yaml"))
    wanted = parse_section(PodSpec, json.loads(json.dumps(told), parse_int=float))  # as kfp hands it on
    assert manifests.job("j", wanted) == {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {
            "name": "j",
            "labels": {"app.kubernetes.io/name": "siamese", "app.kubernetes.io/component": "training"},
        },
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "j"},
            "trainer": {"numNodes": 2},
        },
    }
    expected = yaml.safe_load("""
      apiVersion: trainer.kubeflow.org/v1alpha1
      kind: TrainingRuntime
      metadata: {name: j, labels: {app.kubernetes.io/name: siamese, app.kubernetes.io/component: training}}
      spec:
        mlPolicy: {numNodes: 2}
        template:
          spec:
            network: {enableDNSHostnames: true, publishNotReadyAddresses: true}
            failurePolicy: {maxRestarts: 3}
            replicatedJobs:
            - name: node
              replicas: 1
              template:
                metadata: {labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}}
                spec:
                  completionMode: Indexed
                  parallelism: 2
                  completions: 2
                  backoffLimit: 0
                  activeDeadlineSeconds: 86400
                  template:
                    metadata:
                      labels: {sidecar.istio.io/inject: "false"}
                      annotations: {sidecar.istio.io/inject: "false"}
                    spec:
                      restartPolicy: Never
                      terminationGracePeriodSeconds: 120
                      nodeSelector: {gpu: a100}
                      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
                      imagePullSecrets: [{name: registry-login}]
                      volumes:
                      - {name: shared, persistentVolumeClaim: {claimName: siamese}}
                      - {name: shared-memory, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
                      containers:
                      - name: node
                        image: registry.example/siamese-training-gpu:v1
                        command: [python3, -m, siamese.orchestration.k8s, /siamese/workers/j]
                        env:
                        - {name: SIAMESE_WORKERS, value: "j-node-0-0.j:2222,j-node-0-1.j:2222"}
                        - {name: HTTPS_PROXY, value: "http://proxy:3128"}
                        - name: MLFLOW_TRACKING_USERNAME
                          valueFrom: {secretKeyRef: {name: mlflow-login, key: username}}
                        resources:
                          requests: {cpu: 100m, memory: 3Gi, nvidia.com/gpu: "1"}
                          limits: {cpu: "8", memory: 16Gi, nvidia.com/gpu: "1"}
                        securityContext: {runAsUser: 10001, runAsGroup: 0, runAsNonRoot: true}
                        volumeMounts:
                        - {name: shared, mountPath: /siamese}
                        - {name: shared-memory, mountPath: /dev/shm}
                        terminationMessagePolicy: FallbackToLogsOnError
    """)
    assert manifests.runtime("j", wanted, "/siamese/workers/j") == expected


def test_workers_get_what_kubeflow_gives_the_launcher_of_its_mlflow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """But nothing that a secret holds, nor a login: a manifest is no place for one."""
    given = {
        "MLFLOW_RUN_ID": "a" * 32,
        "MLFLOW_TRACKING_URI": "http://mlflow.kubeflow:5000",
        "MLFLOW_WORKSPACE": "out of a secret",
        "MLFLOW_TRACKING_TOKEN": "secret",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wanted = look("/siamese", environment={"A": "1"}, secrets={"space": {"key": "MLFLOW_WORKSPACE"}})
    job_set = manifests.runtime("j", wanted, "/siamese/workers/j")["spec"]["template"]["spec"]
    (container,) = job_set["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [
        {"name": "SIAMESE_WORKERS", "value": "j-node-0-0.j:2222,j-node-0-1.j:2222"},
        {"name": "A", "value": "1"},
        {"name": "MLFLOW_RUN_ID", "value": "a" * 32},
        {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.kubeflow:5000"},
        {"name": "MLFLOW_WORKSPACE", "valueFrom": {"secretKeyRef": {"name": "space", "key": "key"}}},
    ]


def test_the_pipeline_has_the_launcher_in_the_place_of_the_step(tmp_path: Path) -> None:
    """It waits, and needs no GPU itself; what comes after it reads its outputs as those of the step."""
    (tmp_path / "cluster.yaml").write_text(OWN)
    compiled(cluster.load(tmp_path / "cluster.yaml"), tmp_path / "pipeline.yaml")
    pipeline, platform = specification(tmp_path / "pipeline.yaml")
    tasks = {
        name: task
        for one in pipeline["components"].values()
        for name, task in one.get("dag", {}).get("tasks", {}).items()
    }
    assert "train" not in tasks and tasks["train-on-workers"]["retryPolicy"]["maxRetryCount"] == 3
    given = tasks["train-on-workers"]["inputs"]["parameters"]["workers"]["runtimeValue"]["constant"]
    assert parse_section(PodSpec, given).count == 2
    assert tasks["evaluate"]["inputs"]["artifacts"]["model"]["taskOutputArtifact"] == {
        "outputArtifactKey": "model", "producerTask": "train-on-workers",
    }  # fmt: skip
    container = executor_of(pipeline, "train-on-workers")["container"]
    assert "accelerator" not in container["resources"] and container["image"] == "siamese-training:latest"
    mounted = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train-on-workers"]["pvcMount"]
    assert (mounted[0]["constant"], mounted[0]["mountPath"]) == ("siamese", "/siamese")


def test_what_the_cluster_file_leaves_open_is_left_open_for_workers(tmp_path: Path) -> None:
    nothing = "security: {user: null, group: null}\nsteps: {train: {timeout: null, shared_memory: null}}\n"
    (tmp_path / "c.yaml").write_text("workers: {count: 4}\nvolume: {claim: siamese, path: /siamese}\n" + nothing)
    done = here("compile", "--cluster", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "p.yaml"))
    assert done.exit_code == 0, done
    tasks = specification(tmp_path / "p.yaml")[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    given = tasks["train-on-workers"]["inputs"]["parameters"]["workers"]["runtimeValue"]["constant"]
    wanted = parse_section(PodSpec, given)
    assert (wanted.timeout, wanted.shared_memory, wanted.user, wanted.group) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers: {count: 2}", "workers need a volume that they share"),
        ("workers: {count: 1}", "workers.count"),
        (OWN.replace("type: nvidia.com/gpu", "type: NVIDIA_TESLA_T4"), "workers ask Kubernetes for NVIDIA_TESLA_T4"),
    ],
)
def test_workers_that_cannot_be_had_are_told_when_compiling(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = here("compile", "--cluster", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "p.yaml"))
    assert done.exit_code == 2 and said in done.line and len(done.err.splitlines()) == 1


def test_a_worker_finds_its_place_by_index_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "")  # put back afterwards, whatever is set meanwhile
    monkeypatch.setenv("SIAMESE_WORKERS", "localhost:2222,127.0.0.1:2222")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    worker.take_place()
    assert json.loads(worker.os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["localhost:2222", "127.0.0.1:2222"]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize(("addresses", "index"), [("", "0"), ("a:1,b:1", ""), ("a:1,b:1", "2"), ("a:1,,b:1", "0")])
def test_a_worker_without_a_place_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, addresses: str, index: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", "")  # put back afterwards, whatever is set meanwhile
    monkeypatch.setenv("SIAMESE_WORKERS", addresses)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
    with pytest.raises(InputError, match="no place among the workers: SIAMESE_WORKERS"):
        worker.take_place()


def test_a_worker_that_gets_no_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "")  # put back afterwards, whatever is set meanwhile
    monkeypatch.setenv("SIAMESE_WORKERS", "localhost:2222,no-such-host.invalid:2222")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    with pytest.raises(InputError, match=r"worker no-such-host.invalid has no address yet"):
        worker.take_place(longest=0)


def test_tf_config_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a TFJob, or whoever else starts the same command."""
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {}}')
    worker.take_place()
    assert worker.os.environ["TF_CONFIG"] == '{"cluster": {}}'


def test_a_jobs_name_is_its_steps_and_its_orders() -> None:
    order = JobSpec({"train": {"epochs": 1}}, {}, "", "")
    assert order.name("s3://runs/1/model") == JobSpec({"train": {"epochs": 1}}, {}, "", "").name("s3://runs/1/model")
    others = {order.name("s3://runs/2/model"), JobSpec({"train": {"epochs": 2}}, {}, "", "").name("s3://runs/1/model")}
    assert len(others | {order.name("s3://runs/1/model")}) == 3
    assert all(len(name) <= 40 and name.replace("-", "").isalnum() for name in others)  # names of pods grow from it


def test_what_workers_made_is_handed_on_and_nothing_is_left(
    kubernetes: KubernetesServer, training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    training.here()
    training.assert_handed_on()
    assert kubernetes.made == [training.order.name("a step")] and kubernetes.empty()
    said = capsys.readouterr().err
    assert "workers: launched job" in said and "epoch 1  loss 0.6931  accuracy 0.800  auc -  eer 0.188" in said


def test_later_steps_read_the_parameters_of_a_training_on_workers(
    kubernetes: KubernetesServer, training: Training, tmp_path: Path
) -> None:
    """As from a cluster's metadata store; the one training of a sweep that `choose` can only choose."""
    given = json.loads(
        json.dumps(config.load_params(config.packaged_file()).model_dump()), parse_int=float
    )  # as by kfp
    sections = [given[name] for name in ("train", "model", "tracking", "catalog", "pairs", "preprocess")]
    inputs = [stored(dsl.Dataset(name=file.name, uri=str(file))) for file in training.inputs]
    model, history, run = (dsl.Model(name=file.name, uri=str(file)) for file in training.outputs)
    wanted = look(training.volume).model_dump()
    train_on_workers.python_func(*inputs, *sections, "", "", wanted, model, history, run)

    chosen, *others = (dsl.Model(name=name, uri=str(tmp_path / name)) for name in ("model", "history", "run"))
    choose.python_func(*([stored(one)] for one in (model, history, run)), chosen, *others)
    kept = json.loads(stored(chosen).metadata["params"])
    assert kept["train"] == given["train"] and set(kept) == {
        "train", "model", "tracking", "catalog", "pairs", "preprocess",
    }  # fmt: skip


def test_the_role_of_the_page_allows_what_the_launcher_asks_and_no_more(
    kubernetes: KubernetesServer, training: Training
) -> None:
    page = (ROOT / "docs/kubeflow.md").read_text()
    blocks = re.findall(r"<<'END'\n(.*?)^END$", page, flags=re.DOTALL | re.MULTILINE)
    objects = [one for block in blocks for one in yaml.safe_load_all(block)]
    (role,) = [one for one in objects if one["kind"] == "Role"]
    allowed = {(verb, kind) for rule in role["rules"] for verb in rule["verbs"] for kind in rule["resources"]}
    (kubernetes.folder / "go").unlink()
    launcher = training.process()
    wait_until(lambda: bool(kubernetes.made))
    launcher.kill()
    launcher.wait()
    (kubernetes.folder / "go").touch()
    training.here()  # takes it up, and asks for what is there
    verbs = {"POST": "create", "GET": "get", "PATCH": "patch", "DELETE": "delete"}
    kinds = {(method, kind_of(path)) for method, path in kubernetes.asked}
    assert {("list" if kind == "pods" else verbs[method], kind) for method, kind in kinds} == allowed


def test_a_launcher_that_was_killed_takes_up_its_job(kubernetes: KubernetesServer, training: Training) -> None:
    (kubernetes.folder / "go").unlink()
    first = training.process()
    wait_until(lambda: bool(kubernetes.made) and kubernetes.asked[-1][0] == "GET")
    first.kill()
    first.wait()
    (job,) = kubernetes.jobs.values()
    assert job.attempts[0].codes() == [None, None]

    (kubernetes.folder / "go").touch()
    second = training.process()
    _, told = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, told
    assert "workers: taking up job" in told
    assert len(kubernetes.made) == 1 and len(job.attempts) == 1
    wait_until(kubernetes.empty)
    training.assert_handed_on()


def test_a_launcher_that_is_ended_ends_its_workers(kubernetes: KubernetesServer, training: Training) -> None:
    """What was reached stays on the volume, for whoever launches it again."""
    (kubernetes.folder / "go").unlink()
    launcher = training.process()
    wait_until(lambda: bool(kubernetes.made))
    (job,) = kubernetes.jobs.values()
    launcher.terminate()
    _, told = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 128 + signal.SIGTERM, told
    wait_until(kubernetes.empty)
    assert job.attempts[0].codes() == [-signal.SIGTERM] * 2
    assert (training.shared / "order.json").exists() and not training.outputs[0].exists()


def test_a_launcher_that_is_killed_while_it_ends_its_job_leaves_nothing(
    kubernetes: KubernetesServer, training: Training
) -> None:
    """KFP gives a step that is terminated less than a second."""
    (kubernetes.folder / "go").unlink()
    launcher = training.process()
    wait_until(lambda: ("GET", "pods") in {(method, kind_of(path)) for method, path in kubernetes.asked})
    kubernetes.after["DELETE", "trainjobs"] = launcher.kill
    launcher.terminate()
    assert launcher.wait(PATIENCE) == -signal.SIGKILL
    assert "DELETE" not in {method for method, path in kubernetes.asked if kind_of(path) == "trainingruntimes"}
    wait_until(lambda: kubernetes.empty() or not kubernetes.jobs)
    assert kubernetes.objects == {}


def test_a_worker_that_fails_is_named_with_its_own_last_line(kubernetes: KubernetesServer, training: Training) -> None:
    kubernetes.program = lambda index, _: ["python3", "-c", FAILS if index == 1 else TRAINS]
    (kubernetes.folder / "go").unlink()
    with pytest.raises(InputError) as failed:
        training.here()
    name = training.order.name("a step")
    assert str(failed.value).startswith(f"job {name} failed: worker 1: exit code 2: siamese: no room on the volume")
    assert "\n" not in str(failed.value)
    wait_until(kubernetes.empty)
    assert (training.shared / "order.json").exists()

    (kubernetes.folder / "go").touch()
    kubernetes.program = lambda _index, _attempt: ["python3", "-c", TRAINS]
    training.here()  # a retry
    training.assert_handed_on()
    assert kubernetes.made == [name, name]


def test_workers_that_lost_one_begin_again_together(kubernetes: KubernetesServer, training: Training) -> None:
    kubernetes.program = lambda index, attempt: ["python3", "-c", FAILS if index == attempt == 0 else TRAINS]
    training.here(restarts=1)
    training.assert_handed_on()
    assert kubernetes.made == [training.order.name("a step")]


def test_a_job_that_failed_while_nobody_looked_is_made_anew(kubernetes: KubernetesServer, training: Training) -> None:
    (kubernetes.folder / "go").unlink()
    kubernetes.program = lambda _index, _attempt: ["python3", "-c", FAILS]
    kubernetes.patience = 10**6
    launcher = training.process()
    wait_until(lambda: bool(kubernetes.made))
    launcher.kill()
    launcher.wait()
    pods = (kubernetes.jobs | kubernetes.ended)[kubernetes.made[0]].attempts[0]
    wait_until(lambda: None not in pods.codes())
    kubernetes.patience = 0
    kubernetes.program = lambda _index, _attempt: ["python3", "-c", TRAINS]
    (kubernetes.folder / "go").touch()
    training.here()
    training.assert_handed_on()
    assert len(kubernetes.made) == 2


def test_an_api_that_is_away_for_a_while_is_asked_again(
    kubernetes: KubernetesServer, training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.away = 2
    training.here()
    training.assert_handed_on()
    assert "gives no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "kind", "answer", "said"),
    [
        ("POST", "trainjobs", (403, "forbidden"), "may not create trainjobs.trainer.kubeflow.org in team-a: see docs/"),
        ("GET", "pods", (403, "forbidden"), "may not list pods in team-a: see docs/kubeflow.md"),
        ("POST", "trainingruntimes", (404, "the server could not find the requested resource"), "install Kubeflow Tr"),
        ("POST", "trainjobs", (422, "spec.x: no such\nthing"), "refuses to create trainjobs.trainer.kubeflow.org "),
    ],
)
def test_what_the_cluster_refuses_is_one_line_and_leaves_nothing(
    kubernetes: KubernetesServer, training: Training, method: str, kind: str, answer: tuple[int, str], said: str
) -> None:
    kubernetes.refuses[method, kind] = answer
    with pytest.raises(InputError) as refused:
        training.here()
    assert said in str(refused.value) and "\n" not in str(refused.value)
    wait_until(kubernetes.empty)


def test_a_role_that_may_not_patch_costs_no_training(
    kubernetes: KubernetesServer, training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's role of an earlier version may not."""
    kubernetes.refuses["PATCH", "trainingruntimes"] = (403, "forbidden")
    training.here()
    training.assert_handed_on()
    assert kubernetes.empty()
    assert "stays behind if this step is terminated (the step's service account may not" in capsys.readouterr().err


def test_what_workers_cannot_train_by_is_told_before_anything_is_asked(
    kubernetes: KubernetesServer, training: Training
) -> None:
    given = config.load_params(config.packaged_file(), ["train.strategy=one"]).train
    with pytest.raises(InputError, match=r"train.strategy one: 2 workers train together by auto or multi_worker"):
        launch(training.inputs, *training.outputs, training.order, given, look(training.volume), "a step")
    training.order = JobSpec({}, {}, "", "/elsewhere/checkpoints")
    with pytest.raises(InputError, match=r"checkpoints /elsewhere/checkpoints: workers share .*volume alone"):
        training.here()
    assert not kubernetes.asked


def test_an_order_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"order.json: no order to train by .*: is the shared volume there\?"):
        Shared(tmp_path).order()


# A worker of which the machine is lost in the second epoch, of four steps.
IS_LOST = """
import os, signal, sys
from pathlib import Path
from siamese.orchestration.k8s.worker import work
from siamese.training import sampler
listed, begun = sampler.labelled_pairs, []
def step(codes):
    begun.append(1)
    if len(begun) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return listed(codes)
sampler.labelled_pairs = step
work(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_two_workers_of_which_one_is_lost_train_what_one_machine_trains(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same data and parameters, so of the same global batch: weights equal up to rounding, and one run."""
    alone = workspace / "artifacts"
    given = json.loads(json.dumps(config.load_params(workspace / "params.yaml").model_dump()), parse_int=float)
    given["train"]["checkpoint_every"] = 1.0
    metadata = {"path": "data", "hash": "b.dir"}
    read = [dsl.Dataset(name=file.name, uri=str(alone / file.name), metadata=metadata) for file in map(Path, INPUTS)]
    kinds = {"model": dsl.Model, "history": dsl.Dataset, "run": dsl.Artifact}
    made = {name: kind(name=name, uri=str(tmp_path / "made" / name)) for name, kind in kinds.items()}
    sections = [given[name] for name in ("train", "model", "tracking", "catalog", "pairs", "preprocess")]
    with mlflow_server(tmp_path / "mlflow") as address, KubernetesServer(tmp_path / "kubernetes") as kubernetes:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes.configuration))
        kubernetes.program = lambda index, attempt: ["python3", "-c", IS_LOST] if (index, attempt) == (1, 0) else None
        kubernetes.patience = 10**6  # the chief finds out for itself
        wanted = look(tmp_path / "volume", restarts=1).model_dump()
        train_on_workers.python_func(*read, *sections, address, "", wanted, *made.values())
        client = connect(address)
        (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
        wait_until(kubernetes.empty)

    (job,) = kubernetes.ended.values()
    first, second = ([log.read_text() for log in attempt.logs] for attempt in job.attempts)
    assert [process.returncode for process in job.attempts[0].processes] == [2, -signal.SIGKILL]
    assert "worker 0: lost another of the 2 workers" in first[0]
    for index, said in enumerate(second):
        assert f"worker {index} of 2 at 127.0.0.1" in said and "continuing after epoch 1, step 0" in said

    place, history = Path(made["model"].path), Path(made["history"].path)
    for ours, theirs in zip(weights_of(place), weights_of(alone / "model"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    tables = (pd.read_csv(file).drop(columns="images_per_second") for file in (history, alone / "history.csv"))
    pd.testing.assert_frame_equal(*tables)
    assert json.loads(Path(made["run"].path).read_text())["run_id"] == run.info.run_id
    assert (run.info.status, run.data.tags["siamese.data.hash"]) == ("FINISHED", "b.dir")
    assert json.loads(made["model"].metadata["params"])["train"]["epochs"] == 2
    assert not list((tmp_path / "volume/workers").iterdir())
