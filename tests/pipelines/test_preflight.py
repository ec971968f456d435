"""What `submit` refuses before it submits, against a Kubernetes API that answers as the real one does."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Done, here, process
from kfp_server import KfpServer, kfp_server
from kubernetes_server import NAMESPACE, TOKEN, KubernetesServer
from storage_servers import free_port
from waiting import PATIENCE

from pipelines import kubeflow, preflight

PASSWORD = "hunter2"
OWN = """
image: registry.example/siamese-training:v1
pull_secrets: [registry-login]
volume: {claim: siamese, path: /siamese}
secrets: [{name: mlflow-login, keys: {username: MLFLOW_TRACKING_USERNAME, password: MLFLOW_TRACKING_PASSWORD}}]
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for an answer as long as a busy machine takes."""
    monkeypatch.setattr(kubeflow, "CONNECT_WITHIN", PATIENCE)
    monkeypatch.setattr(kubeflow, "ANSWER_WITHIN", PATIENCE)
    monkeypatch.setattr(preflight, "TIMES", {"_request_timeout": (PATIENCE, PATIENCE)})
    monkeypatch.setattr(preflight, "LONGEST", PATIENCE)


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server(namespaces=(NAMESPACE,)) as started:
        yield started


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[KubernetesServer]:
    """One node of 2 CPUs, and a namespace with everything that `OWN` names."""
    with KubernetesServer(tmp_path / "kubernetes") as started:
        started.add("services", "ml-pipeline", spec={"ports": [{"port": 8888}]})
        add_node(started, "small", cpu="1930m", memory="7134388Ki")
        started.add("persistentvolumeclaims", "siamese", spec={}, status={"phase": "Bound"})
        add_secret(started, "mlflow-login", username="ci", password=PASSWORD)
        add_secret(started, "registry-login", **{".dockerconfigjson": "{}"})
        started.add("serviceaccounts", "trainer")
        yield started


def add_node(server: KubernetesServer, name: str, *taints: dict[str, str], **allocatable: str) -> None:
    labels = {"kubernetes.io/hostname": name, "size": name}
    kubelet = {"allocatable": {"pods": "110", "cpu": "2", "memory": "8Gi", **allocatable}}
    server.add(
        "nodes", name, metadata={"labels": labels}, spec={"taints": list(taints)} if taints else {}, status=kubelet
    )


def add_secret(server: KubernetesServer, name: str, **data: str) -> None:
    server.add("secrets", name, data={key: base64.b64encode(value.encode()).decode() for key, value in data.items()})


class Submission:
    """`submit`, with a cluster file and credentials."""

    def __init__(self, server: KfpServer, kubernetes: KubernetesServer, folder: Path) -> None:
        self.server, self.kubernetes, self.file = server, kubernetes, folder / "c.yaml"

    def __call__(self, text: str, *options: str, command: tuple[str, ...] = ("submit",), **environment: str) -> Done:
        self.file.write_text(OWN + text)
        rest = ("--host", self.server.address, "--namespace", NAMESPACE, "--cluster", str(self.file), *options)
        return here(*command, *rest, **{"KUBECONFIG": str(self.kubernetes.configuration), **environment})

    def refused(self, text: str, *options: str) -> str:
        """The line of a run that isn't submitted."""
        done = self(text, *options)
        assert (done.exit_code, done.out) == (2, "") and "Traceback" not in done.err, done
        assert not self.server.runs
        assert PASSWORD not in done.err and base64.b64encode(PASSWORD.encode()).decode() not in done.err
        return done.line


@pytest.fixture
def submit(server: KfpServer, kubernetes: KubernetesServer, tmp_path: Path) -> Submission:
    return Submission(server, kubernetes, tmp_path)


def test_a_run_that_fits_is_submitted_without_a_word(submit: Submission) -> None:
    done = submit("", "--service-account", "trainer")
    assert done.exit_code == 0 and len(submit.server.runs) == 1, done
    assert "preflight" not in done.err
    assert {method for method, _ in submit.kubernetes.asked} == {"GET"}


