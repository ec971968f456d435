"""Which images and pairs make up each training step.

A function of seed and epoch alone, so that a resumed run repeats it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

UNKNOWN = -1  # identity code of an image whose identity is unknown: a negative of the roles layout


@dataclass(frozen=True)
class Step:
    """One training step: its images, each embedded once, and the pairs formed among them.

    `rows`: int64 [images]. `first`, `second`: int32 [pairs], positions among `rows`. `labels`: float32 [pairs], 1 for
    the same identity.
    """

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Plan:
    """The steps of one epoch, each made when it is asked for."""

    steps: int
    step: Callable[[int], Step]


def in_batch_plan(codes: np.ndarray, *, batch: int, images_per_identity: int, seed: int, epoch: int) -> Plan:
    """All labelled pairs among the images of each step.

    Each identity's images, shuffled, are cut into groups of at most `images_per_identity`; the groups, shuffled, are
    cut into steps of nearly equal size. So every image of known identity comes once an epoch. Images of unknown
    identity, where there are any, take half of each step, and successive epochs work through them in turn.

    Args:
        codes: int [images], the identity of each image, `UNKNOWN` where it isn't known.
        batch: images a step, at most.
        images_per_identity: images of one identity that are kept together.
        seed, epoch: what the order depends on.
    """
    rng = np.random.default_rng([seed, epoch])
    known, unknown = np.flatnonzero(codes != UNKNOWN), np.flatnonzero(codes == UNKNOWN)
    grouped = _in_groups(known, codes[known], images_per_identity, rng)
    rows = _in_steps(grouped, batch // 2 if len(unknown) else batch)
    if len(unknown):
        order = np.random.default_rng(seed).permutation(unknown)
        others = order[(np.arange(len(known)) + epoch * len(known)) % len(order)]
        rows = [np.concatenate(both) for both in zip(rows, np.array_split(others, len(rows)), strict=True)]

    def step(number: int) -> Step:
        unique = np.unique(rows[number])
        return Step(unique, *labelled_pairs(codes[unique]))

    return Plan(len(rows), step)


def listed_plan(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, *, batch: int, seed: int, epoch: int
) -> Plan:
    """The given pairs, each once an epoch, in random order, in steps of nearly equal size.

    Args:
        first, second: int [pairs], the two images of each pair.
        labels: int [pairs], 1 for the same identity.
        batch: images a step, at most, counting two for each pair.
        seed, epoch: what the order depends on.
    """
    steps = _in_steps(np.random.default_rng([seed, epoch]).permutation(len(labels)), batch // 2)

    def step(number: int) -> Step:
        chosen = steps[number]
        rows, positions = np.unique(np.concatenate([first[chosen], second[chosen]]), return_inverse=True)
        positions = positions.astype(np.int32)
        return Step(rows, positions[: len(chosen)], positions[len(chosen) :], labels[chosen].astype(np.float32))

    return Plan(len(steps), step)


def labelled_pairs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair among a batch's images that has a label.

    Two images of unknown identity may show the same or not: such a pair is left out.

    Args:
        codes: int [images], equal for equal identities, `UNKNOWN` where it isn't known.

    Returns:
        first and second, int32 [pairs], first < second; labels, float32 [pairs].
    """
    first, second = np.triu_indices(len(codes), k=1)
    labelled = (codes[first] != UNKNOWN) | (codes[second] != UNKNOWN)
    first, second = first[labelled].astype(np.int32), second[labelled].astype(np.int32)
    return first, second, (codes[first] == codes[second]).astype(np.float32)


def _in_steps(items: np.ndarray, most: int) -> list[np.ndarray]:
    """`items` cut into as few parts of at most `most` as possible, whose sizes differ by one at most."""
    return np.array_split(items, -(-len(items) // most))


def _in_groups(rows: np.ndarray, codes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """`rows` reordered: each identity's images shuffled and cut into groups of `size`, the groups shuffled."""
    shuffled = rng.permutation(len(rows))
    by_identity = shuffled[np.argsort(codes[shuffled], kind="stable")]
    sorted_codes = codes[by_identity]
    starts = np.flatnonzero(np.r_[True, sorted_codes[1:] != sorted_codes[:-1]])
    within = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    group = np.cumsum(within % size == 0) - 1
    place = rng.permutation(group[-1] + 1)
    return rows[by_identity[np.argsort(place[group], kind="stable")]]
