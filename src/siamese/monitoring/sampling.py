"""Images from elsewhere, drawn from a folder without a catalog: some of each identity, whole identities at random.

Subfolders are identities; files beside them, and everything in role folders, show unknown ones. Files are opened in the
order drawn and no further than is needed, so that a folder may be as large as it likes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from siamese.data.image_folder import detect_layout, files_below, kind_of, reason_by_name
from siamese.data.images.formats import Rejected, canonical, check
from siamese.data.names import canonical_name
from siamese.data.system_files import count_left_out, is_left_out
from siamese.storage.object_store import AnyPath


@dataclass(frozen=True)
class NewImage:
    """One image: the number of its unit, its size in pixels, and its bytes as the transform graph takes them."""

    unit: int
    width: int
    height: int
    encoded: bytes


@dataclass
class NewImages:
    """The files of a folder that may be images, and what became of those that were opened.

    Attributes:
        folder: where they are.
        paths, unit: of each file, from the folder; int [files], an identity's number, or one of its own.
        identities: how many units are identities; the others are lone images.
        misnamed: files that can't be images by their names, by kind of reason, without those left out.
        left_out: files of the system and hidden ones, by kind.
        unreadable: opened files that couldn't be taken, by kind of reason.
        opened, known, copies: files opened; those among them that were to be left out; and those seen before.
    """

    folder: AnyPath
    paths: list[str]
    unit: np.ndarray
    identities: int
    misnamed: Counter[str]
    left_out: dict[str, int]
    unreadable: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    known: int = 0
    copies: int = 0

    def draw(
        self, each: int, most: int, known: Collection[str], max_pixels: int, rng: np.random.Generator
    ) -> Iterator[NewImage]:
        """At most `each` usable images of every unit, units in random order, `most` in all.

        Args:
            known: image ids to be left out.
            max_pixels: an image of more can't be taken.
        """
        seen: set[str] = set()
        for rows in shuffled(self.unit, rng):
            wanted = min(each, most - len(seen))
            for row in rows:
                if wanted <= 0:
                    break
                image = self._read(row, known, seen, max_pixels)
                if image:
                    wanted -= 1
                    yield image

    def _read(self, row: int, known: Collection[str], seen: set[str], max_pixels: int) -> NewImage | None:
        self.opened += 1
        try:
            data = (self.folder / self.paths[row]).read_bytes()
        except OSError:
            self.unreadable["can't be read"] += 1
            return None
        image_id = hashlib.sha256(data).hexdigest()
        self.known += image_id in known
        self.copies += image_id in seen
        if image_id in known or image_id in seen:
            return None
        try:
            size = check(data, max_pixels)
            encoded = canonical(data, max_pixels)
        except Rejected as reason:
            self.unreadable[kind_of(str(reason))] += 1
            return None
        seen.add(image_id)
        return NewImage(int(self.unit[row]), size.width, size.height, encoded)


def find(folder: AnyPath, flat: bool) -> NewImages:
    """Looks through a folder; opens no file.

    Args:
        folder: identity folders, role folders, or images without folders.
        flat: whether subfolders are no identities.

    Raises:
        InputError: there is no such folder, or it can't be read.
    """
    roles = detect_layout(folder) == "roles"
    paths, reasons = [], []
    for path, unreachable in sorted(files_below(folder)):
        # As if in a folder of its identity: here nobody needs one.
        reason = reason_by_name(f"images/{path}", "identities", unreachable)
        if reason:
            reasons.append(reason)
        else:
            paths.append(path)
    misnamed = Counter(kind_of(reason) for reason in reasons if not is_left_out(reason))
    owners = [None if flat or roles or "/" not in path else canonical_name(path.partition("/")[0]) for path in paths]
    unit, identities = units_of(owners)
    return NewImages(folder, paths, unit, identities, misnamed, count_left_out(reasons))


def units_of(identities: Sequence[str | None]) -> tuple[np.ndarray, int]:
    """Units that images belong to: their identities, and each image of an unknown one by itself.

    Returns:
        int [images]; the identities come first. How many identities there are.
    """
    number = {name: code for code, name in enumerate(sorted({name for name in identities if name is not None}))}
    alone = iter(range(len(number), len(number) + len(identities)))
    codes = [next(alone) if name is None else number[name] for name in identities]
    return np.array(codes, np.int64), len(number)


def shuffled(unit: np.ndarray, rng: np.random.Generator) -> Iterator[list[int]]:
    """The rows of each unit in random order, units in random order.

    Args:
        unit: int [rows].
    """
    order = rng.permutation(len(unit))
    order = order[np.argsort(unit[order], kind="stable")]
    starts = np.flatnonzero(np.append(True, unit[order][1:] != unit[order][:-1]))[: len(unit)]
    ends = np.append(starts[1:], len(unit))
    for number in rng.permutation(len(starts)):
        yield order[starts[number] : ends[number]].tolist()


def draw(unit: np.ndarray, each: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of at most `each` images of every unit, units in random order, `most` in all: int [rows]."""
    rows = [row for of_unit in shuffled(unit, rng) for row in of_unit[:each]]
    return np.array(rows[:most], np.int64)


def typical_size(unit: np.ndarray) -> int:
    """The median number of images a unit, rounded down; 0 without images."""
    return int(np.median(np.unique(unit, return_counts=True)[1])) if len(unit) else 0
