"""The catalog: whose each image is, in which split it lies, and a reason for every file that was not taken.

Odd images, odd names and what is no file at all: test_odd_folders.py. Random catalogs: test_splits.py.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from siamese.data import catalog, image_folder
from siamese.data.splits import split_units
from siamese.errors import InputError
from siamese.params import CatalogParams
from siamese.storage import parallel

PARAMS = CatalogParams(splits="hash", train=0.7, test=0.2, validation=0.1, seed=0)
MAX = 10_000


def image_bytes(number: int, format: str = "PNG") -> bytes:
    """An image of 5 x 3 pixels, a different one for each number."""
    file = BytesIO()
    Image.new("RGB", (5, 3), (number % 256, number // 256 % 256, number // 65536)).save(file, format)
    return file.getvalue()


def fill(folder: Path, files: Mapping[str, int | bytes]) -> Path:
    """Writes files: a number stands for an image that only this number has."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(image_bytes(content) if isinstance(content, int) else content)
    return folder


def identities(count: int, images: int = 2) -> dict[str, int | bytes]:
    return {f"who-{n:03}/{k}.png": n * images + k for n in range(count) for k in range(images)}


def roles(anchors: int, positives: int, negatives: int) -> dict[str, int | bytes]:
    counts = {"anchor": anchors, "positive": positives, "negative": negatives}
    names = [f"{role}/{n}.png" for role, count in counts.items() for n in range(count)]
    return {name: number for number, name in enumerate(names)}


def taken(found: catalog.FolderScan) -> list[str]:
    return found.images["path"].tolist()


def reasons(found: catalog.FolderScan) -> dict[str, str]:
    return dict(zip(found.rejected["path"], found.rejected["reason"], strict=True))


def run(folder: Path, out: Path, params: CatalogParams = PARAMS) -> tuple[pd.DataFrame, pd.DataFrame]:
    catalog.run(folder, out / "catalog.parquet", out / "rejected.csv", params, MAX)
    return pd.read_parquet(out / "catalog.parquet"), pd.read_csv(out / "rejected.csv", keep_default_na=False)


def test_a_row_says_all_about_an_image(tmp_path: Path) -> None:
    jpeg = image_bytes(99, "JPEG")
    fill(tmp_path / "data", {**identities(6), "who-000/deeper/still/9.JPEG": jpeg})
    made, rejected = run(tmp_path / "data", tmp_path)
    row = made[made["path"] == "who-000/deeper/still/9.JPEG"].iloc[0].to_dict()
    assert row.pop("split") in ("train", "test", "validation")
    assert pd.isna(row.pop("role"))
    assert row == {
        "image_id": hashlib.sha256(jpeg).hexdigest(),
        "path": "who-000/deeper/still/9.JPEG",
        "identity": "who-000",
        "width": 5,
        "height": 3,
        "format": "JPEG",
        "bytes": len(jpeg),
    }
    assert rejected.empty
    assert made["path"].tolist() == sorted(made["path"])


def test_columns_have_the_same_types_in_both_layouts(tmp_path: Path) -> None:
    text, small, large = "large_string", "int32", "int64"
    expected = dict(image_id=text, path=text, identity=text, role=text, split=text, width=small, height=small)
    for name, files in {"identities": identities(6), "roles": roles(3, 3, 3)}.items():
        run(fill(tmp_path / name / "data", files), tmp_path / name)
        schema = pq.read_schema(tmp_path / name / "catalog.parquet")
        types = {field.name: str(field.type) for field in schema}
        assert types == {**expected, "format": text, "bytes": large}


def test_identities_are_split_whole(tmp_path: Path) -> None:
    made, _ = run(fill(tmp_path / "data", identities(20, images=3)), tmp_path)
    splits = made.groupby("identity")["split"].unique()
    assert all(len(of_identity) == 1 for of_identity in splits)
    assert Counter(splits.str[0]) == {"train": 14, "test": 4, "validation": 2}
    names = sorted(made["identity"].unique())
    assert splits.str[0].to_dict() == split_units(names, train=0.7, test=0.2, validation=0.1, seed=0, minimum=2)


