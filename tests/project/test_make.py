"""`make` at paths with odd names: it works there or refuses in one line, and touches nothing outside the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT

# If a path loses its quotes, `make clean` removes what the shell makes of the name. So each name here becomes nothing
# outside the test's own folder: it uses no variable but NEIGHBOUR and HOME, which `Clone.make` sets to folders there.
NAMES = [
    "face",
    "face id",
    "face  id ",
    "face\tid",
    "face's id",
    'face "id"',
    "face $NEIGHBOUR $(echo id) id",
    "face `echo id`; true & id",
    "face #1 id",
    "face [a-z]* {id} id",
    "face für Ähnliche 顔",
    "-face id",
]
REFUSED = ["face:id", "face 100% id", "face\\id", "face\nid"]
IDENTITY = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
CACHES = [".venv", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis"]

# A program in place of Python, docker and the commands in .venv/bin: it writes down its arguments, and makes what
# `python -m venv FOLDER` and `python .dvc/plots_page.py FILE` make.
PROGRAM = """#!/bin/bash
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\n'; } >> calls
case "${1:-} ${2:-}" in
    "-m venv") mkdir -p "$3/bin" && for name in python uv dvc siamese pytest; do cp "$0" "$3/bin/$name"; done ;;
    .dvc/plots_page.py*) touch "$2" ;;
