"""Near-duplicates: a picture encoded anew, in another size, brighter or darker, or with its margins cut a little.

A perceptual hash proposes pairs, pixels decide. The hash alone isn't enough: on white paper with few strokes, pictures
of different things get nearly the same one. Pixels alone would take too long.

All pairs of hashes are compared, in numpy, a row at a time: 1 ns a pair, 4 s for 100,000 images, in memory that grows
with their number alone. An index over parts of the hash was tried: it gains little where hashes are spread evenly, and
is slower where they aren't, as with handwriting. What is already known to belong together isn't compared again, and an
image is compared by pixels with at most `PROPOSED` others: 100,000 pictures of one scene take 40 s.

Measured on 400 pictures each of ORL, LFW, Omniglot and NFI's signatures: encoded as JPEG of quality 30, halved, made
brighter or darker by 25 levels or 20 %, cut by 2 % a side: 98 to 100 % are found; cut by 3 % 80 to 99 %, by 5 % none to
a half. Found without being made: in ORL 59 of 1,800 pairs of one person, taken in a row, and none of two; in LFW one,
the same photograph under two names; in Omniglot 51, dots and bars that do look the same; in signatures none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from siamese.console import track

NEAR = 10  # bits of 64
PROPOSED = 50  # others that an image is compared with by pixels: the nearest by hash
ALIGNED = 3  # of those, how many are also moved over each other: the likest
WORTH_ALIGNING = 0.7  # likeness before that
SAME = 0.99  # likeness from which two are near-duplicates
FARTHEST = 0.08  # share of half a side by which a picture is moved or stretched at most
STEPS = 4

PICTURE_SIDE = 48
_HASHED_SIDE = 32
_PAIRS = 256  # worked on at once


@dataclass(frozen=True, eq=False)
class Alike:
    """Pairs of images that look the same: enough of them to join every group, not every pair of a large one.

    Attributes:
        first, second: int32 [pairs], row numbers, first below second.
        likeness: float32 [pairs], from `SAME` to 1.
        group: int32 [images], the lowest row that an image is joined with, by one pair or a chain of them.
    """

    first: np.ndarray
    second: np.ndarray
    likeness: np.ndarray
    group: np.ndarray


def perceptual_hash(grey: np.ndarray) -> int:
    """64 bits that hardly change when a picture is encoded anew, resized, or given other brightness or contrast.

    "pHash" as Neal Krawetz describes it ("Looks Like It", The Hacker Factor Blog, 2011), with the median in place of
    the mean: the 8 x 8 lowest frequencies of the cosine transform of the picture at 32 x 32, above their median or not.

    Args:
        grey: [side, side] of any side and type.
    """
    frequencies = _cosines(8, _HASHED_SIDE) @ _averages(_HASHED_SIDE, len(grey))
    found = (frequencies @ grey.astype(np.float32) @ frequencies.T).ravel()
    return int.from_bytes(np.packbits(found > np.median(found[1:])).tobytes())


def small_picture(grey: np.ndarray) -> np.ndarray:
    """What pixels are compared in: uint8 [48, 48], blurred a little, so that it can be moved by parts of a pixel.

    Args:
        grey: [side, side] of any side and type, from 0 to 255.
    """
    shrink = _blur(PICTURE_SIDE) @ _averages(PICTURE_SIDE, len(grey))
    return np.rint(shrink @ grey.astype(np.float32) @ shrink.T).astype(np.uint8)


def near_duplicates(hashes: np.ndarray, pictures: np.ndarray) -> Alike:
    """The images that look the same.

    Args:
        hashes: uint64 [images].
        pictures: uint8 [images, 48, 48].
    """
    parents = np.arange(len(hashes), dtype=np.int32)
    found = [(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))]
    for first, second in _proposed(hashes, parents):
        likeness = _likeness(pictures, first, second)
        same = likeness >= SAME
        found.append((first[same], second[same], likeness[same]))
        for one, other in zip(first[same], second[same], strict=True):
            joined = _roots(parents, np.array([one, other]))
            parents[joined] = joined.min()
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    return Alike(columns[0], columns[1], columns[2], _roots(parents, np.arange(len(hashes))))


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the pixels of two pictures, 0 where one has no contrast: float32 [pictures].

    Args:
        first, second: float32 [pictures, height, width].
    """
    whole = np.ones_like(first)
    return _product(_standard(first, whole), _standard(second, whole))


