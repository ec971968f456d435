"""Which images and pairs make up each training step.

A function of seed and epoch alone, so that a resumed run repeats it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

UNKNOWN = -1  # identity code of an image whose identity is unknown: a negative of the roles layout


@dataclass(frozen=True)
class StepPlan:
    """One training step: its images, each embedded once, and the pairs formed among them.

    `rows`: int64 [images]. `first`, `second`: int32 [pairs], positions among `rows`. `labels`: float32 [pairs], 1 for
    the same identity.
    """

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class TrainingPlan:
    """The steps of one epoch, each made when it is asked for."""

    steps: int
    step: Callable[[int], StepPlan]


def in_batch_plan(codes: np.ndarray, *, batch: int, images_per_identity: int, seed: int, epoch: int) -> TrainingPlan:
    """All labelled pairs among the images of each step.

    An image with a partner, another of its identity, comes once an epoch: each identity's images, shuffled, are cut
    into groups of at most `images_per_identity`, which are spread evenly over the epoch. The others, of unknown
    identity or the only one of theirs, can only be negatives: they take half of each step at most, or what one step has
    left beside all that have a partner. Where there are too many, successive epochs work through them in turn.

    Args:
        codes: int [images], the identity of each image, `UNKNOWN` where it isn't known.
        batch: images a step, at most; the steps of an epoch differ by two images at most.
        images_per_identity: images of one identity that are kept together.
        seed, epoch: what the order depends on.
    """
    partners = np.bincount(codes[codes != UNKNOWN], minlength=1)[codes] > 1
    with_partner, others = np.flatnonzero(partners & (codes != UNKNOWN)), np.flatnonzero(~partners | (codes == UNKNOWN))
    taken = min(len(others), max(len(with_partner), batch - 1 - len(with_partner)))
    grouped = _in_groups(with_partner, codes[with_partner], images_per_identity, np.random.default_rng([seed, epoch]))
    others = np.random.default_rng(seed).permutation(others)
    others = others[(np.arange(taken) + epoch * taken) % max(len(others), 1)]
    steps = -(-(len(with_partner) + taken) // (batch - 1 if taken else batch))  # both parts may round up

    def step(number: int) -> StepPlan:
        rows = np.unique(np.concatenate([_part(grouped, number, steps), _part(others, number, steps)]))
        return StepPlan(rows, *labelled_pairs(codes[rows]))

    return TrainingPlan(steps, step)


def listed_plan(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, *, batch: int, seed: int, epoch: int
) -> TrainingPlan:
    """The given pairs, each once an epoch, in random order, in steps of nearly equal size.

    Args:
        first, second: int [pairs], the two images of each pair.
        labels: int [pairs], 1 for the same identity.
        batch: images a step, at most, counting two for each pair.
        seed, epoch: what the order depends on.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(labels))
    steps = -(-len(order) // (batch // 2))

    def step(number: int) -> StepPlan:
        chosen = _part(order, number, steps)
        rows, positions = np.unique(np.concatenate([first[chosen], second[chosen]]), return_inverse=True)
        positions = positions.astype(np.int32)
        return StepPlan(rows, positions[: len(chosen)], positions[len(chosen) :], labels[chosen].astype(np.float32))

    return TrainingPlan(steps, step)


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


def _part(items: np.ndarray, number: int, parts: int) -> np.ndarray:
    """Part `number` of `items`, when they are cut into `parts` whose sizes differ by one at most."""
    return items[number * len(items) // parts : (number + 1) * len(items) // parts]


def _in_groups(rows: np.ndarray, codes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """`rows` reordered: each identity's images shuffled, cut into groups of `size`, and these spread evenly."""
    shuffled = rng.permutation(len(rows))
    by_identity = shuffled[np.argsort(codes[shuffled], kind="stable")]
    images = np.unique(codes, return_counts=True)[1]
    groups = -(-images // size)  # of each identity
    within = np.arange(len(rows)) - np.repeat(np.cumsum(images) - images, images)
    group = np.repeat(np.cumsum(groups) - groups, images) + within // size
    number = np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
    place = (number + rng.random(len(number))) / np.repeat(groups, groups)  # in the epoch, from 0 to 1
    return rows[by_identity[np.argsort(place[group], kind="stable")]]
