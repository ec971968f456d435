"""Threshold of a model, chosen on validation pairs: at the EER, at a target false-accept rate, or a fixed score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from siamese.evaluation.metrics import verification
from siamese.params import parse_threshold


@dataclass(frozen=True)
class Threshold:
    """A chosen threshold, the errors it makes on the pairs it was chosen on, and a warning where those were too few."""

    threshold: float
    rule: str
    pairs: int
    false_accept_rate: float
    false_reject_rate: float
    warning: str | None


def choose_threshold(labels: ArrayLike, scores: ArrayLike, rule: str | float) -> Threshold:
    """The threshold that a rule chooses on these pairs.

    `eer` takes the point of the ROC curve where FAR and FRR are nearest, `far=X` the highest TAR with a FAR of X or
    less; of equals, the one that accepts fewer negatives, since a false accept is the dearer mistake. The threshold
    lies midway between the lowest score accepted and the next one, as far from both as can be; just above the highest
    score where none is accepted.

    Args:
        rule: `eer`, `far=0.01` or a fixed score, as `params.parse_threshold` reads it.

    Raises:
        InputError: as `rank`.
    """
    ranking = verification.rank(labels, scores)
    kind, number = parse_threshold(rule)
    far, tar = verification.roc(ranking)
    levels = ranking.scores[ranking.last]
    if kind == "fixed":
        accepted, chosen = int(verification.same(levels, number).sum()), number
    else:
        if kind == "eer":
            # Numbers of pairs, not shares of them: rounded, two equal distances might differ in their last bit.
            false, true = verification._accepted(ranking, np.ones(len(ranking.labels)))
            accepted = int(np.argmin(np.abs(false * true[-1] + true * false[-1] - false[-1] * true[-1])))
        else:
            accepted = int(np.argmax(tar >= verification.tar_at_far(far, tar, number)))
        chosen = _between(levels, accepted)
    negatives = len(ranking.labels) - int(ranking.labels.sum())
    return Threshold(
        threshold=chosen,
        rule=str(rule),
        pairs=len(ranking.labels),
        false_accept_rate=float(far[accepted]),
        false_reject_rate=float(1 - tar[accepted]),
        warning=_too_few(negatives, number) if kind == "far" else None,
    )


def _too_few(negatives: int, far: float) -> str | None:
    """That a FAR can't be read off so few negative pairs, where it can't."""
    needed = math.ceil(10 / far)
    if negatives >= needed:
        return None
    return f"a threshold for a FAR of {far:g} needs {needed:,} negative validation pairs, there were {negatives:,}"


def _between(levels: np.ndarray, accepted: int) -> float:
    """A float32 threshold that accepts just the `accepted` highest of the falling scores `levels`."""
    if accepted == 0:
        return float(np.nextafter(np.float32(levels[0]), np.float32(2)))
    lowest, next_lower = levels[accepted - 1], levels[accepted] if accepted < len(levels) else 0.0
    midway = float(np.float32((lowest + next_lower) / 2))
    return midway if midway > next_lower else float(lowest)