def test_role_folders_are_split_by_image_within_each_role(tmp_path: Path) -> None:
    made, rejected = run(fill(tmp_path / "data", roles(10, 20, 30)), tmp_path)
    assert made.groupby(["role", "split"]).size().to_dict() == {
        ("anchor", "train"): 7,
        ("anchor", "test"): 2,
        ("anchor", "validation"): 1,
        ("positive", "train"): 14,
        ("positive", "test"): 4,
        ("positive", "validation"): 2,
        ("negative", "train"): 21,
        ("negative", "test"): 6,
        ("negative", "validation"): 3,
    }
    assert set(made.loc[made["role"] != "negative", "identity"]) == {"target"}
    assert made.loc[made["role"] == "negative", "identity"].isna().all()
    assert rejected.empty


@pytest.mark.parametrize(
    ("folders", "layout"),
    [
        (["anchor", "positive", "negative"], "roles"),
        (["anchor", "positive", "negative", "more"], "roles"),
        (["Anchor", "POSITIVE", "negative\u00a0"], "roles"),
        (["anchors", "positives", "negatives"], "identities"),
        (["anchor", "positive"], "identities"),
        (["a", "b"], "identities"),
        ([], "identities"),
    ],
)
def test_recognises_the_layout(tmp_path: Path, folders: list[str], layout: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert image_folder.detect_layout(tmp_path) == layout


def test_files_named_like_roles_make_no_role_folders(tmp_path: Path) -> None:
    assert image_folder.detect_layout(fill(tmp_path, {"anchor": b"", "positive": b"", "negative": b""})) == "identities"


def test_every_file_not_taken_has_its_reason(tmp_path: Path) -> None:
    truncated = image_bytes(5)[:-20]
    files: dict[str, int | bytes] = {
        "a/1.png": 1,
        "a/.2.png": 2,
        ".git/3.png": 3,
        "4.png": 4,
        "a/5.png": truncated,
        "a/6.gif": 6,
        "a/7": 7,
    }
    found = catalog.collect(fill(tmp_path, files), MAX)
    assert taken(found) == ["a/1.png"]
    assert reasons(found) == {
        "a/.2.png": "hidden",
        ".git/3.png": "hidden",
        "4.png": "not in a folder of its identity",
        "a/5.png": "truncated PNG",
        "a/6.gif": "other suffix: .gif, not bmp, jpeg, jpg, png",
        "a/7": "other suffix: none, not bmp, jpeg, jpg, png",
    }
    assert found.rejected["path"].tolist() == sorted(found.rejected["path"])


def test_what_lies_beside_role_folders_is_rejected(tmp_path: Path) -> None:
    found = catalog.collect(fill(tmp_path, {**roles(1, 1, 1), "more/9.png": 9, "8.png": 8}), MAX)
    assert reasons(found) == {
        "more/9.png": "not in a role folder: only anchor, positive, negative are read",
        "8.png": "not in a role folder",
    }


def test_copies_of_one_identity_count_once(tmp_path: Path) -> None:
    found = catalog.collect(fill(tmp_path, {"a/2.png": 1, "a/10.png": 1, "a/x/1.png": 1, "b/1.png": 2}), MAX)
    assert taken(found) == ["a/10.png", "b/1.png"]
    assert reasons(found) == {"a/2.png": "copy: of a/10.png", "a/x/1.png": "copy: of a/10.png"}


def test_copies_under_two_identities_are_all_rejected(tmp_path: Path) -> None:
    """Whose image it is can't be known; its being listed twice under one of them doesn't decide."""
    found = catalog.collect(fill(tmp_path, {"a/1.png": 1, "a/2.png": 1, "b/1.png": 1, "b/2.png": 2}), MAX)
    assert taken(found) == ["b/2.png"]
    reason = "copies under several identities: a, b"
    assert reasons(found) == {"a/1.png": reason, "a/2.png": reason, "b/1.png": reason}


def test_a_reason_names_five_identities_at_most(tmp_path: Path) -> None:
    found = catalog.collect(fill(tmp_path, {f"{name}/1.png": 1 for name in "abcdefg"}), MAX)
    assert set(reasons(found).values()) == {"copies under several identities: a, b, c, d, e and 2 more"}


def test_copies_in_role_folders(tmp_path: Path) -> None:
    """Anchor and positive are one identity; the negatives are another than the target, whoever they are."""
    files = {
        **{"anchor/1.png": 1, "positive/1.png": 1, "positive/2.png": 2},
        **{"negative/3.png": 3, "negative/4.png": 3, "negative/2.png": 2},
    }
    found = catalog.collect(fill(tmp_path, files), MAX)
    assert taken(found) == ["anchor/1.png", "negative/3.png"]
    both = "copies under several identities: negative, target"
    assert reasons(found) == {
        "positive/1.png": "copy: of anchor/1.png",
        "negative/4.png": "copy: of negative/3.png",
        "positive/2.png": both,
        "negative/2.png": both,
    }


def test_links_are_followed_once(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", {"1.png": 1, "deeper/2.png": 2})
    data = fill(tmp_path / "data", {"b/3.png": 3})
    (data / "a").symlink_to(outside)
    (data / "c").symlink_to(outside)
    (data / "0").symlink_to(data / "b")  # sorts before the real folder, and is not read in its place
    (data / "b/loop").symlink_to(data)
    (data / "b/gone.png").symlink_to(tmp_path / "nothing.png")
    (data / "b/self.png").symlink_to(data / "b/self.png")
    (data / "b/4.png").symlink_to(fill(tmp_path, {"else/4.png": 4}) / "else/4.png")
    found = catalog.collect(data, MAX)
    assert taken(found) == ["a/1.png", "a/deeper/2.png", "b/3.png", "b/4.png"]
    assert reasons(found) == {
        "0": "link to a folder already read",
        "c": "link to a folder already read",
        "b/loop": "link to a folder already read",
        "b/gone.png": "broken link: No such file or directory",
        "b/self.png": "broken link: Too many levels of symbolic links",
    }


def test_rejected_csv_holds_any_name(tmp_path: Path) -> None:
    names = ['a/"quoted", and\nbroken.txt', "a/=1+1.txt", "b/名.txt"]
    _, rejected = run(fill(tmp_path / "data", {**identities(6), **dict.fromkeys(names, b"")}), tmp_path)
    assert rejected.columns.tolist() == ["path", "reason"]
    assert rejected["path"].tolist() == sorted(names)


def test_equal_folders_give_equal_bytes(tmp_path: Path) -> None:
    """Whatever the order in which files were written, and wherever the folder lies."""
    files = {**identities(8), "who-000/x.txt": b""}
    made = []
    for name, order in {"one": list(files), "two": list(reversed(files))}.items():
        run(fill(tmp_path / name / "data", {path: files[path] for path in order}), tmp_path / name)
        made.append([(tmp_path / name / file).read_bytes() for file in ("catalog.parquet", "rejected.csv")])
    assert made[0] == made[1]


def test_the_seed_moves_identities(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", identities(20))
    first, _ = run(data, tmp_path)
    second, _ = run(data, tmp_path, PARAMS.model_copy(update={"seed": 1}))
    assert first.drop(columns="split").equals(second.drop(columns="split"))
    assert not first.equals(second)


def test_added_identities_move_no_old_one_from_100_on(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", identities(100))
    before, _ = run(data, tmp_path)
    after, _ = run(fill(data, identities(130)), tmp_path)
    both = before.merge(after, on="path")
    assert len(both) == 200
    assert (both["split_x"] == both["split_y"]).all()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the folder is empty: expected <identity>/*"),
        (
            {"a/1.txt": b"", "a/2.txt": b"", "b/1.png": b""},
            "no usable image: 2 of 3 files are rejected as 'other suffix': expected <identity>/*",
        ),
        (identities(5), "5 identities with usable images are too few: 6 are needed, 2 a split"),
        (
            {f"app/data/{path}": content for path, content in identities(9).items()},
            "all images lie under one folder: if its subfolders are the identities, set data.path to …/app",
        ),
        (identities(9, images=1), "split 'test' has no identity with two images, so no positive pair: add images"),
        (roles(2, 5, 9), "2 anchor, 5 positive and 9 negative images are too few: needed are 3 of each, or 6 anchor"),
        (roles(9, 9, 2), "9 anchor, 9 positive and 2 negative images are too few"),
    ],
    ids=["empty", "no image", "few identities", "one folder too high", "single images", "few targets", "few others"],
)
def test_a_folder_that_allows_no_training_is_one_line(tmp_path: Path, files: dict[str, int | bytes], said: str) -> None:
    (tmp_path / "data").mkdir()
    fill(tmp_path / "data", files)
    with pytest.raises(InputError) as error:
        run(tmp_path / "data", tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'data'}: {said}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "catalog.parquet").exists()
    assert (tmp_path / "rejected.csv").exists()  # so that the reasons can be read


def test_a_role_whose_hash_leaves_a_split_empty_is_named(tmp_path: Path) -> None:
    params = CatalogParams(splits="hash", train=0.7, test=0.299, validation=0.001, seed=0)
    with pytest.raises(InputError, match="negative images: split 'validation' gets 0 of 100 and needs 1"):
        run(fill(tmp_path / "data", roles(3, 3, 100)), tmp_path, params)


@pytest.mark.parametrize(
    ("counts", "minimums"),
    [
        ((3, 3, 3), (1, 1, 1)),
        ((1, 6, 3), (0, 2, 1)),  # one anchor is enough where each split can have two positives
        ((6, 0, 3), (2, 0, 1)),
    ],
)
def test_every_split_of_role_folders_has_two_targets_and_a_negative(
    tmp_path: Path, counts: tuple[int, int, int], minimums: tuple[int, int, int]
) -> None:
    names = ("anchor", "positive", "negative")
    assert tuple(catalog.role_minimums(dict(zip(names, counts, strict=True))).values()) == minimums
    data = fill(tmp_path / "data", roles(*counts))
    for name in names:
        (data / name).mkdir(exist_ok=True)
    made, _ = run(data, tmp_path)
    target = made["identity"] == "target"
    for split in ("train", "test", "validation"):
        assert (target & (made["split"] == split)).sum() >= 2
        assert (~target & (made["split"] == split)).sum() >= 1


@pytest.mark.parametrize("make", [lambda path: None, Path.touch], ids=["missing", "a file"])
def test_no_such_folder_is_one_line(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "data")
    with pytest.raises(InputError, match=r"data: can't be read as a folder \(.*\): name the folder of images"):
        run(tmp_path / "data", tmp_path)


def test_a_failed_run_leaves_the_older_catalog(tmp_path: Path) -> None:
    run(fill(tmp_path / "data", identities(6)), tmp_path)
    before = (tmp_path / "catalog.parquet").read_bytes()
    with pytest.raises(InputError):
        run(fill(tmp_path / "other", identities(2)), tmp_path)
    assert (tmp_path / "catalog.parquet").read_bytes() == before


NFC, NFD = "J\u00fcrgen", "Ju\u0308rgen"
LOOK_ALIKES = ["Ann", "ann", "Ben", "Ben ", "Cas", "Cas\u00a0", "Dan", "D\u200ban", "Eva", "\ufeffEva", NFC, NFD]


def test_folders_that_look_the_same_are_one_identity_in_one_split_and_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve folders of six people: normal form, case, trailing and no-break space, zero-width, byte-order mark."""
    made, _ = run(fill(tmp_path / "data", {f"{name}/1.png": n for n, name in enumerate(LOOK_ALIKES)}), tmp_path)
    assert sorted(made["path"]) == sorted(f"{name}/1.png" for name in LOOK_ALIKES)
    assert made["identity"].value_counts().to_dict() == dict.fromkeys(["Ann", "Ben", "Cas", "Dan", "Eva", NFC], 2)
    assert made.groupby("identity")["split"].nunique().eq(1).all()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "look the same" in line]
    assert line == (
        f"{tmp_path}/data: folders with names that look the same: 'Ann' and 'ann'; 'Ben' and 'Ben '; "
        r"'Cas' and 'Cas\xa0'; 'Dan' and 'D\u200ban'; 'Eva' and '\ufeffEva'; and 1 more: "
        "each group is read as one identity, because one person in two splits would be a leak; "
        "rename the folders of different people (`siamese inspect --json` lists all groups)"
    )


def test_a_second_spelling_moves_no_other_identity_to_another_split(tmp_path: Path) -> None:
    """Whoever has one folder stays where they were, and the second folder goes where the first one is."""
    before, _ = run(fill(tmp_path / "data", identities(12)), tmp_path)
    after, _ = run(fill(tmp_path / "data", {"WHO-003/9.png": 900}), tmp_path)
    split_of = before.set_index("path")["split"].to_dict()
    split_of["WHO-003/9.png"] = split_of["who-003/0.png"]
    assert after.set_index("path")["split"].to_dict() == split_of


def test_plain_names_give_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(fill(tmp_path / "data", {**identities(6), f"{NFD}/1.png": 90, f"{NFD}/2.png": 91}), tmp_path)
    assert capsys.readouterr().err == ""


def test_copies_in_two_spellings_of_one_folder_are_copies(tmp_path: Path) -> None:
    found = catalog.collect(fill(tmp_path, {f"{NFD}/1.png": 1, f"{NFC}/1.png": 1}), MAX)
    assert (taken(found), reasons(found)) == ([f"{NFD}/1.png"], {f"{NFC}/1.png": f"copy: of {NFD}/1.png"})


def test_role_folders_in_another_case_are_role_folders(tmp_path: Path) -> None:
    spelled = {"anchor": "Anchor", "positive": "POSITIVE", "negative": "negative "}
    files = {f"{spelled[path.partition('/')[0]]}/{path}": n for path, n in roles(6, 6, 6).items()}
    made, rejected = run(fill(tmp_path / "data", files), tmp_path)
    assert rejected.empty and made["role"].value_counts().to_dict() == {"anchor": 6, "positive": 6, "negative": 6}
    assert made["identity"].isna().sum() == 6 and set(made["identity"].dropna()) == {"target"}


def test_folders_named_nearly_like_roles_are_named_before_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{role}s/{n}.png": 10 * k + n for k, role in enumerate(image_folder.ROLES) for n in range(3)}
    with pytest.raises(InputError, match="3 identities with usable images are too few"):
        run(fill(tmp_path / "data", files), tmp_path)
    assert "folders anchors, negatives, positives look like role folders" in capsys.readouterr().err


SCRIPT = """
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from siamese.data import catalog
    from siamese.storage import parallel

    catalog._BYTES_WORTH_A_PROCESS, parallel._FILES_A_TASK = 1, 2
    parallel.available = lambda: 2
    found = catalog.collect(Path(sys.argv[1]), 10_000)
    print(found.images.to_json(), found.rejected.to_json(), sep="\\n")
"""


def test_a_pool_of_processes_finds_the_same(tmp_path: Path) -> None:
    """In a process of its own, as a user's script would: the pool's processes import that script again."""
    data = fill(tmp_path / "data", {**identities(7), "a/1.png": b"", "a/2.png": b"a note"})
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(data)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    alone = catalog.collect(data, MAX)
    images, rejected = map(json.loads, done.stdout.splitlines())
    assert images == json.loads(alone.images.to_json())
    assert rejected == json.loads(alone.rejected.to_json())


def test_a_pool_that_dies_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After three files; the rest is read by this process, each once and in order."""

    class Dying:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Dying:
            return self

        def __exit__(self, *_: object) -> None: ...
        def map(self, function: Callable[..., Any], *arguments: Iterable[Any], chunksize: int) -> Iterator[Any]:
            for number, of_file in enumerate(zip(*arguments, strict=False)):
                if number == 3:
                    raise BrokenProcessPool
                yield function(*of_file)

    data = fill(tmp_path, identities(5))
    alone = catalog.collect(data, MAX)
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Dying)
    monkeypatch.setattr(catalog, "_BYTES_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(parallel, "available", lambda: 2)
    pd.testing.assert_frame_equal(catalog.collect(data, MAX).images, alone.images)
    assert "the pool of processes ended" in capsys.readouterr().err
