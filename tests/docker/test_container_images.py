"""The images, built and run by a real engine: what is in them, as whom they run, and that the serving one serves."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import registered
from container_engine import (
    ANY_USER,
    ROOT,
    container,
    docker,
    image,
    inspected,
    make,
    needs_engine,
    wait_until_healthy,
    wait_until_in,
)
from drawn import encoded, picture
from mlflow_servers import mlflow_server
from storage_servers import free_port
from test_dockerfiles import BASE_IMAGE, pins
from waiting import PATIENCE

from siamese.models.verifier import Verifier
from siamese.tracking.client import TRACKING_URI

pytestmark = [pytest.mark.slow, needs_engine]

TRAINING, SERVING, TRACKING = "siamese-training", "siamese-serving", "siamese-tracking"
REQUIREMENTS = {TRAINING: "requirements.txt", SERVING: "requirements/serving.txt"}
OFFLINE = ("--rm", "--network", "none")

LIST_FILES = """
import os
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/dev")]
    for name in files + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
        print(os.path.join(folder, name))
"""
LIST_PACKAGES = """
from importlib.metadata import distributions
for one in distributions():
    print(one.name, one.version)
"""
VERIFY = """
import sys, urllib.request
headers = {"Content-Type": "application/json"}
request = urllib.request.Request("http://127.0.0.1:8000/verify", sys.argv[1].encode(), headers)
print(urllib.request.urlopen(request).read().decode())
"""


def normal(name: str) -> str:
    """A package's name as requirement files write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(name: str) -> dict[str, str]:
    """What Python finds in an image: names and versions."""
    listed = docker("run", *OFFLINE, image(name), "python3", "-P", "-c", LIST_PACKAGES)
    return {normal(found): version for found, version in map(str.split, listed.splitlines())}


def files(of: str) -> set[str]:
    return set(docker("run", *OFFLINE, "--user", "0", of, "python3", "-B", "-c", LIST_FILES).splitlines())


@pytest.fixture(scope="module", autouse=True)
def commit() -> str:
    """The commit that the images are built at: a developer may make another one while the tests run."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    make("images")
    return head.strip()


@pytest.fixture(scope="module")
def base_image() -> str:
    [pinned] = BASE_IMAGE.findall((ROOT / "docker/Dockerfile").read_text())
    return os.environ.get("BASE_IMAGE") or pinned


@pytest.fixture(scope="module")
def model(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that any user can read."""
    folder = registered.small_model(tmp_path_factory.mktemp("model"), workspace, better=True)
    for place in (folder.parent, folder, *folder.rglob("*")):
        place.chmod(0o755)
    return folder


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_an_image_adds_the_environment_to_its_base_and_nothing_else(name: str, base_image: str) -> None:
    """No cache, compiler, secret, test or data: what lies outside /venv is the base's, but for git's one setting."""
    found, before = files(image(name)), files(base_image)
    added = {file for file in found - before if not file.startswith("/venv/")}
    assert added == ({"/etc/gitconfig"} if name == TRAINING else set())
    assert not before - found
    assert not any(re.search(r"/(pip|uv|hatchling|wheelhouse)/__init__\.py$", file) for file in found - before)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_of_the_project_an_image_has_the_library_alone(name: str) -> None:
    """The files that git knows below src/siamese and src/model, the parameters, and what an installer notes."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/siamese", "src/model"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    program = "from importlib.metadata import files; print(*files('siamese'), sep='\\n')"
    found = docker("run", *OFFLINE, image(name), "python3", "-c", program).splitlines()
    ours = {file for file in found if not re.search(r"dist-info/|__pycache__/|bin/siamese$", file)}
    assert ours == {file.removeprefix("src/") for file in tracked if (ROOT / file).exists()} | {"siamese/params.yaml"}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_an_image_has_what_was_pinned(name: str) -> None:
    found = packages(name)
    assert found.pop("siamese") == inspected(image(name))["Config"]["Labels"]["org.opencontainers.image.version"]
    assert found.items() <= pins(REQUIREMENTS[name])


@pytest.mark.parametrize("name", [TRAINING, SERVING, TRACKING])
def test_an_image_tells_what_it_is_and_of_which_commit(name: str, commit: str) -> None:
    labels = inspected(image(name))["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == name
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
    assert labels["org.opencontainers.image.licenses"] == "GPL-3.0-only"


@pytest.mark.parametrize("name", REQUIREMENTS)
@pytest.mark.parametrize("user", [[], ["--user", ANY_USER], ["--user", ANY_USER, "--read-only", "--tmpfs", "/tmp"]])
def test_an_image_runs_as_whoever_it_is_told(name: str, user: list[str]) -> None:
    """Also where nothing but /tmp and a volume at /job can be written."""
    script = 'siamese params > "$HOME/params.yaml" && cp "$HOME/params.yaml" . && id -u && siamese --help'
    arguments = [*OFFLINE, *user, "--volume", "/job", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    said = docker("run", *arguments, image(name), "sh", "-ec", script)
    assert "Usage: siamese" in said
    assert ("12345" if user else "10001") in said.splitlines()


def test_training_can_run_what_kubeflow_calls() -> None:
    said = docker(
        "run", *OFFLINE, "--user", ANY_USER, image(TRAINING), "sh", "-c", "python3 -m kfp.dsl.executor_main -h"
    )
    assert "--executor_input" in said


def test_training_reads_a_repository_of_another_user(tmp_path: Path) -> None:
    """Without a git program; git's libraries refuse that unless told otherwise."""
    source = tmp_path / "repository"

    def run(*command: str) -> None:
        who = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        subprocess.run(command, cwd=source, check=True, capture_output=True, env=os.environ | who)

    (source / "faces").mkdir(parents=True)
    (source / "faces/one.txt").write_text("an image")
    run("git", "init", "-q")
    run("dvc", "init", "-q")
    run("dvc", "remote", "add", "-q", "--default", "store", "../store")
    run("dvc", "add", "-q", "faces")
    run("dvc", "push", "-q")
    run("git", "add", "--all")
    run("git", "commit", "-q", "-m", "data")
    run("git", "clone", "-q", "--bare", ".", "../bare.git")
    subprocess.run(["chmod", "-R", "a+rX", str(tmp_path)], check=True)
    # The remote's relative path would be looked for in DVC's own clone.
    program = """
from dvc.repo import Repo
Repo.get("/data/bare.git", "faces", out="got", rev="HEAD", remote_config={"url": "/data/store"})
print(open("got/one.txt").read())
"""
    arguments = [*OFFLINE, "--user", ANY_USER, "--volume", f"{tmp_path}:/data:ro", image(TRAINING)]
    assert "an image" in docker("run", *arguments, "python3", "-c", program).splitlines()


