"""Two-sample tests: statistics against slow counting and scipy, p-values against all arrangements written out."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from siamese.monitoring import two_sample_tests
from siamese.monitoring.two_sample_tests import Between


def all_arrangements(units: int, new: int) -> np.ndarray:
    """Every way to call `new` of the units new: bool [ways, units]."""
    return np.array([[unit in chosen for unit in range(units)] for chosen in combinations(range(units), new)])


def d_of(reference: list[float], new: list[float]) -> float:
    """D, found by counting at every value."""
    return max(abs(np.mean([x <= at for x in reference]) - np.mean([x <= at for x in new])) for at in reference + new)


def energy_by_pairs(points: np.ndarray, unit: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """2 E|X-Y| - E|X-X'| - E|Y-Y'| and 2 E|X-Y|, over all pairs of points of different units, one after the other."""

    def mean(one: bool, other: bool) -> float:
        rows = range(len(unit))
        pairs = [
            (i, j) for i in rows for j in rows if unit[i] != unit[j] and new[unit[i]] == one and new[unit[j]] == other
        ]
        return float(np.mean([math.dist(points[i], points[j]) for i, j in pairs]))

    return 2 * mean(False, True) - mean(False, False) - mean(True, True), 2 * mean(False, True)


def test_d_by_hand() -> None:
    """Of 1 2 3 4 half lie below all of 3 4 5 6. Of 1 1 2 two thirds are 1, of 1 2 2 one third."""
    for reference, new, expected in (([1, 2, 3, 4], [3, 4, 5, 6], 0.5), ([1, 1, 2], [1, 2, 2], 1 / 3)):
        is_new = np.repeat([False, True], [len(reference), len(new)])
        [found] = two_sample_tests.largest_distances(
            np.array(reference + new, float), np.arange(len(is_new)), is_new[None]
        )
        assert found == pytest.approx(expected)
        assert two_sample_tests.distance_beyond(np.array(reference), np.array(new), 0) == pytest.approx(expected)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_d_is_scipys(reference: list[int], new: list[int]) -> None:
    expected = stats.ks_2samp(reference, new).statistic
    is_new = np.repeat([False, True], [len(reference), len(new)])
    values = np.array(reference + new, float)
    [found] = two_sample_tests.largest_distances(values, np.arange(len(values)), is_new[None])
    assert found == pytest.approx(expected)
    assert two_sample_tests.distance_beyond(np.array(reference), np.array(new), 0) == pytest.approx(expected)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
    st.integers(0, 4),
)
def test_a_tolerance_counts_what_lies_farther_away(reference: list[int], new: list[int], tolerance: int) -> None:
    """At every value: how many more of one are at or below it than of the other at or below it and the tolerance."""
    higher = [np.mean([x <= at for x in reference]) - np.mean([y <= at + tolerance for y in new]) for at in range(20)]
    lower = [np.mean([y <= at for y in new]) - np.mean([x <= at + tolerance for x in reference]) for at in range(20)]
    found = two_sample_tests.distance_beyond(np.array(reference), np.array(new), tolerance)
    assert found == pytest.approx(max(*higher, *lower, 0))


def test_what_lies_within_the_tolerance_is_no_difference() -> None:
    """All widths 100 against all 109 and all 111, by a tenth: everything or nothing."""
    ten_percent = math.log1p(0.1)
    found = [
        two_sample_tests.distance_beyond(np.log([100] * 5), np.log([width] * 7), ten_percent)
        for width in (109, 111, 90)
    ]
    assert found == [0, 1, 1]


def test_units_stay_whole() -> None:
    """Units of 2, 1, 3 and 2 values, in every arrangement, against D by counting."""
    unit = np.array([0, 0, 1, 2, 2, 2, 3, 3])
    values = np.array([1.0, 2, 2, 5, 6, 6, 3, 1])
    sides = all_arrangements(4, 2)
    found = two_sample_tests.largest_distances(values, unit, sides)
    for new, distance in zip(sides, found, strict=True):
        assert distance == pytest.approx(d_of(values[~new[unit]].tolist(), values[new[unit]].tolist()))


def test_arrangements_begin_with_the_actual_one_and_keep_the_numbers() -> None:
    is_new = np.array([True, False, False, True, False])
    once, again, other = (two_sample_tests.arrangements(is_new, 500, seed) for seed in (0, 0, 1))
    assert (once[0] == is_new).all() and (once.sum(axis=1) == 2).all()
    assert {tuple(one) for one in once.tolist()} == {tuple(one) for one in all_arrangements(5, 2).tolist()}
    assert (once == again).all() and (once != other).any()
    assert two_sample_tests.possible_arrangements(5, 2) == len(all_arrangements(5, 2)) == 10


def test_p_value_by_hand() -> None:
    """The actual one, 3, is reached by itself and by two of four others; equal but for rounding is equal."""
    assert two_sample_tests.p_value(np.array([3.0, 1, 3, 2, 4])) == pytest.approx(3 / 5)
    assert two_sample_tests.p_value(np.array([0.3, 0.1 + 0.2, 0.3 - 1e-16, 0.0])) == pytest.approx(3 / 4)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_p_value_is_the_share_of_all_arrangements(shift: float) -> None:
    """Seven units of 1 to 3 values, three of them new: 35 arrangements, each counted slowly. 20,000 draws meet it."""
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(7), [2, 1, 3, 2, 1, 3, 2])
    points = rng.normal(size=(len(unit), 3)) + shift * (unit >= 4)[:, None]
    is_new = np.arange(7) >= 4
    ways = all_arrangements(7, 3)
    actual = int((ways == is_new).all(axis=1).argmax())
    drawn = two_sample_tests.arrangements(is_new, 20_000, 0)

    slow = np.array([d_of(points[~new[unit], 0].tolist(), points[new[unit], 0].tolist()) for new in ways])
    exact = (slow >= slow[actual] - 1e-9).mean()
    found = two_sample_tests.p_value(two_sample_tests.largest_distances(points[:, 0], unit, drawn))
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)

    slow = np.array([energy_by_pairs(points, unit, new)[0] for new in ways])
    exact = (slow >= slow[actual] - 1e-9).mean()
    found = two_sample_tests.p_value(Between(points, unit, 7).energy(drawn)[0])
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_energy_by_hand() -> None:
    """Points 0 and 2 against 10 and 12: across 10, 12, 8 and 10, within 2 and 2: 20 - 2 - 2 = 16 of 20."""
    between = Between(np.array([[0.0], [2], [10], [12]]), np.arange(4), 4)
    energy, apart = between.energy(np.array([[False, False, True, True]]))
    assert (energy[0], apart[0]) == pytest.approx((16, 20))
    assert two_sample_tests.energy_effect(energy[0], apart[0]) == pytest.approx(math.sqrt(0.8))


def test_energy_leaves_out_pairs_within_a_unit() -> None:
    """Units of unequal size in every arrangement of two against three, in three dimensions, against all pairs."""
    rng = np.random.default_rng(0)
    unit = np.array([3, 0, 1, 1, 2, 3, 3, 4, 0])
    points = rng.normal(size=(9, 3)).astype(np.float32)
    sides = all_arrangements(5, 2)
    energy, apart = Between(points, unit, 5).energy(sides)
    for new, *found in zip(sides, energy, apart, strict=True):
        assert found == pytest.approx(energy_by_pairs(points, unit, new), rel=1e-6)


def test_energy_of_what_does_not_differ_scatters_about_nought() -> None:
    """200 pairs of 20 normal points each: the mean is nought within four standard errors, about half are below."""
    rng = np.random.default_rng(0)
    is_new = np.arange(40)[None] >= 20
    found = np.array([Between(rng.normal(size=(40, 5)), np.arange(40), 40).energy(is_new)[0][0] for _ in range(200)])
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(200)
    assert 0.3 < (found < 0).mean() < 0.8
    assert two_sample_tests.energy_effect(-0.1, 1) == 0


@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0, 2.0])
def test_the_effect_of_embeddings_is_about_as_large_as_d(shift: float) -> None:
    """Normal values, shifted: D is 2 Phi(shift/2) - 1."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 1)) + shift * (np.arange(3000) >= 1500)[:, None]
    energy, apart = Between(points, np.arange(3000), 3000).energy(np.arange(3000)[None] >= 1500)
    expected = 2 * stats.norm.cdf(shift / 2) - 1
    assert two_sample_tests.energy_effect(energy[0], apart[0]) == pytest.approx(expected, rel=0.25, abs=0.03)


