"""What a look at the pixels finds odd: near-duplicates, where they lie, and images unlike all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from siamese.data.image_folder import ROLES
from siamese.data.inspection import image_statistics, near_duplicates
from siamese.data.inspection.image_statistics import ImageStatsTable
from siamese.data.splits import SPLITS

LISTED = 20  # groups of near-duplicates by name
TINY = 1e-6  # keeps the logarithm of a sharpness of 0 finite
PATHS = 10  # of one group, and of one kind of outlier
KINDS = {
    "blank": "Images that show next to nothing.",
    "dark": "Images much darker than the others.",
    "bright": "Images much brighter than the others.",
    "blurry": "Images much less sharp than the others.",
    "sharp": "Images much sharper than the others, or noisy.",
}


@dataclass(frozen=True)
class Group:
    """Images that look the same, as rows of the table of images.

    Attributes:
        rows: all of them, rising.
        shown: two of them, compared pixel by pixel; of different splits or identities where there are such.
        likeness: of these two.
        splits: the different ones that the images lie in, in the order of `SPLITS`; none where there is no split.
        owners: the different identities, the first image's first; in role folders, target and negative.
    """

    rows: tuple[int, ...]
    shown: tuple[int, int]
    likeness: float
    splits: tuple[str, ...]
    owners: tuple[str, ...]


@dataclass(frozen=True)
class Outlier:
    """An image that stands out: its row, what was measured, and its robust z (None: not compared with others)."""

    row: int
    value: float
    z: float | None


@dataclass(frozen=True, eq=False)
class OutlierReport:
    """All that was found.

    Attributes:
        paths: of all images, by row.
        groups: near-duplicates: those in train and test first, then across other splits, then under two identities.
        outliers: of each of `KINDS`, the most extreme first.
        brightness, sharpness: float32, what outliers were found among: all images but blank ones.
        unseen: images that could not be decoded.
    """

    paths: tuple[str, ...]
    groups: tuple[Group, ...]
    outliers: dict[str, tuple[Outlier, ...]]
    brightness: np.ndarray
    sharpness: np.ndarray
    unseen: int

    def near_duplicates(self) -> dict[str, Any]:
        """Numbers, and the first groups by name; every value is JSON-able."""
        return {
            "images": sum(len(group.rows) for group in self.groups),
            "groups": len(self.groups),
            "across_splits": {" and ".join(two): len(self.across(*two)) for two in combinations(SPLITS, 2)},
            "across_identities": sum(len(group.owners) > 1 for group in self.groups),
            "listed": [
                {
                    "paths": [self.paths[row] for row in _shown_first(group)[:PATHS]],
                    "images": len(group.rows),
                    "splits": list(group.splits),
                    "identities": list(group.owners[:PATHS]),
                    "likeness": round(group.likeness, 4),
                }
                for group in self.groups[:LISTED]
            ],
        }

    def outlying(self) -> dict[str, Any]:
        """Numbers, and the first of each kind by name; every value is JSON-able."""
        return {
            kind: {
                "images": len(found),
                "listed": [
                    {
                        "path": self.paths[one.row],
                        "value": round(one.value, 4),
                        "z": None if one.z is None else round(one.z, 2),
                    }
                    for one in found[:PATHS]
                ],
            }
            for kind, found in self.outliers.items()
        }

    def across(self, one: str, other: str) -> list[Group]:
        """The groups that lie in both splits."""
        return [group for group in self.groups if {one, other} <= set(group.splits)]

    def warnings(self) -> list[str]:
        """One line for each kind of what is wrong."""
        lines = []
        for one, other in combinations(SPLITS, 2):
            leaks = self.across(one, other)
            harm = (
                "the measured figures flatter" if "test" in (one, other) else "epoch and threshold are chosen too well"
            )
            if leaks:
                lines.append(
                    f"leak: near-duplicates lie in {one} and {other}, {_times(leaks)}, so {harm}: keep one of them; "
                    f"the first are {self._named(leaks[0])}"
                )
        two = [group for group in self.groups if len(group.owners) > 1]
        if two:
            lines.append(
                f"near-duplicates lie under different identities, {_times(two)}: one is wrong, or they can't be told "
                f"apart; the first are {self._named(two[0])}"
            )
        blank = self.outliers["blank"]
        if blank:
            lines.append(f"images that show next to nothing: {len(blank)}, the first is {self.paths[blank[0].row]}")
        if self.unseen:
            lines.append(f"images that could not be decoded for a look at their pixels: {self.unseen}")
        return lines

    def _named(self, group: Group) -> str:
        return " and ".join(self.paths[row] for row in group.shown)


def find(images: pd.DataFrame, looks: ImageStatsTable) -> OutlierReport:
    """Near-duplicates and outliers.

    Args:
        images: columns path, identity and split; identity is missing for negatives in role folders, split is missing
            everywhere where no split can be made.
        looks: of these images.
    """
    blank = looks.contrast < image_statistics.BLANK
    shown = np.flatnonzero(~blank)
    alike = near_duplicates.near_duplicates(looks.hashes[shown], looks.pictures[shown])
    return OutlierReport(
        paths=tuple(images["path"]),
        groups=tuple(_groups(images, alike, looks.rows[shown])),
        outliers={
            "blank": _outliers(looks.rows[blank], looks.contrast[blank], None),
            **_both_ends("dark", "bright", looks.rows[shown], looks.brightness[shown], looks.brightness[shown]),
            **_both_ends(
                "blurry", "sharp", looks.rows[shown], looks.sharpness[shown], np.log10(looks.sharpness[shown] + TINY)
            ),
        },
        brightness=looks.brightness[shown],
        sharpness=looks.sharpness[shown],
        unseen=len(images) - len(looks.rows),
    )


def owners_of(images: pd.DataFrame) -> list[str]:
    """Whose each image is; the name of the role where that isn't known."""
    return list(images["identity"].fillna(ROLES[-1]))


