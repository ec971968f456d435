"""What an evaluation finds: the threshold from validation pairs, and how the model does with it on test pairs.

The threshold comes from pairs that neither train the network nor measure it. Beside the model stands a baseline, the
plain difference of pixels, judged on the same pairs by the same rule and the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from siamese.data.splits import SPLITS, is_stable
from siamese.errors import InputError
from siamese.evaluation.metrics import bootstrap, one_shot
from siamese.evaluation.metrics.bootstrap import Units
from siamese.evaluation.metrics.one_shot import OneShot, Trials
from siamese.evaluation.metrics.verification import METRICS, rank, reference_metrics, same, why_undefined
from siamese.evaluation.threshold import Threshold, choose_threshold
from siamese.models import scoring
from siamese.models.scoring import EmbeddingTable, Images, Scorer
from siamese.params import EvaluateParams, parse_threshold

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class ScorerEvaluation:
    """One scorer on the test pairs.

    Attributes:
        threshold: as chosen on the validation pairs.
        scores: float32 [test pairs].
        values: every metric of `METRICS`; None where it has no value.
        intervals: the 95 % interval of each; None where it has none.
        undefined: why a metric has no value, in words.
        validation: the metrics on the validation pairs themselves, which the threshold flatters.
        resamples: float64 [resamples, METRICS], from `bootstrap.replicates`.
    """

    threshold: Threshold
    scores: np.ndarray
    values: Mapping[str, float | None]
    intervals: Mapping[str, Range | None]
    undefined: Mapping[str, str]
    validation: Mapping[str, float | None]
    resamples: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that is measured.

    Attributes:
        test: the test pairs: anchor_id, other_id, label, split, anchor_identity, other_identity (missing where
            unknown).
        model: the network.
        baseline: the difference of raw pixels.
        eer_gain: by how much the model's EER is below the baseline's, and the interval of that.
        one_shot: n-way recognition, by n; where it can't be measured the reason, in words.
        counts: of each split images, identities, pairs, positive_pairs, negative_pairs.
        by_identity: whether splits and intervals are by identity; otherwise by image (role folders).
        units: number of identities, or of images, that were resampled.
        shared_identities: identities that occur in more than one split: 0, but in role folders.
        stable_split: whether there are enough units that added data never moves one to another split.
    """

    test: pd.DataFrame
    model: ScorerEvaluation
    baseline: ScorerEvaluation
    eer_gain: tuple[float, Range | None]
    one_shot: Mapping[int, OneShot | str]
    counts: Mapping[str, Mapping[str, int]]
    by_identity: bool
    units: int
    shared_identities: int
    stable_split: bool


def measure_model(
    catalog: pd.DataFrame, pairs: pd.DataFrame, scorer: Scorer, images: Images, params: EvaluateParams
) -> Evaluation:
    """Scores the validation and the test pairs, and measures everything that the report tells.

    Args:
        catalog: one row an image: image_id, identity (missing where unknown), role, split.
        pairs: anchor_id, other_id, label, split.

    Raises:
        InputError: a pair names an unknown image, a split lacks positive or negative pairs, or a score is no number.
    """
    check(catalog, pairs, ("validation", "test"))
    by_identity = knows_identities(catalog)
    validation, test = (with_identities(catalog, pairs, split) for split in ("validation", "test"))
    known = catalog[(catalog.split == "test") & catalog.identity.notna()].sort_values("image_id")
    trials = _draw_trials(known, params)

    ids = [pairs[name] for pairs in (validation, test) for name in ("anchor_id", "other_id")]
    ids += [known.image_id.iloc[drawn.images()] for drawn in trials.values()]
    embedded = scoring.embed(scorer, images, np.concatenate(ids))

    def of_model(listed: pd.DataFrame) -> np.ndarray:
        return scoring.score_pairs(scorer, embedded, embedded.rows(listed.anchor_id), embedded.rows(listed.other_id))

    def of_pixels(listed: pd.DataFrame) -> np.ndarray:
        return scoring.raw_pixel_scores(images, listed)

    units = resampled_units(test, by_identity)
    model = judge(of_model, validation, test, units, params)
    # A fixed score means nothing on the scale of pixel differences, so there the baseline takes its own best threshold.
    fixed = parse_threshold(params.threshold)[0] == "fixed"
    baseline = judge(
        of_pixels, validation, test, units, params.model_copy(update={"threshold": "eer"} if fixed else {})
    )
    return Evaluation(
        test=test,
        model=model,
        baseline=baseline,
        eer_gain=_eer_gain(model, baseline),
        one_shot=_one_shot(known, trials, scorer, embedded),
        counts={split: count(catalog[catalog.split == split], pairs[pairs.split == split]) for split in SPLITS},
        by_identity=by_identity,
        units=sum(units.strata),
        shared_identities=int((catalog.groupby("identity").split.nunique() > 1).sum()),
        stable_split=is_stable(_fewest_units(catalog, by_identity)),
    )


