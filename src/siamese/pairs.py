"""Pair generation: which two images are compared, and whether they show the same identity.

Every possible pair has a number. Distinct numbers are drawn at random and decoded to two rows, so that time and memory
follow the number of pairs asked for, not the number that exist (10**5 images have 5 * 10**9 pairs). The numbering:
with the rows in order of identity, unknown ones last, a row's positive partners are the later rows of its identity,
its negative partners all rows of later identities; both are an interval, and the intervals' lengths add up to the
numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from siamese.errors import InputError
from siamese.files import existing, whole_file
from siamese.params import PairsParams
from siamese.tables import read_table

PAIR_COLUMNS = ["anchor_id", "other_id", "label", "split"]
SPLITS = ["train", "test", "validation"]


def run(catalog_file: Path, pairs_file: Path, params: PairsParams) -> None:
    """Reads `catalog.parquet`, writes `pairs.parquet`: the step as DVC and Kubeflow call it."""
    catalog = read_table(existing(catalog_file, "siamese catalog"), ["image_id", "identity", "split"])
    pairs = make_pairs(catalog, per_split=params.per_split, seed=params.seed)
    with whole_file(pairs_file) as beside:
        pairs.to_parquet(beside, index=False)


def make_pairs(catalog: pd.DataFrame, *, per_split: int, seed: int) -> pd.DataFrame:
    """Balanced pairs within each split, in random order.

    Args:
        catalog: one row an image, with columns image_id, identity (missing where it isn't known) and split.
        per_split: pairs wanted a split, half of them positive; fewer where a split has fewer.
        seed: the same catalog and seed give the same pairs.

    Returns:
        One row a pair, columns `PAIR_COLUMNS`; label is 1 where both images show the same identity.

    Raises:
        InputError: a split has no positive or no negative pair.
    """
    parts = []
    for number, split in enumerate(SPLITS):
        rows = catalog[catalog["split"] == split]
        rng = np.random.default_rng([seed, number])
        identity = pd.factorize(rows["identity"], sort=True)[0]
        positive = positive_pairs(identity, per_split // 2, rng)
        negative = negative_pairs(identity, len(positive), rng)
        if not len(positive) or not len(negative):
            raise InputError(
                f"split '{split}' has {len(positive)} positive and {len(negative)} negative pairs: "
                "it needs two identities, one of them with two images (`siamese inspect` shows the split)"
            )
        both = np.concatenate([positive, negative])
        ids = rows["image_id"].to_numpy()
        part = pd.DataFrame(
            {
                "anchor_id": ids[both[:, 0]],
                "other_id": ids[both[:, 1]],
                "label": np.repeat([1, 0], [len(positive), len(negative)]).astype(np.int8),
                "split": split,
            }
        )
        parts.append(part.iloc[rng.permutation(len(part))])
    return pd.concat(parts, ignore_index=True)[PAIR_COLUMNS]


def positive_pairs(identity: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` distinct pairs of rows with equal, known identity.

    Args:
        identity: int array [rows], identities coded 0, 1, …, and -1 where it isn't known.

    Returns:
        int array [pairs, 2] of row numbers.
    """
    order, end = _in_order(identity)
    row = np.arange(len(end))
    return order[_pairs_by_number(row + 1, end - row - 1, count, rng)]


def negative_pairs(identity: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` distinct pairs of rows with unequal identity, at most one of them unknown: int array [pairs,
    2]."""
    order, end = _in_order(identity)
    return order[_pairs_by_number(end, len(identity) - end, count, rng)]


def _in_order(identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows by identity, unknown ones last; for each known row in that order, where its identity ends."""
    known = int((identity >= 0).sum())
    order = np.argsort(np.where(identity < 0, len(identity), identity), kind="stable")
    images = np.bincount(identity[order[:known]])
    return order, np.repeat(np.cumsum(images), images)


def _pairs_by_number(
    first_partner: np.ndarray, partners: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """At most `count` of the pairs of a row with one of its `partners` rows from `first_partner` on: int array [pairs,
    2]."""
    ends = np.cumsum(partners)
    numbers = _draw(int(ends[-1]) if len(ends) else 0, count, rng)
    row = np.searchsorted(ends, numbers, side="right")
    other = first_partner[row] + numbers - (ends - partners)[row]
    return np.stack([row, other], axis=1)


def _draw(possible: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` distinct numbers below `possible`, in memory proportional to `count`: int array."""
    if 2 * count >= possible:
        return rng.permutation(possible)[:count]
    numbers = np.unique(rng.integers(possible, size=count + count // 4))
    while len(numbers) < count:
        numbers = np.union1d(numbers, rng.integers(possible, size=count))
    return rng.permutation(numbers)[:count]
