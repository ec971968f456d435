"""Metrics: what their definitions say, worked out by hand; what scikit-learn says; what slow, obvious counting says."""

import json
import math
from fractions import Fraction

import by_counting
import by_formula
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from siamese.errors import InputError
from siamese.evaluation.metrics import verification
from siamese.evaluation.metrics.verification import METRICS, rank, reference_metrics, roc, same
from siamese.evaluation.threshold import choose_threshold

LABELS = [1, 1, 0, 1, 0, 0]
SCORES = [0.9, 0.8, 0.6, 0.4, 0.3, 0.2]  # in falling order: same, same, different, same, different, different

# Scores on a grid of ninths, so that ties are common, and both labels always there.
tied_pairs = (
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=2, max_size=40)
    .filter(lambda pairs: {label for label, _ in pairs} == {0, 1})
    .map(lambda pairs: ([label for label, _ in pairs], [score / 9 for _, score in pairs]))
)


def test_metrics_by_hand() -> None:
    """At 0.5 the pairs 0.9, 0.8, 0.6 are judged the same: TP 2, FP 1, FN 1, TN 2.

    Positive 0.9 and 0.8 each beat three negatives, 0.4 beats two: AUC 8/9. Accepting 0.6 too gives FAR 1/3 and FRR 1/3:
    EER 1/3.
    Squared distances: 0.01, 0.04, 0.36, 0.36, 0.09, 0.04, together 0.90. Each score has a bin of its own, so that the
        calibration
    error is the mean distance: 0.1, 0.2, 0.6, 0.6, 0.3, 0.2, together 2.0.
    """
    found = reference_metrics(LABELS, SCORES, 0.5)
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
    assert verification.tar_at_far(far, tar, 0.0) == verification.tar_at_far(far, tar, 0.33) == pytest.approx(2 / 3)
    assert verification.tar_at_far(far, tar, 1 / 3) == verification.tar_at_far(far, tar, 0.5) == 1


def test_eer_between_two_points_lies_on_the_line_that_joins_them() -> None:
    """Positives 0.9, 0.5, negatives 0.5, 0.1: from FAR 0, FRR 1/2 the tie leads to FAR 1/2, FRR 0: EER 1/4."""
    far, tar = roc(rank([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]))
    assert verification.eer(far, tar) == pytest.approx(0.25)


def test_calibration_bins_take_their_lower_edge_and_the_last_takes_one() -> None:
    assert verification.calibration_bin(np.float32([0, 0.05, 0.1, 0.55, 0.95, 1.0])).tolist() == [0, 0, 1, 5, 9, 9]


def test_calibration_error_is_taken_bin_by_bin() -> None:
    """Bin 0 has scores 0.04 and 0.06, one of two the same: distance 0.05 to 1/2. Bin 9 has 0.9, the same: 0.1.

    Weighted by pairs: (2 x 0.45 + 1 x 0.1) / 3.
    """
    assert reference_metrics([0, 1, 1], [0.04, 0.06, 0.9], 0.5)["calibration_error"] == pytest.approx(1.0 / 3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_scorer_is_chance(value: float) -> None:
    found = reference_metrics([1, 0, 0, 1], [value] * 4, 0.5)
    assert found["eer"] == found["auc"] == 0.5


def test_a_perfect_scorer_and_its_opposite() -> None:
    labels = [1] * 5 + [0] * 5
    perfect, inverted = (
        reference_metrics(labels, labels, 0.5),
        reference_metrics(labels, [1 - label for label in labels], 0.5),
    )
    assert perfect["auc"] == perfect["precision"] == perfect["recall"] == perfect["accuracy"] == perfect["f1"] == 1
    assert perfect["eer"] == perfect["brier"] == perfect["calibration_error"] == perfect["false_accept_rate"] == 0
    assert inverted["auc"] == inverted["accuracy"] == 0 and inverted["eer"] == inverted["brier"] == 1


@settings(max_examples=40, deadline=None)  # scikit-learn takes its time
@given(tied_pairs, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_metrics_are_those_of_scikit_learn(pairs, threshold: float) -> None:
    labels, scores = pairs
    scores = by_counting.as_float32(scores)
    judged = [int(score >= np.float32(threshold)) for score in scores]
    found = reference_metrics(labels, scores, threshold)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        labels, judged, average="binary", zero_division=np.nan
    )
    assert found["precision"] is None if math.isnan(precision) else found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(0 if math.isnan(f1) else f1)
    (tn, fp), (fn, tp) = reference.confusion_matrix(labels, judged, labels=[0, 1])
    assert found["accuracy"] == pytest.approx((tp + tn) / (tp + tn + fp + fn))
    assert found["false_accept_rate"] == pytest.approx(fp / (fp + tn))
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, scores))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(labels, scores))


