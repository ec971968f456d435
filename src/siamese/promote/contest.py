"""Challenger and champion on the test pairs as they are now: scored in one go, judged by `siamese.gate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from siamese import gate, measured, scores, trained_on
from siamese.errors import InputError
from siamese.gate import Scored, Verdict
from siamese.params import PromoteParams
from siamese.promote import unseen
from siamese.scores import Images, Scorer
from siamese.trained_on import TrainedOn
from siamese.verifier import OtherImages

NONE_LEFT = (
    "the challenger was trained on what is tested now, but for pairs of one label or none: "
    "run `dvc repro`, then `siamese register`"
)
NONE_COMMON = (
    "there are not pairs of both labels left that neither model was trained on: "
    "set catalog.seed back to what it was for the champion, or add identities that are new to both"
)


@dataclass(frozen=True, eq=False)
class Entrant:
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
class Result:
    """The verdict, and on what it rests.

    Attributes:
        verdict: of the gate.
        pairs: numbers of test pairs: all, challenger (those that it wasn't trained on) and compared (neither was).
        thresholds: of challenger and champion, each its own.
        notes: what a reader must know of them, a sentence each.
    """

    verdict: Verdict
    pairs: Mapping[str, int]
    thresholds: Mapping[str, float]
    notes: tuple[str, ...]


def judge(
    catalog: pd.DataFrame,
    pairs: pd.DataFrame,
    images: Images,
    challenger: Entrant,
    champion: Entrant | None,
    params: PromoteParams,
) -> Result:
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
    measured.check(catalog, pairs, ("test",))
    by_identity = measured.knows_identities(catalog)
    test = measured.with_identities(catalog, pairs, "test")
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
            measured.resampled_units(kept, by_identity),
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
    return Result(verdict, counts, thresholds, tuple(notes))


def _doubts(challenger: Entrant, champion: Entrant | None) -> list[tuple[str, str]]:
    """Whose seen images are unknown: that its figures may be too good, and what to do."""
    found = []
    if not challenger.seen.complete:
        what_to_do = f"train and register a model again, or {gate.ACCEPT_DOUBTS}"
        found.append((trained_on.doubt(challenger.name), what_to_do))
    if champion and not champion.seen.complete:
        what_to_do = f"`siamese rollback` to a version of which it is known, or {gate.ACCEPT_DOUBTS}"
        found.append((trained_on.doubt(f"{champion.name}, the champion,"), what_to_do))
    return found


def _scored(entrant: Entrant, images: Images, pairs: pd.DataFrame) -> Scored:
    if not len(pairs):
        return Scored(np.empty(0, np.float32), entrant.threshold)
    scorer = entrant.load()
    embedded = scores.embed(scorer, images, np.concatenate([pairs.anchor_id, pairs.other_id]))
    found = scores.score(scorer, embedded, embedded.rows(pairs.anchor_id), embedded.rows(pairs.other_id))
    return Scored(found, entrant.threshold)


def _champion_scored(champion: Entrant, images: Images, pairs: pd.DataFrame) -> Scored:
    try:
        return _scored(champion, images, pairs)
    except OtherImages as sizes:
        raise InputError(
            f"{champion.name}, the champion, sees images of {sizes.seen}, and the test images are stored as "
            f"{sizes.stored}; set registry.name to another name for models of this network"
        ) from sizes


def _unseen(
    catalog: pd.DataFrame, test: pd.DataFrame, entrant: Entrant, by_identity: bool
) -> tuple[np.ndarray, list[str]]:
    units = unseen.seen_units(catalog, entrant.seen, by_identity)
    fresh = unseen.without(test, units, by_identity)
    if fresh.all():
        return fresh, []
    what = "identities" if by_identity else "images"
    return fresh, [
        f"{(~fresh).sum()} of {len(test)} test pairs are left out: {entrant.name} was trained on their {what}"
    ]
