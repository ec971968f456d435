"""The report of an evaluation: one HTML file that needs no network, for someone who has never read one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from siamese.config import flatten
from siamese.data.splits import HASH, SPLITS, STABLE_FROM
from siamese.evaluation import curves, example_pairs
from siamese.evaluation.measurement import Evaluation, Range
from siamese.evaluation.metrics.verification import CALIBRATION_BINS, METRICS, same
from siamese.models import trained_on
from siamese.models.scoring import Images
from siamese.params import EvaluateParams
from siamese.reporting.pages import Markup, element, join, page, section, small, table

# Identities below which intervals are called rough: in simulation theirs held the truth 89 to 94 % of times.
FEW_UNITS = 10

MEANINGS = {
    "precision": ("Precision", "of the pairs judged the same, how many are: TP / (TP + FP)"),
    "recall": ("Recall", "of the pairs that are the same, how many are judged so: TP / (TP + FN)"),
    "accuracy": ("Accuracy", "of all pairs, how many are judged rightly"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "false_accept_rate": ("False accept rate", "of the pairs that differ, how many are judged the same"),
    "auc": ("ROC AUC", "how often a pair that is the same scores above one that differs; 0.5 is chance, 1 perfect"),
    "eer": ("Equal error rate", "mistakes at the threshold where both kinds are equally frequent; 50 % is chance"),
    "tar_at_far_0.1": ("TAR at FAR 10 %", "recall, if at most 10 % of the pairs that differ may be accepted"),
    "tar_at_far_0.01": ("TAR at FAR 1 %", "recall, if at most 1 % of the pairs that differ may be accepted"),
    "tar_at_far_0.001": ("TAR at FAR 0.1 %", "recall, if at most 0.1 % of the pairs that differ may be accepted"),
    "brier": ("Brier score", "mean squared distance of score and truth (1 or 0); always answering 0.5 gives 0.25"),
    "calibration_error": (
        "Calibration error",
        f"mean distance of score and share of pairs that are the same, in {CALIBRATION_BINS} bins",
    ),
}
AS_NUMBER = {"auc", "brier", "f1"}


def render(
    measured: Evaluation,
    images: Images,
    history: pd.DataFrame | None,
    params: EvaluateParams,
    note: str | None,
    settings: Mapping[str, Any] | None,
    unseen: bool,
) -> str:
    """The page as text. Equal arguments give equal text: it holds no date, no duration and no path.

    Args:
        images: where the pictures come from.
        history: history.csv of training, or None.
        note: a sentence for the top of the page, or None.
        settings: the parameters of all steps; None: those of this step alone.
        unseen: whether the model is known not to have seen the test images.
    """
    trained = curves.training_chart(history) if history is not None and len(history) else []
    charts = element(
        "div",
        curves.roc_chart(measured),
        curves.histogram_chart(measured),
        curves.calibration_chart(measured),
        *trained,
        class_="charts",
    )
    splits = str((settings or {}).get("catalog", {}).get("splits", HASH))
    return page(
        "Evaluation report",
        element("h1", "How well the model tells identities apart"),
        element("div", note, class_="note", role="note") if note else "",
        "" if unseen else element("div", f"Take care: {trained_on.doubt()}.", class_="note", role="note"),
        section("In short", _in_short(measured, unseen)),
        section("The decisions", _decisions(measured)),
        section("The curves", charts, *([] if trained else [small("No history of training was found beside it.")])),
        section("One-shot recognition", _one_shot(measured)),
        section(
            "The clearest rights and the hardest mistakes",
            small("Pixels as the network sees them. Of each kind the most extreme pairs, no image twice."),
            example_pairs.gallery(measured, images),
        ),
        section("All metrics", _all_metrics(measured)),
        section("How this was measured", _method(measured, params, splits, unseen)),
        section("Parameters", _parameters(settings or {"evaluate": params.model_dump()})),
    )


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"


def figure(name: str, value: float | None) -> str:
    """A metric's value as people write it: AUC, F1 and Brier score as numbers, all others as percentages."""
    return f"{value:.3f}" if value is not None and name in AS_NUMBER else percent(value)


def figures(name: str, ends: Range | None) -> str:
    """An interval as people write it, or that there is none."""
    return "no interval" if ends is None else f"{figure(name, ends[0])} to {figure(name, ends[1])}"