def aligned_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The highest correlation while `second` is moved and stretched over `first`, in x and in y: float32 [pictures].

    Gauss-Newton steps on the squared difference of the standardised pictures, as by Lucas and Kanade ("An iterative
    image registration technique", 1981), with the gradient of the one that stays. Only what both show counts.

    Args:
        first, second: float32 [pictures, side, side].
    """
    side = first.shape[1]
    at = np.linspace(-1, 1, side, dtype=np.float32)
    move = np.zeros((len(first), 4, 1), np.float32)  # shift and stretch in x, shift and stretch in y; in half sides
    whole = np.ones_like(first)
    down, across = (slope * (side - 1) / 2 for slope in np.gradient(_standard(first, whole), axis=(1, 2)))
    slopes = np.stack([across, across * at, down, down * at[:, None]], axis=1).reshape(len(first), 4, side * side)
    curvature = slopes @ slopes.transpose(0, 2, 1)
    curvature += np.eye(4, dtype=np.float32) * (1e-3 * np.trace(curvature, axis1=1, axis2=2)[:, None, None] + 1e-6)
    best = correlation(first, second)
    for _ in range(STEPS):
        x, y = at * (1 + move[:, 1]) + move[:, 0], at * (1 + move[:, 3]) + move[:, 2]
        moved = _read_at(_read_at(second, x, 2), y, 1)
        seen = ((np.abs(x) <= 1)[:, None, :] & (np.abs(y) <= 1)[:, :, None]).astype(np.float32)
        still, moved = _standard(first, seen), _standard(moved, seen)
        best = np.maximum(best, _product(still, moved))
        difference = (still - moved).reshape(len(first), side * side, 1)
        move = np.clip(move + np.linalg.solve(curvature, slopes @ difference), -FARTHEST, FARTHEST)
    return best


def _proposed(hashes: np.ndarray, parents: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each row, later rows near it by hash and not of its group, the nearest first: two int32 [pairs], in batches.

    What the caller joins in `parents` after a batch is left out of the next.
    """
    firsts, seconds = [], []
    differing, bits = np.empty(len(hashes), np.uint64), np.empty(len(hashes), np.uint8)
    for row in track(range(len(hashes)), "comparing images"):
        later = slice(row + 1, len(hashes))
        np.bitwise_count(np.bitwise_xor(hashes[later], hashes[row], out=differing[later]), out=bits[later])
        if bits[later].min(initial=NEAR + 1) <= NEAR:
            near = np.flatnonzero(bits[later] <= NEAR) + row + 1
            near = near[_roots(parents, near) != _roots(parents, np.array([row]))]
            near = near[np.argsort(bits[near], kind="stable")[:PROPOSED]]
            firsts.append(np.full(len(near), row, np.int32))
            seconds.append(near.astype(np.int32))
        if sum(map(len, seconds)) >= _PAIRS or len(seconds) == _PAIRS or (seconds and row == len(hashes) - 1):
            yield np.concatenate(firsts), np.concatenate(seconds)
            firsts, seconds = [], []


def _likeness(pictures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of each pair of rows, after alignment where that may decide: float32 [pairs]."""

    def each(measure: Callable[[np.ndarray, np.ndarray], np.ndarray], chosen: np.ndarray) -> np.ndarray:
        parts = [
            measure(pictures[first[some]].astype(np.float32), pictures[second[some]].astype(np.float32))
            for some in np.split(chosen, range(_PAIRS, len(chosen), _PAIRS))
        ]
        return np.concatenate(parts)

    likeness = each(correlation, np.arange(len(first)))
    worth = np.flatnonzero((likeness < SAME) & (likeness >= WORTH_ALIGNING))
    worth = worth[np.lexsort((-likeness[worth], first[worth]))]
    rank = np.arange(len(worth)) - np.searchsorted(first[worth], first[worth])
    worth = worth[rank < ALIGNED]
    likeness[worth] = each(aligned_correlation, worth)
    return likeness


def _roots(parents: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The lowest row of each row's group; each is made its direct child."""
    roots = parents[rows]
    while (roots != parents[roots]).any():
        roots = parents[roots]
    parents[rows] = roots
    return roots


def _standard(pictures: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Each picture with mean 0 and length 1 where `seen` is 1, and 0 where it is 0."""
    mean = np.einsum("nyx,nyx->n", pictures, seen) / np.einsum("nyx->n", seen)
    pictures = (pictures - mean[:, None, None]) * seen
    return np.asarray(pictures / np.maximum(np.sqrt(_product(pictures, pictures)), 1e-6)[:, None, None])


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("nyx,nyx->n", first, second))


def _read_at(pictures: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Pictures read along an axis at places from -1 (its first pixel) to 1 (its last), linearly between two pixels."""
    last = pictures.shape[axis] - 1
    places = np.clip((places + 1) / 2 * last, 0, last)
    before = np.minimum(places.astype(np.intp), last - 1)
    others = 3 - axis
    share = np.expand_dims(places - before, others)
    before = np.expand_dims(before, others)
    return np.asarray(
        (1 - share) * np.take_along_axis(pictures, before, axis)
        + share * np.take_along_axis(pictures, before + 1, axis)
    )


@cache
def _averages(to: int, side: int) -> np.ndarray:
    """A matrix that shrinks `side` numbers to `to`, each the mean of its equal share: float32 [to, side]."""
    edges = np.linspace(0, side, to + 1)[:, None]
    upper, lower = np.minimum(edges[1:], np.arange(1, side + 1)), np.maximum(edges[:-1], np.arange(side))
    return (np.maximum(upper - lower, 0) * to / side).astype(np.float32)


@cache
def _cosines(frequencies: int, side: int) -> np.ndarray:
    """The lowest frequencies of the cosine transform DCT-II, not normalised: float32 [frequencies, side]."""
    return np.cos(np.pi / side * np.outer(np.arange(frequencies), np.arange(side) + 0.5)).astype(np.float32)


@cache
def _blur(side: int) -> np.ndarray:
    """A matrix that weighs each number and its two neighbours 1 : 2 : 1, the ends repeated: float32 [side, side]."""
    padded = np.pad(np.eye(side), ((1, 1), (0, 0)), mode="edge")
    return ((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4).astype(np.float32)
