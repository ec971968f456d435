"""Two models on the current test pairs: the same pairs for both, and none that either was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import pytest
import small_evaluation
from small_evaluation import Constant, Means, Oracle, World

from siamese.errors import InputError
from siamese.evaluation.metrics.verification import reference_metrics
from siamese.models import trained_on
from siamese.models.scoring import Scorer
from siamese.models.trained_on import UNKNOWN, TrainedOn
from siamese.params import PromoteParams
from siamese.registry import comparison
from siamese.registry.comparison import Contender, GateResult

LAX = PromoteParams(
    min_precision=0,
    max_eer=1,
    max_regression=0,
    max_p_value=1,
    allow_unknown_training_data=False,
    bootstrap=100,
    seed=0,
)
TEST_IDENTITIES = 6


class Memory(Oracle):
    """Knows the truth of identities that it was trained on, and guesses 0.5 for all others. (`world(marked=True)`.)"""

    def __init__(self, known: list[int]) -> None:
        super().__init__()
        self.known = 8 * np.array(known)

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        knows = np.isin(anchors[:, 0], self.known) | np.isin(others[:, 0], self.known)
        return np.where(knows, super().score(anchors, others), 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def marked() -> World:
    """Of 13 identities, numbers 7 to 12 are tested: 3 images and 3 positive pairs each, 135 negative pairs."""
    return small_evaluation.world(marked=True)


def entrant(name: str, scorer: Scorer, seen: TrainedOn, threshold: float = 0.1) -> Contender:
    return Contender(name, lambda: scorer, threshold, seen)


def trained(image_ids: Iterable[str]) -> TrainedOn:
    return trained_on.of_catalog(pd.DataFrame({"image_id": image_ids, "split": "train"}))


def images_of(world: World, *numbers: int) -> pd.Series:
    return world.catalog.image_id[world.catalog.identity.isin([f"who-{number}" for number in numbers])]


def judge(world: World, challenger: Contender, champion: Contender | None, limits: PromoteParams = LAX) -> GateResult:
    return comparison.compare(world.catalog, world.pairs, world, challenger, champion, limits)


NOBODY = trained([])


def test_the_better_one_wins_either_way_round(marked: World) -> None:
    oracle, means = entrant("version 2", Oracle(), NOBODY), entrant("version 1", Means(), NOBODY)
    won = judge(marked, oracle, means).verdict
    assert won.accepted and won.comparison.challenger.values["eer"] == 0 < won.comparison.champion.values["eer"]
    lost = judge(marked, means, oracle).verdict
    assert not lost.accepted and "above the champion's 0.0000" in lost.reasons[0]
    assert lost.comparison.difference == -won.comparison.difference > 0


def test_each_model_decides_at_its_own_threshold(marked: World) -> None:
    """Of all scores, the means' are below 0.99 and the constant's 0.7; 18 of 153 pairs are positive."""
    found = judge(
        marked, entrant("version 2", Constant(0.7), NOBODY, 0.7), entrant("version 1", Constant(0.7), NOBODY, 0.71)
    )
    assert found.thresholds == {"challenger": 0.7, "champion": 0.71}
    assert found.verdict.comparison.challenger.values["precision"] == pytest.approx(18 / 153)
    assert found.verdict.comparison.champion.values["precision"] is None


def test_each_image_is_embedded_once_by_either_model(marked: World) -> None:
    ours, theirs = Means(), Means()
    found = judge(marked, entrant("version 2", ours, NOBODY), entrant("version 1", theirs, NOBODY))
    assert ours.embedded == theirs.embedded == 18
    assert found.verdict.comparison.difference == 0 and found.verdict.accepted


def test_the_first_model_meets_the_absolute_limits_alone(marked: World) -> None:
    found = judge(marked, entrant("version 1", Oracle(), NOBODY), None)
    assert found.verdict.accepted and found.verdict.comparison is None
    assert found.pairs == {"test": 153, "challenger": 153}


def test_a_champion_does_not_win_by_what_it_remembers(marked: World) -> None:
    """It was trained on identities 7 to 9, tested now: on all pairs its EER would be far below the challenger's, on
    those of the other three, 9 positive and 27 negative, it guesses."""
    known = [7, 8, 9]
    challenger, champion = entrant("version 2", Means(), NOBODY), Memory(known)
    naive = judge(marked, challenger, entrant("version 1", champion, NOBODY))
    assert not naive.verdict.accepted
    fair = judge(marked, challenger, entrant("version 1", champion, trained(images_of(marked, *known))))
    assert fair.verdict.accepted
    assert fair.verdict.comparison.champion.values["eer"] == 0.5
    assert fair.pairs == {"test": 153, "challenger": 153, "compared": 9 + 27}
    assert fair.notes == ("117 of 153 test pairs are left out: version 1 was trained on their identities",)


def test_one_image_that_a_model_saw_takes_its_identity_out(marked: World) -> None:
    """Pairs of the other five identities remain: 15 positive ones, and 10 x 9 negative ones."""
    champion = entrant("version 1", Means(), trained(images_of(marked, 7)[:1]))
    assert judge(marked, entrant("version 2", Means(), NOBODY), champion).pairs["compared"] == 105


def test_both_are_measured_on_exactly_the_pairs_that_neither_saw(marked: World) -> None:
    """Listed by hand: pairs of which neither image is of identities 7 (the challenger's) and 8 (the champion's)."""
    identity = dict(zip(marked.catalog.image_id, marked.catalog.identity, strict=True))
    test = marked.pairs[marked.pairs.split == "test"]
    kept = test[
        [not {identity[pair.anchor_id], identity[pair.other_id]} & {"who-7", "who-8"} for pair in test.itertuples()]
    ]
    scorer = Means()
    scores = scorer.score(scorer.embed(marked.pixels(kept.anchor_id)), scorer.embed(marked.pixels(kept.other_id)))
    found = judge(
        marked,
        entrant("version 2", scorer, trained(images_of(marked, 7))),
        entrant("version 1", scorer, trained(images_of(marked, 8))),
    )
    assert found.verdict.comparison.challenger.values == pytest.approx(reference_metrics(kept.label, scores, 0.1))
    assert found.verdict.comparison.champion.values == found.verdict.comparison.challenger.values
    assert found.pairs == {"test": 153, "challenger": 105, "compared": len(kept)}
    assert len(found.notes) == 2


def test_where_the_champion_saw_every_tested_identity_the_way_out_is_told(marked: World) -> None:
    champion = entrant("version 1", Means(), trained(images_of(marked, *range(7, 13))))
    found = judge(marked, entrant("version 2", Oracle(), NOBODY), champion)
    assert not found.verdict.accepted and found.pairs["compared"] == 0
    [reason] = found.verdict.reasons
    assert "neither model was trained on: set catalog.seed back to what it was for the champion" in reason


def test_where_one_identity_is_left_there_is_no_comparison(marked: World) -> None:
    """It has positive pairs alone."""
    champion = entrant("version 1", Means(), trained(images_of(marked, *range(7, 12))))
    found = judge(marked, entrant("version 2", Oracle(), NOBODY), champion)
    assert found.pairs["compared"] == 3 and "pairs of both labels" in found.verdict.reasons[0]


def test_a_challenger_of_another_split_is_refused(marked: World) -> None:
    challenger = entrant("version 2", Oracle(), trained(images_of(marked, *range(7, 13))))
    found = judge(marked, challenger, entrant("version 1", Means(), NOBODY))
    assert not found.verdict.accepted
    assert all("run `dvc repro`, then `siamese register`" in reason for reason in found.verdict.reasons)
    assert [reason.split()[0] for reason in found.verdict.reasons] == ["precision", "eer"]


ALLOWED = LAX.model_copy(update={"allow_unknown_training_data": True})
WHO = {2: "version 2", 1: "version 1, the champion,"}


def doubt(number: int) -> str:
    return (
        f"it is unknown whether {WHO[number]} was trained on the images that measure it, so its figures may be too good"
    )


@pytest.mark.parametrize("unknown", [[2], [1], [2, 1]])
def test_what_a_model_has_seen_must_be_known_unless_a_parameter_allows_otherwise(
    marked: World, unknown: list[int]
) -> None:
    challenger, champion = (
        entrant(f"version {number}", scorer, UNKNOWN if number in unknown else NOBODY)
        for number, scorer in ((2, Oracle()), (1, Means()))
    )
    refused = judge(marked, challenger, champion)
    assert not refused.verdict.accepted and refused.pairs["compared"] == 153
    assert [reason.partition(":")[0] for reason in refused.verdict.reasons] == [doubt(number) for number in unknown]
    assert all("-S promote.allow_unknown_training_data=true" in reason for reason in refused.verdict.reasons)
    assert refused.notes == ()
    allowed = judge(marked, challenger, champion, ALLOWED)
    assert allowed.verdict.accepted and allowed.verdict.comparison == refused.verdict.comparison
    assert allowed.notes == tuple(doubt(number) for number in unknown)


def test_the_first_model_must_be_known_too(marked: World) -> None:
    challenger = entrant("version 1", Oracle(), UNKNOWN)
    (reason,) = judge(marked, challenger, None).verdict.reasons
    assert "whether version 1 was trained" in reason and "train and register a model again, or accept" in reason
    assert judge(marked, challenger, None, ALLOWED).verdict.accepted


def test_what_is_known_of_an_incomplete_list_is_left_out_all_the_same(marked: World) -> None:
    """Pairs of identity 7 are left out: 15 positive and 10 x 9 negative ones remain."""
    seen = trained(images_of(marked, 7)).and_before(UNKNOWN)
    found = judge(marked, entrant("version 2", Oracle(), seen), None, ALLOWED)
    assert found.pairs == {"test": 153, "challenger": 105}
    assert found.notes == ("48 of 153 test pairs are left out: version 2 was trained on their identities", doubt(2))


def test_in_role_folders_images_take_the_place_of_identities() -> None:
    """The target identity is in all splits. Of 18 test images 3 are its: 3 positive and 3 x 15 negative pairs.

    Without one of them: 1 positive and 2 x 15 negative ones; without one of the others besides: 2 fewer.
    """
    roles = small_evaluation.world(roles=True)
    test = roles.catalog[roles.catalog.split == "test"]
    seen = trained([*test.image_id[test.identity.notna()][:1], *test.image_id[test.identity.isna()][:1]])
    own = trained_on.of_catalog(roles.catalog)
    found = judge(roles, entrant("version 2", Means(), own), entrant("version 1", Means(), own.and_before(seen)))
    assert found.pairs == {"test": 48, "challenger": 48, "compared": 1 + 2 * 15 - 2}
    assert "their images" in found.notes[0]


def test_pairs_of_another_catalog_are_refused(marked: World) -> None:
    fewer = marked.catalog[1:]
    with pytest.raises(InputError, match="pairs name images that the catalog lacks: run `siamese pairs` again"):
        comparison.compare(fewer, marked.pairs, marked, entrant("version 1", Means(), NOBODY), None, LAX)


def test_models_are_loaded_one_after_the_other(marked: World) -> None:
    """Two networks and their embeddings need not lie in memory at once."""
    order = []

    def loading(name: str) -> Callable[[], Scorer]:
        return lambda: order.append(name) or Means()

    entrants = [Contender(name, loading(name), 0.1, NOBODY) for name in ("challenger", "champion")]
    judge(marked, *entrants)
    assert order == ["challenger", "champion"]