def _in_short(measured: Evaluation, unseen: bool) -> Markup:
    values, counts = measured.model.values, measured.counts["test"]
    whose = f" of {counts['identities']:,} identities" if measured.by_identity else ""
    whose += " that training never saw" if unseen else ""
    right = percent(values["accuracy"])
    found = [f"Shown {counts['pairs']:,} pairs of images{whose}, the model judged {right} of them rightly."]
    if values["precision"] is None:
        found.append("It judged no pair the same, so how often that judgement is right (precision) has no value.")
    else:
        found.append(
            f"Where it judged a pair the same, it was right {percent(values['precision'])} of the time (precision)."
        )
        found.append(f"Of the pairs that are the same it found {percent(values['recall'])} (recall).")
    found.append(
        f"At the threshold where both kinds of mistake are equally frequent, it errs in {percent(values['eer'])} of "
        f"the pairs; comparing raw pixels errs in {percent(measured.baseline.values['eer'])}, and guessing in half."
    )
    found.append(_against_pixels(measured))
    tiles = [_tile(measured, name) for name in ("accuracy", "precision", "eer", "auc")]
    return join(
        element("p", " ".join(found)), element("div", *tiles, class_="tiles"), small(_about_intervals(measured))
    )


def _tile(measured: Evaluation, name: str) -> Markup:
    ends = measured.model.intervals[name]
    return element(
        "div",
        element("span", MEANINGS[name][0]),
        element("b", figure(name, measured.model.values[name])),
        element("span", f"{figures(name, ends)}"),
        element("span", f"raw pixels: {figure(name, measured.baseline.values[name])}"),
        class_="tile",
    )


def _against_pixels(measured: Evaluation) -> str:
    gain, ends = measured.eer_gain
    if ends is None:
        return "There is too little data to say how sure that difference is."
    span = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"
    if ends[0] > 0:
        return f"The model beats raw pixels by {100 * gain:.1f} percentage points (95 % interval {span})."
    if ends[1] < 0:
        return f"The model is worse than raw pixels by {-100 * gain:.1f} percentage points: it isn't fit for use."
    return (
        f"That difference (95 % interval {span} percentage points) may be chance: it isn't clearly better than pixels."
    )


def _about_intervals(measured: Evaluation) -> str:
    one, many = ("identity", "identities") if measured.by_identity else ("image", "images")
    text = (
        f"Under each figure stands its 95 % interval: how far it may move with other {many} of the same kind, found by "
        f"drawing the {measured.units:,} test {many} anew, with repeats, many times."
    )
    if measured.units < FEW_UNITS:
        text += f" From so few {many} intervals are rough, or there are none."
    if not measured.by_identity:
        text += (
            " All pairs that are the same show one target: how well another would be recognised, nothing here tells."
        )
    if measured.model.values["accuracy"] == 1 and measured.units >= 6:
        text += (
            f" No mistake was seen, and no interval can tell of one: if one {one} in {measured.units // 3:,} caused "
            f"mistakes, {measured.units:,} {many} would still show none about one time in twenty."
        )
    return text


def _decisions(measured: Evaluation) -> Markup:
    model, chosen = measured.model, measured.model.threshold
    truth, judged = measured.test.label.to_numpy() == 1, same(model.scores, chosen.threshold)

    def cell(pairs: np.ndarray, word: str, colour: str) -> Markup:
        return join(element("b", f"{int(pairs.sum()):,}"), element("small", word, class_=colour))

    decisions = table(
        ["pairs that are", "judged the same", "judged different"],
        [
            ["the same", cell(truth & judged, "right", "good"), cell(truth & ~judged, "false rejects", "bad")],
            ["different", cell(~truth & judged, "false accepts", "bad"), cell(~truth & ~judged, "right", "good")],
        ],
    )
    if chosen.rule == "eer":
        how = f"was chosen on {chosen.pairs:,} validation pairs, where it makes both kinds of mistake equally often"
    elif chosen.rule.startswith("far="):
        limit = percent(float(chosen.rule.removeprefix("far=")))
        how = f"was chosen on {chosen.pairs:,} validation pairs, for the highest recall at a FAR of at most {limit}"
    else:
        how = "was fixed in the parameters"
    text = (
        f"A pair counts as the same from a score of {chosen.threshold:.4g} on. That threshold {how}. On the validation "
        f"pairs it accepts {percent(chosen.false_accept_rate)} of those that differ (FAR) and rejects "
        f"{percent(chosen.false_reject_rate)} of those that are the same (FRR)."
    )
    warning = [element("p", f"Take care: {chosen.warning}.", class_="bad")] if chosen.warning else []
    return join(element("p", text), *warning, decisions)


