"""What a claim scores: a probe against one or several references, alone or beside people that nobody asks about."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from siamese.models.scoring import EmbeddingTable, Head, LogOdds, Scorer, score_pairs, to_score
from siamese.models.verifier import Verifier

Fusion = Literal["mean", "best", "relative"]

NEAREST = 30  # images of a cohort that an image is held against


def fuse_claim_scores(
    verifier: Verifier, embedded: EmbeddingTable, table: pd.DataFrame, fuse: Fusion, cohort: np.ndarray | None
) -> np.ndarray:
    """The score of each claim, float64 [claims].

    Args:
        embedded: the images that `table` names.
        table: columns claim (0, 1, … without a gap), probe and reference.
        fuse: how the scores of a claim's rows become one: `mean` or `best`; `relative`: their mean log-odds, less the
            mean of those that its references have with each other.
        cohort: float32 [images, units], embeddings of training images; None: none.
    """
    claim = table.claim.to_numpy()
    if fuse != "relative" and cohort is None:
        return fused(likeness(verifier, embedded, table), claim, fuse)
    scorer = LogOdds(verifier, Head(*verifier.head()))
    level = np.zeros(len(embedded.ids), np.float32) if cohort is None else standing(scorer, embedded, cohort)
    found = fused(_beside(scorer, embedded, level, table), claim, "best" if fuse == "best" else "mean")
    if fuse == "relative":
        found = found - _among_references(scorer, embedded, level, table)
    scored: np.ndarray = to_score(found)
    return scored


def likeness(scorer: Scorer, embedded: EmbeddingTable, table: pd.DataFrame) -> np.ndarray:
    """The score of each row, float32 [rows]."""
    return score_pairs(scorer, embedded, *(embedded.rows(table[side]) for side in ("probe", "reference")))


def standing(scorer: LogOdds, embedded: EmbeddingTable, cohort: np.ndarray) -> np.ndarray:
    """How like each image is to people that nobody asks about: the mean of its `NEAREST` highest log-odds with images
    of training. Some faces are like everybody's.

    Half of either image's is subtracted from a pair's log-odds: the adaptive symmetric normalisation of Cumani et al.
    2011 (Comparison of speaker recognition approaches for real applications), without its division by deviations.

    Args:
        cohort: float32 [images, units].

    Returns:
        float32 [images of `embedded`].
    """
    nearest = min(NEAREST, len(cohort))
    found = np.empty(len(embedded.ids), np.float32)
    for row, one in enumerate(embedded.embeddings):
        found[row] = np.partition(scorer.score(cohort, one[None]), -nearest)[-nearest:].mean()
    return found


def _beside(scorer: LogOdds, embedded: EmbeddingTable, level: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """The log-odds of each row less half of either image's level, float32 [rows]."""
    sides = (level[embedded.rows(table[side])] for side in ("probe", "reference"))
    return likeness(scorer, embedded, table) - sum(sides) / 2


def _among_references(scorer: LogOdds, embedded: EmbeddingTable, level: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """How like each claim's references are to each other, the mean of their log-odds: float64 [claims]; 0 where there
    is one. A hand that varies much is like itself less than a steady one: what it takes to be accepted is its own."""
    of_claim = [tuple(sorted(names)) for _, names in table.groupby("claim").reference]  # in order of number
    own = dict.fromkeys(of_claim, 0.0)  # many claims have the same ones
    pairs = [(known, *pair) for known in own for pair in combinations(known, 2)]
    if pairs:
        listed = pd.DataFrame(pairs, columns=["known", "probe", "reference"])
        listed["likeness"] = _beside(scorer, embedded, level, listed)
        own.update(listed.groupby("known").likeness.mean())
    return np.array([own[known] for known in of_claim])


def fused(given: np.ndarray, claim: np.ndarray, how: Literal["mean", "best"]) -> np.ndarray:
    """The score of each claim: the mean or the best of its rows' scores.

    Args:
        given: float [rows].
        claim: int [rows], 0, 1, … without a gap.

    Returns:
        float64 [claims].
    """
    if how == "best":
        found = np.full(int(claim.max()) + 1, -np.inf)
        np.maximum.at(found, claim, given)
        return found
    return np.bincount(claim, given) / np.bincount(claim)
