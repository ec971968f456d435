"""Pairs spread over their scores."""

from __future__ import annotations

import numpy as np
import pandas as pd

from siamese.evaluation.example_pairs import spread


def pairs(*ends: str) -> pd.DataFrame:
    return pd.DataFrame([tuple(two) for two in ends], columns=["anchor_id", "other_id"])


APART = pairs("ab", "cd", "ef", "gh", "ij", "kl")
SCORES = np.array([0.9, 0.0, 0.1, 0.52, 1.0, 0.2], np.float32)


def test_scores_at_equal_distances_are_looked_for_and_the_lowest_comes_first() -> None:
    """From 0 to 1 in three: 0, 0.5 and 1; the nearest are 0, 0.52 and 1."""
    assert spread(APART, SCORES, np.arange(6), 3).tolist() == [1, 3, 4]


def test_only_the_rows_given_are_taken() -> None:
    """From 0.1 to 0.9: in two."""
    assert spread(APART, SCORES, np.array([0, 2, 5]), 2).tolist() == [2, 0]
    assert spread(APART, SCORES, np.array([], int), 2).tolist() == []


def test_there_are_never_more_than_there_are() -> None:
    assert spread(APART, SCORES, np.arange(6), 10).tolist() == [1, 2, 5, 3, 0, 4]


def test_no_image_is_shown_twice() -> None:
    """The ends, 0 and 1, come first; the middle, 0.5, shares image d with the pair of score 1, so 0.6 stands in."""
    listed = pairs("ab", "cd", "gh", "de")
    assert spread(listed, np.array([0, 0.5, 0.6, 1], np.float32), np.arange(4), 3).tolist() == [0, 2, 3]
