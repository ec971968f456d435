"""The tracking server for teams, as docker/compose.yaml configures it: here without containers.

Commands and environment of the services `prepare` and `mlflow` are read from compose.yaml; PostgreSQL is Debian's, the
object store is moto's. What is replaced are addresses and ports alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3
import postgres_servers
import psycopg2
import pytest
import yaml
from conftest import ROOT
from storage_servers import free_port, s3_server, wait_for

COMPOSE = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
SERVICES = COMPOSE["services"]
GIVEN = {  # what docker/.env.example asks for
    "DATABASE_PASSWORD": "p@ss/word:of the database",
    "STORAGE_KEY": "storage-key",
    "STORAGE_SECRET": "storage-secret",
    "ADMIN_PASSWORD": "first-password-of-admin",
    "SECRET_KEY": "signs-forms",
}
ADMIN = ("admin", GIVEN["ADMIN_PASSWORD"])
lacking = postgres_servers.lacking()


def filled_in(text: object, given: Mapping[str, str]) -> str:
    """A value of compose.yaml with its variables as Docker Compose would fill them in."""

    def value(found: re.Match[str]) -> str:
        if given.get(found["name"]):
            return given[found["name"]]
        assert found["how"] == ":-", f"{found['name']} is required: {found['rest']}"
        return found["rest"]

    return re.sub(r"\$\{(?P<name>\w+)(?P<how>:[-?])(?P<rest>[^}]*)\}", value, str(text))


@dataclass(frozen=True)
class Stack:
    """What runs, and the environment that compose.yaml gives to `prepare` and `mlflow`."""

    folder: Path
    address: str
    storage: str
    environment: dict[str, str]

    def request(self, path: str, login: tuple[str, str] | None = None) -> int:
        headers = {}
        if login:
            headers["Authorization"] = "Basic " + b64encode(":".join(login).encode()).decode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.address + path, headers=headers)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def client_environment(self, login: tuple[str, str]) -> dict[str, str]:
        """Of a process that knows the server's address and a login, and no S3."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_", "PG"))}
        return environment | {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": login[0],
            "MLFLOW_TRACKING_PASSWORD": login[1],
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }

    def python(self, program: str, login: tuple[str, str] = ADMIN, exit_code: int = 0) -> str:
        """Runs a client in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=self.client_environment(login),
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == exit_code, done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if lacking:
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("tracking-server")
    shutil.copytree(ROOT / "docker/tracking", folder, dirs_exist_ok=True)
    port = free_port()
    with (
        postgres_servers.postgres_server(GIVEN["DATABASE_PASSWORD"], "mlflow", folder / "postgres.log") as database,
        s3_server(folder / "s3.log") as storage,
    ):
        given = {name: filled_in(value, GIVEN) for name, value in SERVICES["mlflow"]["environment"].items()}
        assert given == {name: filled_in(value, GIVEN) for name, value in SERVICES["prepare"]["environment"].items()}
        ours = {"PGHOST": "127.0.0.1", "PGPORT": str(database), "MLFLOW_S3_ENDPOINT_URL": storage}
        assert set(ours) <= set(given)
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "MLFLOW_", "PG"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = clean | given | ours | {"PATH": path}
        prepared = prepare(folder, environment)
        assert "made database mlflow\n" in prepared and "made bucket mlflow" in prepared
        command = [
            {"5000": str(port), "0.0.0.0": "127.0.0.1"}.get(word, word) for word in SERVICES["mlflow"]["command"]
        ]
        with (folder / "mlflow.log").open("w") as log:
            server = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            wait_for(port, server)
            yield Stack(folder, f"http://127.0.0.1:{port}", storage, environment)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def prepare(folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        SERVICES["prepare"]["command"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_nobody_gets_in_without_a_login(stack: Stack) -> None:
    search = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert stack.request(search) == 401
    assert stack.request(search, ("admin", "another-password")) == 401
    assert stack.request(search, ADMIN) == 200
    assert stack.request("/") == 401


def test_the_health_check_needs_no_login(stack: Stack) -> None:
    assert stack.request("/health") == 200
    program = SERVICES["mlflow"]["healthcheck"]["test"][3].replace("http://127.0.0.1:5000", stack.address)
    subprocess.run([sys.executable, "-c", program], check=True)


def test_preparing_again_changes_nothing(stack: Stack) -> None:
    assert prepare(stack.folder, stack.environment) == ""


def test_runs_are_kept_in_postgresql_and_artifacts_in_the_object_store(stack: Stack) -> None:
    said = stack.python(
        "import mlflow\n"
        "mlflow.set_experiment('shared')\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_metric('eer', 0.25)\n"
        "    mlflow.log_text('through the server', 'folder/note.txt')\n"
        "print('run', run.info.run_id)\n"
        "print(mlflow.artifacts.load_text(run.info.artifact_uri + '/folder/note.txt'))\n"
    )
    run_id = re.search(r"^run (\w{32})$", said, flags=re.MULTILINE)[1]
    assert "through the server" in said
    assert rows(stack, "mlflow", f"SELECT value FROM metrics WHERE run_uuid = '{run_id}' AND key = 'eer'") == [(0.25,)]
    client = boto3.client(
        "s3", endpoint_url=stack.storage, aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1"
    )
    keys = [found["Key"] for found in client.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert [key for key in keys if key.endswith(f"{run_id}/artifacts/folder/note.txt")]


def test_clients_are_never_sent_to_the_object_store(stack: Stack) -> None:
    """They don't reach it: neither may the server offer its addresses, nor is a file's address given out."""
    with urllib.request.urlopen(f"{stack.address}/api/3.0/mlflow/server-info") as answer:
        offered = json.load(answer)
    found = {name: value for name, value in offered.items() if "multipart" in name}
    assert len(found) == 2 and not any(found.values())
    assert stack.request("/api/2.0/mlflow-artifacts/presigned/any/file.txt", ADMIN) == 501


def test_logins_are_kept_in_a_database_of_their_own_and_no_password_in_clear(stack: Stack) -> None:
    found = rows(stack, "mlflow_users", "SELECT username, password_hash, is_admin FROM users WHERE username = 'admin'")
    assert [(name, is_admin) for name, _, is_admin in found] == [("admin", True)]
    assert GIVEN["ADMIN_PASSWORD"] not in found[0][1]
    written = "".join(file.read_text(errors="replace") for file in stack.folder.iterdir() if file.is_file())
    assert not [name for name, value in GIVEN.items() if name != "STORAGE_KEY" and value in written]


def test_a_user_reads_all_and_writes_only_what_is_granted(stack: Stack) -> None:
    """`ci` may do what a retraining does to a registered model and an experiment of others; `reader` may look."""
    stack.python(
        "from mlflow.server import get_app_client\n"
        "import mlflow, os\n"
        "users = get_app_client('basic-auth', tracking_uri=os.environ['MLFLOW_TRACKING_URI'])\n"
        "for name in ('reader', 'ci'):\n"
        "    users.create_user(name, f'password-of-{name}')\n"
        "experiment = mlflow.create_experiment('of-admin')\n"
        "client = mlflow.MlflowClient()\n"
        "client.create_registered_model('of-admin')\n"
        "client.create_model_version('of-admin', 's3://elsewhere/model')\n"
        "users.grant_user_permission('ci', 'experiment', experiment, 'EDIT')\n"
        "users.grant_user_permission('ci', 'registered_model', 'of-admin', 'EDIT')\n"
    )
    retrain = (
        "import mlflow\n"
        "mlflow.set_experiment('of-admin')\n"
        "client = mlflow.MlflowClient()\n"
        "print('reads', client.get_model_version('of-admin', '1').version)\n"
        "client.set_registered_model_alias('of-admin', 'champion', '1')\n"
        "client.set_model_version_tag('of-admin', '1', 'siamese.promoted.by', 'ci')\n"
        "client.create_registered_model('of-admin.promoting')\n"
        "client.delete_registered_model('of-admin.promoting')\n"
        "with mlflow.start_run():\n"
        "    mlflow.log_metric('eer', 0.2)\n"
    )
    assert "reads 1\n" in stack.python(retrain, ("ci", "password-of-ci"))
    refused = stack.python(retrain, ("reader", "password-of-reader"), exit_code=1)
    assert "reads 1\n" in refused and "Permission denied" in refused


def test_two_processes_that_make_the_same_registered_model_at_once_one_wins(stack: Stack) -> None:
    # What locks promotions (siamese.registry.lock): PostgreSQL has to decide as SQLite does.
    program = (
        "import mlflow, sys\n"
        "from mlflow.exceptions import MlflowException\n"
        "client = mlflow.MlflowClient()\n"
        "client.search_experiments()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for number in range(5):\n"
        "    try:\n"
        "        client.create_registered_model(f'contested-{number}')\n"
        "        print('won', number)\n"
        "    except MlflowException as error:\n"
        "        assert error.error_code == 'RESOURCE_ALREADY_EXISTS', error\n"
        "        print('lost', number)\n"
    )
    environment = stack.client_environment(ADMIN)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    clients = [subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes) for _ in range(2)]
    for client in clients:
        assert client.stdout.readline() == "ready\n"
    for client in clients:
        client.stdin.write("go\n")
        client.stdin.flush()
    said = [client.communicate() for client in clients]
    assert [client.returncode for client in clients] == [0, 0], said
    for number in range(5):
        assert sorted(line for out, _ in said for line in out.splitlines() if line.endswith(f" {number}")) == [
            f"lost {number}",
            f"won {number}",
        ]


def rows(stack: Stack, database: str, query: str) -> list[tuple]:
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    connection = psycopg2.connect(dbname=database, **{key: stack.environment[name] for key, name in names.items()})
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_the_file_asks_for_every_password_and_has_none() -> None:
    text = (ROOT / "docker/compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == set(GIVEN)
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "docker/.env.example").read_text().splitlines()
        if re.match(r"\w+=", line)
    )
    assert example == dict.fromkeys(GIVEN, "")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name


def test_only_the_port_of_mlflow_is_published_and_the_stores_have_no_way_out() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["mlflow"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert {name for name, service in SERVICES.items() if service["networks"] == ["inside"]} == {
        "database",
        "storage",
        "prepare",
    }


def test_what_stays_stands_in_named_volumes_and_images_are_pinned() -> None:
    for name in ("database", "storage"):
        assert SERVICES[name]["volumes"][0].split(":")[0] == name and name in COMPOSE["volumes"]
        assert re.fullmatch(r"[\w/.-]+:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", SERVICES[name]["image"])
    dockerfile = (ROOT / "docker/tracking/Dockerfile").read_text()
    assert re.search(r"^ARG BASE_IMAGE=python@sha256:[0-9a-f]{64}$", dockerfile, flags=re.MULTILINE)
    assert "--require-hashes" in dockerfile


def test_a_slow_machine_has_minutes_to_start_a_service() -> None:
    """Until then, a health check that fails doesn't count; one that passes does."""
    given = {
        name: service["healthcheck"]["start_period"] for name, service in SERVICES.items() if "healthcheck" in service
    }
    assert len(given) == 3 and all(int(period.removesuffix("s")) >= 300 for period in given.values())


def test_services_wait_for_the_health_of_what_they_need() -> None:
    assert all("healthcheck" in SERVICES[name] for name in ("database", "storage", "mlflow"))
    assert set(SERVICES["prepare"]["depends_on"]) == {"database", "storage"}
    assert {needed["condition"] for needed in SERVICES["prepare"]["depends_on"].values()} == {"service_healthy"}
    assert SERVICES["mlflow"]["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}
