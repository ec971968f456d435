"""docs/dvc.md tells the truth: its commands run, section by section, each block from the project's folder."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import boto3
import pytest
from conftest import ROOT, Repository
from storage_servers import S3_KEYS, s3_server

TEXT = (ROOT / "docs/dvc.md").read_text()
LOCAL_REMOTE = next(line for line in re.findall(r"`(dvc remote add [^`]+)`", TEXT) if "../" in line)
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}


def blocks(section: str) -> list[list[tuple[str, list[str]]]]:
    """The commands of a section's blocks, each with the lines that the document quotes as its answer."""
    found = []
    for kind, block in re.findall(r"```(sh|console)\n(.*?)```", SECTIONS[section], flags=re.DOTALL):
        commands: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if kind == "sh" or line.startswith("$ "):
                commands.append((re.sub(r"\s+# .*", "", line.removeprefix("$ ")), []))
            else:
                commands[-1][1].append(line)
        found.append(commands)
    return found


def without_counts(text: str) -> str:
    return re.sub(r"\d+", "N", text)


def follow(project: Repository, section: str) -> None:
    """Runs a section; what it quotes is said, but for the numbers, which are those of the sample in full size."""
    for block in blocks(section):
        here = project
        for command, quoted in block:
            words = shlex.split(command)
            if words[0] == "cd":
                here = Repository((here.folder / words[1]).resolve())
                continue
            said = here.run(*words)
            if command == "dvc queue status":
                here.finish_queue()
            for line in quoted:
                assert without_counts(line) in without_counts(said), command


@pytest.fixture
def project(repository: Repository, tmp_path: Path) -> Repository:
    made = repository.sibling(tmp_path / "project")
    made.run("dvc", "checkout")
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".gitignore"
    }


@pytest.mark.slow
def test_data_that_lives_elsewhere(
    repository: Repository, project: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = project.folder / "data/sample"
    photographs = shutil.copytree(sample, tmp_path / "photographs")
    for key, value in S3_KEYS.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "other-project").symlink_to(repository.folder)
    with s3_server(tmp_path / "log") as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        theirs = boto3.resource("s3", endpoint_url=address).Bucket("their-bucket")
        theirs.create()
        for name, content in files(sample).items():
            theirs.put_object(Key=f"faces/{name}", Body=content)
        follow(project, "Data that lives elsewhere")
    for copied in ("faces", "more-faces", "theirs", "looked-at"):
        assert files(project.folder / "data" / copied) == files(sample), copied
    tracked = {path.name for path in (project.folder / "data").glob("*.dvc")}
    assert tracked == {"faces.dvc", "more-faces.dvc", "theirs.dvc"}

    (new,) = [photographs / "writer-000/new.png"]
    shutil.copy(next(photographs.rglob("*.png")), new)
    project.run("dvc", "update", "data/faces.dvc")
    assert files(project.folder / "data/faces") == files(photographs) != files(sample)
    project.set("path", "data/sample", "data/faces")
    assert project.would_run()[0] == "catalog"


@pytest.mark.long
def test_a_remote(project: Repository) -> None:
    project.run(*shlex.split(LOCAL_REMOTE))
    follow(project, "A remote: where others get data and model from")


@pytest.mark.long
def test_experiments(project: Repository) -> None:
    follow(project, "Experiments")
    assert "learning_rate: 0.0003" in (project.folder / "params.yaml").read_text()
    assert (project.folder / "compared/index.html").exists()


def test_a_dry_run_in_a_fresh_clone_says_what_the_page_quotes(repository: Repository, tmp_path: Path) -> None:
    section = SECTIONS["What runs again"]
    failure, up_to_date = re.findall(r"`(failed to [^`]+|Data and [^`]+)`", section)
    clone = repository.clone(tmp_path / "fresh")
    said = clone.run("dvc", "repro", "--dry", exit_codes=[255])
    assert "Running stage 'data/dvc.yaml:sample'" in said and failure in said
    assert up_to_date in clone.run("dvc", "repro", "--dry", "--allow-missing")
    assert clone.run("git", "status", "--porcelain") == ""
    clone.run("dvc", "cache", "dir", "--local", str(repository.folder / ".dvc/cache"))
    clone.run("dvc", "checkout")
    assert clone.would_run() == []


def test_every_section_with_commands_is_followed_by_a_test() -> None:
    followed = set(re.findall(r'follow\(project, "([^"]+)"\)', Path(__file__).read_text()))
    assert followed == {section for section in SECTIONS if blocks(section)}
