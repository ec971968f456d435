"""Pair generation: which two images are compared, and whether they show the same identity.

Every possible pair has a number. Distinct numbers are drawn at random and decoded to two rows, so that time follows the
number of pairs asked for, not the number that exist (10**5 images have 5 * 10**9 pairs), and memory neither. The
numbering: with the rows in order of identity, unknown ones last, a row's positive partners are the later rows of its
identity, its negative partners all rows of later identities; both are an interval, and the intervals' lengths add up to
the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from siamese.errors import InputError
from siamese.params import PairsParams
from siamese.storage.files import atomic_file, require_exists
from siamese.storage.tables import read_table

PAIR_COLUMNS = ["anchor_id", "other_id", "label", "split"]
SPLITS = ["train", "test", "validation"]
BLOCK = 1_000_000  # pairs of each label that are held at once

_SCHEMA = pa.schema(
    {"anchor_id": pa.large_string(), "other_id": pa.large_string(), "label": pa.int8(), "split": pa.large_string()}
)
_DISTINCT_BYTES = 2**26  # of image_ids, each written once a block: those of a million images
_ROUNDS = 6


def run(catalog_file: Path, pairs_file: Path, params: PairsParams) -> None:
    """Reads `catalog.parquet`, writes `pairs.parquet`: the step as DVC and Kubeflow call it."""
    catalog = read_table(require_exists(catalog_file, "siamese catalog"), ["image_id", "identity", "split"])
    blocks = pair_blocks(catalog, per_split=params.per_split, seed=params.seed)
    with (
        atomic_file(pairs_file) as beside,
        pa.parquet.ParquetWriter(beside, _SCHEMA, dictionary_pagesize_limit=_DISTINCT_BYTES) as writer,
    ):
        for block in blocks:
            writer.write_table(block)


def make_pairs(catalog: pd.DataFrame, *, per_split: int, seed: int) -> pd.DataFrame:
    """What `pair_blocks` gives, as one table."""
    return pa.concat_tables(pair_blocks(catalog, per_split=per_split, seed=seed)).to_pandas()


def pair_blocks(catalog: pd.DataFrame, *, per_split: int, seed: int) -> Iterator[pa.Table]:
    """Balanced pairs within each split, in random order, at most `2 * BLOCK` at a time.

    Args:
        catalog: one row an image, with columns image_id, identity (missing where it isn't known) and split.
        per_split: pairs wanted a split, half of them positive; fewer where a split has fewer.
        seed: the same catalog and seed give the same pairs.

    Yields:
        One row a pair, columns `PAIR_COLUMNS`; label is 1 where both images show the same identity.

    Raises:
        InputError: a split has no positive or no negative pair. It comes with that split's turn.
    """
    for number, split in enumerate(SPLITS):
        rows = catalog[catalog["split"] == split]
        rng = np.random.default_rng([seed, number])
        identity = pd.factorize(rows["identity"], sort=True)[0]
        positive, negative = positive_pairs(identity), negative_pairs(identity)
        positives = min(per_split // 2, len(positive))
        negatives = min(positives, len(negative))
        if not positives or not negatives:
            raise InputError(
                f"split '{split}' has {positives} positive and {negatives} negative pairs: "
                "it needs two identities, one of them with two images (`siamese inspect` shows the split)"
            )
        ids = pa.array(rows["image_id"], pa.large_string())
        draw_positive, draw_negative = positive.drawing(positives, rng), negative.drawing(negatives, rng)
        for start in range(0, positives, BLOCK):
            same, different = draw_positive(start, start + BLOCK), draw_negative(start, start + BLOCK)
            order = rng.permutation(len(same) + len(different))
            both = np.concatenate([same, different])[order]
            label = (order < len(same)).astype(np.int8)
            anchor_ids, other_ids = (ids.take(pa.array(column)) for column in both.T)
            splits = pa.repeat(pa.scalar(split, pa.large_string()), len(both))
            yield pa.table([anchor_ids, other_ids, pa.array(label), splits], schema=_SCHEMA)


class NumberedPairs:
    """The pairs of a row with one of an interval of rows behind it, each known by its number."""

    def __init__(self, order: np.ndarray, first_partner: np.ndarray, partners: np.ndarray) -> None:
        """
        Args:
            order: int [rows], the rows in the order in which intervals are counted.
            first_partner, partners: int [rows], where in that order each row's interval begins, and its length.
        """
        self._order, self._first_partner, self._partners = order, first_partner, partners
        self._ends = np.cumsum(partners)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """The pairs of these numbers, int [n], from 0 on: int64 [n, 2], rows."""
        row = np.searchsorted(self._ends, numbers, side="right")
        other = self._first_partner[row] + numbers - (self._ends - self._partners)[row]
        return self._order[np.stack([row, other], axis=1)]

    def drawing(self, count: int, rng: np.random.Generator) -> Callable[[int, int], np.ndarray]:
        """`count` distinct pairs at random, of which the function gives those from a start to before an end.

        Args:
            count: of all pairs, at most.

        Returns:
            A function of two places in the drawing to int64 [pairs, 2], rows. It holds `BLOCK` numbers at most.
        """
        if count <= BLOCK:
            numbers = _draw(len(self), count, rng)
            return lambda start, end: self[numbers[start:end]]
        keys = rng.integers(2**63, size=_ROUNDS, dtype=np.uint64)
        return lambda start, end: self[permuted(np.arange(start, min(end, count)), len(self), keys)]


def positive_pairs(identity: np.ndarray) -> NumberedPairs:
    """The pairs of rows with equal, known identity.

    Args:
        identity: int array [rows], identities coded 0, 1, …, and -1 where it isn't known.
    """
    order, end = _in_order(identity)
    row = np.arange(len(end))
    return NumberedPairs(order, row + 1, end - row - 1)


def negative_pairs(identity: np.ndarray) -> NumberedPairs:
    """The pairs of rows with unequal identity, at most one of them unknown."""
    order, end = _in_order(identity)
    return NumberedPairs(order, end, len(identity) - end)


def permuted(places: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """Where a random permutation of the numbers below `size` puts these, without writing it down: int64 [n].

    A generalised Feistel network (Black and Rogaway 2002, Ciphers with arbitrary finite domains): a number is cut into
    quotient and remainder, and each in turn is shifted by a hash of the other. As their products may exceed `size`,
    numbers that leave it go on until they are back.

    Args:
        places: int [n], each below `size`.
        keys: uint64 [rounds], at random.
    """
    width = int(np.ceil(np.sqrt(size)))
    height = -(-size // width)
    moved = places.astype(np.uint64)
    astray = np.arange(len(moved))
    while len(astray):
        high, low = np.divmod(moved[astray], np.uint64(width))
        for number, key in enumerate(keys):
            if number % 2:
                high = (high + _hash(low ^ key) % np.uint64(height)) % np.uint64(height)
            else:
                low = (low + _hash(high ^ key) % np.uint64(width)) % np.uint64(width)
        moved[astray] = high * np.uint64(width) + low
        astray = astray[moved[astray] >= size]
    return moved.astype(np.int64)


def _hash(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): uint64 [n]."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _in_order(identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows by identity, unknown ones last; for each known row in that order, where its identity ends."""
    known = int((identity >= 0).sum())
    order = np.argsort(np.where(identity < 0, len(identity), identity), kind="stable")
    images = np.bincount(identity[order[:known]])
    return order, np.repeat(np.cumsum(images), images)


def _draw(possible: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` distinct numbers below `possible`, in memory proportional to `count`: int array."""
    if 2 * count >= possible:
        return rng.permutation(possible)[:count]
    numbers = np.unique(rng.integers(possible, size=count + count // 4))
    while len(numbers) < count:
        numbers = np.union1d(numbers, rng.integers(possible, size=count))
    return rng.permutation(numbers)[:count]
