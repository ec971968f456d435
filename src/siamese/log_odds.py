"""A model's answer before the sigmoid: where scores lie at 0 or 1 and hardly move, this still does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from siamese.scores import Scorer
from siamese.search import Head


@dataclass(frozen=True, eq=False)
class LogOdds:
    """A scorer whose scores are log-odds: ln(score / (1 - score)) of the other's, from -inf to inf.

    Attributes:
        scorer: the other.
        head: its last layer.
    """

    scorer: Scorer
    head: Head

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """As the other does."""
        return self.scorer.embed(pixels)

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Embeddings, float32 [pairs, units] each, to log-odds, float32 [pairs]."""
        return np.abs(anchors - others) @ self.head.weights + np.float32(self.head.bias)


def to_score(log_odds: Any) -> Any:
    """The score of log-odds, from 0 to 1: of a number, or of each in an array."""
    return 0.5 * (1 + np.tanh(log_odds / 2))
