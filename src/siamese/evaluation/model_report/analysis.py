"""What a model makes of the pairs of a split, and what of single pairs: what the model report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from siamese.evaluation import example_pairs
from siamese.evaluation.example_pairs import spread
from siamese.evaluation.measurement import Evaluation, check, measure_split
from siamese.evaluation.metrics.verification import same
from siamese.evaluation.model_report import embedding_map, occlusion
from siamese.evaluation.model_report.embedding_map import Plane, Shown, nearest_is_own, onto_plane
from siamese.models import scoring
from siamese.models.scoring import Head, Images, LogOdds, Scorer
from siamese.params import EvaluateParams

SHOWN = 6  # pairs of each label
RIGHT = 3  # rightly accepted pairs whose regions are shown
TITLES = {
    "right": "Rightly judged the same",
    "false_accepts": "Worst mistake: different, but judged the same",
    "false_rejects": "Worst mistake: the same identity, but judged different",
    "given": "The pair that was given",
}


@dataclass(frozen=True, eq=False)
class Regions:
    """What one pair's score hangs on.

    Attributes:
        title: which pair it is.
        names: whose images they are, as shown.
        truth: whether they show the same identity; None: unknown.
        pixels: uint8 [2, height, width, channels].
        log_odds: of the pair as it is: its score before the sigmoid.
        changes: of the log-odds, float32 [2, height, width], as `occlusion.changes` gives them.
    """

    title: str
    names: str
    truth: bool | None
    pixels: np.ndarray
    log_odds: float
    changes: np.ndarray


@dataclass(frozen=True, eq=False)
class Findings:
    """All that the page shows.

    Attributes:
        split: whose pairs were scored.
        measured: the figures; its `test` pairs are those of `split`.
        identities: how many the split has.
        shown, plane: images of the map, and where they lie.
        own_nearest: how often an image's nearest one is of its identity, on the map and in all dimensions; None where
            that can't be asked.
        units: numbers in an embedding.
        regions: of each pair looked into.
        square: side of the square that hides, in pixels.
        weights: digest of the model's weights.
    """

    split: str
    measured: Evaluation
    identities: int
    shown: Shown
    plane: Plane
    own_nearest: tuple[float | None, float | None]
    units: int
    regions: Sequence[Regions]
    square: int
    weights: str


def find(
    catalog: pd.DataFrame,
    pairs: pd.DataFrame,
    split: str,
    scorer: Scorer,
    head: Head,
    images: Images,
    threshold: float,
    given: np.ndarray | None,
    params: EvaluateParams,
    weights: str,
) -> Findings:
    """Scores the pairs of a split, and looks into some of them. Each image is embedded once.

    Args:
        catalog, pairs, split, scorer, images, threshold, params: as in `one_split.measure_split`.
        head: the scorer's last layer.
        given: stored pixels of a pair to look into, too, uint8 [2, height, width, channels].
        weights: the digest of the model's weights.

    Raises:
        InputError: a pair names an unknown image, the split lacks positive or negative pairs, or a score is no number.
    """
    check(catalog, pairs, (split,))
    of_split, listed = catalog[catalog.split == split], pairs[pairs.split == split]
    shown = embedding_map.choose(of_split, params.seed)
    ids = np.concatenate([listed.anchor_id, listed.other_id, shown.image_ids])
    embedded = scoring.embed(scorer, images, ids)
    measured = measure_split(catalog, pairs, split, scorer, embedded, images, threshold, params)
    points = embedded.embeddings[embedded.rows(pd.Series(shown.image_ids, dtype=object))] * np.abs(head.weights)
    plane = onto_plane(points)
    return Findings(
        split=split,
        measured=measured,
        identities=of_split.identity.nunique(),
        shown=shown,
        plane=plane,
        own_nearest=(nearest_is_own(plane.points, shown.owners), nearest_is_own(points, shown.owners)),
        units=points.shape[1],
        regions=_regions(measured, LogOdds(scorer, head), images, given),
        square=occlusion.squares(*images.pixels(shown.image_ids[:1]).shape[1:3])[0],
        weights=weights,
    )


def rows_shown(measured: Evaluation) -> dict[bool, np.ndarray]:
    """Rows of the pairs shown with their scores, by whether they are of the same identity."""
    truth = measured.test.label.to_numpy() == 1
    return {
        kind: spread(measured.test, measured.model.scores, np.flatnonzero(truth == kind), SHOWN)
        for kind in (True, False)
    }


def rows_looked_into(measured: Evaluation) -> list[tuple[str, int]]:
    """Kind and row of the pairs whose regions are shown."""
    model, listed = measured.model, measured.test
    right = (listed.label.to_numpy() == 1) & same(model.scores, model.threshold.threshold)
    worst = example_pairs.choose(measured)
    return [
        *(("right", int(row)) for row in spread(listed, model.scores, np.flatnonzero(right), RIGHT)),
        *((kind, int(row)) for kind in ("false_accepts", "false_rejects") for row in worst[kind][:1]),
    ]


def names_of(measured: Evaluation, row: int) -> str:
    """Whose images a pair shows, as a page tells it."""
    pair = measured.test.iloc[row]
    first, second = (str(name) if pd.notna(name) else "unknown" for name in (pair.anchor_identity, pair.other_identity))
    return first if pair.label == 1 else f"{first} / {second}"


def _regions(measured: Evaluation, log_odds: LogOdds, images: Images, given: np.ndarray | None) -> list[Regions]:
    told: list[tuple[str, str, bool | None]] = []
    pixels = []
    for kind, row in rows_looked_into(measured):
        pair = measured.test.iloc[row]
        told.append((TITLES[kind], names_of(measured, row), bool(pair.label == 1)))
        pixels.append(images.pixels([pair.anchor_id, pair.other_id]))
    if given is not None:
        told.append((TITLES["given"], "", None))
        pixels.append(given)
    if not pixels:
        return []
    found, changes = occlusion.changes(log_odds, np.stack(pixels))
    return [
        Regions(title, names, truth, pixels[number], float(found[number]), changes[number])
        for number, (title, names, truth) in enumerate(told)
    ]
