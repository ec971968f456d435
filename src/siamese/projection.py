"""Points of many dimensions laid on a plane by principal components: seeded by nothing, and its loss is known.

Methods that keep neighbours together (t-SNE, UMAP) draw tidier groups, but the distances between them mean nothing, and
noise gets groups, too. Of principal components it can be said how much of the truth is in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Plane:
    """Where points lie, float64 [points, 2], and which share of their variance each axis shows; 0 if none varies."""

    points: np.ndarray
    shares: tuple[float, float]


def onto_plane(points: np.ndarray) -> Plane:
    """The points on the plane in which they vary most, their mean at (0, 0), the axis of more variance first.

    An axis may point either way: here the dimension that weighs most in it weighs positively.

    Args:
        points: float [points, dimensions]; at least one.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    found, shares = np.zeros((len(points), 2)), [0.0, 0.0]
    total = float((sizes**2).sum())
    for axis in range(min(2, len(sizes)) if total else 0):
        towards = np.sign(axes[axis][np.argmax(np.abs(axes[axis]))])
        found[:, axis] = towards * left[:, axis] * sizes[axis]
        shares[axis] = float(sizes[axis] ** 2 / total)
    return Plane(found, (shares[0], shares[1]))


def nearest_is_own(points: np.ndarray, owners: np.ndarray) -> float | None:
    """How often the nearest other point has the same owner: a share; None where no point has another of its owner.

    Points alone of their owner, and those without one, aren't asked, but may be the nearest.

    Args:
        points: float [points, dimensions].
        owners: int [points], -1: none.
    """
    points = points.astype(np.float64)
    squares = (points**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(apart, np.inf)
    asked = np.array([owner >= 0 and int((owners == owner).sum()) > 1 for owner in owners], bool)
    if not asked.any():
        return None
    return float((owners[apart.argmin(axis=1)] == owners)[asked].mean())
