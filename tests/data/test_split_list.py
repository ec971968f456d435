"""Splits that a list in the data folder gives, instead of the hash."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from siamese.data import catalog, image_folder, splits
from siamese.data.inspection import report
from siamese.errors import InputError
from siamese.params import CatalogParams
from siamese.storage.object_store import RemotePath

LIST = "protocol/splits.csv"
PARAMS = CatalogParams(splits=LIST, train=0.7, test=0.2, validation=0.1, seed=0)
MAX = 10_000


def images(folder: Path, paths: Iterable[str]) -> Path:
    """An image of 5 x 3 pixels at each path, no two the same."""
    for number, path in enumerate(paths):
        content = BytesIO()
        Image.new("RGB", (5, 3), (number % 256, number // 256, 0)).save(content, "PNG")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.getvalue())
    return folder


def listed(folder: Path, rows: Iterable[tuple[str, str]], column: str = "identity", name: str = LIST) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([(column, "split"), *rows])
    return folder


def run(folder: Path, params: CatalogParams = PARAMS) -> tuple[pd.DataFrame, dict[str, str]]:
    out = folder.parent / "out"
    catalog.run(folder, out / "catalog.parquet", out / "rejected.csv", params, MAX)
    rejected = pd.read_csv(out / "rejected.csv", keep_default_na=False)
    return pd.read_parquet(out / "catalog.parquet"), dict(zip(rejected["path"], rejected["reason"], strict=True))


def people(folder: Path, names: Iterable[str], each: int = 2) -> Path:
    return images(folder, [f"{name}/{number}.png" for name in names for number in range(each)])


def test_each_identity_lies_where_the_list_puts_it_and_others_are_left_out(tmp_path: Path) -> None:
    """Five identities, of which the hash would want six; e isn't listed. The list's own file is no image."""
    data = listed(
        people(tmp_path / "data", "abcde"), zip("dcba", ["test", "validation", "train", "train"], strict=True)
    )
    made, rejected = run(data)
    assert made.groupby("identity")["split"].first().to_dict() == {
        "a": "train", "b": "train", "c": "validation", "d": "test",
    }  # fmt: skip
    assert len(made) == 8
    assert rejected == {
        "e/0.png": f"left out: not in {LIST}",
        "e/1.png": f"left out: not in {LIST}",
        LIST: "other suffix: .csv, not bmp, jpeg, jpg, png",
    }


def test_blank_lines_of_a_list_count_for_nothing(tmp_path: Path) -> None:
    data = listed(people(tmp_path / "data", "abc"), ABC)
    (data / LIST).write_text("\ufeff\n  \n" + (data / LIST).read_text().replace("\n", "\n   \n"))
    assert len(run(data)[0]) == 6


NFC, NFD = "J\u00fcrgen", "Ju\u0308rgen"


def test_a_listed_name_may_be_spelled_otherwise_than_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a table that was edited elsewhere spells it: composed, in another case, with a space at the end."""
    rows = [(NFC, "train"), ("ANN", "validation"), ("ben\u00a0", "test")]
    made, rejected = run(listed(people(tmp_path / "data", [NFD, "ann", "ben"]), rows))
    assert made.groupby("identity")["split"].first().to_dict() == {NFD: "train", "ann": "validation", "ben": "test"}
    assert list(rejected) == [LIST] and "listed have no usable image" not in capsys.readouterr().err


def test_spellings_of_one_name_may_be_listed_in_one_split_and_not_in_two(tmp_path: Path) -> None:
    data = people(tmp_path / "data", [NFD, NFC, *"abc"])
    made, _ = run(listed(data, [*ABC, (NFD, "train"), (NFC, "train")]))
    assert made.loc[made["identity"] == NFC, "split"].tolist() == ["train"] * 4
    with pytest.raises(InputError) as raised:
        run(listed(data, [*ABC, (NFD, "train"), (NFC, "test")]))
    assert str(raised.value) == (
        f"{data}/{LIST}: 'Ju\\u0308rgen' (train) and '{NFC}' (test) look the same: give both one split"
    )


