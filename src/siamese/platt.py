"""Scores that can be read as probabilities, after a loss that asks for their order alone."""

from __future__ import annotations

import numpy as np

from siamese.progress import say


def line(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that make logits those of the probability that a pair is positive, both labels as likely.

    Platt 1999 (Probabilistic outputs for support vector machines): logistic regression on the one value. The slope is
    above 0, so the order of scores stays.

    Args:
        labels: 0 or 1, [pairs], both present.
        logits: float [pairs].

    Returns:
        (1, 0) where scores are no better than chance: nothing can be read into them.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6, class_weight="balanced", max_iter=1000).fit(
        np.asarray(logits, np.float64)[:, None], labels
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
