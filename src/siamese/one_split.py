"""A model on the pairs of any one split, at a threshold that is given: nothing is chosen, so that split is enough."""

from __future__ import annotations

import numpy as np
import pandas as pd

from siamese import bootstrap, scores
from siamese.bootstrap import Units
from siamese.measured import Judged, Measured, count, knows_identities, resampled_units, with_identities
from siamese.metrics import Threshold, choose_threshold, measure, rank, same, why_undefined
from siamese.params import EvaluateParams
from siamese.scores import Embedded, Images, Scorer
from siamese.splits import is_stable


def measure_split(
    catalog: pd.DataFrame,
    pairs: pd.DataFrame,
    split: str,
    scorer: Scorer,
    embedded: Embedded,
    images: Images,
    threshold: float,
    params: EvaluateParams,
) -> Measured:
    """What `scorer` makes of the pairs of one split, beside raw pixels. `one_shot` is empty: trials aren't drawn.

    Args:
        catalog: one row an image: image_id, identity (missing where unknown), role, split.
        pairs: anchor_id, other_id, label, split; as `siamese.measured.check` wants them.
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
    found = scores.score(scorer, embedded, embedded.rows(listed.anchor_id), embedded.rows(listed.other_id))
    of_pixels = scores.raw_pixel_scores(images, listed)
    labels = listed.label
    model = _judged(labels, found, _given(labels, found, threshold), units, params)
    baseline = _judged(labels, of_pixels, choose_threshold(labels, of_pixels, "eer"), units, params)
    fewest = catalog.identity.nunique() if by_identity else catalog.groupby("role").size().min()
    return Measured(
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


def _judged(labels: pd.Series, found: np.ndarray, threshold: Threshold, units: Units, params: EvaluateParams) -> Judged:
    at = threshold.threshold
    values = measure(labels, found, at)
    resamples = bootstrap.replicates(rank(labels, found), units, at, resamples=params.bootstrap, seed=params.seed)
    return Judged(
        threshold=threshold,
        scores=found,
        values=values,
        intervals=bootstrap.intervals(resamples, values),
        undefined=why_undefined(labels, found, at),
        validation={},
        resamples=resamples,
    )
