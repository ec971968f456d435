"""Metrics of verification: how well scores tell pairs of one identity from pairs of two.

A pair counts as the same when its score is the threshold or more. Sorted once by falling score, pairs give every metric
in one pass of cumulative sums, for any weights of the pairs: 20,000 pairs take half a millisecond, which is what makes
a thousand bootstrap resamples cheap. Scores are compared in float32, as the network gives them.

FAR, false accept rate: share of negative pairs judged the same. FRR, false reject rate: share of positive pairs judged
different. TAR, true accept rate (recall): 1 - FRR. Words and definitions follow ISO/IEC 19795-1 and Fawcett 2006, "An
introduction to ROC analysis".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as reference

from siamese.errors import InputError

FAR_TARGETS = (0.1, 0.01, 0.001)
CALIBRATION_BINS = 10
METRICS = (
    "precision",
    "recall",
    "accuracy",
    "f1",
    "false_accept_rate",
    "auc",
    "eer",
    *(f"tar_at_far_{far:g}" for far in FAR_TARGETS),
    "brier",
    "calibration_error",
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Pairs in falling order of score.

    Attributes:
        order: int [pairs], positions of the pairs as they were given.
        labels: float64 [pairs], 1 = same identity.
        scores: float64 [pairs], in [0, 1].
        last: int [distinct scores], position in the ranking of the last pair of each score.
        bins: int [pairs], calibration bin of each score.
    """

    order: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    last: np.ndarray
    bins: np.ndarray


def rank(labels: ArrayLike, scores: ArrayLike) -> Ranking:
    """Sorts pairs by falling score; pairs of one score keep their order.

    Args:
        labels: [pairs], 1 = same identity, 0 = different.
        scores: [pairs], similarity in [0, 1].

    Raises:
        InputError: a score is no number in [0, 1], or there is no positive or no negative pair.
    """
    truth = np.asarray(labels, dtype=np.float64)
    given = np.asarray(scores, dtype=np.float32)
    if not ((given >= 0) & (given <= 1)).all():
        wrong = given[~((given >= 0) & (given <= 1))]
        raise InputError(
            f"the model gives {len(wrong)} of {len(given)} pairs a score that is no number from 0 to 1 "
            f"(the first: {wrong[0]}): train it again"
        )
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        raise InputError(
            f"{positives} positive and {len(truth) - positives} negative pairs: metrics need at least one of each"
        )
    order = np.argsort(-given, kind="stable")
    ranked = given[order]
    return Ranking(
        order=order,
        labels=truth[order],
        scores=ranked.astype(np.float64),
        last=np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1),
        bins=calibration_bin(ranked),
    )


def same(scores: ArrayLike, threshold: float) -> np.ndarray:
    """Whether each score counts as the same: bool, as many as scores."""
    return np.asarray(scores, dtype=np.float32) >= np.float32(threshold)