def judge(
    score: Callable[[pd.DataFrame], np.ndarray],
    validation: pd.DataFrame,
    test: pd.DataFrame,
    units: Units,
    params: EvaluateParams,
) -> ScorerEvaluation:
    """Chooses a scorer's threshold on the validation pairs and measures it on the test pairs.

    Args:
        score: pairs to float32 [pairs].
        units: of the test pairs.
    """
    tried, found = score(validation), score(test)
    threshold = choose_threshold(validation.label, tried, params.threshold)
    values = reference_metrics(test.label, found, threshold.threshold)
    resamples = bootstrap.replicates(
        rank(test.label, found), units, threshold.threshold, resamples=params.bootstrap, seed=params.seed
    )
    return ScorerEvaluation(
        threshold=threshold,
        scores=found,
        values=values,
        intervals=bootstrap.intervals(resamples, values),
        undefined=why_undefined(test.label, found, threshold.threshold),
        validation=reference_metrics(validation.label, tried, threshold.threshold),
        resamples=resamples,
    )


def knows_identities(catalog: pd.DataFrame) -> bool:
    """Whether every image's identity is known; in role folders it isn't."""
    return bool(catalog.identity.notna().all())


def with_identities(catalog: pd.DataFrame, pairs: pd.DataFrame, split: str) -> pd.DataFrame:
    """The pairs of a split, with the columns anchor_identity and other_identity, missing where unknown."""
    identity = catalog.set_index("image_id").identity
    chosen = pairs[pairs.split == split].reset_index(drop=True)
    return chosen.assign(anchor_identity=chosen.anchor_id.map(identity), other_identity=chosen.other_id.map(identity))


def resampled_units(test: pd.DataFrame, by_identity: bool) -> Units:
    """The identities of the test pairs or, where some are unknown, their images, known and unknown ones apart.

    Args:
        test: anchor_id, other_id, anchor_identity, other_identity.
    """
    unknown = np.concatenate([test[name].isna() for name in ("anchor_identity", "other_identity")])
    names = ["anchor_identity", "other_identity"] if by_identity else ["anchor_id", "other_id"]
    unit = np.concatenate([test[name].to_numpy(object) for name in names])
    codes = np.empty(len(unit), np.int64)
    strata: list[int] = []
    for stratum in (~unknown, unknown):
        within, distinct = pd.factorize(unit[stratum], sort=True)
        codes[stratum] = within + sum(strata)
        strata.append(len(distinct))
    return Units(pairs=codes.reshape(2, -1).T, strata=tuple(size for size in strata if size))


def count(catalog: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, int]:
    """How much a split holds."""
    positive = int(pairs.label.sum())
    return {
        "images": len(catalog),
        "identities": int(catalog.identity.nunique()),
        "pairs": len(pairs),
        "positive_pairs": positive,
        "negative_pairs": len(pairs) - positive,
    }


def check(catalog: pd.DataFrame, pairs: pd.DataFrame, splits: Sequence[str]) -> None:
    """That the pairs are the catalog's, and that those of `splits` are of both labels.

    Raises:
        InputError: they aren't.
    """
    there = pd.Index(catalog.image_id)
    unknown = ~(pairs.anchor_id.isin(there) & pairs.other_id.isin(there))
    if unknown.any():
        raise InputError(
            f"{int(unknown.sum())} of {len(pairs)} pairs name images that the catalog lacks: run `siamese pairs` again"
        )
    split_of = catalog.set_index("image_id").split if there.is_unique else None
    if split_of is None:
        raise InputError("the catalog lists an image twice: run `siamese catalog` again")
    for name in ("anchor_id", "other_id"):
        apart = int((pairs[name].map(split_of).astype(object) != pairs.split.astype(object)).sum())
        if apart:
            raise InputError(
                f"{apart} of {len(pairs)} pairs are of images that the catalog has in other splits: "
                "run `siamese pairs` again"
            )
    for split in splits:
        labels = pairs.label[pairs.split == split]
        if set(labels) != {0, 1}:
            raise InputError(
                f"split '{split}' has {(labels == 1).sum()} positive and {(labels == 0).sum()} negative pairs: "
                "evaluation needs both, so add images (`siamese inspect` shows the split)"
            )


