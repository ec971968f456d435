"""Scores that can be read as probabilities, after a loss that asks for their order alone."""

from __future__ import annotations

import numpy as np

from siamese.progress import say


def line(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that make logits those of the probability that a pair is positive, both labels as likely.

    Platt 1999 (Probabilistic outputs for support vector machines, section 2.2): logistic regression on the one value,
    whose targets are (n + 1) / (n + 2) of n positive pairs, and 1 / (m + 2) of m negative ones. Were they 1 and 0,
    pairs that are told apart without an error would ask for an infinite slope, and scores would be 0 or 1 without an
    order. The slope is above 0, so the order of scores stays.

    Args:
        labels: 0 or 1, [pairs], both present.
        logits: float [pairs].

    Returns:
        (1, 0) where scores are no better than chance: nothing can be read into them.
    """
    from sklearn.linear_model import LogisticRegression

    z, positive = np.asarray(logits, np.float64), np.asarray(labels) == 1
    count = np.where(positive, positive.sum(), (~positive).sum())  # of the pair's own label
    doubt = 1 / (count + 2)
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.concatenate([z, z])[:, None],
        np.concatenate([positive, ~positive]),
        sample_weight=np.concatenate([(1 - doubt) / count, doubt / count]),
    )
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        say("scores don't tell validation pairs apart: they stay as they are")
        return 1.0, 0.0
    return slope, intercept


def logits_of(scores: np.ndarray) -> np.ndarray:
    """The logits of scores in (0, 1), float64: log(s / (1 - s)); the ends as the nearest float32 that isn't one."""
    s = np.clip(np.asarray(scores, np.float64), np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
    return np.log(s / (1 - s))