def roc(ranking: Ranking, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """FAR and TAR at every threshold that changes a decision, from (0, 0), none accepted, to (1, 1), all.

    Args:
        weights: [pairs], in the ranking's order, 0 or more; None: all 1. Equal scores are accepted together.

    Returns:
        FAR and TAR, float64 [distinct scores + 1] each, never falling; NaN where the weights leave no such pair.
    """
    false, true = _accepted(ranking, np.ones(len(ranking.labels)) if weights is None else weights)
    with np.errstate(invalid="ignore"):
        return false / false[-1], true / true[-1]


def auc(far: np.ndarray, tar: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive pair scores above a negative one, ties counting half."""
    return float(np.trapezoid(tar, far))


def eer(far: np.ndarray, tar: np.ndarray) -> float:
    """Equal error rate: the FAR at which the ROC curve, its points joined by straight lines, has FRR = FAR.

    FAR - FRR never falls along the curve, from -1 to 1, so that the crossing is unique. (Joining by lines is what
    deciding equal scores by lot achieves; the convex hull, which some use, would be lower.)
    """
    excess = far + tar - 1
    after = int(np.argmax(excess >= 0))  # not the first point, whose excess is -1; if all is NaN, the result is too
    before = after - 1
    part = -excess[before] / (excess[after] - excess[before])
    return float(far[before] + part * (far[after] - far[before]))


def tar_at_far(far: np.ndarray, tar: np.ndarray, target: float) -> float:
    """The highest TAR that some threshold reaches with a FAR of `target` or less (no interpolation)."""
    return float(tar[np.searchsorted(far, target, side="right") - 1])


def calibration_bin(scores: ArrayLike) -> np.ndarray:
    """The bin of each score: `CALIBRATION_BINS` of equal width, 1.0 in the last."""
    return np.minimum(np.asarray(scores) * CALIBRATION_BINS, CALIBRATION_BINS - 1).astype(np.int64)


def weighted_metrics(ranking: Ranking, weights: np.ndarray, threshold: float) -> np.ndarray:
    """Every metric of `METRICS`, in that order, of weighted pairs.

    Args:
        weights: float [pairs], in the ranking's order, 0 or more.
        threshold: score from which a pair counts as the same.

    Returns:
        float64 [metrics], NaN where the weights leave a metric undefined.
    """
    false, true = _accepted(ranking, weights)
    accepted = int(np.searchsorted(-ranking.scores[ranking.last], -float(np.float32(threshold)), side="right"))
    fp, tp, negatives, positives = false[accepted], true[accepted], false[-1], true[-1]
    total = negatives + positives
    error = ranking.scores - ranking.labels
    weighted_error = weights * error
    by_bin = np.bincount(ranking.bins, weighted_error, minlength=CALIBRATION_BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        far, tar = false / negatives, true / positives
        return np.array(
            [
                tp / (tp + fp),
                tp / positives,
                (tp + negatives - fp) / total,
                2 * tp / (tp + fp + positives),
                fp / negatives,
                auc(far, tar),
                eer(far, tar),
                *(tar_at_far(far, tar, target) if negatives and positives else np.nan for target in FAR_TARGETS),
                weighted_error @ error / total,
                np.abs(by_bin).sum() / total,
            ]
        )


def reference_metrics(labels: ArrayLike, scores: ArrayLike, threshold: float) -> dict[str, float | None]:
    """Every metric of `METRICS` by name; None where it has no value, and `why_undefined` says why.

    Precision, recall, accuracy, F1, AUC and Brier score are scikit-learn's. `eer` and `tar_at_far` are this module's.
    `calibration_error` is the expected calibration error of Guo et al. 2017, "On calibration of modern neural
    networks", with `CALIBRATION_BINS` bins of equal width, the score taken as the probability of "same".

    Raises:
        InputError: as `rank`.
    """
    ranking = rank(labels, scores)
    truth, given = np.asarray(labels, dtype=int), np.asarray(scores, dtype=np.float32).astype(np.float64)
    judged = same(scores, threshold).astype(int)
    far, tar = roc(ranking)
    by_bin = np.bincount(ranking.bins, ranking.scores - ranking.labels)
    found = {
        "precision": reference.precision_score(truth, judged, zero_division=np.nan),
        "recall": reference.recall_score(truth, judged),
        "accuracy": reference.accuracy_score(truth, judged),
        "f1": reference.f1_score(truth, judged),
        "false_accept_rate": judged[truth == 0].mean(),
        "auc": reference.roc_auc_score(truth, given),
        "eer": eer(far, tar),
        **{f"tar_at_far_{target:g}": tar_at_far(far, tar, target) for target in FAR_TARGETS},
        "brier": reference.brier_score_loss(truth, given),
        "calibration_error": np.abs(by_bin).sum() / len(truth),
    }
    missing = why_undefined(labels, scores, threshold)
    return {name: None if name in missing else float(found[name]) for name in METRICS}


def why_undefined(labels: ArrayLike, scores: ArrayLike, threshold: float) -> dict[str, str]:
    """The metrics that have no value on these pairs, each with the reason in words."""
    negatives = int((np.asarray(labels) == 0).sum())
    reasons = {}
    if not same(scores, threshold).any():
        reasons["precision"] = "no pair was judged the same, so there is no such judgement to be right or wrong"
    for far in FAR_TARGETS:
        needed = round(10 / far)  # Doddington's rule of 30 wants three times as many; ten errors give a first figure
        if negatives < needed:
            reasons[f"tar_at_far_{far:g}"] = f"needs {needed:,} negative pairs, there are {negatives:,}"
    return reasons


def validation_metrics(labels: ArrayLike, scores: ArrayLike) -> dict[str, Any]:
    """What training reports each epoch: precision and accuracy at threshold 0.5, auc, eer, cross_entropy; floats.

    Precision is None where no pair scores 0.5.

    Raises:
        InputError: as `rank`.
    """
    ranking = rank(labels, scores)
    values = dict(zip(METRICS, weighted_metrics(ranking, np.ones(len(ranking.labels)), 0.5), strict=True))
    wanted = ("precision", "accuracy", "auc", "eer")
    found = {name: None if math.isnan(values[name]) else float(values[name]) for name in wanted}
    return found | {"cross_entropy": cross_entropy(labels, scores)}


def cross_entropy(labels: ArrayLike, scores: ArrayLike) -> float:
    """Binary cross-entropy in which both classes weigh the same, as training has it.

    The mean of -ln(score) over positive pairs and of -ln(1 - score) over negative ones, averaged. Scores nearer to 0 or
    1 than float32 can tell count as if they were that near.
    """
    positive = np.asarray(labels) == 1
    least = float(np.finfo(np.float32).eps)
    clipped = np.clip(np.asarray(scores, np.float64), least, 1 - least)
    return float(-(np.log(clipped[positive]).mean() + np.log1p(-clipped[~positive]).mean()) / 2)


def _accepted(ranking: Ranking, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of negative and of positive pairs accepted, from none to all: float64 [distinct scores + 1] each."""
    every, true = (
        np.concatenate([[0.0], np.cumsum(part)[ranking.last]]) for part in (weights, weights * ranking.labels)
    )
    return every - true, true
