"""`python -m pipelines submit`, against a server that speaks KFP's API and checks every request by kfp's own models."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from commands import ROOT, Done, command, environment_of, here, process
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kfp_server import Asked, Fault, KfpServer, kfp_server
from storage_servers import free_port
from waiting import PATIENCE

from pipelines import kubeflow
from pipelines.kubeflow import Refused, connect
from pipelines.steps import Changes, Step
from siamese.errors import InputError

RUNS = "/apis/v2beta1/runs"
FOLLOWED = ("--wait", "--poll", "0.05", "--no-preflight")


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server(token="good") as started:
        yield started


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for an answer as long as a busy machine takes."""
    monkeypatch.setattr(kubeflow, "CONNECT_WITHIN", PATIENCE)
    monkeypatch.setattr(kubeflow, "ANSWER_WITHIN", PATIENCE)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks again at once, so that the tests needn't wait; how often is as ever."""
    monkeypatch.setattr(kubeflow, "RETRIES", kubeflow.RETRIES.new(backoff_factor=0))


def submit(server: KfpServer, *options: str, token: str = "good") -> Done:
    return here("submit", "--host", server.address, *options, KFP_TOKEN=token)


def refused(done: Done) -> str:
    """What a refusal says: one line, nothing printed."""
    assert (done.exit_code, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    return done.line


# What is asked for


def test_a_run_carries_the_pipeline_and_its_arguments(server: KfpServer) -> None:
    done = submit(server, "-S", "train.epochs=3", "--revision", "abc123", "--tracking-uri", "http://mlflow:5000")
    assert done.exit_code == 0, done
    (run,) = server.runs.values()
    given = run["runtime_config"]["parameters"]
    assert (given["revision"], given["tracking_uri"]) == ("abc123", "http://mlflow:5000")
    assert given["repository"] == "https://git.example.com/siamese.git"
    assert given["train_params"]["epochs"] == 3
    assert run["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "siamese"
    assert "kubernetes" in run["pipeline_spec"]["platform_spec"]["platforms"]
    assert server.experiments[run["experiment_id"]]["display_name"] == "siamese"
    assert f"{server.address}/#/runs/details/{run['run_id']}" in done.out


def test_a_cluster_file_a_service_account_and_caching_reach_the_run(server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("image: registry.example.com/siamese:v1\n")
    options = ("--cluster", str(tmp_path / "cluster.yaml"), "--service-account", "trainer", "--no-caching")
    assert submit(server, *options, "--experiment", "faces").exit_code == 0
    (run,) = server.runs.values()
    assert run["service_account"] == "trainer"
    assert [one["display_name"] for one in server.experiments.values()] == ["faces"]
    pipeline = run["pipeline_spec"]["pipeline_spec"]
    images = {one["container"]["image"] for one in pipeline["deploymentSpec"]["executors"].values()}
    assert images == {"registry.example.com/siamese:v1"}
    graphs = [pipeline["root"], *pipeline["components"].values()]
    tasks = [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).values()]
    assert len(tasks) > 8
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks)


def test_a_run_can_take_its_data_from_an_object_store(server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("data: uri\n")
    options = ("--cluster", str(tmp_path / "cluster.yaml"), "--repository", "s3://bucket/faces", "--revision", "v1")
    done = submit(server, *options)
    assert done.exit_code == 0, done
    (run,) = server.runs.values()
    given = run["runtime_config"]["parameters"]
    assert (given["repository"], given["revision"]) == ("s3://bucket/faces", "v1")


def test_an_experiment_is_made_once(server: KfpServer) -> None:
    for _ in range(2):
        assert submit(server).exit_code == 0
    assert len(server.experiments) == 1
    assert len({run["display_name"] for run in server.runs.values()}) == 2


def test_what_is_wrong_with_the_arguments_is_told_before_anybody_is_asked(server: KfpServer) -> None:
    line = refused(submit(server, "-S", "train.epochs=0"))
    assert "train.epochs" in line
    assert server.asked == []


def test_json_names_the_run(server: KfpServer) -> None:
    told = json.loads(submit(server, "--json").out)
    (run,) = server.runs.values()
    assert told == {
        "run_id": run["run_id"],
        "name": run["display_name"],
        "state": "PENDING",
        "url": f"{server.address}/#/runs/details/{run['run_id']}",
    }


# How it ends


STEPS = ["data_version", "fetch_data", "catalog", "pairs", "preprocess", "train", "evaluate", "register", "promote"]


def changes(done: Done) -> list[str]:
    """What --wait said of the run: all but which run it is."""
    return [line for line in done.err.splitlines() if not line.startswith(("run ", "submitting run "))]


@pytest.mark.parametrize("kfp", ["2.16", "2.17"])
def test_each_change_of_a_step_is_a_line_with_its_own_name(server: KfpServer, kfp: str) -> None:
    server.plan.kfp = kfp
    done = process("submit", "--host", server.address, *FOLLOWED, KFP_TOKEN="good")
    assert done.exit_code == 0, done
    expected = [f"{step}: {state}" for step in (*STEPS, "notify") for state in ("running", "succeeded")]
    assert sorted(changes(done)) == sorted(expected)
    at = changes(done).index
    assert at("train: succeeded") < at("evaluate: running") < at("promote: succeeded") < at("notify: running")
    (run,) = server.runs.values()
    assert done.out.startswith(f"run {run['display_name']} succeeded: {server.address}/#/runs/details/")


def test_steps_from_the_cache_and_steps_that_a_condition_leaves_out_are_marked(server: KfpServer) -> None:
    server.plan.cached, server.plan.unmet = ("fetch-data", "catalog", "evaluate"), ("condition-2",)
    done = submit(server, *FOLLOWED)
    assert done.exit_code == 0, done
    said = changes(done)
    for step in ("fetch_data", "catalog", "evaluate"):
        assert [line for line in said if line.startswith(f"{step}: ")] == [f"{step}: succeeded (from the cache)"]
    for step in ("register", "promote"):
        assert [line for line in said if line.startswith(f"{step}: ")] == [
            f"{step}: skipped (its condition is not met)"
        ]


@pytest.mark.parametrize("is_ui", [False, True])
def test_a_failed_step_ends_with_the_last_lines_of_its_log(server: KfpServer, is_ui: bool) -> None:
    server.is_ui, server.plan.failing = is_ui, {"pairs": "main: Error (exit code 2)"}
    server.logs["pairs"] = (
        "I1130 20:00:00.000000      16 launcher_v2.go:154] launcher info:\n"
        + "".join(f"line {number}\n" for number in range(20))
        + "siamese: catalog.parquet: lists no pairs\n"
        "I1130 20:00:01.000000      16 launcher_v2.go:206] publish success.\n"
        "F1130 20:00:01.000001      16 main.go:56] failed to execute component: exit status 2\n"
        'time=2026-11-30T20:00:01.000Z level=INFO msg="sub-process exited" argo=true\n'
    )
    done = submit(server, *FOLLOWED)
    assert done.exit_code == 5, done
    said = changes(done)
    at = said.index("pairs: failed (main: Error (exit code 2))")
    assert said[at + 1 : at + 11] == [
        *(f"  line {number}" for number in range(11, 20)),
        "  siamese: catalog.parquet: lists no pairs",
    ]
    ((number, workflow),) = server.workflows.items()
    (pod,) = [node for node in workflow.nodes.values() if node["name"].endswith("pairs(0).executor(0)")]
    whole = f"  whole log: kubectl logs --namespace kubeflow {workflow.pod_name(pod)} --container main"
    assert said[at + 11] == whole
    assert not [line for line in said if line.startswith(("train", "evaluate", "register"))]
    assert "notify: succeeded" in said
    assert (
        done.out
        == f"run {server.runs[number]['display_name']} failed (pairs): {server.address}/#/runs/details/{number}\n"
    )


def test_a_failed_step_without_a_log_says_what_kubernetes_says(server: KfpServer) -> None:
    message = "Pod was active on the node longer than the specified deadline"
    server.plan.failing = {"train": message}
    done = submit(server, *FOLLOWED)
    assert f"train: failed ({message})" in changes(done)
    assert changes(done)[changes(done).index(f"train: failed ({message})") + 1].startswith("  whole log: kubectl logs ")


def test_a_step_that_kubeflow_can_not_prepare_is_a_failed_step(server: KfpServer) -> None:
    """Its driver, a pod of Kubeflow's own, looks for its inputs and for the cache."""
    server.plan.broken = {"train": "main: Error (exit code 1)"}
    server.logs["train-driver"] = "F1130 20:00:00.000000       1 main.go:76] KFP driver: no such parameter\n"
    done = submit(server, *FOLLOWED)
    said = changes(done)[changes(done).index("preprocess: succeeded") + 1 :]
    assert said[0] == "train: failed (main: Error (exit code 1))"
    assert said[1].endswith("] KFP driver: no such parameter") and "-system-container-driver-" in said[2]
    assert " failed (train): " in done.out


def test_a_run_that_kubeflow_can_not_begin_names_the_pod_that_failed(server: KfpServer) -> None:
    server.plan.broken = {"root": "main: Error (exit code 1)"}
    done = submit(server, *FOLLOWED)
    assert changes(done)[0] == "root-driver: failed (main: Error (exit code 1))"
    assert (done.exit_code, len(changes(done))) == (5, 2)
    assert " failed (root-driver): " in done.out


def test_what_a_pod_waits_for_is_said_once_however_it_is_worded() -> None:
    lines = Changes()
    reasons = ("Unschedulable: 0/1 nodes", "Unschedulable: 0/2 nodes", "ErrImagePull: no such tag", "ImagePullBackOff")
    said = [line for reason in reasons for _, line in lines.since([Step("train", "pending", reason=reason)])]
    assert said == ["train: pending (Unschedulable: 0/1 nodes)", "train: pending (ErrImagePull: no such tag)"]


@pytest.mark.parametrize("status", [404, 200])
def test_without_the_older_api_the_run_is_followed_and_no_step_is_named(server: KfpServer, status: int) -> None:
    """With 200, what answers is a page of the user interface."""
    server.faults = [Fault("GET", "/apis/v1beta1/.*", status, times=1000)]
    done = submit(server, *FOLLOWED)
    assert (done.exit_code, changes(done)) == (0, [])


@pytest.mark.parametrize(
    ("kfp", "often", "reason"),
    [("2.17", "losing", "pod deleted"), ("2.16", "failing_first", "main: Error (exit code 1)")],
)
def test_a_step_that_is_started_again_says_how_often_and_why(
    server: KfpServer, kfp: str, often: str, reason: str
) -> None:
    server.plan.kfp = kfp
    getattr(server.plan, often)["train"] = 2
    done = submit(server, *FOLLOWED)
    assert done.exit_code == 0, done
    assert [line for line in changes(done) if line.startswith("train")] == [
        "train: running",
        f"train: retry 1 ({reason})",
        "train: running",
        f"train: retry 2 ({reason})",
        "train: running",
        "train: succeeded",
    ]


def test_a_step_whose_pods_are_lost_too_often_is_begun_as_a_whole_again(server: KfpServer) -> None:
    """`train` has three retries of its own; then KFP 2.17 repeats the DAG around its pod."""
    server.plan.losing["train"] = 4
    done = submit(server, *FOLLOWED)
    assert done.exit_code == 0, done
    retries = [line for line in changes(done) if line.startswith("train: retry")]
    assert retries == [f"train: retry {number} (pod deleted)" for number in (1, 2, 3, 4)]


def test_a_pod_that_can_not_start_says_why(server: KfpServer) -> None:
    server.plan.pending["train"] = "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
    said = changes(submit(server, *FOLLOWED))
    at = said.index("train: pending (Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.)")
    assert said[at + 1 : at + 3] == ["train: running", "train: succeeded"]


def test_the_candidates_of_a_sweep_have_numbers(server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("sweep: {parallel: 1, candidates: [{seed: 1}, {seed: 2}]}\n")
    said = changes(submit(server, *FOLLOWED, "--cluster", str(tmp_path / "cluster.yaml")))
    assert [line for line in said if line.startswith(("train", "choose"))] == [
        "train 1: running", "train 1: succeeded", "train 2: running", "train 2: succeeded",
        "choose: running", "choose: succeeded",
    ]  # fmt: skip


def test_a_run_that_somebody_ends_was_cancelled(server: KfpServer) -> None:
    """KFP itself calls it failed in the end."""
    server.plan.endless = "train"
    asking = command("submit", "--host", server.address, *FOLLOWED, "--json", "--timeout", f"{PATIENCE:.0f}s")
    with subprocess.Popen(
        asking,
        cwd=ROOT,
        env=environment_of(KFP_TOKEN="good"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None and waiting.stdout is not None
        said = []
        for line in waiting.stderr:
            said.append(line)
            if line == "train: running\n":
                with server.lock:
                    server.answer(Asked("POST", f"{RUNS}/{next(iter(server.runs))}:terminate", {}, b"", {}))
        told = json.loads(waiting.stdout.read())
    assert (waiting.returncode, told["state"]) == (5, "CANCELED")
    assert "train: cancelled\n" in said
    assert next(iter(server.runs.values()))["state"] == "FAILED"


def test_a_cancelled_run_that_is_found_again_is_cancelled_too(server: KfpServer) -> None:
    assert submit(server, "--run-name", "weekly").exit_code == 0
    (number,) = server.runs
    server.answer(Asked("POST", f"{RUNS}/{number}:terminate", {}, b"", {}))
    while server.runs[number]["state"] != "FAILED":
        server.answer(Asked("GET", f"{RUNS}/{number}", {}, b"", {}))
    assert json.loads(submit(server, "--run-name", "weekly", "--json").out)["state"] == "CANCELED"


def test_data_in_an_object_store_is_a_step_too(server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("data: uri\n")
    said = changes(submit(server, *FOLLOWED, "--cluster", str(tmp_path / "cluster.yaml")))
    assert said[:4] == ["importer: running", "importer: succeeded", "catalog: running", "catalog: succeeded"]


def test_waiting_ends_at_the_time_given_and_the_run_goes_on(server: KfpServer) -> None:
    server.plan.endless = "catalog"
    done = submit(server, *FOLLOWED, "--timeout", "1s")
    assert done.exit_code == 6, done
    assert " is still running: " in done.out
    assert server.requests("POST", f"{RUNS}/.*") == []


def test_a_command_that_is_ended_while_it_waits_leaves_the_run_alone(server: KfpServer) -> None:
    server.plan.endless = "catalog"
    asking = [*command("submit", "--host", server.address, *FOLLOWED)]
    with subprocess.Popen(
        asking, cwd=ROOT, env=environment_of(KFP_TOKEN="good"), stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        for line in waiting.stderr:
            if line.endswith(": running\n"):
                break
        waiting.send_signal(signal.SIGTERM)
        said = waiting.stderr.read()
    assert waiting.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert [run["state"] for run in server.runs.values()] == ["RUNNING"]
    assert len(server.requests("POST", f"{RUNS}.*")) == 1


def test_a_server_that_starts_again_meanwhile_is_no_failure(server: KfpServer, impatient: None) -> None:
    server.faults = [Fault("GET", f"{RUNS}/.*", 503, times=3), Fault("GET", f"{RUNS}/.*", None, times=2)]
    assert submit(server, *FOLLOWED).exit_code == 0


# No second run


def test_a_lost_answer_makes_no_second_run(server: KfpServer) -> None:
    server.faults = [Fault("POST", RUNS, None, done=True)]
    done = submit(server)
    assert done.exit_code == 0, done
    (run,) = server.runs
    assert run in done.out
    assert len(server.requests("POST", RUNS)) == 1


@pytest.mark.parametrize("status", [None, 503])
def test_where_nobody_knows_whether_a_run_was_made_that_is_said(server: KfpServer, status: int | None) -> None:
    server.faults = [Fault("POST", RUNS, status)]
    line = refused(submit(server, "--run-name", "weekly"))
    assert "run weekly may have been made all the same: look before you try again" in line
    assert len(server.requests("POST", RUNS)) == 1


def test_that_is_said_too_where_nobody_can_look(server: KfpServer, impatient: None) -> None:
    server.faults = [Fault("POST", RUNS, None, done=True), Fault("GET", RUNS, 503, times=100)]
    assert "may have been made all the same" in refused(submit(server))


def test_the_same_name_finds_the_run(server: KfpServer) -> None:
    first, second = (json.loads(submit(server, "--run-name", "weekly", "--json").out) for _ in range(2))
    assert first == second
    assert len(server.runs) == 1


def test_the_same_name_with_other_arguments_is_refused(server: KfpServer) -> None:
    assert submit(server, "--run-name", "weekly").exit_code == 0
    line = refused(submit(server, "--run-name", "weekly", "-S", "train.epochs=3"))
    assert "run weekly is already there with other arguments" in line
    assert len(server.runs) == 1


def test_of_several_of_a_name_the_newest_is_meant(server: KfpServer) -> None:
    """KFP's user interface doesn't look at names."""
    assert submit(server, "--run-name", "weekly").exit_code == 0
    (older,) = server.runs.values()
    server.runs["newer"] = older | {"run_id": "newer"}
    assert json.loads(submit(server, "--run-name", "weekly", "--json").out)["run_id"] == "newer"


def test_two_that_make_the_experiment_at_once_share_it(server: KfpServer) -> None:
    server.faults = [Fault("POST", "/apis/v2beta1/experiments", 409, done=True)]  # the other was quicker
    assert submit(server).exit_code == 0
    assert len(server.experiments) == 1


# Who asks, and where


@pytest.mark.parametrize("shape", ["json", "istio", "redirect", "page"])
def test_an_expired_token_is_told_in_one_line(server: KfpServer, shape: str) -> None:
    server.login = shape
    line = refused(submit(server, token="old"))
    assert f"{server.address} asks to log in" in line
    assert "expired" in line
    assert "old" not in line
    assert server.runs == {}


def test_an_expired_token_ends_the_process_with_2(server: KfpServer) -> None:
    done = process("submit", "--host", server.address, KFP_TOKEN="old")
    assert (done.exit_code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    assert done.err.startswith(f"siamese: {server.address} asks to log in (")


def test_a_page_instead_of_the_api_is_told(server: KfpServer) -> None:
    server.login = "app"
    assert "the API's address ends in /pipeline" in refused(submit(server, token="old"))


def test_a_renewed_token_is_read_again(server: KfpServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("good\n")
    client = connect(server.address, token_file=file)
    assert client.experiment("none") is None
    server.token = "better"
    with pytest.raises(Refused, match="expired"):
        client.experiment("none")
    file.write_text("better\n")
    assert client.experiment("none") is None


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("", "holds no token"), ("a b", "holds no token")]
)
def test_a_file_without_a_token_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(InputError, match=said):
        connect("http://127.0.0.1", token_file=tmp_path / "token")


def test_no_token_can_stand_on_the_command_line(server: KfpServer) -> None:
    assert "No such option: --token" in refused(submit(server, "--token", "good"))


def test_in_a_pod_everything_is_found(server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.namespaces = ("team-a",)
    (tmp_path / "token").write_text("good")
    (tmp_path / "namespace").write_text("team-a")
    monkeypatch.setattr(kubeflow, "POD_HOST", server.address)
    monkeypatch.setattr(kubeflow, "POD_NAMESPACE", str(tmp_path / "namespace"))
    done = here("submit", KUBERNETES_SERVICE_HOST="10.0.0.1", KF_PIPELINES_SA_TOKEN_PATH=str(tmp_path / "token"))
    assert done.exit_code == 0, done
    assert [one["namespace"] for one in server.experiments.values()] == ["team-a"]


def test_a_namespace_of_others_is_told(server: KfpServer) -> None:
    server.namespaces = ("team-a",)
    line = refused(submit(server, "--namespace", "team-b"))
    assert "Namespace:team-b" in line
    assert "see that --namespace is right" in line
    assert "a namespace is needed" in refused(submit(server))
    assert submit(server, "--namespace", "team-a").exit_code == 0


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    host = f"http://127.0.0.1:{free_port()}"
    done = process("submit", "--host", host)
    assert done.exit_code == 2
    assert done.out == ""
    assert done.err.startswith(f"siamese: {host} can't be reached (")
    assert len(done.err.splitlines()) == 1


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeflow, "ANSWER_WITHIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert f"{host} gave no answer" in refused(here("submit", "--host", host))


def test_a_whole_kubeflow_has_the_api_below_its_address(server: KfpServer) -> None:
    done = here("submit", "--host", f"{server.address}/pipeline/", KFP_TOKEN="good")
    assert done.exit_code == 0, done
    assert f": {server.address}/pipeline/#/runs/details/" in done.out


def test_a_private_certificate_is_named(tmp_path: Path) -> None:
    file = certificate(tmp_path / "server.pem")
    with kfp_server(certificate=file) as server:
        line = refused(here("submit", "--host", server.address))
        assert "certificate verify failed" in line
        assert "name its certificates with --ca-file" in line
        assert here("submit", "--host", server.address, "--ca-file", str(file)).exit_code == 0
        for name in ("KFP_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            assert here("submit", "--host", server.address, **{name: str(file)}).exit_code == 0, name
    assert "name the certificates with --ca-file" in refused(
        here("submit", "--host", "https://127.0.0.1", "--ca-file", str(tmp_path / "none"))
    )


def certificate(file: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, and its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(pem))
    return file


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (None, "Set --host or KFP_HOST"),
        ("kubeflow.example.com", "write it as http://HOST or https://HOST"),
        ("https://ada:secret@kubeflow.example.com", "leave user and password out"),
    ],
)
def test_a_host_that_is_none_is_told(host: str | None, said: str) -> None:
    line = refused(here("submit", *(("--host", host) if host else ())))
    assert said in line
    assert "secret" not in line


def test_questions_are_asked_again_while_the_server_starts(server: KfpServer, impatient: None) -> None:
    server.faults = [Fault("GET", ".*/experiments", 503, times=2), Fault("GET", ".*/experiments", 429)]
    assert submit(server).exit_code == 0
    assert len(server.requests("GET", ".*/experiments")) == 4


def test_a_server_that_stays_away_is_told(server: KfpServer, impatient: None) -> None:
    server.faults = [Fault("GET", ".*/experiments", 503, times=100)]
    assert "(HTTP 503)" in refused(submit(server))


# An uploaded version


def test_an_uploaded_version_is_run_by_its_name(server: KfpServer) -> None:
    assert here("upload", "--version", "v1", "--host", server.address, KFP_TOKEN="good").exit_code == 0
    done = submit(server, "--version", "v1")
    assert done.exit_code == 0, done
    (run,) = server.runs.values()
    (version,) = server.versions
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version
    assert "pipeline_spec" not in run


def test_a_version_that_is_not_there_is_told(server: KfpServer) -> None:
    assert "version v9 isn't on" in refused(submit(server, "--version", "v9"))
    assert "leave it out, or --version" in refused(submit(server, "--version", "v9", "--no-caching"))


def test_a_cluster_file_in_the_environment_is_named_where_a_version_has_its_own(server: KfpServer) -> None:
    """Without the option on the command line, what to leave out is the variable."""
    given = {"SIAMESE_CLUSTER": str(ROOT / "pipelines/cluster.yaml"), "KFP_TOKEN": "good"}
    line = refused(here("submit", "--host", server.address, "--version", "v1", **given))
    assert line.endswith("--cluster (or SIAMESE_CLUSTER): an uploaded version has its own; leave it out, or --version")


# The server of these tests


def test_kfps_own_client_is_at_home_on_the_server(server: KfpServer, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        client = kfp.Client(host=server.address, existing_token="good", namespace="any")
    file = tmp_path / "pipeline.yaml"
    assert here("compile", "--output", str(file)).exit_code == 0
    given = {"repository": "https://git.example.com/siamese.git", "revision": "abc123"}
    run = client.create_run_from_pipeline_package(str(file), given, run_name="weekly", experiment_name="faces")
    assert client.wait_for_run_completion(run.run_id, timeout=PATIENCE, sleep_duration=0).state == "SUCCEEDED"
    uploaded = client.upload_pipeline(str(file), "siamese")
    version = client.upload_pipeline_version(str(file), "v1", pipeline_name="siamese")
    assert client.get_pipeline_version(uploaded.pipeline_id, version.pipeline_version_id).display_name == "v1"
    experiment = client.get_experiment(experiment_name="faces").experiment_id
    again = client.create_recurring_run(
        experiment, "weekly", cron_expression="0 30 4 * * 1", params=given, pipeline_package_path=str(file)
    )
    client.disable_recurring_run(again.recurring_run_id)
    assert client.get_recurring_run(again.recurring_run_id).status == "DISABLED"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"displayname": "typo"}, 'unknown field "displayname"'),
        ({"service_account": 7}, "invalid value for str"),
        ({"state": "FINE"}, "invalid value for enum"),
        ({"runtime_config": {"parameters": {"epoch": 3}}}, "parameter epoch not found"),
        ({"runtime_config": {"parameters": {"revision": 3}}}, "parameter revision requires type STRING"),
        ({"runtime_config": {"parameters": {"revision": "abc"}}}, r"no parameter\(s\) provided: \['repository'\]"),
        ({"pipeline_spec": {"pipelineInfo": {"nam": "siamese"}}}, "Failed to parse the pipeline spec"),
        ({"experiment_id": "none"}, "Experiment none not found"),
    ],
)
def test_the_server_refuses_what_kfp_would(server: KfpServer, change: dict, said: str) -> None:
    assert submit(server).exit_code == 0
    (run,) = server.runs.values()
    sent = server.requests("POST", RUNS)[0].json
    client = connect(server.address)
    client.runs.api_client.configuration.api_key["authorization"] = "Bearer good"
    assert run["display_name"] == sent["display_name"]
    with pytest.raises(Refused, match=said):
        client.runs.run_service_create_run(sent | change)