def _groups(images: pd.DataFrame, alike: near_duplicates.Alike, rows: np.ndarray) -> list[Group]:
    owners = owners_of(images)
    splits = [None if pd.isna(split) else str(split) for split in images["split"]]
    members: dict[int, list[int]] = {}
    sizes = np.bincount(alike.group, minlength=len(alike.group))
    for place in np.flatnonzero(sizes[alike.group] > 1):
        members.setdefault(int(alike.group[place]), []).append(int(rows[place]))
    best: dict[int, tuple[Any, ...]] = {}
    for first, second, found in zip(alike.first, alike.second, alike.likeness, strict=True):
        pair = int(rows[first]), int(rows[second])
        worth = (*_weight({splits[row] for row in pair}, {owners[row] for row in pair}), float(found), pair)
        name = int(alike.group[first])
        best[name] = max(best.get(name, worth), worth, key=lambda one: (one[:-1], [-row for row in one[-1]]))
    groups = []
    for name, held in members.items():
        within = {splits[row] for row in held}
        groups.append(
            Group(
                rows=tuple(held),
                shown=best[name][-1],
                likeness=best[name][-2],
                splits=tuple(split for split in SPLITS if split in within),
                owners=tuple(dict.fromkeys(owners[row] for row in held)),
            )
        )

    def order(group: Group) -> tuple[Any, ...]:
        weight = _weight(set(group.splits), set(group.owners))
        return (*(-part for part in weight), -group.likeness, group.rows)

    return sorted(groups, key=order)


def _weight(splits: set[Any], owners: set[str]) -> tuple[int, int, int]:
    """How much it matters that the same picture lies in these splits, under these identities."""
    return int({"train", "test"} <= splits), int(len(splits) > 1), int(len(owners) > 1)


def _both_ends(
    low: str, high: str, rows: np.ndarray, values: np.ndarray, compared: np.ndarray
) -> dict[str, tuple[Outlier, ...]]:
    z = image_statistics.robust_z(compared.astype(np.float64))
    below, above = z < -image_statistics.OUTLYING, z > image_statistics.OUTLYING
    return {
        low: _outliers(rows[below], values[below], z[below]),
        high: _outliers(rows[above], values[above], z[above]),
    }


def _outliers(rows: np.ndarray, values: np.ndarray, z: np.ndarray | None) -> tuple[Outlier, ...]:
    order = np.lexsort((rows, values if z is None else -np.abs(z)))
    return tuple(Outlier(int(rows[n]), float(values[n]), None if z is None else float(z[n])) for n in order)


def _shown_first(group: Group) -> list[int]:
    return [*group.shown, *(row for row in group.rows if row not in group.shown)]


def _times(groups: Sequence[Group]) -> str:
    return "once" if len(groups) == 1 else f"{len(groups)} times"
