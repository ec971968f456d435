"""The data report: what a folder holds, what is odd about it, and whether it can be trained on; never an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from siamese.data import catalog
from siamese.data.inspection import report as report_module
from siamese.errors import InputError
from siamese.params import CatalogParams

PARAMS = CatalogParams(splits="hash", train=0.7, test=0.2, validation=0.1, seed=0)
MAX = 1_000_000


def image_bytes(number: int, width: int = 40, height: int = 50, format: str = "PNG") -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), (number % 256, number // 256, 0)).save(file, format)
    return file.getvalue()


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def identities(count: int, images: int = 2) -> dict[str, bytes]:
    return {f"who-{n:03}/{k}.png": image_bytes(n * images + k) for n in range(count) for k in range(images)}


def roles(anchors: int, positives: int, negatives: int) -> dict[str, bytes]:
    counts = {"anchor": anchors, "positive": positives, "negative": negatives}
    names = [f"{role}/{n}.png" for role, count in counts.items() for n in range(count)]
    return {name: image_bytes(number) for number, name in enumerate(names)}


def report(folder: Path, files: Mapping[str, bytes]) -> report_module.DataReport:
    return report_module.report(report_module.survey(fill(folder, files), PARAMS, MAX), None)


def test_reports_identity_folders(tmp_path: Path) -> None:
    files = {
        **identities(10, images=3),
        "who-000/3.jpg": image_bytes(500, 100, 200, "JPEG"),
        "who-000/4.bmp": image_bytes(501, 300, 100, "BMP"),
        "who-001/copy.png": image_bytes(3),
        "who-002/both.png": image_bytes(502),
        "who-003/both.png": image_bytes(502),
        "who-004/cut.png": image_bytes(503)[:-5],
        "note.txt": b"",
    }
    made = report(tmp_path / "data", files)
    assert made == report_module.DataReport(
        folder=str(tmp_path / "data"),
        layout="identities",
        images=32,
        identities=10,
        images_an_identity={"fewest": 3, "median": 3.0, "most": 5},
        sizes={"smallest": [40, 50], "median": [40, 50], "largest": [300, 100]},
        formats={"BMP": 1, "JPEG": 1, "PNG": 30},
        duplicates={"copies": 1, "contradictory": 2},
        rejected=5,
        reasons={
            "copies under several identities": 2,
            "not in a folder of its identity": 1,
            "copy": 1,
            "truncated PNG": 1,
        },
        rejected_files=[
            {"path": "note.txt", "reason": "not in a folder of its identity"},
            {"path": "who-001/copy.png", "reason": "copy: of who-001/0.png"},
            {"path": "who-002/both.png", "reason": "copies under several identities: who-002, who-003"},
            {"path": "who-003/both.png", "reason": "copies under several identities: who-002, who-003"},
            {"path": "who-004/cut.png", "reason": "truncated PNG"},
        ],
        left_out={},
        split=made.split,
        stable=False,
        warnings=made.warnings,
        trainable=True,
        why_not=None,
    )
    assert made.split is not None
    assert {split: numbers["identities"] for split, numbers in made.split.items()} == {
        "train": 6,
        "test": 2,
        "validation": 2,
    }
    assert sum(numbers["images"] for numbers in made.split.values()) == 32


def test_reports_role_folders(tmp_path: Path) -> None:
    made = report(tmp_path / "data", roles(10, 10, 40))
    assert (made.layout, made.images, made.identities) == ("roles", 60, 1)
    assert made.images_an_identity == {"anchor": 10, "positive": 10, "negative": 40}
    assert made.split == {
        "train": {"target": 14, "negative": 28, "images": 42},
        "test": {"target": 4, "negative": 8, "images": 12},
        "validation": {"target": 2, "negative": 4, "images": 6},
    }
    assert made.trainable


def test_the_split_is_the_one_that_the_catalog_makes(tmp_path: Path) -> None:
    made = report(tmp_path / "data", identities(13))
    table = catalog.with_splits(catalog.collect(tmp_path / "data", MAX), PARAMS)
    assert made.split is not None
    for split, rows in table.groupby("split"):
        assert made.split[str(split)] == {"identities": rows["identity"].nunique(), "images": len(rows)}


def test_tells_from_100_identities_on_that_the_split_is_stable(tmp_path: Path) -> None:
    few, many = report(tmp_path / "few", identities(99)), report(tmp_path / "many", identities(100))
    warning = "fewer than 100 identities: added data may change the split of what is there"
    assert (few.stable, warning in few.warnings) == (False, True)
    assert (many.stable, warning in many.warnings) == (True, False)
    assert "stable      yes: data may be added, no image changes its split" in report_module.to_text(many)


def test_role_folders_are_stable_when_each_role_is(tmp_path: Path) -> None:
    assert report(tmp_path / "all", roles(100, 100, 100)).stable
    assert not report(tmp_path / "not all", roles(100, 99, 100)).stable


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        (
            {**identities(9), "x/1.png": image_bytes(900), "y/1.png": image_bytes(901)},
            "identities with one image, which gives no positive pair: 2",
        ),
        (
            {**identities(9), **{f"x/{n}.png": image_bytes(900 + n) for n in range(21)}},
            "uneven: 21 images of 'x', a median of 2 an identity",
        ),
        (roles(3, 3, 61), "uneven: 6 images of the target, 61 of others"),
        (
            {**identities(9), "x/1.png": image_bytes(900, 31, 50)},
            "images with a side of fewer than 32 pixels, which show little: 1",
        ),
        (
            {**identities(9), "x/1.png": image_bytes(900, 40, 161), "x/2.png": image_bytes(901, 161, 40)},
            "images more than 4 times as long as wide, which are squeezed to a square: 2",
        ),
        ({**identities(9), **{f"who-000/{n}.txt": b"" for n in range(3)}}, "many files are rejected: 3 of 21"),
        ({**identities(9), "x/1.png": b"", "y/1.png": b""}, "folders without a usable image: 2, the first is 'x'"),
        (identities(9), "only 2 identities to test on: the measured figures will be coarse"),
        (
            {**identities(9), "Anchor/1.png": image_bytes(900), "negatives/1.png": image_bytes(901)},
            "folders Anchor, negatives look like role folders, and are read as identities: role folders are anchor, "
            "positive and negative, all three",
        ),
        (roles(9, 9, 9), "fewer than 100 images in a role: added data may change the split of what is there"),
    ],
)
def test_warns_of_what_is_odd(tmp_path: Path, files: Mapping[str, bytes], warning: str) -> None:
    made = report(tmp_path / "data", files)
    assert warning in made.warnings
    assert f"warning     {warning}" in report_module.to_text(made)


def test_lists_folders_that_look_the_same(tmp_path: Path) -> None:
    """Both spellings of each name. A folder whose images count as those of another one isn't without a usable image."""
    pairs = {"Ju\u0308rgen/1.png": image_bytes(900), "J\u00fcrgen/2.png": image_bytes(901)}
    pairs |= {"WHO-001/9.png": image_bytes(902), "WHO-001/notes.txt": b""}
    made = report(tmp_path / "data", {**identities(9), **pairs})
    assert made.look_alikes == [["Ju\u0308rgen", "J\u00fcrgen"], ["WHO-001", "who-001"]]
    assert made.identities == 10
    (line,) = [line for line in made.warnings if "look the same" in line]
    assert line.startswith(
        "folders with names that look the same: 'Ju\\u0308rgen' and 'J\u00fcrgen'; 'WHO-001' and 'who-001': each"
    )
    assert f"warning     {line}" in report_module.to_text(made)
    assert not any("without a usable image" in warning for warning in made.warnings)


