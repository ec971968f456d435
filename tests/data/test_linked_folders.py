"""DVC takes a link to a folder for an empty folder: what is behind one must not change unnoticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import changed_stages, project_copy, working_folder
from test_catalog import MAX, PARAMS, fill, identities, image_bytes, run

from siamese.data.inspection import report as report_module
from siamese.data.linked_folders import linked_folders
from siamese.errors import InputError
from siamese.tracking import provenance


def linked(data: Path, library: Path) -> Path:
    """A data folder whose identity folders are links into the library."""
    data.mkdir(parents=True)
    for folder in sorted(library.iterdir()):
        (data / folder.name).symlink_to(folder)
    return data


def test_dvc_repro_refuses_linked_folders_by_name_and_notices_changes_behind_other_links(
    tmp_path: Path, small_params: str
) -> None:
    """The other links: data.path, a folder above it, and images. DVC follows all three, or the change would be lost."""
    library = fill(tmp_path / "library", identities(6))
    project = project_copy(tmp_path / "project", small_params.replace("path: data/sample", "path: data/disk/faces"))
    (project.folder / "data/disk").symlink_to(tmp_path / "disk")
    data = linked(tmp_path / "disk/faces", library)
    said = project.run("dvc", "repro", "catalog", exit_codes=(255,))
    assert "siamese: data/disk/faces/who-000 (and 5 more): is a link to a folder, and DVC does not notice" in said
    assert not (project.folder / "artifacts/catalog.parquet").exists()

    shutil.rmtree(data)
    data.symlink_to("real")
    for file in sorted(library.glob("*/*")):
        folder = tmp_path / "disk/real" / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).symlink_to(file)
    project.run("dvc", "repro", "catalog")
    assert changed_stages(project.run("dvc", "repro", "--dry", "catalog")) == []
    (library / "who-000/0.png").write_bytes(image_bytes(900))
    assert changed_stages(project.run("dvc", "repro", "--dry", "catalog")) == ["catalog"]


def test_only_links_to_folders_elsewhere_count(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", {"a/1.png": 1, "@eaDir/1.png": 2, ".cache/1.png": 3})
    fill(tmp_path, {"other/2.png": 4})
    for name in ("b", "a/deeper", "@eaDir/c", ".d"):
        (data / name).symlink_to(tmp_path / "other")
    (data / "a/2.png").symlink_to(tmp_path / "other/2.png")
    (data / "a/3.png").symlink_to("nowhere")
    (data / "again").symlink_to("a")
    (data / "a/loop").symlink_to(data)
    (tmp_path / "link").symlink_to(data)
    assert linked_folders(data) == linked_folders(tmp_path / "link") == ["a/deeper", "b"]


def test_outside_of_dvc_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = linked(tmp_path / "data", fill(tmp_path / "library", identities(6)))
    images, _ = run(data, tmp_path)
    assert images["path"].tolist() == sorted(identities(6))
    (tmp_path / "catalog.parquet").unlink()
    monkeypatch.setenv("DVC_STAGE", "catalog")
    with pytest.raises(InputError, match=r"data/who-000 \(and 5 more\): is a link to a folder"):
        run(data, tmp_path)
    assert not (tmp_path / "catalog.parquet").exists()


def test_inspect_warns(tmp_path: Path) -> None:
    data = linked(tmp_path / "data", fill(tmp_path / "library", identities(6)))
    report = report_module.report(report_module.survey(data, PARAMS, MAX), None)
    assert report.images == 12
    assert report.warnings[0] == "links to folders, which `dvc repro` refuses: 6, the first is 'who-000'"


def test_lineage_records_no_hash_that_does_not_cover_the_images(tmp_path: Path) -> None:
    """By hand: what `dvc add` and `dvc.lock` say of a folder of links, 0 files, and the catalog that read them."""
    library = fill(tmp_path / "library", {"a/1.png": 1})
    linked(tmp_path / "data/faces", library)
    (tmp_path / "catalog.parquet").write_bytes(b"hello\n")
    empty = {"md5": f"{'d' * 32}.dir", "size": 0, "nfiles": 0}
    dependency = {"path": "data/faces", **empty}
    output = {"path": "catalog.parquet", "md5": "b1946ac92492d2347c6235b4d2611184"}  # of hello\n
    with working_folder(tmp_path):
        Path("data/faces.dvc").write_text(yaml.safe_dump({"outs": [{"path": "faces", **empty}]}))
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"catalog": {"deps": [dependency], "outs": [output]}}}))
        assert provenance.data_digest("data/faces", Path("catalog.parquet")).value.startswith("catalog:")


def test_a_broken_link_does_not_end_a_training(tmp_path: Path) -> None:
    (tmp_path / "catalog.parquet").write_bytes(b"")
    (tmp_path / "data/faces").mkdir(parents=True)
    (tmp_path / "data/faces/gone.png").symlink_to("nowhere")
    with working_folder(tmp_path):
        Path("data/faces.dvc").write_text(yaml.safe_dump({"outs": [{"path": "faces", "md5": "a", "nfiles": 9}]}))
        assert provenance.data_digest("data/faces", Path("catalog.parquet")).value.startswith("catalog:")
