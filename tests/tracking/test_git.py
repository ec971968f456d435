"""What commands say where git can't tell the commit, and that the command in that line mends it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, working_folder

from pipelines.arguments import arguments
from pipelines.upload import tag_here
from siamese.errors import InputError
from siamese.monitoring import diff
from siamese.tracking import provenance

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a folder to another user")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a repository, of a user whose git is configured by an empty file alone."""
    (tmp_path / "gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)  # git trusts that user, too
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@localhost")
    made = tmp_path / "face id"
    made.mkdir()
    (made / "catalog").write_text("of images")
    return made


def run(folder: Path, command: str) -> str:
    done = subprocess.run(["bash", "-euc", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def without_repository(folder: Path) -> None:
    pass


def without_commit(folder: Path) -> None:
    run(folder, "git init -q")


def of_another_user(folder: Path) -> None:
    run(folder, "git init -q; git add .; git commit -qm first; chown -R 12345:12345 .")


TROUBLES = [
    pytest.param(without_repository, "no git repository; run: git init", id="no repository"),
    pytest.param(of_another_user, "belongs to another user, so git refuses it; run: ", id="owner", marks=needs_root),
]
NO_COMMIT = pytest.param(without_commit, "git has no commit here; run: git add .", id="no commit")


@pytest.mark.parametrize(("trouble", "said"), [*TROUBLES, NO_COMMIT])
def test_a_training_says_why_it_records_no_commit(
    folder: Path, trouble: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble(folder)
    with working_folder(folder):
        known = provenance.tags("data", Path("catalog"))
        line = capsys.readouterr().err
        assert line.startswith(f"tracking: no commit is recorded: {folder}: {said}")
        assert line.count("\n") == 1
        assert known["siamese.data.path"] == "data"
        assert "siamese.git.commit" not in known
        run(folder, line.partition("run: ")[2])
        assert provenance.tags("data", Path("catalog"))["siamese.git.commit"] == run(folder, "git rev-parse HEAD")
        assert capsys.readouterr().err == ""


QUESTIONS = [
    pytest.param(lambda: diff.at("HEAD"), id="changes"),
    pytest.param(tag_here, id="upload"),
    pytest.param(lambda: arguments(ROOT / "params.yaml", None, repository="https://git.example"), id="submit"),
]


@pytest.mark.parametrize(("trouble", "said"), TROUBLES)
@pytest.mark.parametrize("ask", QUESTIONS)
def test_commands_that_need_a_commit_say_why_there_is_none(
    folder: Path, ask: Callable[[], object], trouble: Callable[[Path], None], said: str
) -> None:
    trouble(folder)
    with working_folder(folder), pytest.raises(InputError) as error:
        ask()
    assert f"{folder}: {said}" in str(error.value)


@pytest.mark.parametrize("ask", QUESTIONS)
def test_commands_that_need_git_say_so_where_it_is_not_installed(
    folder: Path, ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with working_folder(folder), pytest.raises(InputError, match="git: not installed; install it"):
        ask()


def test_a_training_without_git_installed_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with working_folder(folder):
        provenance.tags("data", Path("catalog"))
    assert capsys.readouterr().err == "tracking: no commit is recorded: git: not installed; install it\n"


@pytest.mark.parametrize(("installed", "problem"), [(True, "{}: no git repository"), (False, "git: not installed")])
def test_a_pipeline_step_without_a_repository_names_the_variable_for_the_commit(
    folder: Path, installed: bool, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its working folder is often a container's, where a new repository would be of no use."""
    if not installed:
        monkeypatch.setenv("PATH", str(folder))
    step = provenance.RemoteOrigin({}, [], "train")
    with working_folder(folder):
        provenance.tags("data", Path("catalog"), step)
        reason, _, advice = capsys.readouterr().err.partition("; ")
        assert reason == f"tracking: no commit is recorded: {problem.format(folder)}"
        assert advice == "set SIAMESE_COMMIT to the commit of the code\n"
        monkeypatch.setenv("SIAMESE_COMMIT", "c" * 40)
        assert provenance.tags("data", Path("catalog"), step)["siamese.git.commit"] == "c" * 40
        assert capsys.readouterr().err == ""


def test_an_image_built_without_a_commit_says_how_to_build_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(provenance.IMAGE_COMMIT, "unknown")
    with working_folder(folder):
        provenance.tags("data", Path("catalog"))
    line = "tracking: no commit is recorded: SIAMESE_COMMIT: unknown; run make images in a git repository\n"
    assert capsys.readouterr().err == line


def test_a_revision_that_a_shallow_clone_lacks_is_there_after_the_command_named(folder: Path) -> None:
    run(folder, "git init -q; git add .; git commit -qm first; git commit -qm second --allow-empty")
    run(folder.parent, f"git clone -q --depth 1 '{folder.as_uri()}' shallow")
    with working_folder(folder.parent / "shallow"):
        with pytest.raises(InputError) as error:
            diff.at("HEAD~1")
        assert str(error.value) == "HEAD~1: not in this shallow clone; run: git fetch --unshallow"
        run(folder.parent / "shallow", str(error.value).partition("run: ")[2])
        assert diff.at("HEAD~1").metrics is None


def test_a_tag_that_a_clone_lacks_is_there_after_the_command_named(folder: Path) -> None:
    run(folder, "git init -q; git add .; git commit -qm first; git tag v1")
    run(folder.parent, f"git clone -q --no-tags '{folder.as_uri()}' untagged")
    with working_folder(folder.parent / "untagged"):
        with pytest.raises(InputError, match="`git fetch --tags`"):
            tag_here()
        run(folder.parent / "untagged", "git fetch -q --tags")
        assert tag_here() == "v1"
