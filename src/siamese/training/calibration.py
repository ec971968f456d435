"""Platt scaling of the last layer on validation pairs after training, so that scores read as probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from siamese.console import log
from siamese.models import scoring
from siamese.training.dataset import TrainingData
from siamese.training.trainer import Trainer


def fit_line(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
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
        log("scores don't tell validation pairs apart: they stay as they are")
        return 1.0, 0.0
    return slope, intercept


def logits_of(scores: np.ndarray) -> np.ndarray:
    """The logits of scores in (0, 1), float64: log(s / (1 - s)); the ends as the nearest float32 that isn't one."""
    s = np.clip(np.asarray(scores, np.float64), np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
    return np.log(s / (1 - s))


def validation_scores(training: Trainer, data: TrainingData, check: Callable[[], None]) -> np.ndarray | None:
    """The scores of the validation pairs, float32 [pairs], as the servable model gives them.

    Every worker embeds a share of the images; the chief alone scores, and the others get None.
    """
    replicas = training.replicas

    def embed(part: slice) -> np.ndarray:
        check()
        ids = data.validation_ids[part]
        embeddings = np.zeros((len(ids), training.units), np.float32)
        own = slice(replicas.worker, None, replicas.workers)
        if len(ids[own]):
            embeddings[own] = training.verifier.embed(data.images.pixels(ids[own].tolist()))
        return replicas.sum(embeddings)

    embeddings = scoring.in_batches(embed, len(data.validation_ids))
    if not replicas.chief:
        return None
    first, second, _ = data.validation_pairs
    return scoring.score_pairs(
        training.verifier, scoring.EmbeddingTable(pd.Index(data.validation_ids), embeddings), first, second
    )


def calibrate(training: Trainer, data: TrainingData) -> None:
    """Changes weights and bias of the last layer so that scores on validation pairs read as probabilities, in the
    order that they have."""
    found = validation_scores(training, data, lambda: None)
    labels = data.validation_pairs[2]
    if found is None or len(np.unique(labels)) < 2:  # the chief's are the ones that are written
        return
    slope, intercept = fit_line(labels, logits_of(found))
    head = training.scoring.get_layer("dense_1")
    kernel, bias = head.get_weights()
    head.set_weights([slope * kernel, slope * bias + np.float32(intercept)])
