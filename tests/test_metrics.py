"""Metrics: what their definitions say, worked out by hand; what scikit-learn says; what slow, obvious counting says."""

import json
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from siamese import metrics
from siamese.errors import InputError
from siamese.metrics import METRICS, choose_threshold, measure, rank, roc, same

LABELS = [1, 1, 0, 1, 0, 0]
SCORES = [0.9, 0.8, 0.6, 0.4, 0.3, 0.2]  # in falling order: same, same, different, same, different, different

# Scores on a grid of ninths, so that ties are common, and both labels always there.
tied_pairs = (
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=2, max_size=40)
    .filter(lambda pairs: {label for label, _ in pairs} == {0, 1})
    .map(lambda pairs: ([label for label, _ in pairs], [score / 9 for _, score in pairs]))
)


def as_float32(scores):
    return np.asarray(scores, np.float32).astype(float)


def slow_rates(labels, scores):
    """FAR and TAR of each threshold, counted pair by pair, from accepting none to accepting all: exact fractions."""
    positives, negatives = labels.count(1), labels.count(0)
    rates = []
    for threshold in [2.0, *sorted(set(scores), reverse=True)]:
        accepted = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        rates.append((Fraction(accepted.count(0), negatives), Fraction(accepted.count(1), positives)))
    return rates


def slow_eer(labels, scores):
    """Where the straight line between two neighbouring points has FAR = 1 - TAR, solved exactly."""
    rates = slow_rates(labels, scores)
    for (far, tar), (next_far, next_tar) in pairwise(rates):
        before, after = far + tar - 1, next_far + next_tar - 1
        if before <= 0 <= after:
            return far + (next_far - far) * (-before / (after - before))
    raise AssertionError("the curve never crosses")


def test_metrics_by_hand() -> None:
    """At 0.5 the pairs 0.9, 0.8, 0.6 are judged the same: TP 2, FP 1, FN 1, TN 2.

    Positive 0.9 and 0.8 each beat three negatives, 0.4 beats two: AUC 8/9. Accepting 0.6 too gives FAR 1/3 and FRR 1/3:
    EER 1/3.
    Squared distances: 0.01, 0.04, 0.36, 0.36, 0.09, 0.04, together 0.90. Each score has a bin of its own, so that the
        calibration
    error is the mean distance: 0.1, 0.2, 0.6, 0.6, 0.3, 0.2, together 2.0.
    """
    found = measure(LABELS, SCORES, 0.5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["false_accept_rate"] == pytest.approx(1 / 3)
    assert found["auc"] == pytest.approx(8 / 9)
    assert found["eer"] == pytest.approx(1 / 3)
    assert found["brier"] == pytest.approx(0.90 / 6)
    assert found["calibration_error"] == pytest.approx(2.0 / 6)


def test_tar_at_far_by_hand() -> None:
    """No false accept: TAR 2/3, by accepting 0.8 and more. One of three (FAR 1/3): TAR 1, by accepting 0.4 and more."""
    far, tar = roc(rank(LABELS, SCORES))
    assert metrics.tar_at_far(far, tar, 0.0) == metrics.tar_at_far(far, tar, 0.33) == pytest.approx(2 / 3)
    assert metrics.tar_at_far(far, tar, 1 / 3) == metrics.tar_at_far(far, tar, 0.5) == 1


def test_eer_between_two_points_lies_on_the_line_that_joins_them() -> None:
    """Positives 0.9, 0.5, negatives 0.5, 0.1: from FAR 0, FRR 1/2 the tie leads to FAR 1/2, FRR 0: EER 1/4."""
    far, tar = roc(rank([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]))
    assert metrics.eer(far, tar) == pytest.approx(0.25)


def test_calibration_bins_take_their_lower_edge_and_the_last_takes_one() -> None:
    assert metrics.calibration_bin(np.float32([0, 0.05, 0.1, 0.55, 0.95, 1.0])).tolist() == [0, 0, 1, 5, 9, 9]


def test_calibration_error_is_taken_bin_by_bin() -> None:
    """Bin 0 has scores 0.04 and 0.06, one of two the same: distance 0.05 to 1/2. Bin 9 has 0.9, the same: 0.1.

    Weighted by pairs: (2 x 0.45 + 1 x 0.1) / 3.
    """
    assert measure([0, 1, 1], [0.04, 0.06, 0.9], 0.5)["calibration_error"] == pytest.approx(1.0 / 3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_scorer_is_chance(value: float) -> None:
    found = measure([1, 0, 0, 1], [value] * 4, 0.5)
    assert found["eer"] == found["auc"] == 0.5


def test_a_perfect_scorer_and_its_opposite() -> None:
    labels = [1] * 5 + [0] * 5
    perfect, inverted = measure(labels, labels, 0.5), measure(labels, [1 - label for label in labels], 0.5)
    assert perfect["auc"] == perfect["precision"] == perfect["recall"] == perfect["accuracy"] == perfect["f1"] == 1
    assert perfect["eer"] == perfect["brier"] == perfect["calibration_error"] == perfect["false_accept_rate"] == 0
    assert inverted["auc"] == inverted["accuracy"] == 0 and inverted["eer"] == inverted["brier"] == 1


@settings(max_examples=40, deadline=None)  # scikit-learn takes its time
@given(tied_pairs, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_metrics_are_those_of_scikit_learn(pairs, threshold: float) -> None:
    labels, scores = pairs
    judged = as_float32(scores) >= np.float32(threshold)
    found = measure(labels, scores, threshold)
    if judged.any():
        assert found["precision"] == pytest.approx(reference.precision_score(labels, judged))
    else:
        assert found["precision"] is None
    assert found["recall"] == pytest.approx(reference.recall_score(labels, judged))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, judged))
    assert found["f1"] == pytest.approx(reference.f1_score(labels, judged))
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, as_float32(scores)))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(labels, as_float32(scores)))


