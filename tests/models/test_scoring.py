"""Log-odds: the score before the sigmoid."""

from __future__ import annotations

import numpy as np
import pytest
from small_evaluation import Means

from siamese.models.scoring import Head, LogOdds, to_score


def test_differences_are_weighed_and_the_bias_added() -> None:
    """2 x |1 - 4| - 1 x |5 - 3| + 0.5 = 4.5; of equal embeddings the bias is left."""
    scorer = LogOdds(Means(), Head(np.array([2, -1], np.float32), 0.5))
    anchors, others = np.array([[1, 5], [7, 7]], np.float32), np.array([[4, 3], [7, 7]], np.float32)
    found = scorer.score(anchors, others)
    assert found.tolist() == [4.5, 0.5] and found.dtype == np.float32


def test_embeddings_are_the_scorer_s() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 100, 100, 3), np.uint8)
    head = Head(np.ones(100, np.float32), 0.0)
    np.testing.assert_array_equal(LogOdds(Means(), head).embed(pixels), Means().embed(pixels))


@pytest.mark.parametrize(("log_odds", "score"), [(0, 0.5), (np.log(3), 0.75), (-np.log(3), 0.25), (800, 1), (-800, 0)])
def test_scores_come_back(log_odds: float, score: float) -> None:
    assert to_score(log_odds) == pytest.approx(score)