def _draw_trials(known: pd.DataFrame, params: EvaluateParams) -> dict[int, Trials]:
    codes = pd.factorize(known.identity, sort=True)[0]
    return {
        ways: one_shot.draw_trials(codes, ways=ways, trials=params.one_shot_trials, seed=params.seed)
        for ways in one_shot.WAYS
        if one_shot.why_not(codes, ways) is None
    }


def _one_shot(
    known: pd.DataFrame, trials: Mapping[int, Trials], scorer: Scorer, embedded: EmbeddingTable
) -> dict[int, OneShot | str]:
    codes = pd.factorize(known.identity, sort=True)[0]
    row = embedded.rows(known.image_id)
    found: dict[int, OneShot | str] = {}
    for ways in one_shot.WAYS:
        drawn = trials.get(ways)
        if drawn is None:
            found[ways] = str(one_shot.why_not(codes, ways))
            continue
        given = scoring.score_pairs(scorer, embedded, row[np.repeat(drawn.probes, ways)], row[drawn.references.ravel()])
        found[ways] = one_shot.summarise(one_shot.credit(given.reshape(-1, ways), drawn.right), ways)
    return found


def _eer_gain(model: ScorerEvaluation, baseline: ScorerEvaluation) -> tuple[float, Range | None]:
    column = METRICS.index("eer")
    gain = float(baseline.values["eer"] or 0) - float(model.values["eer"] or 0)
    apart = baseline.resamples[:, column] - model.resamples[:, column]
    return gain, bootstrap.interval(apart, gain, lowest=-1.0)


def _fewest_units(catalog: pd.DataFrame, by_identity: bool) -> int:
    return int(catalog.identity.nunique() if by_identity else catalog.groupby("role").size().min())


def measure_split(
    catalog: pd.DataFrame,
    pairs: pd.DataFrame,
    split: str,
    scorer: Scorer,
    embedded: EmbeddingTable,
    images: Images,
    threshold: float,
    params: EvaluateParams,
) -> Evaluation:
    """What `scorer` makes of the pairs of one split, beside raw pixels. `one_shot` is empty: trials aren't drawn.

    Args:
        catalog: one row an image: image_id, identity (missing where unknown), role, split.
        pairs: anchor_id, other_id, label, split; as `siamese.evaluation.measurement.check` wants them.
        split: the `test` pairs of what is returned are this one's.
        embedded: all images of its pairs.
        threshold: of the model. Raw pixels, whose scale is another, take their own best one on the same pairs.
        params: number of resamples, and seed.

    Raises:
        InputError: a score is no number.
    """
    by_identity = knows_identities(catalog)
    listed = with_identities(catalog, pairs, split)
    units = resampled_units(listed, by_identity)
    found = scoring.score_pairs(scorer, embedded, embedded.rows(listed.anchor_id), embedded.rows(listed.other_id))
    of_pixels = scoring.raw_pixel_scores(images, listed)
    labels = listed.label
    model = _judge_split(labels, found, _given(labels, found, threshold), units, params)
    baseline = _judge_split(labels, of_pixels, choose_threshold(labels, of_pixels, "eer"), units, params)
    fewest = catalog.identity.nunique() if by_identity else catalog.groupby("role").size().min()
    return Evaluation(
        test=listed,
        model=model,
        baseline=baseline,
        eer_gain=(float(baseline.values["eer"] or 0) - float(model.values["eer"] or 0), None),
        one_shot={},
        counts={split: count(catalog[catalog.split == split], pairs[pairs.split == split])},
        by_identity=by_identity,
        units=sum(units.strata),
        shared_identities=int((catalog.groupby("identity").split.nunique() > 1).sum()),
        stable_split=is_stable(int(fewest)),
    )


def _given(labels: pd.Series, found: np.ndarray, threshold: float) -> Threshold:
    judged, truth = same(found, threshold), labels.to_numpy() == 1
    return Threshold(
        threshold=threshold,
        rule="given",
        pairs=len(labels),
        false_accept_rate=float(judged[~truth].mean()),
        false_reject_rate=float((~judged[truth]).mean()),
        warning=None,
    )


def _judge_split(
    labels: pd.Series, found: np.ndarray, threshold: Threshold, units: Units, params: EvaluateParams
) -> ScorerEvaluation:
    at = threshold.threshold
    values = reference_metrics(labels, found, at)
    resamples = bootstrap.replicates(rank(labels, found), units, at, resamples=params.bootstrap, seed=params.seed)
    return ScorerEvaluation(
        threshold=threshold,
        scores=found,
        values=values,
        intervals=bootstrap.intervals(resamples, values),
        undefined=why_undefined(labels, found, at),
        validation={},
        resamples=resamples,
    )