# Nodes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: {train: {cpu_request: '4'}}",
         "train: requests cpu 4, but the largest node that it may use, small, has cpu 1.93; "),
        ("steps: {train: {memory_request: 8Gi}}",
         "train: requests memory 8Gi, but the largest node that it may use, small, has memory 6.8Gi; "),
        ("steps: {evaluate: {cpu_request: 2500m}, pairs: {cpu_request: 2500m}}",
         "evaluate, pairs: requests cpu 2500m, but the largest node that it may use, small, has cpu 1.93; "),
        ("steps: {train: {accelerator: {type: nvidia.com/gpu, count: 1}}}",
         "train: requests nvidia.com/gpu 1, but the largest node that it may use, small, has nvidia.com/gpu 0; "),
        ("steps: {train: {node_selector: {gpu: a100}}}",
         "train: no node has the labels gpu=a100; "),
        ("workers: {count: 2}\nsteps: {train: {cpu_request: '4'}}",
         "a worker: requests cpu 4, but the largest node that it may use, small, has cpu 1.93; "),
    ],
)  # fmt: skip
def test_a_step_that_no_node_could_take_is_named_with_its_request_and_the_largest_node(
    submit: Submission, text: str, said: str
) -> None:
    line = submit.refused(text)
    assert line.startswith(f"siamese: {said}") and "--no-preflight" in line


def test_a_cluster_that_gets_nodes_when_it_needs_them_is_sent_the_run_all_the_same(submit: Submission) -> None:
    done = submit("steps: {train: {cpu_request: '64'}}", "--no-preflight")
    assert done.exit_code == 0 and len(submit.server.runs) == 1
    assert submit.kubernetes.asked == []


def test_one_node_must_have_all_that_a_step_requests(submit: Submission) -> None:
    add_node(submit.kubernetes, "cpus", cpu="16", memory="4Gi")
    text = "steps: {train: {cpu_request: '4', memory_request: 5Gi}}"
    assert (
        "train: requests cpu 4, memory 5Gi, but the largest node that it may use, cpus, has cpu 16, memory 4.0Gi; "
        in (submit.refused(text))
    )
    add_node(submit.kubernetes, "both", cpu="4", memory="5Gi")
    assert submit(text).exit_code == 0


GPU_NODE = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
WITH_GPU = "accelerator: {type: nvidia.com/gpu, count: 1}"


@pytest.mark.parametrize(
    "toleration",
    [
        "{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}",
        "{key: nvidia.com/gpu, operator: Equal, value: present}",
        "{operator: Exists}",
    ],
)
def test_a_taint_that_a_step_tolerates_doesnt_repel_it(submit: Submission, toleration: str) -> None:
    add_node(submit.kubernetes, "gpu", GPU_NODE, **{"nvidia.com/gpu": "1"})
    assert "nvidia.com/gpu 0" in submit.refused(f"steps: {{train: {{{WITH_GPU}}}}}")
    assert submit(f"steps: {{train: {{{WITH_GPU}, tolerations: [{toleration}]}}}}").exit_code == 0


def test_a_taint_that_a_step_doesnt_tolerate_is_named(submit: Submission) -> None:
    add_node(submit.kubernetes, "gpu", GPU_NODE, **{"nvidia.com/gpu": "1"})
    other = "node_selector: {size: gpu}, tolerations: [{key: other, operator: Exists}]"
    line = submit.refused(f"steps: {{train: {{{WITH_GPU}, {other}}}}}")
    assert "train: every node repels it, as gpu by nvidia.com/gpu=present:NoSchedule; add tolerations" in line