@given(tied_pairs)
def test_roc_and_eer_are_those_of_counting_pair_by_pair(pairs) -> None:
    labels, scores = pairs
    far, tar = roc(rank(labels, scores))
    expected = slow_rates(labels, scores)
    np.testing.assert_allclose(far, [float(rate) for rate, _ in expected])
    np.testing.assert_allclose(tar, [float(rate) for _, rate in expected])
    assert metrics.eer(far, tar) == pytest.approx(float(slow_eer(labels, scores)))


@given(tied_pairs, st.sampled_from([0.1, 0.25, 0.5]))
def test_tar_at_far_is_the_best_of_all_thresholds(pairs, target: float) -> None:
    labels, scores = pairs
    far, tar = roc(rank(labels, scores))
    best = max(tar for far, tar in slow_rates(labels, scores) if far <= Fraction(target).limit_denominator(100))
    assert metrics.tar_at_far(far, tar, target) == pytest.approx(float(best))


@settings(max_examples=40, deadline=None)
@given(tied_pairs, st.data(), st.sampled_from([0.0, 0.4, 0.5, 1.0]))
def test_a_pair_of_weight_k_counts_as_k_pairs(pairs, data, threshold: float) -> None:
    labels, scores = map(np.array, pairs)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels))))
    ranking = rank(labels, scores)
    found = dict(
        zip(METRICS, metrics.weighted_metrics(ranking, weights[ranking.order].astype(float), threshold), strict=True)
    )
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    if set(repeated[0]) != {0, 1}:
        assert math.isnan(found["eer"]) and math.isnan(found["auc"]) and math.isnan(found["tar_at_far_0.1"])
        return
    expected = measure(*repeated, threshold)
    for target in metrics.FAR_TARGETS:  # which `measure` withholds where there are few pairs
        expected[f"tar_at_far_{target:g}"] = metrics.tar_at_far(*roc(rank(*repeated)), target)
    for name, value in expected.items():
        assert math.isnan(found[name]) if value is None else found[name] == pytest.approx(value), name


def test_tar_at_far_needs_ten_false_accepts_at_that_rate() -> None:
    """FAR 0.1 takes 100 negative pairs, 0.01 takes 1,000, 0.001 takes 10,000; one fewer gives a reason, no value."""
    for far, needed in ((0.1, 100), (0.01, 1000), (0.001, 10_000)):
        name = f"tar_at_far_{far:g}"
        for negatives in (needed, needed - 1):
            labels = np.repeat([1, 0], [5, negatives])
            found = measure(labels, labels, 0.5)[name]
            reason = metrics.why_undefined(labels, labels, 0.5).get(name)
            assert (found, reason) == (
                (1.0, None)
                if negatives == needed
                else (None, f"needs {needed:,} negative pairs, there are {negatives:,}")
            )


def test_a_model_that_never_says_same_has_no_precision_and_says_why() -> None:
    found = measure(LABELS, SCORES, 0.95)
    assert found["precision"] is None and found["recall"] == found["f1"] == 0 and found["accuracy"] == 0.5
    assert "no pair was judged the same" in metrics.why_undefined(LABELS, SCORES, 0.95)["precision"]
    assert "NaN" not in json.dumps(found)


def test_a_score_at_the_threshold_is_the_same_in_the_networks_precision() -> None:
    """float32(0.7) is below the double 0.7: whoever sets 0.7 means a score of 0.7 to count."""
    assert same(np.float32([0.7, np.nextafter(np.float32(0.7), np.float32(0))]), 0.7).tolist() == [True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_scores_that_are_no_similarities_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="1 of 3 pairs a score that is no number from 0 to 1"):
        measure([1, 0, 1], [0.5, bad, 0.5], 0.5)


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_pairs_of_one_kind_alone_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="at least one of each"):
        measure(labels, [0.1, 0.2], 0.5)


