"""Splits: exact quotas of few units, stable places of many, and the same whatever the order of the units.

First of units, then of whole catalogs, drawn at random with copies in them, then of real folders.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from image_writers import GREY, png

from siamese.data import catalog, image_folder
from siamese.data.splits import SPLITS, is_stable, place, quotas, split_units
from siamese.errors import InputError
from siamese.params import CatalogParams

SHARES = {"train": 0.7, "test": 0.2, "validation": 0.1}


def names(count: int) -> list[str]:
    return [f"who-{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("units", "minimum", "expected"),
    [
        (40, 2, [28, 8, 4]),  # exact shares
        (10, 0, [7, 2, 1]),
        (10, 2, [6, 2, 2]),  # validation's 1 is below the minimum: the largest gives one
        (6, 2, [2, 2, 2]),
        (7, 2, [3, 2, 2]),
        (99, 2, [69, 20, 10]),  # 69.3, 19.8, 9.9: whole parts 69, 19, 9, then the remainders .9 and .8
        (12, 0, [8, 3, 1]),  # 8.4, 2.4, 1.2: one unit left, two remainders of .4, of which the later one gets it
        (1, 0, [1, 0, 0]),
        (0, 0, [0, 0, 0]),
    ],
)
def test_quotas_by_hand(units: int, minimum: int, expected: list[int]) -> None:
    assert quotas(units, tuple(SHARES.values()), minimum) == expected


def test_quotas_take_shares_as_they_are_written() -> None:
    """Of five units .5, 1 and 3.5: a tie, for the later; as a float 0.1 is a trifle more than a tenth, 0.7 less."""
    assert quotas(5, (0.1, 0.2, 0.7), 0) == [0, 1, 4]


@given(st.integers(0, 40), st.integers(1, 98), st.integers(1, 98))
def test_no_other_whole_numbers_are_nearer_to_the_shares(units: int, train: int, test: int) -> None:
    """Against all ways to split the units in three: the sum of squared distances (in hundredths) is the least."""
    if train + test > 99:
        train, test = train // 2, test // 2
    shares = [train, test, 100 - train - test]

    def distance(counts: tuple[int, ...]) -> int:
        return sum((100 * count - units * share) ** 2 for count, share in zip(counts, shares, strict=True))

    ways = [(a, b, units - a - b) for a, b in product(range(units + 1), repeat=2) if a + b <= units]
    made = tuple(quotas(units, [share / 100 for share in shares], 0))
    assert distance(made) == min(map(distance, ways))


@given(st.integers(6, 150), st.integers(0, 5), st.randoms())
def test_a_function_of_the_set_and_the_seed(count: int, seed: int, random: Random) -> None:
    units = names(count)
    once = split_units(units, **SHARES, seed=seed, minimum=0)
    random.shuffle(units)
    again = split_units(units, **SHARES, seed=seed, minimum=0)
    assert once == again
    assert list(again) == units


def test_another_seed_gives_other_splits() -> None:
    for count in (40, 400):
        first, second = (split_units(names(count), **SHARES, seed=seed, minimum=2) for seed in (0, 1))
        assert first != second


def test_few_units_fill_their_quotas() -> None:
    split_of = split_units(names(40), **SHARES, seed=3, minimum=2)
    assert Counter(split_of.values()) == {"train": 28, "test": 8, "validation": 4}


def test_the_hash_ranks_few_units() -> None:
    """The first quota of the places, from the lowest, trains; the last validates."""
    split_of = split_units(names(20), **SHARES, seed=0, minimum=2)
    ranked = sorted(names(20), key=lambda unit: place(unit, 0))
    assert [split_of[unit] for unit in ranked] == ["train"] * 14 + ["test"] * 4 + ["validation"] * 2


def test_the_place_is_a_hash_of_seed_and_unit() -> None:
    """SHA-256 of both, each with its length before it, as a share of all hashes."""
    message = (1).to_bytes(8, "little") + b"5" + (3).to_bytes(8, "little") + b"who"
    whole = int.from_bytes(hashlib.sha256(message).digest())
    assert place("who", 5) == pytest.approx(whole / 2**256, abs=1e-12)


def test_added_units_move_no_old_one_from_100_on() -> None:
    before = split_units(names(100), **SHARES, seed=0, minimum=2)
    after = split_units(names(1000), **SHARES, seed=0, minimum=2)
    assert {unit: after[unit] for unit in before} == before
    assert is_stable(100)


def test_fewer_than_100_units_may_move() -> None:
    """With other units among them the old ones have other ranks."""
    before = split_units(names(50), **SHARES, seed=0, minimum=2)
    after = split_units(names(99), **SHARES, seed=0, minimum=2)
    assert {unit: after[unit] for unit in before} != before
    assert not is_stable(99)


def test_many_units_hold_the_shares_on_average() -> None:
    """20,000 units: standard deviations are 65, 57 and 42; five of them are allowed."""
    got = Counter(split_units(names(20_000), **SHARES, seed=0, minimum=2).values())
    assert abs(got["train"] - 14_000) < 325
    assert abs(got["test"] - 4000) < 285
    assert abs(got["validation"] - 2000) < 210


def test_too_few_units_are_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match="5 are too few to split: 6 are needed, 2 a split"):
        split_units(names(5), **SHARES, seed=0, minimum=2)
    assert set(split_units(names(6), **SHARES, seed=0, minimum=2).values()) == set(SPLITS)


def test_a_split_that_the_hash_leaves_too_small_is_named() -> None:
    """A thousandth of 100 units is none, almost surely; moving one in would break the promise to stay."""
    shares = {"train": 0.7, "test": 0.299, "validation": 0.001}
    with pytest.raises(InputError, match=r"split 'validation' gets 0 of 100 and needs 2: raise catalog\.validation"):
        split_units(names(100), **shares, seed=0, minimum=2)


class File(NamedTuple):
    """An image file: where it lies, and a number that stands for what is in it."""

    path: str
    content: int

    @property
    def owner(self) -> str:
        """Its identity in identity folders, its role in role folders."""
        return self.path.partition("/")[0]


def random_files(owners: Sequence[str], random: Random, least: int, most: int, first: int = 0) -> list[File]:
    """Files of these owners: of each `least` to `most` that are no copies, and copies of others, some his, some not."""
    files, copies, content = [], [], first
    for owner in owners:
        numbers = range(content, content + random.randint(least, most))
        content = numbers.stop
        files += [File(f"{owner}/{number}.png", number) for number in numbers]
        for number in numbers:
            if random.random() < 0.1:
                copies.append(File(f"{owner}/{random.choice('ax')} copy of {number}.png", number))
        if random.random() < 0.3:
            copies += [
                File(f"{whose}/shared {content}.png", content) for whose in sorted({owner, random.choice(owners)})
            ]
            content += 1
    return files + copies


PEOPLE = [f"{'Añé名 '[number % 5]}who {number}" for number in range(200)]
COUNTS = st.integers(6, 99) | st.integers(100, 150)
DETAILS = st.integers(0, 2**32).map(Random)
PARAMS = st.sampled_from(
    [
        CatalogParams(splits="hash", train=train, test=test, validation=validation, seed=seed)
        for train, test, validation in ((0.7, 0.2, 0.1), (0.6, 0.2, 0.2), (0.5, 0.3, 0.2))
        for seed in (0, 1)
    ]
)


def in_each_role(numbers: Sequence[int]) -> list[File]:
    """A file of each number in each role, contents from 0, 1000 and 2000 on."""
    return [
        File(f"{role}/{n}.png", first + n)
        for role, first in zip(image_folder.ROLES, (0, 1000, 2000), strict=True)
        for n in numbers
    ]


def split_rows(files: Sequence[File], layout: image_folder.Layout, params: CatalogParams) -> pd.DataFrame:
    """The catalog of these files, as the step makes it of those that it has read; rows in their order."""
    rows = []
    for path, content in files:
        identity, role = image_folder._owner(path, layout)
        rows.append((f"{content:064}", path, identity, role, 1, 1, "PNG", 70))
    found = catalog.scan_files(pd.DataFrame(rows, columns=catalog.UNSPLIT), {}, layout)
    try:
        return catalog.with_splits(found, params)
    except InputError as error:
        assume("raise catalog." not in str(error))  # of 100 units the hash may give a small share too few
        raise


def assert_shares(counts: Counter[str], params: CatalogParams, minimum: int) -> None:
    """Each split has its share, rounded up or down, or the minimum; what that costs, training pays."""
    units = counts.total()
    exact = {split: units * Fraction(str(share)) for split, share in params.model_dump().items() if split in SPLITS}
    raised = 0
    for split in ("test", "validation"):
        rounded = {math.floor(exact[split]), math.ceil(exact[split])}
        assert counts[split] >= minimum
        assert counts[split] in rounded | {minimum}
        raised += counts[split] not in rounded or counts[split] > exact[split]
    assert abs(counts["train"] - exact["train"]) < 1 + raised


def kept(files: Sequence[File], whose: dict[str, str]) -> set[str]:
    """The paths of a catalog, content by content: of one identity's copies the first, of two identities' none."""
    places = defaultdict(list)
    for file in files:
        places[file.content].append(file)
    return {
        min(same).path for same in places.values() if len({whose.get(file.owner, file.owner) for file in same}) == 1
    }


@settings(max_examples=40)
@given(COUNTS, DETAILS, PARAMS)
def test_no_identity_and_no_copy_lies_in_two_splits(count: int, random: Random, params: CatalogParams) -> None:
    files = random_files(PEOPLE[:count], random, 2, 4)
    table = split_rows(files, "identities", params)
    assert set(table["path"]) == kept(files, {})
    assert table["image_id"].is_unique
    of_identity = table.groupby("identity")["split"].unique()
    assert len(of_identity) == count
    assert all(len(splits) == 1 for splits in of_identity)
    counts = Counter(of_identity.str[0])
    assert all(counts[split] >= 2 for split in SPLITS)
    if count < 100:
        assert_shares(counts, params, minimum=2)


@settings(max_examples=40)
@given(st.lists(st.integers(3, 99) | st.integers(100, 130), min_size=3, max_size=3), DETAILS, PARAMS)
def test_no_image_and_no_copy_of_role_folders_lies_in_two_splits(
    counts: list[int], random: Random, params: CatalogParams
) -> None:
    files = [
        file
        for number, (role, count) in enumerate(zip(image_folder.ROLES, counts, strict=True))
        for file in random_files([role], random, count, count, first=1000 * number)
    ]
    # Contents of two roles: one more of anchor and positive, one that is of the target and of others.
    files += [File(f"{role}/{content}.png", content) for content, roles in
              ((5000, ("positive", "anchor")), (5001, ("negative", "positive"))) for role in roles]  # fmt: skip
    table = split_rows(files, "roles", params)
    assert set(table["path"]) == kept(files, {"anchor": "target", "positive": "target"})
    assert table["image_id"].is_unique
    for role, rows in table.groupby("role"):
        got = Counter(rows["split"])
        assert all(got[split] >= 1 for split in SPLITS), role
        if len(rows) < 100:
            assert_shares(got, params, minimum=1)


@settings(max_examples=40)
@given(COUNTS, DETAILS, PARAMS, st.sampled_from(["identities", "roles"]))
def test_the_order_of_files_changes_nothing(
    count: int, random: Random, params: CatalogParams, layout: image_folder.Layout
) -> None:
    owners = image_folder.ROLES if layout == "roles" else PEOPLE[:count]
    files = random_files(owners, random, *((count, count) if layout == "roles" else (2, 4)))
    table = split_rows(files, layout, params)
    random.shuffle(files)
    pd.testing.assert_frame_equal(split_rows(files, layout, params), table)


@settings(max_examples=40)
@given(st.integers(100, 150), DETAILS, PARAMS)
def test_from_100_identities_on_none_moves_when_others_come_and_go(
    count: int, random: Random, params: CatalogParams
) -> None:
    """Nor when its own images do: other files of other people, of whom a hundred are left or more."""
    before = split_rows(random_files(PEOPLE[:count], random, 2, 4), "identities", params)
    gone = set(random.sample(PEOPLE[:count], random.randint(0, count - 100)))
    people = [who for who in PEOPLE[: random.randint(count, 200)] if who not in gone]
    after = split_rows(random_files(people, random, 2, 4, first=10_000), "identities", params)
    old, new = (dict(zip(table["identity"], table["split"], strict=True)) for table in (before, after))
    both = old.keys() & new.keys()
    assert len(both) == count - len(gone)
    assert {who: old[who] for who in both} == {who: new[who] for who in both}


@settings(max_examples=40)
@given(st.integers(100, 150), DETAILS, PARAMS)
def test_from_100_images_a_role_on_none_moves_when_others_come_and_go(
    count: int, random: Random, params: CatalogParams
) -> None:
    """Wherever it lies: what was a positive image may be an anchor afterwards."""

    def table_of(contents: Sequence[int]) -> dict[str, str]:
        files = in_each_role(contents)
        if random.random() < 0.5:
            files += [File(f"anchor/from positive {n}.png", 1000 + n) for n in contents[:20]]
            files += [File(f"positive/more {n}.png", 5000 + n) for n in range(20)]
        table = split_rows(files, "roles", params)
        return dict(zip(table["image_id"], table["split"], strict=True))

    old = table_of(range(count))
    new = table_of(range(random.randint(0, count - 100), random.randint(count, 200)))
    both = old.keys() & new.keys()
    assert len(both) >= 300
    assert {image: old[image] for image in both} == {image: new[image] for image in both}


def write(folder: Path, files: Sequence[File]) -> None:
    for path, content in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png(np.array([[[content >> 8], [content & 255]]]), 8, GREY))


def read(folder: Path, params: CatalogParams) -> pd.DataFrame:
    out = folder.with_name(f"{folder.name} catalog")
    catalog.run(folder, out / "catalog.parquet", out / "rejected.csv", params, 100)
    return pd.read_parquet(out / "catalog.parquet")


@settings(max_examples=6, phases=[Phase.generate])  # shrinking would write folders for minutes
@given(st.sampled_from([6, 23, 99, 100, 120]), DETAILS, PARAMS)
def test_the_same_of_real_folders(
    tmp_path_factory: pytest.TempPathFactory, count: int, random: Random, params: CatalogParams
) -> None:
    """Written in two orders, to two places: equal. From 100 people on, some go, others come, and nobody moves."""
    place = tmp_path_factory.mktemp("folders")
    files = random_files(PEOPLE[:count], random, 2, 3)
    write(place / "one", files)
    write(place / "other", random.sample(files, len(files)))
    try:
        table = read(place / "one", params)
    except InputError as error:
        assume("raise catalog." not in str(error))
        raise
    pd.testing.assert_frame_equal(read(place / "other", params), table)

    assert set(table["path"]) == kept(files, {})
    assert len({(place / "one" / path).read_bytes() for path in table["path"]}) == len(table)
    of_identity = table.groupby("identity")["split"].unique().str
    assert (of_identity.len() == 1).all()
    if count < 100:
        assert_shares(Counter(of_identity[0]), params, minimum=2)
        return

    for path in [file.path for file in files if file.owner in PEOPLE[: count - 100]]:
        (place / "one" / path).unlink()
    write(place / "one", random_files(PEOPLE[count : count + 30], random, 2, 3, first=10_000))
    later = read(place / "one", params).groupby("identity")["split"].first()
    stayed = PEOPLE[count - 100 : count]
    assert later[stayed].tolist() == of_identity[0][stayed].tolist()


def test_real_role_folders(tmp_path: Path) -> None:
    """As above, once: 12 images a role and copies; 8.4, 2.4 and 1.2 are 8, 3 and 1."""
    params = CatalogParams(splits="hash", train=0.7, test=0.2, validation=0.1, seed=0)
    files = in_each_role(range(12))
    copies = [File("anchor/again.png", 0), File("positive/of an anchor.png", 1)]
    copies += [File("anchor/both.png", 99), File("negative/both.png", 99)]
    write(tmp_path / "one", files + copies)
    write(tmp_path / "other", (files + copies)[::-1])
    table = read(tmp_path / "one", params)
    pd.testing.assert_frame_equal(read(tmp_path / "other", params), table)
    assert set(table["path"]) == {file.path for file in files}
    for _, rows in table.groupby("role"):
        assert Counter(rows["split"]) == {"train": 8, "test": 3, "validation": 1}
