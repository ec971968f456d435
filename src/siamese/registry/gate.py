"""The gate: whether a challenger may become champion. Arithmetic alone; `siamese.registry.promote` acts on it.

Two questions. The absolute one, whether the challenger is good enough for use at all: precision at its own threshold
and EER on test pairs. The relative one, whether it's worse than the champion: both EERs on the same pairs, with what
other identities of the same kind might have made of their difference.

That difference is judged by a paired bootstrap of identities (`siamese.evaluation.metrics.bootstrap`): each resample
draws identities once and weighs the pairs of both models by them, so that what makes a pair hard for both cancels. The
p-value is that of the hypothesis "the challenger is no better": with D the challenger's EER less the champion's, and
D* that of a resample, it is the share of resamples, the data themselves counted among them, in which D* lies as far
below the median of all D* as D lies below nought, or farther: (1 + #{D* - median <= D}) / (1 + resamples). This is the
bootstrap test of Davison and Hinkley 1997, "Bootstrap methods and their application", section 4.4, on resamples
recentred at the hypothesis's limit, as in Berg-Kirkpatrick, Burkett and Klein 2012, "An empirical investigation of
statistical significance in NLP"; they centre at D, we at the median, for the p-value and the interval of D to agree. A
resample that leaves no positive or no negative pair counts for the hypothesis: too few identities prove nothing. The
same model twice has p = 1. In simulations of two equally good models, with 6 to 60 identities, p was 0.05 or less 1 to
5 times in 100: it errs, if at all, on the side of the champion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from siamese.errors import InputError
from siamese.evaluation.metrics import bootstrap
from siamese.evaluation.metrics.bootstrap import Units
from siamese.evaluation.metrics.verification import METRICS, rank, reference_metrics, why_undefined
from siamese.params import PromoteParams

EER = METRICS.index("eer")
ACCEPT_DOUBTS = "accept that with -S promote.allow_unknown_training_data=true"
DECIMALS = 9  # differences of EERs are rounded to so many: no limit is passed by the last bit of a float


@dataclass(frozen=True, eq=False)
class Scored:
    """A model's scores of pairs, float32 [pairs], and its own threshold."""

    scores: np.ndarray
    threshold: float


