"""Splits: exact quotas of few units, stable places of many, and the same whatever the order of the units."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.splits import SPLITS, is_stable, place, quotas, split_units

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