def test_serving_is_small_and_cannot_train() -> None:
    assert inspected(image(SERVING))["Size"] < 2e9
    unwanted = {"tensorflow", "tensorflow-transform", "apache-beam", "kfp", "dvc", "mlflow", "pandas", "pip"}
    assert not packages(SERVING).keys() & unwanted


def test_serving_answers_from_a_mounted_model_and_is_healthy_then(model: Path) -> None:
    """And logs it. Behind no network at all: what it needs is in the image."""
    images = [encoded(picture(seed)) for seed in (0, 1)]
    arguments = ["--network", "none", "--user", ANY_USER, "--read-only", "--tmpfs", "/tmp"]
    arguments += ["--volume", f"{model}:/job/artifacts/model:ro", image(SERVING)]
    log = "/tmp/predictions.jsonl"
    with container(*arguments, "siamese", "serve", "--host", "0.0.0.0", "--log", log) as made:
        wait_until_healthy(made)
        asked = dict(zip(("anchor", "other"), (base64.b64encode(one).decode() for one in images), strict=True))
        answer = json.loads(docker("exec", made, "python3", "-c", VERIFY, json.dumps(asked)))
        wait_until_in(made, lambda: docker("exec", made, "cat", log))
        logged = json.loads(docker("exec", made, "cat", log))
        docker("stop", made)
        assert inspected(made)["State"]["ExitCode"] == 0
    verifier = Verifier.load(model)
    embeddings = verifier.embed(verifier.pixels(images))
    assert answer["score"] == pytest.approx(float(verifier.score(embeddings[:1], embeddings[1:])[0]), abs=1e-5)
    assert logged["score"] == answer["score"]
    assert answer["threshold"] == json.loads((model / "threshold.json").read_text())["threshold"]


def test_serving_serves_the_champion_of_a_server(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own default, but for the port, as it shares the machine's network here."""
    with mlflow_server(tmp_path) as address:
        monkeypatch.setenv(TRACKING_URI, address)
        registered.upload(model).version("siamese", "champion")
        port = str(free_port())
        command = [*inspected(image(SERVING))["Config"]["Cmd"], "--port", port]
        with container("--network", "host", "--env", f"{TRACKING_URI}={address}", image(SERVING), *command) as made:
            wait_until_in(made, lambda: "\nserving siamese version 1 at " in docker("logs", made))
            answer = httpx.post(
                f"http://127.0.0.1:{port}/verify",
                files={"anchor": encoded(picture(0)), "other": encoded(picture(0))},
                timeout=PATIENCE,
            ).json()
    assert answer["model"] == "siamese/1" and answer["same"] is True


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "tracking server http://127.0.0.1:9 can't be used"),
        ("sqlite:////job/mlflow.db", "unsupported URI 'sqlite:"),
    ],
)
def test_serving_tells_in_a_line_of_a_registry_that_it_cannot_use(uri: str, said: str) -> None:
    command = ["run", *OFFLINE, "--env", f"{TRACKING_URI}={uri}", image(SERVING)]
    if uri.startswith("sqlite"):
        command += ["sh", "-c", "touch mlflow.db && exec siamese serve --model models:/siamese@champion"]
    lines = docker(*command, exit_code=2).splitlines()
    assert said in lines[-1] and lines[-1].startswith("siamese: ")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sbom")
    make("sbom", SBOM=str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", [TRAINING, SERVING, TRACKING])
def test_the_list_of_packages_names_those_in_the_image(name: str, lists: Path) -> None:
    listed = json.loads((lists / name / "sbom.cdx.json").read_text())
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    assert {normal(one["name"]): one["version"] for one in listed["components"]} == packages(name)
