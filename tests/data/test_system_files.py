"""What operating systems and network drives add to a folder of images is left out everywhere, and counted apart."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from test_catalog import MAX, PARAMS, fill, identities, reasons, roles, run, taken

from siamese.data import catalog
from siamese.data.inspection import report as report_module
from siamese.errors import InputError
from siamese.identification import enroll
from siamese.monitoring import sampling
from siamese.storage.object_store import as_path

FOLDERS = [
    *["@eaDir", "#recycle", "#snapshot", "@sharesnap", "@tmp", "@Recycle", "@Recently-Snapshot", "@Transcode"],
    *["~snapshot", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", "__MACOSX"],
    *["Network Trash Folder", "Temporary Items"],
]
FILES = ["Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini"]
HIDDEN = [".@__thumb", ".thumbnails", ".Trash-1000", ".Trashes", ".Spotlight-V100", ".AppleDouble", ".snapshot"]


@pytest.mark.parametrize("above", ["", "who-000/", "who-000/May/"])
def test_pictures_of_the_system_are_nobodys_images(tmp_path: Path, above: str) -> None:
    """Without them the folder holds six identities with two images each."""
    wanted = identities(6)
    system = {f"{above}{name}/who-000.jpg/THUMB.png": name for name in FOLDERS}
    system |= {f"{above}{name}": name for name in FILES} | {f"{above}Icon\r": "Icon"}
    hidden = [f"{above}{name}/1.png" for name in HIDDEN] + [f"{above}._1.png"]
    found = catalog.collect(fill(tmp_path, wanted | {path: 900 for path in [*system, *hidden]}), MAX)
    assert taken(found) == sorted(wanted)
    assert reasons(found) == {path: f"system file: {name}" for path, name in system.items()} | dict.fromkeys(
        hidden, "hidden"
    )


def test_names_count_in_any_case_but_only_as_a_whole(tmp_path: Path) -> None:
    people = ["@eaDirk", "eaDir", "recycle", "#recycled", "lost", "found", "Thumbs", "snapshot", "MACOSX", "Tmp"]
    files = {f"{name}/1.png": number for number, name in enumerate(people)}
    found = catalog.collect(fill(tmp_path, files | {"@EADIR/1.png": 90, "Lost+Found/1.png": 91}), MAX)
    assert taken(found) == sorted(files)
    assert set(reasons(found)) == {"@EADIR/1.png", "Lost+Found/1.png"}


def test_role_folders_stay_role_folders(tmp_path: Path) -> None:
    wanted = roles(3, 3, 3)
    found = catalog.collect(fill(tmp_path, wanted | {"@eaDir/1.png": 90, "anchor/@eaDir/0.png/T.png": 91}), MAX)
    assert (found.layout, taken(found)) == ("roles", sorted(wanted))
    assert set(reasons(found).values()) == {"system file: @eaDir"}


def test_what_cannot_be_read_in_a_system_folder_does_not_matter(tmp_path: Path) -> None:
    fill(tmp_path, identities(6) | {"@eaDir/1.png": 90})
    (tmp_path / "@eaDir/gone.png").symlink_to("nowhere.png")
    assert set(reasons(catalog.collect(tmp_path, MAX)).values()) == {"system file: @eaDir"}


def test_an_object_store_is_read_alike() -> None:
    files = fsspec.filesystem("memory")
    for path in ("a/1.png", "a/@eaDir/1.png/THUMB.png", "#recycle/b/2.png"):
        files.pipe(f"/network-drive/{path}", b"")
    found = catalog.collect(as_path("memory://network-drive"), MAX)
    assert reasons(found) == {
        "#recycle/b/2.png": "system file: #recycle",
        "a/1.png": "empty file",
        "a/@eaDir/1.png/THUMB.png": "system file: @eaDir",
    }


def test_the_catalog_prints_how_many_were_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = fill(tmp_path / "data", identities(6) | {"#recycle/1.png": 90, "#recycle/2.png": 91, ".DS_Store": b""})
    images, rejected = run(data, tmp_path)
    assert (len(images), len(rejected)) == (12, 3)
    assert f"{data}: files left out: 2 system, 1 hidden\n" in capsys.readouterr().err


def test_the_main_reason_is_that_of_the_persons_own_files(tmp_path: Path) -> None:
    """Of five files, four are the drive's."""
    files = {f"a/@eaDir/{number}.png": number for number in range(4)} | {"a/1.gif": b"GIF89a"}
    found = catalog.collect(fill(tmp_path, files), MAX)
    assert "no usable image: 1 of 1 files are rejected as 'other suffix'" in catalog.nothing_usable(found)
    (tmp_path / "a/1.gif").unlink()
    found = catalog.collect(tmp_path, MAX)
    assert "no usable image: 4 of 4 files are rejected as 'system file'" in catalog.nothing_usable(found)


def test_inspect_counts_them_apart_from_the_rejected(tmp_path: Path) -> None:
    """Two thumbnails of each of 24 images would be two thirds of all files."""
    thumbnails = {f"who-000/@eaDir/{number}.png": 900 + number for number in range(48)}
    files = identities(12) | thumbnails | {"$RECYCLE.BIN/1.png": 990, ".DS_Store": b"", "who-001/notes.txt": b""}
    report = report_module.report(report_module.survey(fill(tmp_path, files), PARAMS, MAX), None)
    assert (report.images, report.identities) == (24, 12)
    assert (report.rejected, report.reasons) == (1, {"other suffix": 1})
    assert [file["path"] for file in report.rejected_files] == ["who-001/notes.txt"]
    assert report.left_out == {"system file": 49, "hidden": 1}
    assert "left out    system file 49, hidden 1" in report_module.to_text(report).splitlines()
    assert not [line for line in report.warnings if "rejected" in line or "without a usable image" in line]


def test_drift_counts_them_apart_too(tmp_path: Path) -> None:
    files = {"a/1.png": 1, "a/2.txt": b"", "a/@eaDir/1.png/T.png": 2, "#recycle/1.png": 3, ".DS_Store": b""}
    found = sampling.find(fill(tmp_path, files), flat=False)
    assert (found.paths, found.identities, found.misnamed) == (["a/1.png"], 1, {"other suffix": 1})
    assert found.left_out == {"system file": 2, "hidden": 1}


def test_enrolling_takes_none_and_names_the_others_first(tmp_path: Path) -> None:
    files = {"1.png": 1, "@eaDir/1.png/T.png": 2, "@eaDir/broken.png": b"", "notes.txt": b""}
    taken = enroll.of_files([fill(tmp_path, files)], "ann", MAX)
    assert taken.images["path"].tolist() == [f"{tmp_path}/1.png"]
    rejected = tuple(taken.rejected.itertuples(index=False, name=None))
    lines = str(enroll.Enrolled(1, 0, 1, 1, 0, rejected)).splitlines()
    assert lines[0].startswith(f"rejected {tmp_path}/notes.txt: other suffix")
    assert lines[1:] == ["files left out: 2 system", "enrolled 1 images", "the gallery: 1 images of 1 identities"]
    (tmp_path / "1.png").unlink()
    with pytest.raises(InputError, match=r"no usable image: .*/notes.txt: other suffix"):
        enroll.of_files([tmp_path], "ann", MAX)


def test_no_identity_is_enrolled_under_such_a_name() -> None:
    with pytest.raises(InputError, match="can't be a name \\(system file: @eaDir\\)"):
        enroll._taken([Path("any.png")], "@eaDir", False, MAX)
