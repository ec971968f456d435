"""Which units (identities, or images of a role) train, test and validate.

A seeded hash gives each unit a place between 0 and 1, whatever other units there are. With many units the place alone
decides, so that a unit keeps its split when others are added; the shares then hold only on average. With few, such
chance would leave splits empty: the places only rank the units, and each split takes its exact quota.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from siamese.errors import InputError
from siamese.files import digest

SPLITS = ("train", "test", "validation")
HASH = "hash"  # what catalog.splits says where no list gives the splits
STABLE_FROM = 100  # units; from here on the hash decides


def split_units(
    units: Sequence[str], *, train: float, test: float, validation: float, seed: int, minimum: int
) -> dict[str, str]:
    """The split of each unit; a function of the set of units, not of their order.

    Args:
        units: distinct names or content hashes.
        train, test, validation: shares, which add up to 1.
        seed: another seed gives other splits.
        minimum: units that each split needs.

    Returns:
        Unit to split, in the order of `units`.

    Raises:
        InputError: fewer units than three times the minimum; or, where the hash decides, a split that got fewer.
    """
    shares = (train, test, validation)
    if len(units) < minimum * len(SPLITS):
        raise InputError(f"{len(units)} are too few to split: {minimum * len(SPLITS)} are needed, {minimum} a split")
    places = {unit: place(unit, seed) for unit in units}
    if is_stable(len(units)):
        split_of = {unit: SPLITS[(at >= train) + (at >= train + test)] for unit, at in places.items()}
    else:
        ranked = sorted(units, key=lambda unit: (places[unit], unit))
        split_of = dict(zip(ranked, np.repeat(SPLITS, quotas(len(units), shares, minimum)).tolist(), strict=True))
    got = Counter(split_of.values())
    for split in SPLITS:
        if got[split] < minimum:
            raise InputError(
                f"split '{split}' gets {got[split]} of {len(units)} and needs {minimum}: "
                f"raise catalog.{split} or change catalog.seed"
            )
    return {unit: split_of[unit] for unit in units}


def is_stable(units: int) -> bool:
    """Whether units keep their split when others are added."""
    return units >= STABLE_FROM


def place(unit: str, seed: int) -> float:
    """The unit's place in [0, 1): the first 52 bits of a SHA-256 of seed and unit."""
    return int(digest([str(seed).encode(), unit.encode()])[:13], 16) / 2**52


def quotas(units: int, shares: Sequence[float], minimum: int) -> list[int]:
    """Whole numbers that add up to `units`, nearest to the shares, none below `minimum`.

    Largest remainder (Hamilton's method), in exact fractions of the decimals that a person wrote; equal remainders go
    to the later split, which is the smaller one as a rule. What a split lacks to the minimum comes from the largest.
    """
    exact = [units * Fraction(str(share)) for share in shares]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(shares)), key=lambda n: (exact[n] - counts[n], n), reverse=True)
    for n in by_remainder[: units - sum(counts)]:
        counts[n] += 1
    while min(counts) < minimum:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(min(counts))] += 1
    return counts