@dataclass(frozen=True)
class GateMetrics:
    """A model on some pairs: how many, its threshold, every metric of `METRICS` (None: no value), and why those have
    none."""

    pairs: int
    threshold: float
    values: Mapping[str, float | None]
    undefined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pairs.

    Attributes:
        challenger, champion: each by itself.
        difference: the challenger's EER less the champion's: below 0, the challenger is better; None without an EER.
        interval: its 95 % interval; None where too few resamples define it.
        p_value: of "the challenger is no better".
    """

    challenger: GateMetrics
    champion: GateMetrics
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None


@dataclass(frozen=True)
class GateVerdict:
    """What the gate says.

    Attributes:
        accepted: whether no limit is broken.
        reasons: what broke a limit, a line each.
        figures: of the challenger, those that the absolute limits are held against.
        comparison: with the champion; None where there was none to compare with.
        limits: the parameters it was judged by.
    """

    accepted: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, float | None]
    comparison: Comparison | None
    limits: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def figures_of(labels: ArrayLike, scored: Scored, without_pairs: str) -> GateMetrics:
    """A model measured on pairs; where it can't be, no metric has a value, and `undefined` says why.

    Args:
        labels: [pairs], 1 = same identity.
        scored: the model on these pairs.
        without_pairs: why there are none of one label, and what to do, if so.
    """
    pairs = len(scored.scores)
    try:
        if len(np.unique(labels)) < 2:
            raise InputError(without_pairs)
        values = reference_metrics(labels, scored.scores, scored.threshold)
    except InputError as error:  # or scores that are no numbers
        return GateMetrics(pairs, scored.threshold, dict.fromkeys(METRICS), dict.fromkeys(METRICS, str(error)))
    return GateMetrics(pairs, scored.threshold, values, why_undefined(labels, scored.scores, scored.threshold))


def absolute(
    values: Mapping[str, float | None],
    undefined: Mapping[str, str],
    params: PromoteParams,
    doubts: Sequence[str] = (),
) -> GateVerdict:
    """Whether a model is good enough by itself: the whole verdict where there is no champion.

    Args:
        values: precision and eer among them, as in `test` of metrics.json.
        undefined: why a metric has no value, as in `undefined` there.
        doubts: why figures may be too good, and what to do: reasons against, unless the parameters allow them.
    """
    reasons = [] if params.allow_unknown_training_data else [*doubts]
    precision, eer = values.get("precision"), values.get("eer")
    for metric in ("precision", "eer"):
        if values.get(metric) is None:
            reasons.append(f"{metric} has no value: {undefined.get(metric, 'it was not measured')}")
    if precision is not None and precision < params.min_precision:
        reasons.append(f"precision {precision:.4f} is below promote.min_precision {params.min_precision:g}")
    if eer is not None and eer > params.max_eer:
        reasons.append(f"eer {eer:.4f} is above promote.max_eer {params.max_eer:g}")
    return _verdict(reasons, values, None, params)


def relative(
    labels: ArrayLike, challenger: Scored, champion: Scored, units: Units, params: PromoteParams, without_pairs: str
) -> Comparison:
    """The two on the same pairs.

    Args:
        labels: [pairs], 1 = same identity.
        challenger, champion: scores of these pairs, in their order.
        units: what is resampled, of these pairs.
        without_pairs: as in `figures_of`.
    """
    ours, theirs = (figures_of(labels, scored, without_pairs) for scored in (challenger, champion))
    eers = ours.values["eer"], theirs.values["eer"]
    if eers[0] is None or eers[1] is None:
        return Comparison(ours, theirs, None, None, None)
    difference = round(eers[0] - eers[1], DECIMALS)
    resampled = [
        bootstrap.replicates(
            rank(labels, scored.scores), units, scored.threshold, resamples=params.bootstrap, seed=params.seed
        )[:, EER]
        for scored in (challenger, champion)
    ]
    apart = resampled[0] - resampled[1]
    return Comparison(
        ours, theirs, difference, bootstrap.interval(apart, difference, lowest=-1.0), p_value(apart, difference)
    )


def p_value(apart: np.ndarray, difference: float) -> float:
    """Of the hypothesis "the challenger is no better", as the module describes it.

    Args:
        apart: float [resamples], difference in EER of each resample, NaN where undefined.
        difference: of the data.
    """
    defined = apart[~np.isnan(apart)]
    if not len(defined):
        return 1.0
    as_far = int((np.round(defined - np.median(defined), DECIMALS) <= difference).sum())
    return (1 + as_far + len(apart) - len(defined)) / (1 + len(apart))


def judge(
    challenger: GateMetrics, comparison: Comparison | None, params: PromoteParams, doubts: Sequence[str] = ()
) -> GateVerdict:
    """The verdict over all limits.

    Args:
        challenger: on all test pairs that it wasn't trained on.
        comparison: with the champion; None for the first model ever.
        doubts: as in `absolute`.
    """
    verdict = absolute(challenger.values, challenger.undefined, params, doubts)
    if comparison is None:
        return verdict
    already_told = challenger.values["eer"] is None
    reasons = [*verdict.reasons, *([] if already_told else _broken(comparison, params))]
    return _verdict(reasons, challenger.values, comparison, params)


def _broken(comparison: Comparison, params: PromoteParams) -> list[str]:
    ours, theirs = comparison.challenger, comparison.champion
    difference, p_value = comparison.difference, comparison.p_value
    if difference is None or p_value is None:
        who, figures = ("challenger", ours) if ours.values["eer"] is None else ("champion", theirs)
        return [f"no comparison with the champion: the {who}'s eer has no value: {figures.undefined['eer']}"]
    reasons = []
    if difference > params.max_regression:
        reasons.append(
            f"eer {ours.values['eer']:.4f} is {difference:.4f} above the champion's {theirs.values['eer']:.4f}, "
            f"more than promote.max_regression {params.max_regression:g}"
        )
    if p_value > params.max_p_value:
        reasons.append(
            f"p-value {p_value:.4f} of 'no better than the champion' is above promote.max_p_value "
            f"{params.max_p_value:g}"
        )
    return reasons


def _verdict(
    reasons: list[str], values: Mapping[str, float | None], comparison: Comparison | None, params: PromoteParams
) -> GateVerdict:
    limits = params.model_dump(exclude={"bootstrap", "seed"})
    return GateVerdict(not reasons, tuple(reasons), dict(values), comparison, limits)
