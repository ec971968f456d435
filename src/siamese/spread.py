"""Pairs spread over the range of their scores, for someone who wants to see what a score looks like."""

from __future__ import annotations

import numpy as np
import pandas as pd


def spread(pairs: pd.DataFrame, scores: np.ndarray, rows: np.ndarray, wanted: int) -> np.ndarray:
    """Some of `rows`, lowest score first: for scores at equal distances from the lowest to the highest, the nearest.

    Args:
        pairs: anchor_id, other_id.
        scores: [pairs].
        rows: int, of `pairs`.
        wanted: 1 or more. Fewer are given where no others are left that show no image twice.

    Returns:
        int64 [wanted or fewer].
    """
    chosen: list[int] = []
    seen: set[str] = set()
    rows = np.asarray(rows, np.int64)
    if not len(rows):
        return rows
    first, second = pairs.anchor_id.to_numpy(object), pairs.other_id.to_numpy(object)
    # Both ends come first, or a pair in the middle might have taken their images.
    places = np.linspace(scores[rows].min(), scores[rows].max(), wanted)
    for place in places[np.argsort(-np.abs(places - places.mean()), kind="stable")]:
        for row in rows[np.argsort(np.abs(scores[rows] - place), kind="stable")]:
            if not {first[row], second[row]} & seen:
                chosen.append(int(row))
                seen |= {first[row], second[row]}
                break
    return np.array(sorted(chosen, key=lambda row: (scores[row], row)), np.int64)
