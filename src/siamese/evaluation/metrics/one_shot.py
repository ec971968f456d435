"""One-shot recognition: whose image is this, among n identities of which one reference image each is known?

The protocol of Lake et al. 2011 and Koch et al. 2015: a trial compares a probe with n references of n identities, one
of which is the probe's; the highest score is the answer. The right reference stands at a random place, and references
that share the highest score share the credit, so that neither a scorer that always answers "the first" nor one that
gives every pair the same score gains more than chance, 1/n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WAYS = (5, 20)
Z = 1.959963984540054  # 97.5 % point of the normal distribution: an interval of 95 %
_BLOCK = 1_000_000  # random numbers drawn at once


@dataclass(frozen=True, eq=False)
class Trials:
    """Trials of n-way recognition.

    Attributes:
        probes: int64 [trials], row of the image asked about.
        references: int64 [trials, n], rows of one image of each of n distinct identities.
        right: int64 [trials], which of the n shows the probe's identity; another image than the probe.
    """

    probes: np.ndarray
    references: np.ndarray
    right: np.ndarray

    def images(self) -> np.ndarray:
        """The rows that occur, each once: int64."""
        return np.unique(np.concatenate([self.probes, self.references.ravel()]))


@dataclass(frozen=True)
class OneShot:
    """Accuracy of n-way recognition, with the Wilson 95 % interval of its trials on these images."""

    ways: int
    trials: int
    accuracy: float
    low: float
    high: float


def why_not(identities: np.ndarray, ways: int) -> str | None:
    """Why these images allow no n-way trial, in words; None where they do.

    Args:
        identities: int [images], identities coded 0, 1, ….
    """
    images = np.bincount(identities)
    known, repeated = int((images > 0).sum()), int((images > 1).sum())
    if known < ways or not repeated:
        return f"{ways}-way needs {ways} identities, one with 2 images; there are {known}, {repeated} with 2 or more"
    return None


def draw_trials(identities: np.ndarray, *, ways: int, trials: int, seed: int) -> Trials:
    """Random trials: an identity with two images or more, two of its images, one image each of n - 1 other identities.

    Every identity is as likely as any other, however many images it has. Call it where `why_not` finds nothing.

    Args:
        identities: int [images], identities coded 0, 1, …, each with an image at least.
    """
    rng = np.random.default_rng([seed, ways])
    images = np.bincount(identities)
    order = np.argsort(identities, kind="stable")
    first_row = np.cumsum(images) - images

    asked = rng.choice(np.flatnonzero(images > 1), size=trials)
    place = rng.integers(images[asked])
    another = (place + 1 + rng.integers(images[asked] - 1)) % images[asked]

    # Others are drawn from one identity fewer; those from the probe's on move up one, which skips it.
    others = _distinct(len(images) - 1, ways - 1, trials, rng)
    others += others >= asked[:, None]
    references = order[first_row[others] + rng.integers(images[others])]
    right = rng.integers(ways, size=trials)
    with_right = np.empty((trials, ways), dtype=np.int64)
    is_right = np.arange(ways) == right[:, None]
    with_right[is_right] = order[first_row[asked] + another]
    with_right[~is_right] = references.ravel()
    return Trials(probes=order[first_row[asked] + place], references=with_right, right=right)


def credit(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What each trial earns: 1 where the right reference scores highest, shared with others that tie with it, else 0.

    Args:
        scores: float [trials, n], of the probe with each reference.
        right: int [trials], which reference is right.

    Returns:
        float64 [trials].
    """
    highest = scores == scores.max(axis=1, keepdims=True)
    return highest[np.arange(len(right)), right] / highest.sum(axis=1)


def summarise(earned: np.ndarray, ways: int) -> OneShot:
    """Mean credit of the trials and its interval."""
    accuracy = float(earned.mean())
    low, high = wilson(accuracy, len(earned))
    return OneShot(ways=ways, trials=len(earned), accuracy=accuracy, low=low, high=high)


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share of trials (Wilson 1927), as low and high."""
    shrunk = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2)) / (1 + Z**2 / trials)
    return max(0.0, float(shrunk - half)), min(1.0, float(shrunk + half))


def _distinct(possible: int, count: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """In each row `count` distinct numbers below `possible`, in random order: int64 [rows, count]."""
    drawn = np.empty((rows, count), dtype=np.int64)
    step = max(1, _BLOCK // possible)
    for start in range(0, rows, step):
        keys = rng.random((min(step, rows - start), possible))
        nearest = np.argpartition(keys, count - 1, axis=1)[:, :count]
        drawn[start : start + step] = nearest
    return drawn
