"""The registry on a real server: versions, aliases, tags, and files that are fetched once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import registered
from mlflow_servers import mlflow_server
from registered import Uploaded

from siamese.errors import InputError
from siamese.registry import client
from siamese.registry.client import Registry
from siamese.tracking.client import TRACKING_URI


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRACKING_URI, address)
        yield address


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    """Files that lie where a model's would, with a catalog."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "servable").mkdir()
    (folder / "servable/saved_model.pb").write_bytes(b"a graph")
    (folder / "threshold.json").write_text(json.dumps({"threshold": 0.5}))
    (folder / "catalog.parquet").write_bytes(b"a table")
    return registered.upload(folder, folder / "catalog.parquet", **{"siamese.model": "abc"})


def test_a_registry_without_versions_has_none() -> None:
    empty = Registry("empty")
    assert empty.versions() == [] and empty.alias("champion") is None and empty.with_tag("siamese.model", "abc") is None
    with pytest.raises(InputError, match="models:/empty/1 is not in the registry: `siamese models` lists what is"):
        empty.version(1)


def test_versions_come_newest_first_with_their_tags_and_aliases(files: Uploaded) -> None:
    for aliases in (("champion",), (), ("challenger", "newest")):
        files.version("three", *aliases)
    found = Registry("three").versions()
    assert [version.number for version in found] == [3, 2, 1]
    assert [version.aliases for version in found] == [("challenger", "newest"), (), ("champion",)]
    assert all(version.tags == {"siamese.model": "abc"} and version.run_id == files.run_id for version in found)
    assert found == [Registry("three").version(number) for number in (3, 2, 1)]


def test_more_versions_than_a_page_of_answers_are_all_found(files: Uploaded, monkeypatch) -> None:
    """Pages of two instead of 200: as many requests as for 500 versions."""
    for _ in range(5):
        files.version("pages")
    versions = Registry("pages")
    search = versions.client.search_model_versions
    monkeypatch.setattr(
        versions.client,
        "search_model_versions",
        lambda what, max_results, page_token: search(what, 2, None, page_token),
    )
    assert [version.number for version in versions.versions()] == [5, 4, 3, 2, 1]


def test_the_newest_version_of_a_tag_is_found(files: Uploaded) -> None:
    for _ in range(3):
        files.version("tagged")
    Registry("tagged").tag(3, {"siamese.model": "other"})
    assert Registry("tagged").with_tag("siamese.model", "abc").number == 2
    Registry("tagged").untag(2, "siamese.model")
    Registry("tagged").untag(2, "siamese.model")  # gone already
    assert Registry("tagged").with_tag("siamese.model", "abc").number == 1


def test_an_alias_moves_and_goes(files: Uploaded) -> None:
    files.version("moving", "champion")
    files.version("moving")
    aliases = Registry("moving")
    aliases.point("champion", 2)
    assert aliases.alias("champion").number == 2
    aliases.drop("champion")
    aliases.drop("champion")  # gone already
    assert aliases.alias("champion") is None
    with pytest.raises(InputError):
        aliases.point("champion", 3)


def test_references_name_versions_by_number_or_alias(files: Uploaded) -> None:
    files.version("named")
    files.version("named", "champion")
    assert client.resolve("models:/named/1")[1].number == 1
    assert client.resolve("models:/named@champion")[1].number == 2
    for wrong in (
        "models:/named",
        "models:/named/champion",
        "models:/a/b/1",
        "models:/named/1@champion",
        "named@champion",
    ):
        with pytest.raises(InputError, match="write models:/NAME/VERSION or models:/NAME@ALIAS"):
            client.resolve(wrong)


