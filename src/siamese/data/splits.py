"""Which units (identities, or images of a role) train, test and validate.

A seeded hash gives each unit a place between 0 and 1, whatever other units there are. With many units the place alone
decides, so that a unit keeps its split when others are added; the shares then hold only on average. With few, such
chance would leave splits empty: the places only rank the units, and each split takes its exact quota.

A list in the data folder may decide instead (`catalog.splits`), for data whose publisher says what is compared with
what. It is a CSV with the columns identity and split, in role folders path and split, and travels with the images, so
that DVC and Kubeflow see it change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd

from siamese.console import log
from siamese.data.names import canonical_name, canonical_path, distinctly, look_alikes
from siamese.errors import InputError
from siamese.storage.files import digest
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import parse_column

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


COLUMN = {"identities": "identity", "roles": "path"}  # what a row gives a split to, by layout
_FORM = {"identity": canonical_name, "path": canonical_path}  # in which what is listed is compared with what is there


@dataclass(frozen=True)
class SplitList:
    """A list of splits.

    Attributes:
        file: as named in params.yaml.
        column: of the catalog, `identity` or `path`, whose values the list names.
        split_of: each name as listed to its split. It may be another spelling than the catalog's.
    """

    file: str
    column: str
    split_of: dict[str, str]

    def only(self, images: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
        """The images that the list gives a split, and the path of each other one to why it is left out.

        What it lists and isn't there is said.
        """
        form = _FORM[self.column]
        there = images[self.column].map(form)
        known = set(there)
        listed = there.isin([form(name) for name in self.split_of])
        lacking = sorted(name for name in self.split_of if form(name) not in known)
        if lacking:
            log(f"{self.file}: {len(lacking)} of {len(self.split_of)} listed have no usable image: {lacking[0]} …")
        return images[listed], dict.fromkeys(images.loc[~listed, "path"], f"left out: not in {self.file}")

    def splits(self, images: pd.DataFrame) -> pd.Series:
        """The split of each image of `only`.

        Raises:
            InputError: there is a split without any.
        """
        form = _FORM[self.column]
        found = images[self.column].map(form).map({form(name): split for name, split in self.split_of.items()})
        for split in SPLITS:
            if not (found == split).any():
                raise InputError(f"{self.file}: gives no usable image the split {split}: list some")
        return found


def read_split_list(data_folder: AnyPath, splits: str, layout: Literal["identities", "roles"]) -> SplitList | None:
    """The list that `catalog.splits` names; None where it asks for the hash.

    Args:
        data_folder: the folder of images.
        splits: `hash`, or a CSV file's path from that folder.
        layout: of the folder.

    Raises:
        InputError: the file is missing, outside the folder, or no such list.
    """
    if splits == HASH:
        return None
    column = COLUMN[layout]
    wants = f"write the columns {column} and split"
    if PurePosixPath(splits).is_absolute() or ".." in PurePosixPath(splits).parts:
        raise InputError(f"catalog.splits = {splits}: must lie in {data_folder}: name it by its path from there")
    try:
        content = (data_folder / splits).read_bytes()
    except OSError as error:
        raise InputError(
            f"{data_folder / splits}: can't be read ({error.strerror}): "
            "catalog.splits must be hash, or name a CSV file in the data folder"
        ) from None
    listed = parse_column(content, data_folder / splits, (column, "split"), wants)
    unknown = listed["split"][~listed["split"].isin(SPLITS)]
    if len(unknown):
        what = f"row {unknown.index[0]}: split {unknown.iloc[0] or 'without a name'}"
        raise InputError(f"{data_folder / splits}: {what}: must be {', '.join(SPLITS)}")
    twice = [name for name, count in Counter(listed[column]).items() if count > 1]
    if twice:
        raise InputError(f"{data_folder / splits}: lists {twice[0]} more than once: give each {column} one split")
    split_of = dict(zip(listed[column], listed["split"], strict=True))
    for group in look_alikes(split_of, _FORM[column]):
        spellings = " and ".join(f"{distinctly(name)} ({split_of[name]})" for name in group)
        if len({split_of[name] for name in group}) > 1:
            raise InputError(f"{data_folder / splits}: {spellings} look the same: give both one split")
    return SplitList(splits, column, split_of)
