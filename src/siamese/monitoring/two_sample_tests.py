"""Whether two samples come from one distribution, where values come in units that must not be torn apart.

Images of one identity are alike, so they aren't independent trials: taken for such, a few people more on one side look
like a difference of everybody. What is exchangeable if nothing has changed is whole identities. So every test here
permutes units, an identity or a lone image, between the sides: its p-value is the share of such arrangements, the
actual one counted among them, that differ as much as the actual one (Phipson and Smyth 2010, "Permutation p-values
should never be zero"). That is exact for whatever statistic, with ties and few units too, if units of both sides are
alike in size; `siamese.monitoring.drift` draws them so.

One value: the largest distance of the two cumulative distributions, Kolmogorov's and Smirnov's D.
Many values: the energy distance E = 2 E|X-Y| - E|X-X'| - E|Y-Y'| of Székely and Rizzo 2013, "Energy statistics: A class
of statistics based on distances", X and X' (Y and Y') of different units. It is 0 for equal distributions alone.
"""

from __future__ import annotations

import math

import numpy as np

_AT_ONCE = 2**23  # numbers held by one block of arrangements: 64 MB
_ROUNDING = 1e-10  # equal statistics of different arrangements may differ in their last digits


def arrangements(is_new: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """The actual arrangement of units, and random ones with as many units a side.

    Args:
        is_new: bool [units], on which side each is.

    Returns:
        bool [1 + permutations, units], the actual one first.
    """
    rng = np.random.default_rng(seed)
    others = rng.permuted(np.tile(is_new, (permutations, 1)), axis=1)
    return np.concatenate([is_new[None], others])


def possible_arrangements(units: int, new_units: int) -> int:
    """How many arrangements there are: no p-value is below one in so many."""
    return math.comb(units, new_units)


def p_value(statistics: np.ndarray) -> float:
    """The share of arrangements whose statistic is at least the actual one's.

    Args:
        statistics: float [1 + permutations], the actual one's first.
    """
    return float((statistics >= statistics[0] - _ROUNDING).mean())


def holm(p_values: np.ndarray) -> np.ndarray:
    """The p-values of several tests, adjusted so that any false alarm among them is as rare as one test's.

    Holm 1979, "A simple sequentially rejective multiple test procedure": with the smallest of k multiplied by k, the
    next by k-1, and so on, none below one before it, none above 1. The tests may depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def largest_distances(values: np.ndarray, unit: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Kolmogorov's and Smirnov's D of each arrangement, in [0, 1].

    Args:
        values: float [rows].
        unit: int [rows], the unit of each.
        sides: bool [arrangements, units], from `arrangements`.

    Returns:
        float64 [arrangements].
    """
    order = np.argsort(values, kind="stable")
    ordered, unit = values[order], unit[order]
    last_of_ties = np.append(ordered[1:] != ordered[:-1], True)
    upto = np.arange(1, len(values) + 1)[last_of_ties]
    found = np.empty(len(sides))
    for block in _blocks(len(sides), len(values)):
        new = np.cumsum(sides[block][:, unit], axis=1, dtype=np.int32)[:, last_of_ties]
        all_new = new[:, -1:]
        found[block] = np.abs(new / all_new - (upto - new) / (len(values) - all_new)).max(axis=1)
    return found


def distance_beyond(reference: np.ndarray, new: np.ndarray, tolerance: float) -> float:
    """D, where a value that differs by no more than `tolerance` counts as equal; with a tolerance of 0, D itself.

    The largest share of values that lie more than `tolerance` below, or above, where they would have to be for equal
    distributions: max of F(x - tolerance) - G(x) and G(x - tolerance) - F(x), at least 0.
    """
    F, G = np.sort(reference), np.sort(new)

    def share(ordered: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.searchsorted(ordered, at, side="right") / len(ordered)

    # F less G rises at values of F alone, G less F at values of G.
    higher = (share(F, F) - share(G, F + tolerance)).max()
    lower = (share(G, G) - share(F, G + tolerance)).max()
    return float(max(higher, lower, 0.0))


class Between:
    """Distances between units, summed: all that energy distances need, in memory of [units, units]."""

    def __init__(self, points: np.ndarray, unit: np.ndarray, units: int) -> None:
        """Euclidean distances of all points.

        Args:
            points: float [rows, values].
            unit: int [rows], the unit of each, 0 to `units` - 1; none is empty.
        """
        self._unit = unit
        self.distances = euclidean(points)
        order = np.argsort(unit, kind="stable")
        starts = np.searchsorted(unit[order], np.arange(units))
        by_unit = np.add.reduceat(self.distances[order][:, order], starts, axis=0)
        self._sums = np.add.reduceat(by_unit, starts, axis=1)
        np.fill_diagonal(self._sums, 0)  # images of one unit say nothing of how others differ
        self._sizes = np.bincount(unit, minlength=units).astype(np.float64)

    def energy(self, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The energy distance of each arrangement, and with it how far apart the sides are on average, 2 E|X-Y|.

        Args:
            sides: bool [arrangements, units], two units or more on either side.

        Returns:
            float64 [arrangements] twice. The first scatters about 0, also below, where nothing differs.
        """
        energy, apart = np.empty(len(sides)), np.empty(len(sides))
        total, squares = self._sizes.sum(), self._sizes**2
        for block in _blocks(len(sides), sides.shape[1]):
            new = sides[block].astype(np.float64)
            from_new = new @ self._sums
            within_new = (from_new * new).sum(axis=1)
            across = from_new.sum(axis=1) - within_new
            within_reference = self._sums.sum() - within_new - 2 * across
            points = new @ self._sizes
            pairs_new = points**2 - new @ squares
            pairs_reference = (total - points) ** 2 - (1 - new) @ squares
            apart[block] = 2 * across / (points * (total - points))
            energy[block] = apart[block] - within_new / pairs_new - within_reference / pairs_reference
        return energy, apart

    def to_reference(self, is_new: np.ndarray) -> np.ndarray:
        """Mean distance of each point from the reference's points of other units: float64 [rows]."""
        reference = ~is_new[self._unit]
        others = reference & (self._unit[:, None] != self._unit)
        return np.where(others, self.distances, 0).sum(axis=1) / others.sum(axis=1)


def energy_effect(energy: float, apart: float) -> float:
    """How far apart two distributions are against how far their members are: 0 for equal ones, at most 1.

    The root of H = E / 2 E|X-Y|, Székely's and Rizzo's coefficient of inhomogeneity. H follows the square of a shift;
    its root is in proportion to it, and for normal values about as large as D (1.1 times, up to two deviations).
    """
    return math.sqrt(max(energy, 0.0) / apart) if apart > 0 else 0.0


def euclidean(points: np.ndarray) -> np.ndarray:
    """All distances: float64 [rows, rows], 0 on the diagonal."""
    points = points.astype(np.float64)
    points -= points.mean(axis=0)
    squares = (points**2).sum(axis=1)
    apart = points @ points.T
    apart *= -2
    apart += squares
    apart += squares[:, None]
    np.maximum(apart, 0, out=apart)
    np.fill_diagonal(apart, 0)
    return np.sqrt(apart, out=apart)


def _blocks(rows: int, numbers_a_row: int) -> list[slice]:
    step = max(1, _AT_ONCE // numbers_a_row)
    return [slice(start, start + step) for start in range(0, rows, step)]
