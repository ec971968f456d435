"""What the container files promise, read from the files: no engine is needed."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from container_engine import ROOT
from docker.utils import exclude_paths
from packaging.requirements import Requirement

FILES = sorted((ROOT / "docker").glob("**/Dockerfile"))
IMAGES = [file for file in FILES if file.parent.name != "sbom"]  # that one makes a list, and no image
BASE_IMAGE = re.compile(r"^ARG BASE_IMAGE=(python@sha256:[0-9a-f]{64})$", re.MULTILINE)
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def path(file: Path) -> str:
    return str(file.relative_to(ROOT))


@dataclass(frozen=True)
class Instruction:
    name: str
    rest: str


def instructions(file: Path) -> list[Instruction]:
    """A Dockerfile's instructions, each in one line, without comments."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line]


def final_stages(file: Path) -> list[list[Instruction]]:
    """Each stage that no other is made from, with what it inherits from other stages of the file."""
    stages: dict[str, list[Instruction]] = {}
    used: set[str] = set()
    for one in instructions(file):
        if one.name == "FROM":
            base, _, name = one.rest.partition(" AS ")
            current = stages[name or "last"] = list(stages.get(base, []))
            used.add(base)
        elif stages:
            current.append(one)
            used |= set(re.findall(r"(?:--from=|,from=)(\w[\w-]*)", one.rest))
    return [stage for name, stage in stages.items() if name not in used]


def pins(name: str) -> set[tuple[str, str]]:
    """Names and versions; a package may have two, for two versions of Python."""
    return set(PIN.findall((ROOT / name).read_text()))


@pytest.mark.parametrize("file", FILES, ids=path)
def test_every_image_stands_on_one_base_named_by_its_digest(file: Path) -> None:
    [base] = BASE_IMAGE.findall(file.read_text())
    assert {base} == {found for other in FILES for found in BASE_IMAGE.findall(other.read_text())}
    stages = {one.rest.partition(" AS ")[2] for one in instructions(file) if one.name == "FROM"}
    bases = {one.rest.partition(" AS ")[0] for one in instructions(file) if one.name == "FROM"}
    assert bases <= stages | {"${BASE_IMAGE}", "${IMAGE}", "scratch"}


@pytest.mark.parametrize("file", FILES, ids=path)
def test_nothing_is_installed_from_the_network_without_its_hash(file: Path) -> None:
    commands = [one.rest for one in instructions(file) if one.name == "RUN"]
    installing = [part for command in commands for part in command.split("&&") if "pip install" in part]
    assert installing
    assert all("--require-hashes" in part or "--no-index" in part for part in installing)
    assert not any(re.search(r"\b(apt|apt-get|curl|wget|git clone)\b", command) for command in commands)
    assert "ADD" not in {one.name for one in instructions(file)}


@pytest.mark.parametrize("file", FILES, ids=path)
def test_certificates_reach_a_build_as_a_secret_alone(file: Path) -> None:
    for one in instructions(file):
        if "--require-hashes" in one.rest:
            assert "--mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt" in one.rest
        assert one.name not in ("ARG", "ENV") or not re.search("PASSWORD|TOKEN|SECRET|_KEY", one.rest)
        assert one.name != "COPY" or "certificates" not in one.rest


@pytest.mark.parametrize("file", IMAGES, ids=path)
def test_an_image_runs_as_a_user_given_by_number_who_is_not_root(file: Path) -> None:
    for stage in final_stages(file):
        users = [one.rest for one in stage if one.name == "USER"]
        assert users and users[-1].isdigit() and int(users[-1]) > 0


def test_the_training_file_has_two_targets_and_the_smaller_is_the_default() -> None:
    names = [one.rest.partition(" AS ")[2] for one in instructions(ROOT / "docker/Dockerfile") if one.name == "FROM"]
    assert {"cpu", "gpu"} <= set(names) and names[-1] == "cpu"
    assert len(final_stages(ROOT / "docker/Dockerfile")) == 2


def test_what_serves_tells_its_health_and_its_port() -> None:
    [serving] = final_stages(ROOT / "docker/serving/Dockerfile")
    [port] = [one.rest for one in serving if one.name == "EXPOSE"]
    [health] = [one.rest for one in serving if one.name == "HEALTHCHECK"]
    assert f"http://127.0.0.1:{port}/health'" in health
    assert int(re.search(r"--start-period=(\d+)s", health)[1]) >= 300  # a slow machine isn't ill


@pytest.mark.parametrize("file", FILES, ids=path)
def test_what_a_build_copies_is_in_the_repository_and_sent_to_the_engine(file: Path) -> None:
    sent = exclude_paths(str(ROOT), patterns())
    for one in instructions(file):
        sources = re.findall(r"type=bind,source=([^, ]+)", one.rest)
        if one.name == "COPY" and "--from" not in one.rest:
            sources += one.rest.split()[:-1]
        for source in sources:
            assert (ROOT / source).exists()
            assert any(f"{name}/".startswith(f"{source.rstrip('/')}/") for name in sent)


def test_nothing_else_is_sent_to_the_engine(tmp_path: Path) -> None:
    """Data, models, history, passwords and what lies about: planted in a folder, none of it gets through."""
    planted = [
        ".env", ".git/config", ".venv/bin/python", ".siamese/checkpoints/x", "artifacts/model/siamese.keras",
        "data/faces/a/1.png", "docker/.env", "docker/compose.yaml", "mlflow.db", "mlruns/1/x", "model.keras",
        "notes.txt", "params.local.yaml", "src/data/anchor/1.png", "src/siamese/__pycache__/x.pyc", "src/trained/x",
        "src/train.py", "tests/conftest.py", "requirements/notes.md",
    ]  # fmt: skip
    wanted = [
        "pyproject.toml", "params.yaml", "requirements.txt", "requirements/gpu.txt", "src/siamese/cli/__init__.py",
        "src/model/data.py", "docker/tracking/users.ini", "docker/gitconfig",
    ]  # fmt: skip
    for name in planted + wanted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    sent = {name for name in exclude_paths(str(tmp_path), patterns()) if (tmp_path / name).is_file()}
    assert sent == set(wanted)


def patterns() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_serving_requires_nothing_but_a_part_of_what_the_pipeline_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    smaller = {"tensorflow-cpu": "tensorflow", "mlflow-skinny": "mlflow"}
    ours = {one.name: one for one in map(Requirement, project["project"]["dependencies"])}
    for wanted in map(Requirement, project["dependency-groups"]["serving"]):
        assert wanted.specifier == ours[smaller.get(wanted.name, wanted.name)].specifier


def test_serving_computes_with_the_versions_that_trained() -> None:
    serving, training = pins("requirements/serving.txt"), pins("requirements.txt")
    assert {("tensorflow", version) for name, version in serving if name == "tensorflow-cpu"} <= training
    assert {one for one in serving if one[0] != "tensorflow-cpu"} <= training
    assert not dict(serving).keys() & {"tensorflow-transform", "apache-beam", "kfp", "dvc", "mlflow", "pandas", "scipy"}


@pytest.mark.parametrize("file", [ROOT / "requirements.txt", *sorted(ROOT.glob("requirements/*.txt"))], ids=path)
def test_requirement_files_name_no_address(file: Path) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", file.read_text())