def test_warns_of_nothing_where_nothing_is_odd(tmp_path: Path) -> None:
    """Up to ten times the median is not odd, nor is one side four times the other."""
    more = {f"who-000/more-{n}.png": image_bytes(900 + n, 40, 160) for n in range(18)}
    assert report(tmp_path / "data", {**identities(150), **more}).warnings == []


def test_sizes_are_ordered_by_area(tmp_path: Path) -> None:
    """Of 90 x 30, 40 x 70 and 50 x 60 pixels: 2700, 2800 and 3000."""
    sides = [(50, 60), (90, 30), (40, 70)]
    made = report(tmp_path / "data", {f"a/{n}.png": image_bytes(n, *size) for n, size in enumerate(sides)})
    assert made.sizes == {"smallest": [90, 30], "median": [40, 70], "largest": [50, 60]}


@pytest.mark.parametrize(
    ("files", "why_not"),
    [
        ({}, "the folder is empty: expected <identity>/*"),
        ({"note.txt": b""}, "no usable image: 1 of 1 files are rejected as 'not in a folder of its identity'"),
        ({"a/1.png": b"\x89PNG\r\n\x1a\n"}, "no usable image: 1 of 1 files are rejected as 'truncated PNG'"),
        (identities(5), "5 identities with usable images are too few: 6 are needed"),
        (identities(8, images=1), "has no identity with two images, so no positive pair"),
        (roles(1, 1, 1), "1 anchor, 1 positive and 1 negative images are too few"),
    ],
    ids=["empty", "a note", "damaged", "few", "single", "few of each role"],
)
def test_says_why_training_is_impossible(tmp_path: Path, files: Mapping[str, bytes], why_not: str) -> None:
    made = report(tmp_path / "data", files)
    assert (made.trainable, made.split) == (False, None)
    assert not any("may change the split" in warning for warning in made.warnings)  # there is none
    assert made.why_not is not None and why_not in made.why_not
    assert report_module.to_text(made).splitlines()[-1] == f"trainable   no: {made.why_not}"


def test_names_ten_rejected_files_and_counts_the_rest(tmp_path: Path) -> None:
    made = report(tmp_path / "data", {**identities(6), **{f"who-000/{n:02}.txt": b"" for n in range(12)}})
    assert made.rejected == 12
    assert [one["path"] for one in made.rejected_files] == [f"who-000/{n:02}.txt" for n in range(10)]
    assert "and 2 more (`siamese catalog` lists them all)" in report_module.to_text(made)


def test_is_a_fact_a_line_to_read_whatever_names_files_have(tmp_path: Path) -> None:
    made = report(tmp_path / "data", {**identities(6), "who-000/two\nlines\x1b[2J.txt": b""})
    text = report_module.to_text(made)
    assert (
        "            who-000/two?lines?[2J.txt: name has a control character, such as a line break" in text.splitlines()
    )
    names = [line[:12].strip() for line in text.splitlines()]
    assert [name for name in names if name] == [
        *["folder", "layout", "images", "sizes", "formats", "duplicates", "rejected"],
        *["train", "test", "validation", "stable"],
        *["warning"] * 2,
        "trainable",
    ]


def test_is_plain_values_for_machines(tmp_path: Path) -> None:
    for name, files in {"identities": identities(6), "roles": roles(3, 3, 3), "empty": {}}.items():
        made = report(tmp_path / name, files)
        assert json.loads(json.dumps(made.as_dict())) == made.as_dict()


def test_writes_nothing(tmp_path: Path) -> None:
    report(tmp_path / "data", identities(6))
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_a_missing_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: can't be read as a folder"):
        report_module.survey(tmp_path / "nowhere", PARAMS, MAX)