def test_a_listed_path_may_be_in_another_normal_form(tmp_path: Path) -> None:
    paths = [f"{role}/{NFD}-{number}.png" for role in image_folder.ROLES for number in range(3)]
    rows = [
        (path.replace(NFD, NFC), split) for path, split in zip(paths, ["train", "validation", "test"] * 3, strict=True)
    ]
    spelled = [path.replace("anchor", "Anchor") for path in paths]
    made, rejected = run(listed(images(tmp_path / "data", spelled), rows, column="path"))
    assert made["path"].tolist() == sorted(spelled) and list(rejected) == [LIST]


def test_role_folders_are_listed_by_path(tmp_path: Path) -> None:
    paths = [f"{role}/{number}.png" for role in image_folder.ROLES for number in range(4)]
    places = [*(["train", "validation", "test"] * 3), "train", "test"]  # negative/3.png isn't listed
    rows = [*zip(paths, places, strict=False)]
    made, rejected = run(listed(images(tmp_path / "data", paths), rows, column="path"))
    assert made.set_index("path")["split"].to_dict() == dict(rows)
    assert rejected["negative/3.png"] == f"left out: not in {LIST}"


def test_the_hash_stays_the_default(tmp_path: Path) -> None:
    """A list that no parameter names decides nothing."""
    data = listed(people(tmp_path / "data", "abcdefgh"), [(name, "train") for name in "abcdefgh"])
    made, _ = run(data, PARAMS.model_copy(update={"splits": "hash"}))
    assert set(made["split"]) == {"train", "test", "validation"}


def test_inspect_shows_the_given_splits_as_stable(tmp_path: Path) -> None:
    data = listed(people(tmp_path / "data", "abc", each=3), zip("abc", ["train", "validation", "test"], strict=True))
    found = report.report(report.survey(data, PARAMS, MAX), None)
    assert found.split == {split: {"identities": 1, "images": 3} for split in ("train", "test", "validation")}
    assert found.stable and found.trainable


def test_what_is_listed_and_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*zip("abc", ["train", "validation", "test"], strict=True), ("zoe", "test"), ("yves", "test")]
    made, _ = run(listed(people(tmp_path / "data", "abc"), rows))
    assert len(made) == 6
    assert f"{LIST}: 2 of 5 listed have no usable image: yves …" in capsys.readouterr().err


ABC = [("a", "train"), ("b", "validation"), ("c", "test")]


@pytest.mark.parametrize(
    ("rows", "column", "reason"),
    [
        ([*ABC, ("d", "training")], "identity", "row 5: split training: must be train, test, validation"),
        ([*ABC, ("d", "")], "identity", "row 5: split without a name: must be train, test, validation"),
        ([*ABC, ("a", "test")], "identity", "lists a more than once: give each identity one split"),
        (ABC, "path", "lacks the column identity: write the columns identity and split"),
        (ABC[:2], "identity", "gives no usable image the split test: list some"),
    ],
)
def test_a_list_that_cannot_be_followed_is_one_line(
    tmp_path: Path, rows: list[tuple[str, str]], column: str, reason: str
) -> None:
    data = listed(people(tmp_path / "data", "abcd"), rows, column)
    with pytest.raises(InputError) as raised:
        run(data)
    assert str(raised.value).endswith(reason)
    assert "\n" not in str(raised.value)


def test_a_store_that_cannot_be_used_is_not_called_a_wrong_list() -> None:
    with pytest.raises(InputError, match=r"nosuch://bucket/a\.csv: no store is known by nosuch://") as raised:
        splits.read_split_list(RemotePath("nosuch://bucket"), "a.csv", "identities")
    assert "CSV" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.csv", "can't be read (No such file or directory): catalog.splits must be hash, or name a CSV file"),
        ("../other.csv", "catalog.splits = ../other.csv: must lie in"),
        ("/other.csv", "catalog.splits = /other.csv: must lie in"),
        ("empty.csv", "is not CSV (No columns to parse from file): write the columns identity and split"),
        ("a/0.png", "is not CSV"),
    ],
)
def test_a_list_that_is_none_is_one_line(tmp_path: Path, name: str, reason: str) -> None:
    data = people(tmp_path / "data", "abc")
    (data / "empty.csv").touch()
    with pytest.raises(InputError) as raised:
        run(data, PARAMS.model_copy(update={"splits": name}))
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