def test_a_second_model_that_looks_the_same_as_another_is_refused(files: Uploaded) -> None:
    """Here two names that differ by case would be two models; on MySQL they are one. What is there already goes on."""
    files.version("alike", "champion")
    with pytest.raises(InputError) as refused:
        Registry("Alike").refuse_look_alikes()
    assert "registry.name = Alike: http" in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).endswith(
        "has a model alike, which looks the same: set registry.name to alike, or choose another name"
    )
    Registry("alike").refuse_look_alikes()
    Registry("not-alike").refuse_look_alikes()
    files.version("Alike")
    Registry("Alike").refuse_look_alikes()


def test_a_reference_in_another_case_is_answered_with_the_one_that_is_there(files: Uploaded) -> None:
    files.version("cased", "champion")
    for reference in ("models:/Cased@champion", "models:/cased@Champion"):
        with pytest.raises(
            InputError, match="has no such model or alias, but models:/cased@champion: `siamese models`"
        ):
            client.resolve(reference)


def test_a_version_is_fetched_as_a_model_folder_and_kept(files: Uploaded, tmp_path: Path) -> None:
    version = files.version("fetched")
    place = Registry("fetched").fetch(version, tmp_path)
    assert sorted(path.name for path in place.iterdir()) == ["servable", "threshold.json"]
    assert (place / "servable/saved_model.pb").read_bytes() == b"a graph"
    (place / "threshold.json").write_text("{}")  # seen if it were fetched again
    assert Registry("fetched").fetch(version, tmp_path) == place and (place / "threshold.json").read_text() == "{}"


def test_what_was_half_removed_is_fetched_again(files: Uploaded, tmp_path: Path) -> None:
    version = files.version("again")
    place = Registry("again").fetch(version, tmp_path)
    (place / "threshold.json").unlink()
    assert json.loads((Registry("again").fetch(version, tmp_path) / "threshold.json").read_text()) == {"threshold": 0.5}


def test_several_that_fetch_at_once_get_the_same_whole_folder(files: Uploaded, tmp_path: Path) -> None:
    version = files.version("at-once")
    got: list[tuple[Path, bytes]] = []

    def fetch() -> None:
        place = Registry("at-once").fetch(version, tmp_path)
        got.append((place, (place / "servable/saved_model.pb").read_bytes()))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(got) == 4 and set(got) == {(got[0][0], b"a graph")}
    assert [path for path in tmp_path.iterdir() if path.name != ".lock"] == [got[0][0]]


def test_a_number_that_means_another_model_after_a_new_start_is_not_taken_from_the_old_one(
    files: Uploaded, tmp_path: Path
) -> None:
    old = Registry("renewed").fetch(files.version("renewed"), tmp_path)
    Registry("renewed").client.delete_registered_model("renewed")
    assert Registry("renewed").fetch(files.version("renewed"), tmp_path) != old


def test_a_run_gives_its_files_or_says_that_there_are_none(files: Uploaded, tmp_path: Path) -> None:
    version = files.version("artifacts")
    versions = Registry("artifacts")
    assert versions.artifact(version, "data/catalog.parquet", tmp_path).read_bytes() == b"a table"
    assert versions.artifact(version, "data/rejected.csv", tmp_path) is None
    assert versions.artifact(version, "nowhere/at-all.csv", tmp_path) is None
    versions.log_text(version, "hello", "promotion/note.md")
    assert versions.artifact(version, "promotion/note.md", tmp_path).read_text() == "hello"


def test_a_version_without_run_or_whose_run_is_gone_has_no_files(files: Uploaded, tmp_path: Path) -> None:
    versions = Registry("gone")
    versions.client.create_registered_model("gone")
    versions.client.create_model_version("gone", source="s3://elsewhere/model")
    assert versions.artifact(versions.version(1), "data/catalog.parquet", tmp_path) is None
    run = versions.client.create_run(versions.client.get_experiment_by_name("tests").experiment_id)
    made = versions.add(f"{run.info.artifact_uri}/model", run.info.run_id, {})
    versions.client.delete_run(run.info.run_id)
    assert versions.artifact(made, "data/catalog.parquet", tmp_path) is None
