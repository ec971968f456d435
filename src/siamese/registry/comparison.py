"""Challenger and champion on the test pairs as they are now: scored in one go, judged by `siamese.registry.gate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from siamese.errors import InputError
from siamese.evaluation import measurement
from siamese.models import scoring, trained_on
from siamese.models.scoring import Images, Scorer
from siamese.models.trained_on import TrainedOn
from siamese.models.verifier import OtherImages
from siamese.params import PromoteParams
from siamese.registry import gate
from siamese.registry.client import Version
from siamese.registry.gate import GateVerdict, Scored

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Promotion:
    """What came of it.

    Attributes:
        challenger: the version that was judged; None: a model that isn't registered.
        champion: the version in use before; None: there was none.
        result: of the gate; None: the challenger is champion already.
        moved: whether alias `champion` was moved.
    """

    challenger: Version | None
    champion: Version | None
    result: GateResult | None
    moved: bool


NONE_LEFT = (
    "the challenger was trained on what is tested now, but for pairs of one label or none: "
    "run `dvc repro`, then `siamese register`"
)
NONE_COMMON = (
    "there are not pairs of both labels left that neither model was trained on: "
    "set catalog.seed back to what it was for the champion, or add identities that are new to both"
)


@dataclass(frozen=True, eq=False)
class Contender:
    """A model that takes part.

    Attributes:
        name: in reports, such as "version 3".
        load: gives the model, ready to compare images.
        threshold: its own.
        seen: which images trained it or chose its epoch.
    """

    name: str
    load: Callable[[], Scorer]
    threshold: float
    seen: TrainedOn


@dataclass(frozen=True)
class GateResult:
    """The verdict, and on what it rests.

    Attributes:
        verdict: of the gate.
        pairs: numbers of test pairs: all, challenger (those that it wasn't trained on) and compared (neither was).
        thresholds: of challenger and champion, each its own.
        notes: what a reader must know of them, a sentence each.
    """

    verdict: GateVerdict
    pairs: Mapping[str, int]
    thresholds: Mapping[str, float]
    notes: tuple[str, ...]


def compare(
    catalog: pd.DataFrame,
    pairs: pd.DataFrame,
    images: Images,
    challenger: Contender,
    champion: Contender | None,
    params: PromoteParams,
) -> GateResult:
    """Scores both models on the same test pairs and asks the gate.

    Pairs of identities (in role folders: of images) that a model was trained on are left out: the challenger's for all
    that is said of it, those of either for the comparison.

    Args:
        catalog: as it is now, one row an image: image_id, identity (missing where unknown), split.
        pairs: anchor_id, other_id, label, split.
        images: the stored pixels of the test pairs.
        champion: None: there is none yet, and the absolute limits decide.

    Raises:
        InputError: the pairs name unknown images, there are no test pairs of one label, or the champion is of another
            network, for which other images are stored.
    """
    measurement.check(catalog, pairs, ("test",))
    by_identity = measurement.knows_identities(catalog)
    test = measurement.with_identities(catalog, pairs, "test")
    notes = []
    fresh: dict[str, np.ndarray] = {}  # which pairs each model hasn't seen, bool [pairs]
    for entrant in filter(None, (challenger, champion)):
        fresh[entrant.name], told = _unseen(catalog, test, entrant, by_identity)
        notes += told
    own = fresh[challenger.name]
    found = _scored(challenger, images, test[own])
    figures = gate.figures_of(test.label[own], found, NONE_LEFT)
    comparison, both = None, own
    if champion:
        both = own & fresh[champion.name]
        kept = test[both]
        comparison = gate.relative(
            kept.label,
            Scored(found.scores[both[own]], found.threshold),
            _champion_scored(champion, images, kept),
            measurement.resampled_units(kept, by_identity),
            params,
            NONE_COMMON,
        )
    doubts = _doubts(challenger, champion)
    verdict = gate.judge(figures, comparison, params, [f"{doubt}: {what_to_do}" for doubt, what_to_do in doubts])
    notes += [doubt for doubt, _ in doubts if params.allow_unknown_training_data]
    counts = {"test": len(test), "challenger": int(own.sum())}
    thresholds = {"challenger": challenger.threshold}
    if champion:
        counts["compared"] = int(both.sum())
        thresholds["champion"] = champion.threshold
    return GateResult(verdict, counts, thresholds, tuple(notes))


def _doubts(challenger: Contender, champion: Contender | None) -> list[tuple[str, str]]:
    """Whose seen images are unknown: that its figures may be too good, and what to do."""
    found = []
    if not challenger.seen.complete:
        what_to_do = f"train and register a model again, or {gate.ACCEPT_DOUBTS}"
        found.append((trained_on.doubt(challenger.name), what_to_do))
    if champion and not champion.seen.complete:
        what_to_do = f"`siamese rollback` to a version of which it is known, or {gate.ACCEPT_DOUBTS}"
        found.append((trained_on.doubt(f"{champion.name}, the champion,"), what_to_do))
    return found


def _scored(entrant: Contender, images: Images, pairs: pd.DataFrame) -> Scored:
    if not len(pairs):
        return Scored(np.empty(0, np.float32), entrant.threshold)
    scorer = entrant.load()
    embedded = scoring.embed(scorer, images, np.concatenate([pairs.anchor_id, pairs.other_id]))
    found = scoring.score_pairs(scorer, embedded, embedded.rows(pairs.anchor_id), embedded.rows(pairs.other_id))
    return Scored(found, entrant.threshold)


def _champion_scored(champion: Contender, images: Images, pairs: pd.DataFrame) -> Scored:
    try:
        return _scored(champion, images, pairs)
    except OtherImages as sizes:
        raise InputError(
            f"{champion.name}, the champion, sees images of {sizes.seen}, and the test images are stored as "
            f"{sizes.stored}; set registry.name to another name for models of this network"
        ) from sizes


def _unseen(
    catalog: pd.DataFrame, test: pd.DataFrame, entrant: Contender, by_identity: bool
) -> tuple[np.ndarray, list[str]]:
    units = trained_on.seen_units(catalog, entrant.seen, by_identity)
    fresh = trained_on.without(test, units, by_identity)
    if fresh.all():
        return fresh, []
    what = "identities" if by_identity else "images"
    return fresh, [
        f"{(~fresh).sum()} of {len(test)} test pairs are left out: {entrant.name} was trained on their {what}"
    ]
