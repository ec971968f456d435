"""The gate: each limit refuses by a line of its own, and "better" is a statement about identities, not about luck."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from siamese import config
from siamese.evaluation.metrics.bootstrap import Units
from siamese.params import PromoteParams
from siamese.registry import gate
from siamese.registry.gate import GateVerdict, Scored

LAX = PromoteParams(
    min_precision=0,
    max_eer=1,
    max_regression=1,
    max_p_value=1,
    allow_unknown_training_data=False,
    bootstrap=200,
    seed=0,
)
NO_PAIRS = "no pairs: add some"


def limits(**given: float) -> PromoteParams:
    return LAX.model_copy(update=given)


def pairs_of(identities: int, images: int) -> tuple[np.ndarray, Units]:
    """Every pair of so many identities' images: labels, and the two identities of each."""
    who = np.repeat(np.arange(identities), images)
    pairs = np.array([(who[a], who[b]) for a, b in combinations(range(len(who)), 2)])
    return (pairs[:, 0] == pairs[:, 1]).astype(int), Units(pairs, (identities,))


def scored(scores: np.ndarray, threshold: float = 0.5) -> Scored:
    return Scored(np.asarray(scores, np.float32), threshold)


def guesses(labels: np.ndarray, units: Units, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Scores of a model of some skill, to which some identities are harder than others."""
    harder = rng.normal(size=units.pairs.max() + 1)
    raw = skill * labels + 0.5 * harder[units.pairs].sum(axis=1) + rng.normal(size=len(labels))
    return 1 / (1 + np.exp(-raw))


def verdict(labels: np.ndarray, ours: Scored, theirs: Scored, units: Units, limits: PromoteParams) -> GateVerdict:
    return gate.judge(
        gate.figures_of(labels, ours, NO_PAIRS), gate.relative(labels, ours, theirs, units, limits, NO_PAIRS), limits
    )


# The absolute limits


@pytest.mark.parametrize(
    ("precision", "eer", "reasons"),
    [
        (0.6, 0.35, []),
        (0.5999, 0.1, ["precision 0.5999 is below promote.min_precision 0.6"]),
        (0.9, 0.3501, ["eer 0.3501 is above promote.max_eer 0.35"]),
        (
            0.1,
            0.9,
            ["precision 0.1000 is below promote.min_precision 0.6", "eer 0.9000 is above promote.max_eer 0.35"],
        ),
        (None, 0.1, ["precision has no value: no pair was judged the same"]),
    ],
)
def test_figures_of_an_evaluation_are_held_against_the_absolute_limits(
    precision: float | None, eer: float, reasons: list[str]
) -> None:
    """As `metrics.json` has them; a figure that lies on its limit is good enough."""
    metrics = {
        "test": {"precision": precision, "eer": eer, "auc": 0.9},
        "undefined": {} if precision else {"precision": "no pair was judged the same"},
    }
    found = gate.absolute(metrics["test"], metrics["undefined"], limits(min_precision=0.6, max_eer=0.35))
    assert (found.accepted, list(found.reasons)) == (not reasons, reasons)
    assert found.comparison is None


def test_the_first_model_ever_needs_no_champion_to_beat() -> None:
    labels, _ = pairs_of(4, 2)
    figures = gate.figures_of(labels, scored(labels), NO_PAIRS)
    strict = limits(min_precision=1, max_eer=0, max_regression=0, max_p_value=0)
    assert gate.judge(figures, None, strict).accepted


@pytest.mark.parametrize(("allowed", "reasons"), [(False, ("seen: do this",)), (True, ())])
def test_doubts_refuse_unless_the_parameters_allow_them(allowed: bool, reasons: tuple[str, ...]) -> None:
    given = limits(allow_unknown_training_data=allowed)
    values = {"precision": 1.0, "eer": 0.0}
    assert gate.absolute(values, {}, given, ["seen: do this"]).reasons == reasons
    labels, _ = pairs_of(4, 2)
    figures = gate.figures_of(labels, scored(labels), NO_PAIRS)
    assert gate.judge(figures, None, given, ["seen: do this"]).reasons == reasons


def test_figures_that_were_not_measured_refuse() -> None:
    assert gate.absolute({}, {}, LAX).reasons == (
        "precision has no value: it was not measured",
        "eer has no value: it was not measured",
    )


# Two models on the same pairs


def test_figures_and_difference_of_four_pairs() -> None:
    """The challenger ranks both positives on top: EER 0. The champion ranks one of each label on top: with none
    accepted FRR is 1, then FAR 0 and FRR 0.5, then 0.5 and 0.5: EER 0.5. It accepts the two from 0.8 on, one of them
    rightly; the challenger's own threshold lets just the highest pass."""
    labels = np.array([1, 1, 0, 0])
    units = Units(np.array([[0, 0], [1, 1], [0, 1], [0, 1]]), (2,))
    ours, theirs = scored([0.9, 0.8, 0.3, 0.1], 0.85), scored([0.9, 0.2, 0.8, 0.1], 0.8)
    found = gate.relative(labels, ours, theirs, units, LAX, NO_PAIRS)
    assert (found.challenger.values["eer"], found.champion.values["eer"], found.difference) == (0, 0.5, -0.5)
    assert (found.challenger.values["recall"], found.challenger.values["precision"]) == (0.5, 1)
    assert (found.champion.values["recall"], found.champion.values["precision"]) == (0.5, 0.5)
    assert (found.challenger.threshold, found.champion.threshold) == (0.85, 0.8)


def test_a_model_compared_with_itself_is_no_better_and_no_worse() -> None:
    labels, units = pairs_of(12, 3)
    same = scored(guesses(labels, units, 1, np.random.default_rng(0)))
    found = gate.relative(labels, same, same, units, LAX, NO_PAIRS)
    assert (found.difference, found.interval, found.p_value) == (0, (0, 0), 1)
    unproven = verdict(labels, same, same, units, limits(max_regression=0, max_p_value=0.999))
    assert unproven.reasons == ("p-value 1.0000 of 'no better than the champion' is above promote.max_p_value 0.999",)
    assert verdict(labels, same, same, units, limits(max_regression=0)).accepted


def test_a_model_that_knows_the_truth_is_better_beyond_doubt_and_the_other_way_round() -> None:
    """No resample brings the guesses' EER as near to 0 as their lead is large: 1 of 201, the data themselves."""
    labels, units = pairs_of(20, 3)
    oracle, guess = scored(labels), scored(guesses(labels, units, 1, np.random.default_rng(0)))
    better = gate.relative(labels, oracle, guess, units, LAX, NO_PAIRS)
    assert better.p_value == 1 / 201
    assert better.difference < 0 and better.interval[1] < 0
    worse = gate.relative(labels, guess, oracle, units, LAX, NO_PAIRS)
    assert worse.p_value > 0.99
    assert worse.difference == -better.difference
    assert worse.interval == pytest.approx([-end for end in better.interval[::-1]], abs=1e-12)


def test_equally_good_models_look_better_at_p_no_more_often_than_p() -> None:
    """100 pairs of models of one skill, on 20 identities: p below 0.5 about every second time, below 0.05 about one
    time in 20 or less. (Standard errors: 0.05 and 0.022.)"""
    rng = np.random.default_rng(0)
    labels, units = pairs_of(20, 2)
    few = limits(bootstrap=60)
    p_values = np.array(
        [
            gate.relative(
                labels, *(scored(guesses(labels, units, 1, rng)) for _ in range(2)), units, few, NO_PAIRS
            ).p_value
            for _ in range(100)
        ]
    )
    assert 0.36 < (p_values <= 0.5).mean() < 0.64
    assert (p_values <= 0.05).mean() <= 0.09
    assert (p_values >= 0.95).mean() <= 0.12


def test_the_p_value_counts_resamples_around_their_median() -> None:
    """Differences -0.3, -0.2, -0.1, 0, 0.1 lie -0.2, -0.1, 0, 0.1, 0.2 from their median. Of these one is as low as
    -0.2, and two are as low as -0.1; the data count, too, and so does a resample without a value."""
    apart = np.array([-0.3, -0.2, -0.1, 0.0, 0.1])
    assert gate.p_value(apart, -0.2) == 2 / 6
    assert gate.p_value(apart, -0.1) == 3 / 6
    assert gate.p_value(apart, -0.21) == 1 / 6
    assert gate.p_value(np.append(apart, np.nan), -0.2) == 3 / 7
    assert gate.p_value(np.full(5, np.nan), -0.2) == 1


def test_two_identities_prove_nothing() -> None:
    """Half of the resamples draw one of them twice, and then have no negative pair."""
    labels, units = pairs_of(2, 4)
    found = gate.relative(labels, scored(labels), scored(1 - labels), units, LAX, NO_PAIRS)
    assert found.difference == -1 and found.interval is None
    assert found.p_value > 0.4


def test_each_resample_draws_the_same_identities_for_both_models() -> None:
    """A champion that is the challenger with one pair spoilt: the difference hardly varies, although either EER varies
    much with the identities drawn."""
    labels, units = pairs_of(12, 3)
    scores = guesses(labels, units, 1, np.random.default_rng(0))
    spoilt = scores.copy()
    spoilt[np.flatnonzero(labels)[0]] = 0
    low, high = gate.relative(labels, scored(scores), scored(spoilt), units, LAX, NO_PAIRS).interval
    alone = gate.relative(labels, scored(scores), scored(labels), units, LAX, NO_PAIRS).interval
    assert high - low < (alone[1] - alone[0]) / 3


# The limits of a comparison


@pytest.mark.parametrize(("limit", "reasons"), [(0.5, []), (0.4999, ["max_regression"])])
def test_the_challenger_may_be_worse_by_so_much(limit: float, reasons: list[str]) -> None:
    labels = np.array([1, 1, 0, 0])
    units = Units(np.array([[0, 0], [1, 1], [0, 1], [0, 1]]), (2,))
    found = verdict(
        labels, scored([0.9, 0.2, 0.8, 0.1]), scored([0.9, 0.8, 0.3, 0.1]), units, limits(max_regression=limit)
    )
    assert found.accepted is not bool(reasons)
    if reasons:
        assert found.reasons == (
            "eer 0.5000 is 0.5000 above the champion's 0.0000, more than promote.max_regression 0.4999",
        )


def test_the_last_bit_of_a_float_passes_no_limit() -> None:
    """EERs of 0.4 and 0.3: of ten pairs of either label, four or three are confused. As floats they differ by more than
    0.1."""
    labels = np.repeat([1, 0], 10)
    units = Units(np.array([[n, n] for n in range(10)] + [[n, (n + 1) % 10] for n in range(10)]), (10,))
    ours, theirs = (np.where(np.arange(20) % 10 < confused, 1 - labels, labels) for confused in (4, 3))
    assert 0.4 - 0.3 > 0.1
    found = verdict(labels, scored(ours), scored(theirs), units, limits(max_regression=0.1))
    assert (found.comparison.challenger.values["eer"], found.comparison.champion.values["eer"]) == pytest.approx(
        (0.4, 0.3)
    )
    assert found.accepted


def test_all_reasons_are_told_at_once_a_line_each() -> None:
    labels, units = pairs_of(12, 3)
    worse = scored(1 - labels, 0.5)
    found = verdict(labels, worse, scored(labels), units, config.load_params(config.packaged_file()).promote)
    assert [reason.split()[0] for reason in found.reasons] == ["precision", "eer", "eer"]
    assert not any("\n" in reason for reason in found.reasons)


# What can't be measured


def test_a_model_that_judges_no_pair_the_same_has_no_precision_and_is_refused() -> None:
    labels, units = pairs_of(4, 3)
    found = verdict(labels, scored(labels, 1.001), scored(labels), units, LAX)
    assert found.reasons == (
        "precision has no value: no pair was judged the same, so there is no such judgement to be right or wrong",
    )


@pytest.mark.parametrize("broken", ["challenger", "champion"])
def test_scores_that_are_no_numbers_refuse(broken: str) -> None:
    labels, units = pairs_of(4, 3)
    models = {"challenger": scored(labels), "champion": scored(labels)}
    models[broken] = scored(np.where(labels, np.nan, 0))
    found = verdict(labels, models["challenger"], models["champion"], units, LAX)
    assert not found.accepted
    assert "12 of 66 pairs a score that is no number" in found.reasons[-1]
    assert found.reasons[-1].startswith(
        "eer has no value" if broken == "challenger" else "no comparison with the champion: the champion's eer"
    )


def test_pairs_of_one_label_refuse_with_what_to_do() -> None:
    labels, units = pairs_of(4, 3)
    one = labels == 1
    found = gate.relative(
        labels[one], scored(labels[one]), scored(labels[one]), Units(units.pairs[one], (4,)), LAX, NO_PAIRS
    )
    figures = gate.figures_of(labels, scored(labels), NO_PAIRS)
    assert gate.judge(figures, found, LAX).reasons == (
        "no comparison with the champion: the challenger's eer has no value: no pairs: add some",
    )


def test_a_verdict_is_json() -> None:
    labels, units = pairs_of(4, 3)
    found = verdict(labels, scored(labels), scored(labels), units, LAX)
    back = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert back["accepted"] is True and back["comparison"]["difference"] == 0
    assert back["limits"] == {
        "min_precision": 0,
        "max_eer": 1,
        "max_regression": 1,
        "max_p_value": 1,
        "allow_unknown_training_data": False,
    }
