"""Remotes: the line that docs/dvc.md gives for each is enough to carry data and model to a clone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from conftest import ROOT, Repository
from storage_servers import S3_KEYS, gcs_server, s3_server
from waiting import PATIENCE

LINES = re.findall(r"`(dvc remote (?:add -d|modify storage) [^`]+)`", (ROOT / "docs/dvc.md").read_text())


def documented(part: str) -> list[str]:
    """The documented line that holds `part`, as a command."""
    (line,) = [line for line in LINES if part in line]
    return line.split()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The empty bucket of the documented lines, reachable by the credentials in the environment.

    On a busy machine, the server takes longer for an answer than the 15 s that DVC waits for.
    """
    for key, value in S3_KEYS.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "dvc").mkdir()
    (tmp_path / "dvc/config").write_text(f"['remote \"storage\"']\nread_timeout = {PATIENCE:.0f}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc"))
    made = boto3.resource("s3", endpoint_url=s3).Bucket("my-bucket")
    made.create()
    yield made
    made.objects.delete()
    made.delete()


@pytest.fixture
def origin(repository: Repository, tmp_path: Path) -> Repository:
    """A repository of the pipeline after its run, to be changed; the outputs are in DVC's cache alone."""
    return repository.sibling(tmp_path / "origin")


def contents(folder: Path) -> dict[str, bytes]:
    """Every output of every stage, byte by byte."""
    outputs = [
        folder / out["path"]
        for lock in ("dvc.lock", "data/dvc.lock")
        for stage in yaml.safe_load((folder / lock).read_text())["stages"].values()
        for out in stage["outs"]
    ]
    files = [file for out in outputs for file in (out.rglob("*") if out.is_dir() else [out]) if not file.is_dir()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def arrives_whole(origin: Repository, clone: Path, expected: dict[str, bytes]) -> None:
    """Push, pull in the clone: same bytes there, and no stage has anything to do."""
    assert {"artifacts/model/siamese.keras", "report.html", "metrics.json"} < set(expected)
    origin.commit()
    assert re.search(r"\d+ files pushed", origin.run("dvc", "push"))
    there = origin.clone(clone)
    assert not (there.folder / "artifacts").exists() and not (there.folder / "data/sample").exists()
    there.run("dvc", "pull")
    assert contents(there.folder) == expected
    assert there.would_run() == []
    said = there.run("dvc", "repro")
    assert "Data and pipelines are up to date" in said and "Running stage" not in said
    assert there.run("git", "status", "--porcelain") == ""


def test_a_folder(repository: Repository, origin: Repository, tmp_path: Path) -> None:
    origin.run(*documented("../storage"))
    arrives_whole(origin, tmp_path / "clone", contents(repository.folder))
    assert (tmp_path / "storage/files/md5").is_dir()


def test_a_server_that_speaks_s3(repository: Repository, origin: Repository, tmp_path: Path, s3: str, bucket) -> None:
    origin.run(*documented("s3://"))
    *modify, example = documented("endpointurl")
    assert example.startswith("http://127.0.0.1:")
    origin.run(*modify, s3)
    arrives_whole(origin, tmp_path / "clone", contents(repository.folder))
    assert all(stored.key.startswith("siamese/files/md5/") for stored in bucket.objects.all())


def test_amazon_s3_by_its_one_line(
    repository: Repository, origin: Repository, tmp_path: Path, s3: str, bucket, monkeypatch
):
    """The line alone: only the environment, which all of Amazon's clients obey, says that Amazon is here."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    origin.run(*documented("s3://"))
    one_file_arrives(origin, tmp_path / "clone", repository)


def test_google_cloud_storage_by_its_one_line(
    repository: Repository, origin: Repository, tmp_path: Path, monkeypatch
) -> None:
    """As above: the environment says where Google is, and that this machine is none of Google's."""
    with gcs_server(tmp_path / "log", "my-bucket") as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        origin.run(*documented("gs://"))
        one_file_arrives(origin, tmp_path / "clone", repository)


def one_file_arrives(origin: Repository, clone: Path, made: Repository) -> None:
    catalog = "artifacts/catalog.parquet"
    origin.commit()
    origin.run("dvc", "push", catalog)
    there = origin.clone(clone)
    there.run("dvc", "pull", catalog)
    assert (there.folder / catalog).read_bytes() == (made.folder / catalog).read_bytes()


def test_a_clone_without_the_pushed_bytes_says_so(origin: Repository, tmp_path: Path) -> None:
    origin.run(*documented("../storage"))
    origin.commit()
    said = origin.clone(tmp_path / "clone").run("dvc", "pull", exit_codes=[1])
    assert "failed to pull data" in said