def test_distance_to_the_reference_leaves_out_a_points_own_unit() -> None:
    """Reference: 0 and 1 of one identity, 5 of another; new: 7. 0 is 5 away, 1 is 4, 5 is 5 and 4, 7 is 7, 6 and 2."""
    between = Between(np.array([[0.0], [1], [5], [7]]), np.array([0, 0, 1, 2]), 3)
    assert between.to_reference(np.array([False, False, True])) == pytest.approx([5, 4, 4.5, 5])


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.03, 0.04, 0.5 times 4, 3, 2, 1: 0.04, 0.09, 0.08, which stays at 0.09, 0.5."""
    assert two_sample_tests.holm(np.array([0.5, 0.03, 0.01, 0.04])) == pytest.approx([0.5, 0.09, 0.04, 0.09])
    assert two_sample_tests.holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])


def test_whole_units_keep_the_rate_of_false_alarms_where_lone_values_would_not() -> None:
    """200 times 12 against 12 identities of 5 images, alike within each: at 5 %, 10 alarms, or up to 20 by chance.

    Taking each image for itself raises three times as many and more.
    """
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(24), 5)
    is_new = np.arange(24) >= 12
    whole, torn = two_sample_tests.arrangements(is_new, 199, 0), two_sample_tests.arrangements(is_new[unit], 199, 0)
    alarms = np.zeros(4)
    for _ in range(200):
        points = rng.normal(size=(24, 3))[unit] + 0.7 * rng.normal(size=(120, 3))
        of_units, of_images = Between(points, unit, 24), Between(points, np.arange(120), 120)
        found = (
            two_sample_tests.largest_distances(points[:, 0], unit, whole),
            of_units.energy(whole)[0],
            two_sample_tests.largest_distances(points[:, 0], np.arange(120), torn),
            of_images.energy(torn)[0],
        )
        alarms += [two_sample_tests.p_value(one) <= 0.05 for one in found]
    assert (alarms[:2] <= 20).all() and (alarms[2:] > 30).all(), alarms
