"""Intervals: identities are resampled, pairs follow them; the interval holds the truth about as often as it says."""

import math

import by_counting
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.evaluation.metrics import bootstrap, verification
from siamese.evaluation.metrics.bootstrap import Units
from siamese.evaluation.metrics.verification import METRICS, rank, reference_metrics


def test_each_stratum_is_resampled_within_itself() -> None:
    for seed in range(20):
        drawn = bootstrap.multiplicities((5, 3), np.random.default_rng(seed))
        assert drawn[:5].sum() == 5 and drawn[5:].sum() == 3


def test_a_pair_weighs_the_product_of_its_distinct_identities() -> None:
    """Identities drawn 2, 0 and 3 times: a pair within the first weighs 2, with the third 6, with the second 0."""
    weights = bootstrap.pair_weights(np.array([2.0, 0.0, 3.0]), np.array([[0, 0], [0, 2], [0, 1], [2, 2], [1, 1]]))
    assert weights.tolist() == [2, 6, 0, 3, 0]


@pytest.mark.parametrize("strata", [[range(8)], [range(3), range(3, 8)]])
def test_a_resample_measures_what_pairs_copied_out_would(strata: list[range]) -> None:
    """The slow way: each pair written out as often as its identities were drawn, then counted anew."""
    labels, scores, units = simulated(identities=8, rng=np.random.default_rng(3))
    units = Units(units.pairs, tuple(map(len, strata)))
    found = bootstrap.replicates(rank(labels, scores), units, 0.5, resamples=5, seed=9)
    copied = by_counting.resamples(strata, units.pairs.tolist(), 5, seed=9)
    for row, copies in zip(found, copied, strict=True):
        expected = by_counting.figures(labels[copies].tolist(), scores[copies].tolist(), 0.5)
        for name, value in zip(METRICS, row, strict=True):
            if expected[name] is not None:  # a TAR is withheld where negatives are few
                assert value == pytest.approx(expected[name]), name


@given(st.lists(st.floats(0, 1) | st.none(), min_size=10, max_size=60), st.floats(0, 1), st.sampled_from([0.0, -1.0]))
def test_an_interval_is_that_of_sorting_the_resamples(found: list[float | None], value: float, lowest: float) -> None:
    got = bootstrap.interval(np.array(found, float), value, lowest=lowest)
    expected = by_counting.interval(found, value, lowest)
    assert got is expected is None or got == pytest.approx(expected, abs=1e-12)


def test_the_seed_decides_and_scorers_share_the_resamples() -> None:
    """Two scorers whose scores are in the same order have the same EER in every resample."""
    labels, scores, units = simulated(identities=10, rng=np.random.default_rng(0))
    once, again, other = (
        bootstrap.replicates(rank(labels, scores), units, 0.5, resamples=20, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    eer = METRICS.index("eer")
    squeezed = bootstrap.replicates(rank(labels, scores / 2), units, 0.5, resamples=20, seed=1)
    np.testing.assert_array_equal(squeezed[:, eer], once[:, eer])


def test_an_interval_is_shifted_to_the_figure_and_kept_in_bounds() -> None:
    """Resamples 0.50 to 0.70, median 0.60; figure 0.55: everything moves down by 0.05. Of 101 values 2.5 % are 2.5."""
    resamples = np.linspace(0.5, 0.7, 101)
    assert bootstrap.interval(resamples, 0.55) == pytest.approx((0.455, 0.645))
    assert bootstrap.interval(resamples, 0.98) == pytest.approx((0.885, 1.0))
    assert bootstrap.interval(resamples - 1, -0.4, lowest=-1.0) == pytest.approx((-0.495, -0.305))


def test_no_interval_where_more_than_one_resample_in_twenty_is_undefined() -> None:
    resamples = np.linspace(0, 1, 100)
    resamples[:5] = math.nan
    assert bootstrap.interval(resamples, 0.5) is not None
    resamples[5] = math.nan
    assert bootstrap.interval(resamples, 0.5) is None


def test_two_identities_are_too_few_for_an_interval() -> None:
    """Half of all draws of two identities from two take one of them twice, which leaves no negative pair."""
    labels, scores = np.array([1, 1, 0, 0]), np.array([0.9, 0.8, 0.3, 0.2])
    units = Units(np.array([[0, 0], [1, 1], [0, 1], [0, 1]]), (2,))
    resamples = bootstrap.replicates(rank(labels, scores), units, 0.5, resamples=200, seed=0)
    found = bootstrap.intervals(resamples, reference_metrics(labels, scores, 0.5))
    assert found["auc"] is None and found["eer"] is None


def test_an_undefined_metric_has_no_interval() -> None:
    labels, scores, units = simulated(identities=10, rng=np.random.default_rng(0))
    values = reference_metrics(labels, scores / 2, 0.9)
    assert values["precision"] is None
    resamples = bootstrap.replicates(rank(labels, scores / 2), units, 0.9, resamples=50, seed=0)
    assert bootstrap.intervals(resamples, values)["precision"] is None


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 80 test sets of 20 identities each, 95 % intervals by identity hold the truth in 70 or more.

    Resampling pairs as if they were independent fails three times as often: identities are what was sampled, not pairs.
    """
    rng = np.random.default_rng(0)
    columns = [METRICS.index(name) for name in ("accuracy", "eer", "auc")]
    truth = np.mean([all_metrics(*simulated(identities=600, rng=rng)[:2])[columns] for _ in range(10)], axis=0)

    def held(resampled: Units, labels: np.ndarray, scores: np.ndarray, seed: int) -> np.ndarray:
        found = bootstrap.replicates(rank(labels, scores), resampled, 0.5, resamples=150, seed=seed)
        values = all_metrics(labels, scores)
        ends = [bootstrap.interval(found[:, column], values[column]) for column in columns]
        return np.array([low <= true <= high for (low, high), true in zip(ends, truth, strict=True)])

    by_identity, by_pair = np.zeros(3), np.zeros(3)
    for trial in range(80):
        labels, scores, units = simulated(identities=20, rng=rng)
        each_alone = Units(np.repeat(np.arange(len(labels))[:, None], 2, axis=1), (len(labels),))
        by_identity += held(units, labels, scores, trial)
        by_pair += held(each_alone, labels, scores, trial)
    assert (by_identity >= 70).all(), by_identity
    assert (by_pair < 64).all(), by_pair


def all_metrics(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return verification.weighted_metrics(rank(labels, scores), np.ones(len(labels)), 0.5)


def simulated(*, identities: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Units]:
    """Identities are points in a plane, some steadier than others, images scatter about them; near images score high.

    Five images an identity, all positive pairs and as many negative ones.
    """
    images = 5
    spread = rng.gamma(2, 0.25, size=(identities, 1, 1))
    place = rng.normal(size=(identities, 1, 4)) + spread * rng.normal(size=(identities, images, 4))
    place = place.reshape(-1, 4)
    who = np.repeat(np.arange(identities), images)
    a, b = np.triu_indices(len(who), 1)
    positive, negative = np.flatnonzero(who[a] == who[b]), np.flatnonzero(who[a] != who[b])
    chosen = np.concatenate([positive, rng.choice(negative, len(positive), replace=False)])
    a, b = a[chosen], b[chosen]
    apart = np.linalg.norm(place[a] - place[b], axis=1)
    return (
        (who[a] == who[b]).astype(int),
        1 / (1 + np.exp(2 * (apart - 1.8))),
        Units(np.stack([who[a], who[b]], 1), (identities,)),
    )