def test_what_training_reports_is_what_evaluation_would_at_one_half() -> None:
    expected = measure(LABELS, SCORES, 0.5)
    found = metrics.validation_metrics(LABELS, SCORES)
    assert found.pop("cross_entropy") == pytest.approx(metrics.cross_entropy(LABELS, SCORES))
    assert found == pytest.approx({name: expected[name] for name in ("precision", "accuracy", "auc", "eer")})
    assert metrics.validation_metrics([1, 0], [0.4, 0.3])["precision"] is None


def test_cross_entropy_by_hand_both_classes_weighing_the_same() -> None:
    """Scores 0.8 (positive), 0.5 and 0.1 (negative): (-ln 0.8 + (-ln 0.5 - ln 0.9) / 2) / 2."""
    expected = (-math.log(0.8) + (-math.log(0.5) - math.log(0.9)) / 2) / 2
    assert metrics.cross_entropy([1, 0, 0], [0.8, 0.5, 0.1]) == pytest.approx(expected)
    assert math.isfinite(metrics.cross_entropy([1, 0], [0.0, 1.0]))


class TestThreshold:
    def test_eer_rule_takes_the_point_where_errors_balance_midway_to_the_next_score(self) -> None:
        """Accepting 0.6 and more makes FAR = FRR = 1/3; the next lower score is 0.4."""
        chosen = choose_threshold(LABELS, SCORES, "eer")
        assert chosen.threshold == pytest.approx(0.5)
        assert (chosen.false_accept_rate, chosen.false_reject_rate) == pytest.approx((1 / 3, 1 / 3))
        assert (chosen.rule, chosen.pairs, chosen.warning) == ("eer", 6, None)

    def test_far_rule_takes_the_highest_recall_and_no_false_accept_more_than_that_needs(self) -> None:
        """FAR 0.1 of 3 negatives allows none: accept from 0.8, midway to 0.6. FAR 0.9 allows two, but one is enough."""
        strict, loose = choose_threshold(LABELS, SCORES, "far=0.1"), choose_threshold(LABELS, SCORES, "far=0.9")
        assert strict.threshold == pytest.approx(0.7) and strict.false_accept_rate == 0
        assert loose.threshold == pytest.approx(0.35) and loose.false_accept_rate == pytest.approx(1 / 3)

    def test_far_rule_warns_of_too_few_negatives(self) -> None:
        labels = [1] + [0] * 100
        assert choose_threshold(labels, labels, "far=0.1").warning is None
        warning = choose_threshold(labels[:-1], labels[:-1], "far=0.1").warning
        assert warning == "a threshold for a FAR of 0.1 needs 100 negative validation pairs, there were 99"

    def test_a_fixed_score_stays_as_it_is(self) -> None:
        chosen = choose_threshold(LABELS, SCORES, 0.35)
        assert chosen.threshold == 0.35 and chosen.false_reject_rate == 0
        assert chosen.false_accept_rate == pytest.approx(1 / 3)

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("rule", ["eer", "far=0.01"])
    def test_of_a_constant_scorer_nothing_is_accepted(self, value: float, rule: str) -> None:
        """All or none is the choice; a false accept is the dearer mistake."""
        chosen = choose_threshold([1, 0], [value, value], rule)
        assert not same([value], chosen.threshold).any()
        assert (chosen.false_accept_rate, chosen.false_reject_rate) == (0, 1)

    @pytest.mark.parametrize("lower", [0.5, float(np.nextafter(np.float32(0.5), np.float32(1)))])
    def test_between_neighbouring_float32_scores_the_threshold_still_divides_them(self, lower: float) -> None:
        """Their middle rounds to the lower of the two in one case, to the upper in the other."""
        scores = [np.nextafter(np.float32(lower), np.float32(1)), np.float32(lower)]
        chosen = choose_threshold([1, 0], scores, "eer")
        assert (np.float32(scores) >= np.float32(chosen.threshold)).tolist() == [True, False]
        assert (np.array(scores, float) >= chosen.threshold).tolist() == [True, False]

    @given(tied_pairs, st.sampled_from(["eer", "far=0.05", "far=0.3"]))
    def test_the_threshold_makes_the_errors_it_states(self, pairs, rule: str) -> None:
        labels, scores = map(np.array, pairs)
        chosen = choose_threshold(labels, scores, rule)
        judged = same(scores, chosen.threshold)
        assert judged[labels == 0].mean() == pytest.approx(chosen.false_accept_rate)
        assert (~judged[labels == 1]).mean() == pytest.approx(chosen.false_reject_rate)
        if rule.startswith("far="):
            assert chosen.false_accept_rate <= float(rule.removeprefix("far="))
        else:
            gaps = [abs(far - (1 - tar)) for far, tar in slow_rates(*pairs)]
            assert abs(chosen.false_accept_rate - chosen.false_reject_rate) == pytest.approx(float(min(gaps)))
