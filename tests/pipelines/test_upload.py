"""`python -m pipelines upload`, against a server that speaks KFP's API, in git repositories."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Done, here
from kfp_server import Fault, KfpServer, kfp_server

VERSIONS = "/apis/v2beta1/pipelines/upload_version"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server(token="good") as started:
        yield started


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("content\n")
    git("init", "-q")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    return tmp_path


def git(*words: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


def upload(server: KfpServer, *options: str) -> Done:
    return here("upload", "--host", server.address, *options, KFP_TOKEN="good")


def refused(done: Done) -> str:
    assert (done.exit_code, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    return done.line


def names(server: KfpServer) -> list[str]:
    return [version["display_name"] for version in server.versions.values()]


def test_the_version_is_named_after_the_tag(server: KfpServer, commit: Path) -> None:
    git("tag", "v1.2.0")
    told = json.loads(upload(server, "--json").out)
    (pipeline,) = server.pipelines.values()
    (version,) = server.versions.values()
    assert (pipeline["display_name"], version["display_name"]) == ("siamese", "v1.2.0")
    assert version["pipeline_spec"]["pipelineInfo"]["name"] == "siamese"
    page = f"{server.address}/#/pipelines/details/{pipeline['pipeline_id']}/version"
    assert told == {
        "version": "v1.2.0",
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
        "url": f"{page}/{version['pipeline_version_id']}",
    }


def test_further_versions_join_the_first(server: KfpServer) -> None:
    for version in ("v1", "v2"):
        assert upload(server, "--version", version).exit_code == 0
    assert names(server) == ["v1", "v2"]
    assert len(server.pipelines) == 1


def test_the_same_version_twice_is_refused(server: KfpServer) -> None:
    assert upload(server, "--version", "v1").exit_code == 0
    line = refused(upload(server, "--version", "v1"))
    assert f"version v1 is already on {server.address}, and stays as it is" in line
    assert names(server) == ["v1"]
    assert len(server.requests("POST", VERSIONS)) == 1  # or, its answer lost, the older would count as the newer


def test_so_is_one_that_another_uploads_at_the_same_moment(server: KfpServer) -> None:
    server.faults = [Fault("POST", VERSIONS, 409)]
    assert "version v1 is already on" in refused(upload(server, "--version", "v1"))


def test_changed_files_have_no_tag(server: KfpServer, commit: Path) -> None:
    git("tag", "v1")
    (commit / "file").write_text("changed\n")
    line = refused(upload(server))
    assert "these files aren't as committed" in line
    assert "--version" in line
    assert server.asked == []
    assert upload(server, "--version", "trial").exit_code == 0


def test_a_commit_without_a_tag_names_no_version(server: KfpServer, commit: Path) -> None:
    git("tag", "v1")
    git("commit", "-q", "--allow-empty", "-m", "second")
    assert "this commit has no tag" in refused(upload(server))


def test_of_two_tags_one_must_be_said(server: KfpServer, commit: Path) -> None:
    git("tag", "v1")
    git("tag", "release")
    assert "several tags (release, v1): say which with --version" in refused(upload(server))


def test_outside_a_repository_the_version_must_be_said(
    server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "set --version" in refused(upload(server))


def test_a_lost_answer_makes_no_second_version(server: KfpServer) -> None:
    server.faults = [Fault("POST", VERSIONS, None, done=True), Fault("POST", "/apis/v2beta1/pipelines", 503, done=True)]
    assert upload(server, "--version", "v1").exit_code == 0
    assert (len(server.pipelines), names(server)) == (1, ["v1"])


def test_what_the_server_refuses_is_told_in_its_words(
    server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload of files has errors of a shape of its own."""

    def spoilt(cluster: object, file: Path) -> None:
        file.write_text("pipelineInfo: {name: siamese}\nroot: {dag: {tasks: {}}}\nunknown: 1\n")

    monkeypatch.setattr("pipelines.compile.compiled", spoilt)
    line = refused(upload(server, "--version", "v1"))
    assert "Failed to parse the pipeline spec" in line
    assert "(HTTP 400)" in line


def test_in_a_namespace_the_pipeline_is_that_namespaces(server: KfpServer) -> None:
    server.namespaces = ("team-a",)
    assert upload(server, "--version", "v1", "--namespace", "team-a").exit_code == 0
    assert [one["namespace"] for one in server.pipelines.values()] == ["team-a"]
    assert "see that --namespace is right" in refused(upload(server, "--version", "v1", "--namespace", "team-b"))
