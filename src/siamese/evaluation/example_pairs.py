"""Example pairs for reports: the clearest correct decisions, the worst mistakes, and pairs spread over the scores."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from PIL import Image

from siamese.evaluation.measurement import Evaluation
from siamese.evaluation.metrics.verification import same
from siamese.models.scoring import Images
from siamese.reporting.pages import Markup, data_uri, element, join

SHOWN = 6  # pairs of each kind

TITLES = {
    "clearest_same": "Clearest rights: the same identity, judged the same",
    "clearest_different": "Clearest rights: different, judged different",
    "false_accepts": "Hardest mistakes: different, but judged the same",
    "false_rejects": "Hardest mistakes: the same identity, but judged different",
}
NONE = {
    "clearest_same": "None: no pair of the same identity was judged the same.",
    "clearest_different": "None: no pair of different identities was judged different.",
    "false_accepts": "None: no pair of different identities was judged the same.",
    "false_rejects": "None: every pair of the same identity was judged the same.",
}


def choose(measured: Evaluation) -> dict[str, np.ndarray]:
    """Rows of the test pairs to show, by kind, most extreme score first: `SHOWN` or fewer, no image twice in a kind."""
    scores = measured.model.scores
    truth = measured.test.label.to_numpy() == 1
    judged = same(scores, measured.model.threshold.threshold)
    falling, rising = np.argsort(-scores, kind="stable"), np.argsort(scores, kind="stable")
    rows = {
        "clearest_same": falling[(truth & judged)[falling]],
        "clearest_different": rising[(~truth & ~judged)[rising]],
        "false_accepts": falling[(~truth & judged)[falling]],
        "false_rejects": rising[(truth & ~judged)[rising]],
    }
    return {kind: _without_repeats(measured.test, found) for kind, found in rows.items()}


def gallery(measured: Evaluation, images: Images) -> Markup:
    """The chosen pairs under their titles, each with score, truth, judgement and identities; a sentence if none is."""
    parts: list[Markup] = []
    for kind, rows in choose(measured).items():
        shown = [_pair(measured, int(row), images) for row in rows]
        parts.append(element("h3", TITLES[kind]))
        parts.append(element("div", *shown, class_="pairs") if shown else element("p", NONE[kind]))
    return join(*parts)


def _without_repeats(test: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    chosen: list[int] = []
    seen: set[str] = set()
    for row, first, second in zip(rows, test.anchor_id.iloc[rows], test.other_id.iloc[rows], strict=True):
        if len(chosen) == SHOWN:
            break
        if not {first, second} & seen:
            chosen.append(int(row))
            seen |= {first, second}
    return np.array(chosen, dtype=np.int64)


def _pair(measured: Evaluation, row: int, images: Images) -> Markup:
    pair = measured.test.iloc[row]
    score = measured.model.scores[row]
    truth, judged = pair.label == 1, bool(same(score, measured.model.threshold.threshold))
    names = [str(name) if pd.notna(name) else "unknown" for name in (pair.anchor_identity, pair.other_identity)]
    pixels = images.pixels([pair.anchor_id, pair.other_id])
    shown = [element("img", src=_png(one), alt=f"image of {name}") for one, name in zip(pixels, names, strict=True)]
    words = {True: "same", False: "different"}
    lines = [
        element("b", f"score {score:.3f}"),
        element("span", f"truth: {words[truth]}"),
        element("span", f"judged: {words[judged]}", class_="good" if judged == truth else "bad"),
        element("span", names[0] if truth else f"{names[0]} / {names[1]}"),
    ]
    return element("figure", element("div", *shown), element("figcaption", *lines), class_="pair")


def _png(pixels: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(data, "PNG")
    return data_uri(data.getvalue(), "image/png")


def spread(pairs: pd.DataFrame, scores: np.ndarray, rows: np.ndarray, wanted: int) -> np.ndarray:
    """Some of `rows`, lowest score first: for scores at equal distances from the lowest to the highest, the nearest.

    Args:
        pairs: anchor_id, other_id.
        scores: [pairs].
        rows: int, of `pairs`.
        wanted: 1 or more. Fewer are given where no others are left that show no image twice.

    Returns:
        int64 [wanted or fewer].
    """
    chosen: list[int] = []
    seen: set[str] = set()
    rows = np.asarray(rows, np.int64)
    if not len(rows):
        return rows
    first, second = pairs.anchor_id.to_numpy(object), pairs.other_id.to_numpy(object)
    # Both ends come first, or a pair in the middle might have taken their images.
    places = np.linspace(scores[rows].min(), scores[rows].max(), wanted)
    for place in places[np.argsort(-np.abs(places - places.mean()), kind="stable")]:
        for row in rows[np.argsort(np.abs(scores[rows] - place), kind="stable")]:
            if not {first[row], second[row]} & seen:
                chosen.append(int(row))
                seen |= {first[row], second[row]}
                break
    return np.array(sorted(chosen, key=lambda row: (scores[row], row)), np.int64)