def test_a_toleration_is_of_one_effect_if_it_names_one(submit: Submission) -> None:
    add_node(submit.kubernetes, "gpu", GPU_NODE, **{"nvidia.com/gpu": "1"})
    other = "node_selector: {size: gpu}, tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoExecute}]"
    assert "train: every node repels it" in submit.refused(f"steps: {{train: {{{WITH_GPU}, {other}}}}}")


def test_what_passes_by_itself_is_no_reason_to_refuse(submit: Submission) -> None:
    cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    add_node(submit.kubernetes, "large", cordoned, {"key": "a", "effect": "PreferNoSchedule"}, cpu="8")
    assert submit("steps: {train: {cpu_request: '4'}}").exit_code == 0


# What is in the namespace


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (
            ("persistentvolumeclaims", "siamese"),
            "volume.claim: no persistent volume claim siamese in namespace team-a of ",
        ),
        (("secrets", "registry-login"), "pull_secrets: no secret registry-login in namespace team-a of "),
        (("secrets", "mlflow-login"), "secrets: no secret mlflow-login in namespace team-a of "),
        (("serviceaccounts", "trainer"), "--service-account: no service account trainer in namespace team-a of "),
    ],
)
def test_what_a_step_names_must_be_there(submit: Submission, missing: tuple[str, str], said: str) -> None:
    del submit.kubernetes.core[missing]
    assert submit.refused("", "--service-account", "trainer").startswith(f"siamese: {said}http://127.0.0.1:")


def test_a_secret_must_have_the_keys_that_steps_read(submit: Submission) -> None:
    add_secret(submit.kubernetes, "mlflow-login", username="ci", PASSWORD=PASSWORD)
    line = submit.refused("")
    assert line.startswith("siamese: secrets: secret mlflow-login in namespace team-a of ")
    assert "has no key password; add it" in line


def test_every_problem_has_its_line(submit: Submission) -> None:
    del submit.kubernetes.core["secrets", "registry-login"]
    done = submit("steps: {train: {cpu_request: '4'}, preprocess: {memory_request: 1Ti}}")
    assert done.exit_code == 2
    lines = done.err.strip().splitlines()
    assert len(lines) == 3
    assert [any(start in line for line in lines) for start in ("train: ", "preprocess: ", "pull_secrets: ")] == [
        True
    ] * 3


# Other ways to the same


def test_a_schedule_is_checked_too(submit: Submission) -> None:
    create = ("schedule", "create", "weekly", "--cron", "30 4 * * 1", "--revision", "main")
    done = submit("steps: {train: {cpu_request: '4'}}", command=create)
    assert done.exit_code == 2 and "train: requests cpu 4" in done.line
    assert not submit.server.recurring_runs
    assert submit("steps: {train: {cpu_request: '4'}}", "--no-preflight", command=create).exit_code == 0


def test_an_uploaded_version_is_checked_too(submit: Submission) -> None:
    submit.file.write_text(OWN + "steps: {train: {cpu_request: '4'}}")
    rest = ("--host", submit.server.address, "--namespace", NAMESPACE)
    assert here("upload", *rest, "--cluster", str(submit.file), "--version", "v1").exit_code == 0
    done = here("submit", *rest, "--version", "v1", KUBECONFIG=str(submit.kubernetes.configuration))
    assert done.exit_code == 2 and "train: requests cpu 4" in done.line


def test_a_run_that_is_already_there_is_not_checked_again(submit: Submission) -> None:
    assert submit("", "--run-name", "nightly").exit_code == 0
    add_node(submit.kubernetes, "small", cpu="1m")
    assert submit("", "--run-name", "nightly").exit_code == 0
    assert len(submit.server.runs) == 1


# Where nothing can be checked


def test_without_credentials_a_line_says_that_nothing_was_checked(submit: Submission) -> None:
    done = submit("steps: {train: {cpu_request: '64'}}", KUBECONFIG=str(submit.file.with_name("none")))
    assert done.exit_code == 0 and len(submit.server.runs) == 1
    assert (
        len([line for line in done.err.splitlines() if "preflight: skipped (no credentials for Kubernetes" in line])
        == 1
    )