esac
"""


@dataclass
class Clone:
    """A folder with what the Makefile needs, and the program in place of Python."""

    folder: Path
    program: Path

    def make(self, *arguments: str, exit_code: int = 0, cwd: Path | None = None, **variables: str) -> str:
        """Run make and return what it prints."""
        return self.run("make", *arguments, exit_code=exit_code, cwd=cwd, **variables)

    def run(self, *command: str, exit_code: int = 0, cwd: Path | None = None, **variables: str) -> str:
        """Run a command and return what it prints. Of the tests' own variables it sees few: some configure make."""
        beside = self.folder.parent
        names = {"PYTHON": str(self.program), "HOME": str(beside / "home"), "NEIGHBOUR": str(beside / "face")}
        own = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=own | names | {"GIT_CONFIG_NOSYSTEM": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == exit_code, done.stdout
        return done.stdout

    def calls(self) -> list[list[str]]:
        """Name and arguments of each call of the program since the last time."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines()
        file.unlink()
        return [line.removesuffix("\0").split("\0") for line in lines]

    def neighbours(self) -> dict[str, str]:
        """Every file and folder outside the clone, and what it contains."""
        outside = [path for path in self.folder.parent.rglob("*") if self.folder not in (path, *path.parents)]
        return {str(path): path.read_text() if path.is_file() else "" for path in outside}


def source_at(folder: Path) -> Clone:
    """Source files in that folder, without a repository, and folders beside it named like each word of its name."""
    folder.mkdir()
    for name in (
        "Makefile",
        ".ci",
        "dvc.yaml",
        "pyproject.toml",
        "requirements.txt",
        "requirements",
        ".dvc/config",
        ".dvc/plots_page.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    for name in {"face", "id", "home"} - {folder.name}:
        (folder.parent / name / ".venv").mkdir(parents=True)
        (folder.parent / name / ".venv/kept").write_text("a user's file")
    program = folder.parent / "a Python's folder/python3"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return Clone(folder, program)


def clone_at(folder: Path) -> Clone:
    """The same, with a repository of one commit."""
    clone = source_at(folder)
    clone.run("git", "init", "-q")
    clone.run("git", "add", "dvc.yaml")
    clone.run("git", *IDENTITY, "commit", "-qm", "start")
    return clone


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def fill_caches(folder: Path) -> None:
    for cache in CACHES:
        (folder / cache / "bin").mkdir(parents=True)
    (folder / ".coverage.1").touch()


@pytest.mark.parametrize("name", NAMES)
def test_clean_removes_the_environment_and_caches_of_the_clone_alone(tmp_path: Path, name: str) -> None:
    clone = clone_at(tmp_path / name)
    neighbours, files = clone.neighbours(), tree(clone.folder)
    fill_caches(clone.folder)
    clone.make("clean")
    assert tree(clone.folder) == files
    assert clone.neighbours() == neighbours


@pytest.mark.parametrize("name", NAMES)
def test_setup_and_test_write_into_the_clone_alone(tmp_path: Path, name: str) -> None:
    clone = clone_at(tmp_path / name)
    neighbours = clone.neighbours()
    clone.make("setup", "CERTIFICATES=")
    calls = clone.calls()
    assert calls[0] == ["python3", "-m", "venv", ".venv"]
    assert [call[0] for call in calls[1:]] == ["python", "uv", "uv", "python", "dvc"]  # each from the clone's .venv/bin
    clone.make("test")
    assert [call[0] for call in clone.calls()] == ["uv", "pytest"]  # what `make setup` made is found
    assert clone.neighbours() == neighbours


@pytest.mark.parametrize("target", ["clean", "setup", "help"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_path_at_which_installed_tools_fail_is_refused_in_one_line(tmp_path: Path, name: str, target: str) -> None:
    clone = clone_at(tmp_path / name)
    fill_caches(clone.folder)
    neighbours, files = clone.neighbours(), tree(clone.folder)
    said = clone.make(target, exit_code=2)
    assert said.count("\n") == 1
    assert "fail at a colon, %, backslash or line break; rename the folder" in said
    assert tree(clone.folder) == files
    assert clone.neighbours() == neighbours


def test_the_makefile_of_another_folder_is_refused(tmp_path: Path) -> None:
    clone = clone_at(tmp_path / "face id")
    fill_caches(clone.folder)
    neighbours, files = clone.neighbours(), tree(clone.folder)
    said = clone.make("-f", str(clone.folder / "Makefile"), "clean", cwd=tmp_path / "face", exit_code=2)
    assert said.count("\n") == 1
    assert "run make -C FOLDER" in said
    assert (tree(clone.folder), clone.neighbours()) == (files, neighbours)
    clone.make("-C", str(clone.folder), "clean", cwd=tmp_path / "face")
    assert not (clone.folder / ".venv").exists()
    assert clone.neighbours() == neighbours


def test_no_variable_makes_clean_remove_another_environment(tmp_path: Path) -> None:
    clone = clone_at(tmp_path / "face id")
    neighbours = clone.neighbours()
    other = tmp_path / "face"
    clone.make("clean", f"VENV={other}/.venv", f"CURDIR={other}", f"PWD={other}")
    assert clone.neighbours() == neighbours


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("its archive.zip", ["--from", "its archive.zip"]),
        ("lfw.tgz pairs.txt", ["--from", "lfw.tgz", "--from", "pairs.txt"]),
        ("", []),
    ],
)
def test_a_recipe_takes_an_archive_with_spaces_in_its_name_or_several(
    tmp_path: Path, source: str, options: list[str]
) -> None:
    clone = clone_at(tmp_path / "face id")
    (clone.folder / "its archive.zip").touch()
    clone.make("recipe", "name=omni'glot", f"FROM={source}", "SEEDS=0 1")
    assert clone.calls()[-1] == ["python", "-m", "recipes", "omni'glot", *options, "--seeds", "0", "1"]


def test_benchmarks_take_paths_with_spaces(tmp_path: Path) -> None:
    clone = clone_at(tmp_path / "face id")
    clone.make("bench", "TORCH=/my torch/bin/python")
    assert clone.calls()[-1][1:] == [
        "-m", "benchmarks.speed", "--torch", "/my torch/bin/python", "--repository", str(clone.folder),
    ]  # fmt: skip
    clone.make("bench-long", "OMNIGLOT=its archive.zip")
    million, eer = clone.calls()
    assert million[1:] == ["-m", "benchmarks.speed.million", "--run", str(clone.folder)]
    assert eer[1:] == ["-m", "benchmarks.speed.time_to_eer", "its archive.zip"]


def test_images_and_their_lists_take_paths_with_spaces(tmp_path: Path) -> None:
    clone = clone_at(tmp_path / "face id")
    docker = tmp_path / "docker"
    shutil.copy(clone.program, docker)
    clone.make("sbom", f"DOCKER={docker}", "BUILD_CA=my company's ca.pem", "TAG=one two", "SBOM=my lists")
    calls = clone.calls()
    assert len(calls) == 6
    assert all(call[1:4] == ["build", "--secret", "id=certificates,src=my company's ca.pem"] for call in calls)
    assert calls[0][-3:] == ["--tag", "siamese-training:one two", "."]
    assert calls[-1][-3:] == ["--output", "my lists/siamese-tracking", "."]


# What make asks of git before it downloads anything


def without_repository(clone: Clone) -> None:
    pass


def inside_another_repository(clone: Clone) -> None:
    clone.run("git", "init", "-q", cwd=clone.folder.parent)
    clone.run("git", *IDENTITY, "commit", "-qm", "other", "--allow-empty", cwd=clone.folder.parent)


def without_commit(clone: Clone) -> None:
    clone.run("git", "init", "-q")


def of_another_user(clone: Clone) -> None:
    clone.run("git", "init", "-q")
    clone.run("git", "add", ".")
    clone.run("git", *IDENTITY, "commit", "-qm", "start")
    clone.run("chown", "-R", "12345:12345", ".")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a folder to another user")


@pytest.mark.parametrize(
    ("trouble", "problem"),
    [
        pytest.param(without_repository, "no git repository, which DVC needs", id="no repository"),
        pytest.param(inside_another_repository, "git has no commit of these files", id="inside another"),
        pytest.param(without_commit, "git has no commit of these files", id="no commit"),
        pytest.param(
            of_another_user, "belongs to another user, so git refuses it", id="another user", marks=needs_root
        ),
    ],
)
def test_set_up_waits_until_git_knows_the_commit_and_the_line_says_the_command(
    tmp_path: Path, trouble: Callable[[Clone], None], problem: str
) -> None:
    clone = source_at(tmp_path / "face id")
    trouble(clone)
    files = tree(clone.folder)
    above = {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    said = clone.make("setup", exit_code=2, **above).splitlines()[0]
    assert said.startswith(f"make: {clone.folder}: {problem}; run: ")
    assert tree(clone.folder) == files
    names = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    clone.run("bash", "-euc", said.partition("run: ")[2], **names)
    clone.make("setup")


def test_set_up_waits_until_git_is_installed(tmp_path: Path) -> None:
    clone = clone_at(tmp_path / "face id")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "make", "grep", "cp", "mkdir", "touch", "awk"):
        (programs / name).symlink_to(shutil.which(name) or "")
    files = tree(clone.folder)
    said = clone.make("setup", exit_code=2, PATH=str(programs)).splitlines()[0]
    assert said == "make: git: not installed; install it, for example with: apt install git"
    assert tree(clone.folder) == files
    (clone.folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    clone.make("setup", PATH=str(programs))  # DVC works without git, then


def test_set_up_says_that_commits_need_a_name_and_an_address(tmp_path: Path) -> None:
    clone = clone_at(tmp_path / "face id")
    assert "git config --global user.name NAME && git config --global user.email ADDRESS" in clone.make("setup")
    clone.make("clean")
    for name in ("name", "email"):
        clone.run("git", "config", "--global", f"user.{name}", "test")
    assert "git config" not in clone.make("setup")


def test_dvc_works_without_git_if_no_scm_is_set_and_not_otherwise(tmp_path: Path) -> None:
    """What the check of make rests on, with DVC itself."""
    dvc = str(Path(sys.executable).with_name("dvc"))
    clone = source_at(tmp_path / "face id")
    (clone.folder / "dvc.yaml").write_text("stages: {one: {cmd: echo, always_changed: true}}\n")
    above = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    assert "is not a git repository" in clone.run(dvc, "repro", exit_code=255, **above)
    clone.run(dvc, "config", "--local", "core.no_scm", "true", **above)
    clone.run(dvc, "repro", **above)


@pytest.mark.parametrize("target", ["images", "images-gpu"])
def test_images_that_can_not_name_their_commit_say_so(tmp_path: Path, target: str) -> None:
    clone = source_at(tmp_path / "face id")
    docker = f"DOCKER={shutil.copy(clone.program, tmp_path / 'docker')}"
    warning = "make: git knows no commit here, so the images name none; see: git status\n"
    assert clone.make(target, docker, GIT_CEILING_DIRECTORIES=str(tmp_path)).startswith(warning)
    without_commit(clone)
    clone.run("git", *IDENTITY, "commit", "-qm", "start", "--allow-empty")
    assert warning not in clone.make(target, docker)
