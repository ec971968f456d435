"""What a model makes of pairs, as a page of pictures: the command `siamese report`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from siamese.data.splits import SPLITS
from siamese.errors import InputError
from siamese.evaluation import curves, example_pairs
from siamese.evaluation.evaluate import CATALOG_COLUMNS, PAIR_COLUMNS
from siamese.evaluation.measurement import Evaluation
from siamese.evaluation.metrics.verification import same
from siamese.evaluation.model_report import embedding_map, occlusion
from siamese.evaluation.model_report.analysis import Findings, Regions, find, names_of, rows_shown
from siamese.evaluation.report import MEANINGS, figure, figures, percent
from siamese.models import trained_on
from siamese.models.resolved_model import ResolvedModel
from siamese.models.scoring import Head, Images, to_score
from siamese.models.verifier import read_image
from siamese.params import EvaluateParams
from siamese.preprocessing import pixel_store
from siamese.reporting import pages
from siamese.reporting.charts import BLACK, BLUE, ORANGE, Axis, Bars, Mark, chart, nice_ticks
from siamese.reporting.pages import STYLE, Markup, data_uri, element, join, page, section, small, table
from siamese.storage.files import require_exists
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table

GENERATOR = "siamese report"
LEAST_CHANGE = 0.1  # of log-odds, that is drawn in the densest colour: less is noise
TILES = ("auc", "eer", "accuracy", "precision")
AT_THRESHOLD = ("auc", "eer", "recall", "false_accept_rate", "precision", "accuracy")
FLATTERED = {
    "train": "These are the pairs of the training split: the model has seen these identities, which flatters it.",
    "validation": "These are the pairs of the validation split, on which epoch and threshold were chosen: that "
    "flatters the model.",
}


def run(
    model: ResolvedModel,
    catalog_file: Path,
    pairs_file: Path,
    images_folder: AnyPath,
    split: str,
    given: tuple[Path, Path] | None,
    page_file: Path,
    own_threshold: float | None,
    params: EvaluateParams,
    max_pixels: int,
    note: str | None,
) -> None:
    """Writes the page.

    Args:
        model, own_threshold, max_pixels: as in `siamese.models.verify.verify`.
        catalog_file, pairs_file, images_folder: what the pipeline's steps wrote.
        split: whose pairs are scored.
        given: two image files whose regions are shown, too.
        page_file: the page to be.
        params: seed, and number of resamples behind each interval.
        note: a sentence shown on top, such as that the data is a stand-in.

    Raises:
        InputError: an input is missing or can't be used, or another program's file is where the page is to be.
    """
    if split not in SPLITS:
        raise InputError(f"--split {split}: must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    pages.require_page_writable(page_file, GENERATOR)
    encoded = [read_image(file, max_pixels) for file in given or ()]  # before the model loads: a wrong path fails early
    catalog = read_table(require_exists(catalog_file, "siamese catalog"), CATALOG_COLUMNS)
    pairs = read_table(require_exists(pairs_file, "siamese pairs"), PAIR_COLUMNS)
    images = pixel_store.open_store(require_exists(images_folder, "siamese preprocess"))
    threshold = model.threshold(own_threshold)
    verifier = model.load()
    own = verifier.pixels(encoded) if encoded else None
    head = Head(*verifier.head())
    findings = find(catalog, pairs, split, verifier, head, images, threshold, own, params, model.weights())
    notes = [text for text in (note, _known(model.place, catalog, split)) if text]
    pages.write_page(page_file, render(findings, images, params, notes))


def render(found: Findings, images: Images, params: EvaluateParams, notes: Sequence[str]) -> str:
    """The page as text, notes on top. Equal arguments give equal text: it holds no date, no duration and no path."""
    flattered = FLATTERED.get(found.split)
    notes = [*notes, flattered] if flattered else notes
    return page(
        "Model report",
        element("h1", "What the model makes of pairs"),
        *(element("div", text, class_="note", role="note") for text in notes),
        section("In short", _in_short(found)),
        section("Pairs and their scores", _pairs(found, images)),
        section("The worst mistakes", _mistakes(found, images)),
        section("ROC", _roc(found)),
        section("The embedding in two dimensions", _map(found, images)),
        section("Which regions matter", _which_regions(found)),
        section("How this was made", _method(found, params)),
        styles=(STYLE, Path(__file__).with_name("explain.css")),
        generator=GENERATOR,
    )


def _known(model: Path, catalog: pd.DataFrame, split: str) -> str | None:
    """That a model has seen images which should measure it, or that this is unknown, if so."""
    seen = trained_on.read(model)
    if split == "train":
        return None
    images = catalog.image_id[catalog.split == split]
    known = int((seen.saw(images) if split == "test" else seen.learned_from(images)).sum())
    if not known:
        return None if seen.complete else f"Take care: {trained_on.doubt()}."
    did = "trained this model or chose its epoch" if split == "test" else "trained this model"
    return f"{known:,} of the {split} images {did}, by other splits: that flatters it."


def _in_short(found: Findings) -> Markup:
    model, counts = found.measured.model, found.measured.counts[found.split]
    judged, truth = same(model.scores, model.threshold.threshold), found.measured.test.label.to_numpy() == 1
    accepts, rejects = int((judged & ~truth).sum()), int((~judged & truth).sum())
    whose = f" of {counts['identities']:,} identities" if found.measured.by_identity else ""
    text = (
        f"The {counts['pairs']:,} pairs of the {found.split} split{whose}: {counts['positive_pairs']:,} of the same "
        f"identity, {counts['negative_pairs']:,} of different ones. A pair counts as the same from a score of "
        f"{model.threshold.threshold:.4g} on. So judged, {accepts:,} pairs are false accepts and {rejects:,} are false "
        "rejects."
    )
    tiles = [
        element(
            "div",
            element("span", MEANINGS[name][0]),
            element("b", figure(name, model.values[name])),
            element("span", figures(name, model.intervals[name])),
            class_="tile",
        )
        for name in TILES
    ]
    return join(element("p", text), element("div", *tiles, class_="tiles"), small("Under each figure: 95 % interval."))


def _pairs(found: Findings, images: Images) -> Markup:
    measured = found.measured
    titles = {True: "The same identity", False: "Different identities"}
    chosen = rows_shown(measured)
    parts = [
        element("p", "Of each kind pairs spread over the range of its scores, the lowest first."),
        small("Pixels as the network sees them. The bar goes from score 0 to 1, its line is the threshold."),
    ]
    for kind, rows in chosen.items():
        parts.append(element("h3", titles[kind]))
        parts.append(element("div", *(_pair(measured, int(row), images) for row in rows), class_="pairs"))
    return join(*parts, element("div", _histogram(found), class_="charts alone"))


def _histogram(found: Findings) -> Markup:
    """All scores of both kinds."""
    measured = found.measured
    counted = curves.histogram_table(measured.test.label, measured.model.scores)
    edges = np.append(counted.bin.to_numpy(), 1.0)
    kinds = ((False, "different", "different identities", ORANGE), (True, "same", "the same identity", BLUE))
    heights = {kind: (counted[name] / counted[name].sum()).to_numpy() for kind, name, _, _ in kinds}
    top = float(max(shares.max() for shares in heights.values()))
    bars = [Bars(label, colour, edges, heights[kind]) for kind, _, label, colour in kinds]
    return chart(
        f"Scores of all {found.split} pairs",
        Axis("score", 0, 1, curves.SHARES, percent=False),
        Axis("share of the pairs of each kind", 0, top * 1.04, nice_ticks(0, top), percent=True),
        [
            *bars,
            Mark("threshold", BLACK, measured.model.threshold.threshold),
        ],
    )


def _mistakes(found: Findings, images: Images) -> Markup:
    chosen = example_pairs.choose(found.measured)
    parts = [small("Of each kind the pairs whose scores are farthest on the wrong side, no image twice.")]
    for kind in ("false_accepts", "false_rejects"):
        shown = [_pair(found.measured, int(row), images) for row in chosen[kind]]
        parts.append(element("h3", example_pairs.TITLES[kind].removeprefix("Hardest mistakes: ").capitalize()))
        parts.append(element("div", *shown, class_="pairs") if shown else element("p", example_pairs.NONE[kind]))
    return join(*parts)


def _pair(measured: Evaluation, row: int, images: Images) -> Markup:
    pair = measured.test.iloc[row]
    shown = images.pixels([pair.anchor_id, pair.other_id])
    alone = [element("img", src=_uri(pixels), alt="one image of the pair") for pixels in shown]
    names = names_of(measured, row)
    told = _told(float(measured.model.scores[row]), measured.model.threshold.threshold, bool(pair.label == 1), names)
    return element("figure", element("div", *alone), element("figcaption", *told), class_="pair")


def _told(score: float, threshold: float, truth: bool | None, names: str) -> list[Markup]:
    """What stands under a pair."""
    words, judged = {True: "same", False: "different"}, bool(same(score, threshold))
    colour = None if truth is None else "good" if judged == truth else "bad"
    at = 2 + 96 * threshold
    scale = element(
        "svg",
        element("line", x1=2, x2=98, y1=5, y2=5, class_="scale"),
        element("line", x1=at, x2=at, y1=0, y2=10, stroke=BLACK, stroke_width=1),
        element("circle", cx=2 + 96 * score, cy=5, r=2.4, fill=BLUE if judged else ORANGE),
        viewBox="0 0 100 10",
        role="img",
        aria_label=f"score {score:.3f} of 1",
    )
    return [
        element("b", f"score {score:.3f}"),
        scale,
        *([element("span", f"truth: {words[truth]}")] if truth is not None else []),
        element("span", f"judged: {words[judged]}", class_=colour),
        *([element("span", names)] if names else []),
    ]


def _roc(found: Findings) -> Markup:
    model = found.measured.model
    rows = [
        [
            join(MEANINGS[name][0], element("small", MEANINGS[name][1])),
            join(
                figure(name, model.values[name]),
                element("small", figures(name, model.intervals[name]) if model.values[name] is not None else ""),
            ),
        ]
        for name in AT_THRESHOLD
    ]
    text = (
        "The curve shows which share of the pairs that are the same is accepted (up) at which share of those that "
        "differ (right), threshold by threshold. The orange point is the threshold in force: the last four figures "
        "are its own, the first two the whole curve's."
    )
    drawn = element("div", curves.roc_chart(found.measured), table(["", "value"], rows), class_="charts")
    return join(element("p", text), drawn)


def _map(found: Findings, images: Images) -> Markup:
    shown, shares = found.shown, found.plane.shares
    known = int((shown.owners >= 0).sum())
    whose = (
        f"{len(shown.names):,} of the split's {found.identities:,} identities" if found.identities > 1 else "the target"
    )
    what = [f"{known:,} images of {whose}"] if known else []
    if known < len(shown.image_ids):
        what.append(f"{len(shown.image_ids) - known:,} of unknown identity")
    text = (
        f"Each mark is an image: {' and '.join(what)}. Its embedding, {found.units:,} numbers, each weighed as "
        "the model's last layer weighs it, is laid on the plane in which embeddings vary most (principal components)."
    )
    loss = (
        f"The axes show {percent(shares[0])} and {percent(shares[1])} of the variance; "
        f"{percent(max(1 - sum(shares), 0))} is not in the picture. So images that lie apart here are at "
        "least as far apart in all dimensions; images that lie together may differ in what isn't shown."
    )
    on_map, in_all = found.own_nearest
    if on_map is not None:
        asked = "images" if known == len(shown.image_ids) else "images of known identity"
        loss += (
            f" The nearest other image is of the same identity for {percent(on_map)} of the {asked} on this map, and "
            f"for {percent(in_all)} of them in all {found.units:,} dimensions."
        )
    used = dict(zip(shown.image_ids, map(_uri, images.pixels(shown.image_ids)), strict=True))
    return join(element("p", text), element("p", loss), embedding_map.draw(shown, found.plane, used))


def _which_regions(found: Findings) -> Markup:
    if not found.regions:
        return element("p", "There is no pair to look into: none was rightly accepted, and none wrongly judged.")
    text = (
        f"A square of {found.square} x {found.square} pixels, in the image's mean colour, hides one place after the "
        "other in one image while the other image stays whole, and the pair is scored again."
    )
    keys = [
        element("span", element("i", class_="swatch", style=f"border-top: 12px solid {colour}"), words, class_="key")
        for colour, words in (
            (BLUE, "hiding it lowers the score: what is here speaks for the same identity"),
            (ORANGE, "hiding it raises the score: what is here speaks for different identities"),
        )
    ]
    how = (
        "The denser the colour, the greater the change, counted in log-odds, ln(score / (1 - score)), since a score "
        "near 0 or 1 hardly moves. The densest is the greatest change of that pair, or "
        f"{LEAST_CHANGE:g} if that is less, so colours of two pairs don't compare; under each pair stands how far "
        "hiding moves its score. A square brings edges of its own into the picture: faint colours mean little."
    )
    threshold = found.measured.model.threshold.threshold
    drawn = [_region(one, threshold) for one in found.regions]
    return join(element("p", text), element("p", *keys), small(how), element("div", *drawn, class_="regions"))


def _region(one: Regions, threshold: float) -> Markup:
    lowest, highest = float(one.changes.min()), float(one.changes.max())
    full = max(-lowest, highest, LEAST_CHANGE)
    alone = [element("img", src=_uri(pixels), alt="one image of the pair") for pixels in one.pixels]
    over = [
        element(
            "img", src=_uri(occlusion.overlay(pixels, change, full)), alt="the same, coloured by what hiding changes"
        )
        for pixels, change in zip(one.pixels, one.changes, strict=True)
    ]
    ends = [one.log_odds + change for change in (min(lowest, 0), max(highest, 0))]
    moved = (
        f"with a place hidden: {to_score(ends[0]):.3f} to {to_score(ends[1]):.3f} "
        f"(log-odds {one.log_odds:.1f}: {ends[0]:.1f} to {ends[1]:.1f})"
    )
    told = [
        element("b", one.title),
        *_told(to_score(one.log_odds), threshold, one.truth, one.names),
        element("span", moved),
    ]
    return element("figure", element("div", *alone, *over), element("figcaption", *told), class_="pair")


def _method(found: Findings, params: EvaluateParams) -> Markup:
    many = "identities" if found.measured.by_identity else "images"
    rows = [
        ["model", f"weights {found.weights[:12]}"],
        ["threshold", f"{found.measured.model.threshold.threshold:.6g}, the model's own or given; not chosen here"],
        ["intervals", f"95 %: {params.bootstrap:,} resamples of the {found.measured.units:,} {many}"],
        ["raw pixels", "1 - mean |a - b| / 255 of the stored pixels"],
        ["seed", f"{params.seed}, of resamples and of the choice of images for the map"],
    ]
    return table([], rows)


def _uri(pixels: np.ndarray) -> str:
    """uint8 [height, width, 1 or 3] as a PNG that stands in the page."""
    data = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(data, "PNG")
    return data_uri(data.getvalue(), "image/png")