def _one_shot(measured: Evaluation) -> Markup:
    rows: list[list[str]] = []
    for ways, found in measured.one_shot.items():
        if isinstance(found, str):
            rows.append([join(f"{ways}-way", element("small", f"Not measured: {found}.")), "–", percent(1 / ways)])
        else:
            ends = f"{percent(found.low)} to {percent(found.high)}"
            rows.append([f"{ways}-way", join(percent(found.accuracy), element("small", ends)), percent(1 / ways)])
    text = (
        "Whose image is this, where one reference image of each of n identities is known? The model compares the image "
        "with every reference and answers with the highest score; guessing is right as often as the last column says."
    )
    trials = [found.trials for found in measured.one_shot.values() if not isinstance(found, str)]
    if trials:
        text += (
            f" Each row is {trials[0]:,} random trials on the test split; the 95 % interval (Wilson) says how exactly "
            "those trials know the accuracy on these identities."
        )
    return join(element("p", text), table(["", "accuracy", "guessing"], rows))


def _all_metrics(measured: Evaluation) -> Markup:
    rows = []
    for name in METRICS:
        title, meaning = MEANINGS[name]
        why = measured.model.undefined.get(name)
        parts = [title, element("small", meaning), element("small", f"No value: {why}.") if why else ""]
        rows.append([join(*parts)])
        for judged in (measured.model, measured.baseline):
            ends = element("small", figures(name, judged.intervals[name])) if judged.values[name] is not None else ""
            rows[-1].append(join(figure(name, judged.values[name]), ends))
    positives = measured.counts["test"]["positive_pairs"] / measured.counts["test"]["pairs"]
    text = (
        "On the test pairs, with 95 % intervals. Raw pixels: the plainest comparison, 1 - mean |a - b| / 255 of the "
        f"stored pixels, with its own threshold ({measured.baseline.threshold.threshold:.4g}) from the same validation "
        f"pairs. Always giving the commoner answer has an accuracy of {percent(max(positives, 1 - positives))}, always "
        f"answering “the same” a precision of {percent(positives)}."
    )
    return join(element("p", text), table(["", "model", "raw pixels"], rows))


def _method(measured: Evaluation, params: EvaluateParams, splits: str, unseen: bool) -> Markup:
    many = "identities" if measured.by_identity else "images"
    split = [f"Split by {'identity' if measured.by_identity else 'image, within each role'}, before pairs were drawn."]
    if not measured.by_identity:
        split.append("Whose the negatives are is unknown, so other images of the same ones may lie in another split.")
    elif measured.shared_identities:
        split.append(
            f"Take care: {measured.shared_identities:,} identities lie in two splits, which flatters the model."
        )
    else:
        split.append("No identity lies in two splits (counted anew for this report).")
    if splits != HASH:
        split.append(f"{splits}, in the folder of images, lists where each lies.")
    elif measured.stable_split:
        split.append(f"A seeded hash decides where each lies: {many} added later move none of them.")
    else:
        split.append(
            f"There are fewer than {STABLE_FROM}, so the shares are kept exactly, and {many} added later may move some "
            "of them to another split."
        )
    use = (
        "Training used the training split; validation chose the threshold and, while training, the best epoch; the "
        "test split measures, and was used for nothing else."
        if unseen
        else "Validation chose the threshold; the test split measures. It is unknown what training used."
    )
    intervals = (
        f"Intervals: {params.bootstrap:,} bootstrap resamples of the {measured.units:,} {many} of the test pairs. A "
        f"pair weighs the product of how often its {many} were drawn; the percentiles are shifted so that their median "
        f"is the figure itself; the threshold is taken as given. Seed of resamples and trials: {params.seed}."
    )
    names = ["images", "identities", "pairs", "positive_pairs", "negative_pairs"]
    rows = [[split_name, *(f"{measured.counts[split_name][name]:,}" for name in names)] for split_name in SPLITS]
    head = ["split", "images", "identities", "pairs", "positive", "negative"]
    return join(element("p", " ".join(split)), element("p", use), element("p", intervals), table(head, rows))


def _parameters(settings: Mapping[str, Any]) -> Markup:
    return table(["parameter", "value"], [[key, str(value)] for key, value in flatten(settings)])
