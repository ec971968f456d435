"""Drawing from a folder without a catalog: some of each identity, and another where one can't be taken."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, picture

from siamese.errors import InputError
from siamese.monitoring import sampling

MAX = 1_000_000


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def small(seed: int) -> bytes:
    return encoded(picture(seed, 20, 10))


def people(count: int, images: int) -> dict[str, bytes]:
    return {f"who-{who}/{image}.png": small(who * images + image) for who in range(count) for image in range(images)}


def drawn(found: sampling.NewImages, each: int = 9, most: int = 99, known: set[str] = frozenset(), seed: int = 0):  # type: ignore[no-untyped-def,assignment]
    return list(found.draw(each, most, known, MAX, np.random.default_rng(seed)))


def test_subfolders_are_identities_and_files_beside_them_are_each_alone(tmp_path: Path) -> None:
    """Two of who-0, two of who-1, two alone: 4 units, of which 2 are identities."""
    found = sampling.find(fill(tmp_path, people(2, 2) | {"a.png": small(8), "b.JPG": small(9)}), flat=False)
    assert dict(zip(found.paths, found.unit.tolist(), strict=True)) == {
        "who-0/0.png": 0, "who-0/1.png": 0, "who-1/0.png": 1, "who-1/1.png": 1, "a.png": 2, "b.JPG": 3,
    }  # fmt: skip
    assert found.identities == 2


def test_folders_that_look_the_same_are_one_identity(tmp_path: Path) -> None:
    files = {f"{name}/1.png": small(n) for n, name in enumerate(["J\u00fcrgen", "Ju\u0308rgen", "ann", "Ann\u00a0"])}
    found = sampling.find(fill(tmp_path, files), flat=False)
    assert found.identities == 2 and sorted(found.unit.tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize("flat", [False, True])
def test_in_role_folders_and_in_flat_ones_each_image_is_alone(tmp_path: Path, flat: bool) -> None:
    folders = ("x", "y", "z") if flat else ("anchor", "positive", "negative")
    files = {f"{folder}/{number}.png": small(number) for folder in folders for number in range(2)}
    found = sampling.find(fill(tmp_path, files), flat=flat)
    assert sorted(found.unit.tolist()) == list(range(6)) and found.identities == 0


def test_names_that_are_no_images_are_counted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    files = {"a/1.png": small(1), "a/notes.txt": b"", "b.gif": b"", ".DS_Store": b"", "a/.thumbs/1.png": b""}
    found = sampling.find(fill(tmp_path, files), flat=False)
    assert found.paths == ["a/1.png"] and found.misnamed == {"other suffix": 2}


def test_takes_some_of_each_identity_and_stops_at_the_most(tmp_path: Path) -> None:
    found = sampling.find(fill(tmp_path, people(6, 5)), flat=False)
    assert Counter(Counter(image.unit for image in drawn(found, each=3)).values()) == {3: 6}
    once, again, other = (drawn(found, each=3, most=7, seed=seed) for seed in (1, 1, 2))
    assert [image.encoded for image in once] == [image.encoded for image in again] != [one.encoded for one in other]
    assert sorted(Counter(image.unit for image in once).values()) == [1, 3, 3]
    assert found.opened == 6 * 3 + 3 * 7


def test_gives_sizes_upright_bytes_and_the_unit(tmp_path: Path) -> None:
    found = sampling.find(fill(tmp_path, {"one.png": small(0)}), flat=False)
    assert drawn(found) == [sampling.NewImage(unit=0, width=20, height=10, encoded=small(0))]


def test_what_cannot_be_taken_is_counted_and_the_next_takes_its_place(tmp_path: Path) -> None:
    """Of five images of one identity one is known, one a copy, one cut off: two are left, and two are wanted."""
    files = {
        "who/0.png": small(0), "who/copy.png": small(0), "who/known.png": small(1), "who/cut.png": small(2)[:-9],
        "who/4.png": small(4),
    }  # fmt: skip
    known = {hashlib.sha256(small(1)).hexdigest()}
    for seed in range(5):  # whatever the order
        found = sampling.find(fill(tmp_path, files), flat=False)
        taken = drawn(found, each=2, known=known, seed=seed)
        assert {image.encoded for image in taken} == {small(0), small(4)}
    taken = drawn(found := sampling.find(tmp_path, flat=False), known=known)
    assert (found.opened, found.known, found.copies, found.unreadable) == (5, 1, 1, {"truncated PNG": 1})


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read as a folder"):
        sampling.find(tmp_path / "nowhere", flat=False)


def test_rows_drawn_of_units() -> None:
    """Units of 4, 1 and 2 rows, two of each: five rows, the lone one among them; the same by the same seed."""
    unit = np.array([7, 7, 3, 7, 5, 7, 5])
    rows = [sampling.draw(unit, 2, 99, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    for one in rows:
        assert len(set(one.tolist())) == 5 and Counter(unit[one].tolist()) == {7: 2, 3: 1, 5: 2}
    assert rows[0].tolist() == rows[1].tolist() and len({tuple(one.tolist()) for one in rows}) > 2
    assert len(sampling.draw(unit, 2, 3, np.random.default_rng(0))) == 3
    assert sampling.draw(unit[:0], 2, 3, np.random.default_rng(0)).tolist() == []


def test_typical_size_is_the_median_number_rounded_down() -> None:
    assert sampling.typical_size(np.array([0, 0, 0, 0, 1, 2, 2])) == 2
    assert sampling.typical_size(np.array([0, 0, 1])) == 1
    assert sampling.typical_size(np.array([], int)) == 0