@settings(max_examples=40, deadline=None)
@given(tied_pairs)
def test_roc_and_what_is_read_off_it_are_those_of_scikit_learn(pairs) -> None:
    """Its curve of all thresholds; the EER is where a line through its points has FAR + TAR = 1."""
    labels, scores = pairs
    far, tar = roc(rank(labels, scores))
    their_far, their_tar, _ = reference.roc_curve(labels, by_counting.as_float32(scores), drop_intermediate=False)
    np.testing.assert_allclose(far, their_far)
    np.testing.assert_allclose(tar, their_tar)
    assert verification.eer(far, tar) == pytest.approx(np.interp(0, their_far + their_tar - 1, their_far), abs=1e-9)
    assert verification.auc(far, tar) == pytest.approx(reference.auc(their_far, their_tar))
    assert verification.tar_at_far(far, tar, 0.25) == their_tar[their_far <= 0.25].max()


@given(tied_pairs, st.integers(0, 9).map(lambda ninths: ninths / 9))
def test_every_metric_is_that_of_counting_pair_by_pair(pairs, threshold: float) -> None:
    assert reference_metrics(*pairs, threshold) == pytest.approx(by_counting.figures(*pairs, threshold), abs=1e-12)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counting_thousands_of_pairs_gives_the_same(seed: int) -> None:
    """300 positive and 1,100 negative pairs, so that a TAR at FAR 0.01 can be given; a third of the scores tie."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [300, 1100]))
    scores = np.where(rng.random(1400) < 0.33, rng.integers(0, 9, 1400) / 9, rng.beta(2 + labels, 3))
    found = reference_metrics(labels, scores, 0.4)
    assert found == pytest.approx(by_counting.figures(labels.tolist(), scores.tolist(), 0.4), abs=1e-9)
    assert [name for name, value in found.items() if value is None] == ["tar_at_far_0.001"]


@given(tied_pairs)
def test_roc_and_eer_are_those_of_counting_pair_by_pair(pairs) -> None:
    far, tar = roc(rank(*pairs))
    expected = by_counting.rates(*pairs)
    np.testing.assert_allclose(far, [float(rate) for rate, _ in expected])
    np.testing.assert_allclose(tar, [float(rate) for _, rate in expected])
    assert verification.eer(far, tar) == pytest.approx(float(by_counting.eer(*pairs)))


@given(tied_pairs, st.sampled_from([Fraction(1, 10), Fraction(1, 4), Fraction(1, 3), Fraction(1, 2)]))
def test_tar_at_far_is_the_best_of_all_thresholds(pairs, target: Fraction) -> None:
    best = by_counting.tar_at_far(*pairs, target)
    assert verification.tar_at_far(*roc(rank(*pairs)), float(target)) == pytest.approx(float(best))


@given(tied_pairs)
def test_what_training_reports_are_those_metrics_at_one_half_and_the_loss(pairs) -> None:
    labels, scores = pairs
    found, counted = verification.validation_metrics(labels, scores), by_counting.figures(labels, scores, 0.5)
    for name in ("precision", "accuracy", "auc", "eer"):
        assert found[name] == pytest.approx(counted[name], abs=1e-12), name
    least = 2.0**-23  # how near float32 comes to 0 and to 1
    each = [(label, min(max(score, least), 1 - least)) for label, score in zip(labels, scores, strict=True)]
    of_same, of_different = [p for y, p in each if y], [p for y, p in each if not y]
    same_cost = by_formula.cross_entropy(np.ones(len(of_same)), np.array(of_same))
    different_cost = by_formula.cross_entropy(np.zeros(len(of_different)), np.array(of_different))
    assert found["cross_entropy"] == pytest.approx((same_cost + different_cost) / 2)


@settings(max_examples=40, deadline=None)
@given(tied_pairs, st.data(), st.sampled_from([0.0, 0.4, 0.5, 1.0]))
def test_a_pair_of_weight_k_counts_as_k_pairs(pairs, data, threshold: float) -> None:
    labels, scores = map(np.array, pairs)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels))))
    ranking = rank(labels, scores)
    found = dict(
        zip(
            METRICS,
            verification.weighted_metrics(ranking, weights[ranking.order].astype(float), threshold),
            strict=True,
        )
    )
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    if set(repeated[0]) != {0, 1}:
        assert math.isnan(found["eer"]) and math.isnan(found["auc"]) and math.isnan(found["tar_at_far_0.1"])
        return
    expected = reference_metrics(*repeated, threshold)
    for target in verification.FAR_TARGETS:  # which `measure` withholds where there are few pairs
        expected[f"tar_at_far_{target:g}"] = verification.tar_at_far(*roc(rank(*repeated)), target)
    for name, value in expected.items():
        assert math.isnan(found[name]) if value is None else found[name] == pytest.approx(value), name


def test_tar_at_far_needs_ten_false_accepts_at_that_rate() -> None:
    """FAR 0.1 takes 100 negative pairs, 0.01 takes 1,000, 0.001 takes 10,000; one fewer gives a reason, no value."""
    for far, needed in ((0.1, 100), (0.01, 1000), (0.001, 10_000)):
        name = f"tar_at_far_{far:g}"
        for negatives in (needed, needed - 1):
            labels = np.repeat([1, 0], [5, negatives])
            found = reference_metrics(labels, labels, 0.5)[name]
            reason = verification.why_undefined(labels, labels, 0.5).get(name)
            assert (found, reason) == (
                (1.0, None)
                if negatives == needed
                else (None, f"needs {needed:,} negative pairs, there are {negatives:,}")
            )


def test_a_model_that_never_says_same_has_no_precision_and_says_why() -> None:
    found = reference_metrics(LABELS, SCORES, 0.95)
    assert found["precision"] is None and found["recall"] == found["f1"] == 0 and found["accuracy"] == 0.5
    assert "no pair was judged the same" in verification.why_undefined(LABELS, SCORES, 0.95)["precision"]
    assert "NaN" not in json.dumps(found)


def test_a_score_at_the_threshold_is_the_same_in_the_networks_precision() -> None:
    """float32(0.7) is below the double 0.7: whoever sets 0.7 means a score of 0.7 to count."""
    assert same(np.float32([0.7, np.nextafter(np.float32(0.7), np.float32(0))]), 0.7).tolist() == [True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_scores_that_are_no_similarities_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="1 of 3 pairs a score that is no number from 0 to 1"):
        reference_metrics([1, 0, 1], [0.5, bad, 0.5], 0.5)


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_pairs_of_one_kind_alone_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="at least one of each"):
        reference_metrics(labels, [0.1, 0.2], 0.5)


def test_what_training_reports_is_what_evaluation_would_at_one_half() -> None:
    expected = reference_metrics(LABELS, SCORES, 0.5)
    found = verification.validation_metrics(LABELS, SCORES)
    assert found.pop("cross_entropy") == pytest.approx(verification.cross_entropy(LABELS, SCORES))
    assert found == pytest.approx({name: expected[name] for name in ("precision", "accuracy", "auc", "eer")})
    assert verification.validation_metrics([1, 0], [0.4, 0.3])["precision"] is None


def test_cross_entropy_by_hand_both_classes_weighing_the_same() -> None:
    """Scores 0.8 (positive), 0.5 and 0.1 (negative): (-ln 0.8 + (-ln 0.5 - ln 0.9) / 2) / 2."""
    expected = (-math.log(0.8) + (-math.log(0.5) - math.log(0.9)) / 2) / 2
    assert verification.cross_entropy([1, 0, 0], [0.8, 0.5, 0.1]) == pytest.approx(expected)
    assert math.isfinite(verification.cross_entropy([1, 0], [0.0, 1.0]))


class TestThreshold:
    def test_eer_rule_takes_the_point_where_errors_balance_midway_to_the_next_score(self) -> None:
        """Accepting 0.6 and more makes FAR = FRR = 1/3; the next lower score is 0.4."""
        chosen = choose_threshold(LABELS, SCORES, "eer")
        assert chosen.threshold == pytest.approx(0.5)
        assert (chosen.false_accept_rate, chosen.false_reject_rate) == pytest.approx((1 / 3, 1 / 3))
        assert (chosen.rule, chosen.pairs, chosen.warning) == ("eer", 6, None)

    def test_of_two_points_as_far_from_balance_the_one_that_accepts_fewer_is_taken(self) -> None:
        """Three ties of a positive and a negative pair each: FAR 1/3 and FRR 2/3, or the other way round.

        In floats 1/3 + 1/3 - 1 and 2/3 + 2/3 - 1 differ by more than their sign.
        """
        chosen = choose_threshold([1, 0] * 3, np.repeat([0.9, 0.5, 0.1], 2), "eer")
        assert chosen.threshold == pytest.approx(0.7)
        assert (chosen.false_accept_rate, chosen.false_reject_rate) == pytest.approx((1 / 3, 2 / 3))

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

    @given(tied_pairs, st.sampled_from(["eer", "far=0.05", "far=0.25", "far=0.3"]))
    def test_no_threshold_serves_the_rule_better_and_of_equals_it_accepts_fewest(self, pairs, rule: str) -> None:
        labels, scores = map(np.array, pairs)
        chosen = choose_threshold(labels, scores, rule)
        far, frr, lowest_accepted, next_lower = by_counting.threshold(*pairs, rule)
        assert chosen.false_accept_rate == pytest.approx(float(far))
        assert chosen.false_reject_rate == pytest.approx(float(frr))
        if lowest_accepted < 2:
            assert chosen.threshold == pytest.approx((lowest_accepted + next_lower) / 2)

        judged = same(scores, chosen.threshold)
        assert judged.sum() == (scores >= lowest_accepted - 1e-6).sum()
        assert judged[labels == 0].mean() == pytest.approx(chosen.false_accept_rate)
        assert (~judged[labels == 1]).mean() == pytest.approx(chosen.false_reject_rate)