@pytest.mark.parametrize(
    "text", ["][", "{}", "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]"]
)
def test_credentials_that_cant_be_read_cost_no_run(submit: Submission, text: str) -> None:
    configuration = submit.file.with_name("kubeconfig")
    configuration.write_text(text)
    done = submit("", KUBECONFIG=str(configuration))
    assert done.exit_code == 0 and "preflight: skipped (no credentials for Kubernetes" in done.err


def test_an_api_that_isnt_there_costs_no_run(submit: Submission) -> None:
    configuration = json.loads(submit.kubernetes.configuration.read_text())
    configuration["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{free_port()}"
    submit.kubernetes.configuration.write_text(json.dumps(configuration))
    done = submit("")
    assert done.exit_code == 0 and "preflight: skipped (namespace team-a of http://127.0.0.1:" in done.err


def test_a_login_program_that_hangs_costs_no_run(submit: Submission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "LONGEST", 0.1)
    pipe = submit.file.with_name("pipe")
    os.mkfifo(pipe)
    configuration = json.loads(submit.kubernetes.configuration.read_text())
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [str(pipe)]}
    configuration["users"][0]["user"] = {"exec": program}
    submit.kubernetes.configuration.write_text(json.dumps(configuration))
    done = submit("")
    pipe.write_text("the program ends")
    assert done.exit_code == 0 and "preflight: skipped (no answer within" in done.err


@pytest.mark.parametrize("answer", [(403, "forbidden"), (401, "Unauthorized")])
def test_a_namespace_that_one_may_not_read_costs_no_run(submit: Submission, answer: tuple[int, str]) -> None:
    for kind in ("services", "configmaps", "nodes", "secrets"):
        submit.kubernetes.refuses["GET", kind] = answer
    done = submit("")
    assert done.exit_code == 0 and "preflight: skipped (you may not read namespace team-a of " in done.err


def test_what_one_may_not_read_is_named_and_the_rest_is_checked(submit: Submission) -> None:
    submit.kubernetes.refuses["GET", "nodes"] = submit.kubernetes.refuses["GET", "secrets"] = (403, "forbidden")
    done = submit("steps: {train: {cpu_request: '64'}}")
    assert done.exit_code == 0
    assert "preflight: not checked, since you may not read them: nodes, secret registry-login, secret mlflow-login" in (
        done.err.splitlines()
    )
    del submit.kubernetes.core["persistentvolumeclaims", "siamese"]
    assert "volume.claim: no persistent volume claim siamese" in submit("").line


def test_another_cluster_than_kfps_is_not_held_against_the_run(submit: Submission) -> None:
    submit.kubernetes.core.clear()
    done = submit("")
    assert done.exit_code == 0
    assert f"has no Kubeflow Pipelines; is it another cluster than {submit.server.address}?" in done.err


def test_a_profiles_namespace_is_known_by_its_configuration(submit: Submission) -> None:
    del submit.kubernetes.core["services", "ml-pipeline"]
    submit.kubernetes.add("configmaps", "metadata-grpc-configmap", data={"METADATA_GRPC_SERVICE_PORT": "8080"})
    assert "train: requests cpu 64" in submit.refused("steps: {train: {cpu_request: '64'}}")


def test_the_command_as_users_start_it(submit: Submission) -> None:
    submit.file.write_text(OWN + "steps: {train: {cpu_request: '4'}}")
    options = ("--host", submit.server.address, "--namespace", NAMESPACE, "--cluster", str(submit.file))
    done = process("submit", *options, KUBECONFIG=str(submit.kubernetes.configuration))
    assert done.exit_code == 2 and "train: requests cpu 4" in done.line
    assert not any(word in done.out + done.err for word in (PASSWORD, TOKEN, "Traceback"))
