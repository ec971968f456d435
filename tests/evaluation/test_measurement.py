"""A model on one split at a given threshold: the figures of `evaluate` where threshold and split are its own."""

from __future__ import annotations

import numpy as np
import pytest
from small_evaluation import PARAMS, Means, World, world

from siamese.evaluation.measurement import Evaluation, measure_model, measure_split
from siamese.models import scoring


def measured(made: World, split: str, threshold: float) -> Evaluation:
    scorer = Means()
    embedded = scoring.embed(scorer, made, made.catalog.image_id.to_numpy(object))
    return measure_split(made.catalog, made.pairs, split, scorer, embedded, made, threshold, PARAMS)


@pytest.mark.parametrize("roles", [False, True])
def test_at_evaluate_s_threshold_the_figures_are_evaluate_s(roles: bool) -> None:
    made = world(roles=roles)
    evaluated = measure_model(made.catalog, made.pairs, Means(), made, PARAMS)
    found = measured(made, "test", evaluated.model.threshold.threshold)
    np.testing.assert_array_equal(found.model.scores, evaluated.model.scores)
    np.testing.assert_array_equal(found.baseline.scores, evaluated.baseline.scores)
    assert found.model.values == evaluated.model.values
    assert found.model.intervals == evaluated.model.intervals
    assert found.baseline.values["eer"] == evaluated.baseline.values["eer"]
    assert found.counts == {"test": evaluated.counts["test"]}
    assert (found.by_identity, found.units) == (evaluated.by_identity, evaluated.units)
    assert (found.shared_identities, found.stable_split) == (evaluated.shared_identities, evaluated.stable_split)


def test_the_pairs_are_those_of_the_split_asked_for() -> None:
    """4 validation identities of 3 images: 12 x 11 / 2 pairs, 4 x 3 positive."""
    found = measured(world(), "validation", 0.5)
    assert len(found.test) == 66 and found.test.label.sum() == 12
    assert found.model.threshold.threshold == 0.5


@pytest.mark.parametrize("threshold", [0.0, 1.001])
def test_the_extremes_accept_all_or_none(threshold: float) -> None:
    found = measured(world(), "test", threshold).model.threshold
    assert (found.false_accept_rate, found.false_reject_rate) == ((0, 1) if threshold else (1, 0))
