"""Pairs: balanced, distinct, truthfully labelled, inside one split, and a function of the seed."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.data import pairs
from siamese.errors import InputError
from siamese.params import PairsParams


def catalog_of(identities: list[int | None], split: str = "train") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"{split}-{n}" for n in range(len(identities))],
            "identity": [None if k is None else f"who-{k}" for k in identities],
            "split": split,
        }
    )


def three_splits(identities: list[int | None]) -> pd.DataFrame:
    return pd.concat([catalog_of(identities, split) for split in pairs.SPLITS], ignore_index=True)


def test_takes_every_positive_pair_when_asked_for_more() -> None:
    """Identities of 3 and 2 images have 3 + 1 = 4 positive pairs, and get as many negative ones (of 6), in each
    split."""
    made = pairs.make_pairs(three_splits([0, 0, 0, 1, 1]), per_split=100, seed=0)
    assert made.groupby(["split", "label"]).size().tolist() == [4] * 6


def test_takes_every_negative_pair_when_there_are_few() -> None:
    """4 images of one identity and 1 of another: 6 positive pairs, but only 4 negative ones."""
    made = pairs.make_pairs(three_splits([0, 0, 0, 0, 1]), per_split=100, seed=0)
    assert made[made.split == "train"].label.value_counts().to_dict() == {1: 6, 0: 4}


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=4, max_size=60),
    st.integers(2, 80),
)
def test_pairs_are_distinct_truly_labelled_and_balanced(identities: list[int | None], per_split: int) -> None:
    """Against all pairs written out: as many positives as asked for and possible, as many negatives as positives.

    Two images of unknown identity (None: the negatives of the roles layout) are never paired.
    """
    every_pair = [pair for pair in combinations(identities, 2) if pair != (None, None)]
    possible_positives = sum(a == b for a, b in every_pair)
    possible_negatives = len(every_pair) - possible_positives
    catalog = three_splits(identities)
    if not possible_positives or not possible_negatives:
        with pytest.raises(InputError):
            pairs.make_pairs(catalog, per_split=per_split, seed=1)
        return

    made = pairs.make_pairs(catalog, per_split=per_split, seed=1).query("split == 'train'")

    positives = int(made.label.sum())
    assert positives == min(per_split // 2, possible_positives)
    assert len(made) - positives == min(positives, possible_negatives)
    who = dict(zip(catalog.image_id, catalog.identity, strict=True))
    for pair in made.itertuples():
        anchor, other = who[pair.anchor_id], who[pair.other_id]
        assert isinstance(anchor, str) or isinstance(other, str)
        assert (anchor == other) == bool(pair.label)
    assert len({frozenset(pair) for pair in zip(made.anchor_id, made.other_id, strict=True)}) == len(made)


def test_every_possible_pair_is_equally_likely() -> None:
    """3 + 3 images have 6 positive pairs; 2 of them drawn from 600 seeds: each about 200 times (sd 11.5; within 5
    sd)."""
    identity = np.array([0, 0, 0, 1, 1, 1])
    possible = pairs.positive_pairs(identity)
    drawn = [
        tuple(pair) for seed in range(600) for pair in possible.drawing(2, np.random.default_rng(seed))(0, pairs.BLOCK)
    ]
    counts = pd.Series(drawn).value_counts()
    assert len(counts) == 6
    assert counts.between(200 - 58, 200 + 58).all()


def test_no_pair_crosses_a_split_and_the_seed_decides() -> None:
    catalog = three_splits([0, 0, 1, 1, 2, 2])
    once, again, other = (pairs.make_pairs(catalog, per_split=4, seed=seed) for seed in (7, 7, 8))
    for image_id in (once.anchor_id, once.other_id):
        assert (image_id.str.split("-").str[0] == once.split).all()
    pd.testing.assert_frame_equal(once, again)
    assert not once.equals(other)


def test_a_split_that_allows_no_pair_is_named() -> None:
    catalog = pd.concat([catalog_of([0, 0, 1, 1]), catalog_of([2, 3], "test"), catalog_of([4, 4, 5], "validation")])
    with pytest.raises(InputError, match="split 'test' has 0 positive"):
        pairs.make_pairs(catalog, per_split=4, seed=0)


def test_memory_follows_the_pairs_asked_for_where_negatives_are_rare() -> None:
    """10**6 images of one identity and 2 of another have 5 * 10**11 positive pairs, but 2 * 10**6 negative ones."""
    identity = np.repeat([0, 1], [10**6, 2])
    made = pairs.negative_pairs(identity).drawing(1000, np.random.default_rng(0))(0, 1000)
    assert len(np.unique(made, axis=0)) == 1000
    assert (identity[made[:, 0]] == 0).all()
    assert (identity[made[:, 1]] == 1).all()


@pytest.mark.parametrize(("possible", "count"), [(10, 10), (10, 99), (10**6, 400_000), (10**12, 1000), (0, 5)])
def test_drawn_numbers_are_distinct_and_in_range(possible: int, count: int) -> None:
    numbers = pairs._draw(possible, count, np.random.default_rng(0))
    assert len(np.unique(numbers)) == len(numbers) == min(count, possible)
    assert ((numbers >= 0) & (numbers < possible)).all()


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 99, 10_000])
def test_a_permutation_that_is_not_written_down_meets_every_number_once(size: int) -> None:
    keys = np.random.default_rng(size).integers(2**63, size=6, dtype=np.uint64)
    assert sorted(pairs.permuted(np.arange(size), size, keys)) == list(range(size))


def test_a_permutation_that_is_not_written_down_is_random() -> None:
    """Where 6,000 keys put the numbers 0 and 1 of a million: in each of 5 x 5 fields about 240 times (sd 15.2; within 5
    sd)."""
    rng = np.random.default_rng(0)
    keys = rng.integers(2**63, size=(6000, 6), dtype=np.uint64)
    put = np.array([pairs.permuted(np.arange(2), 10**6, one) for one in keys])
    counts = np.histogram2d(*put.T, bins=5, range=[(0, 10**6)] * 2)[0]
    assert counts.sum() == 6000
    assert (np.abs(counts - 240) < 5 * 15.2).all()


def test_neighbouring_places_of_a_large_permutation_have_nothing_in_common() -> None:
    """10**5 of 5 * 10**9 numbers: distinct, their mean the middle within 5 standard errors, and no rank correlation
    between neighbours beyond 5 / sqrt(10**5)."""
    size, count = 5 * 10**9, 10**5
    found = pairs.permuted(np.arange(count), size, np.arange(6, dtype=np.uint64))
    assert len(np.unique(found)) == count
    assert abs(found.mean() / size - 0.5) < 5 / np.sqrt(12 * count)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 5 / np.sqrt(count)


def test_many_pairs_come_in_blocks_that_are_distinct_balanced_and_all_different(monkeypatch) -> None:
    """10 identities of 12 images have 660 positive and 6,480 negative pairs: 1,200 asked for, blocks of 2 x 100."""
    monkeypatch.setattr(pairs, "BLOCK", 100)
    catalog = three_splits([number // 12 for number in range(120)])
    blocks = [block.to_pandas() for block in pairs.pair_blocks(catalog, per_split=1200, seed=0)]
    assert [(len(block), block.label.sum()) for block in blocks] == [(200, 100)] * 18
    train = pd.concat(blocks[:6])
    assert len({frozenset(pair) for pair in zip(train.anchor_id, train.other_id, strict=True)}) == 1200
    who = dict(zip(catalog.image_id, catalog.identity, strict=True))
    assert ((train.anchor_id.map(who) == train.other_id.map(who)) == (train.label == 1)).all()


def test_the_step_writes_the_documented_columns(tmp_path) -> None:
    three_splits([0, 0, 1, 1]).to_parquet(tmp_path / "catalog.parquet")
    pairs.run(tmp_path / "catalog.parquet", tmp_path / "pairs.parquet", PairsParams(per_split=4, seed=0))
    written = pd.read_parquet(tmp_path / "pairs.parquet")
    assert written.columns.tolist() == ["anchor_id", "other_id", "label", "split"]
    assert written.label.dtype == np.int8


def test_a_missing_catalog_says_which_command_makes_it(tmp_path) -> None:
    with pytest.raises(InputError, match="siamese catalog"):
        pairs.run(tmp_path / "catalog.parquet", tmp_path / "pairs.parquet", PairsParams(per_split=4, seed=0))
