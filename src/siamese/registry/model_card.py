"""The model card, as Markdown: what a model is for, what it was made from, how well it does, and where it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from siamese.data.splits import HASH, SPLITS
from siamese.models import trained_on
from siamese.tracking.provenance import RECORDED

Values = Mapping[str, Any]

NAMES = {
    "precision": "precision",
    "recall": "recall (true accept rate)",
    "accuracy": "accuracy",
    "f1": "F1",
    "false_accept_rate": "false accept rate",
    "auc": "area under the ROC curve",
    "eer": "equal error rate",
    "tar_at_far_0.1": "true accept rate at a false accept rate of 0.1",
    "tar_at_far_0.01": "true accept rate at a false accept rate of 0.01",
    "tar_at_far_0.001": "true accept rate at a false accept rate of 0.001",
    "brier": "Brier score (0 is best)",
    "calibration_error": "calibration error (0 is best)",
}
FEW_IDENTITIES = 50  # to test on: below, intervals are wide enough to be the first thing to say


def render(
    metrics: Values, threshold: Values, parameters: Values, tags: Mapping[str, str], run_id: str, name: str
) -> str:
    """The card of one model.

    Args:
        metrics: content of metrics.json.
        threshold: content of threshold.json.
        parameters: all of params.yaml by dotted key, as its training had them.
        tags: of its tracking run: where data and code came from.
        run_id: that run.
        name: of the registered model.
    """
    sections = [
        (f"Model card: {name}", _summary(metrics)),
        ("Intended use", _use()),
        ("Data", _data(metrics, parameters, tags)),
        ("Measured", _measured(metrics)),
        ("Threshold", _threshold(metrics, threshold)),
        ("Limits", _limits(metrics)),
        ("Training", _training(parameters)),
        ("Lineage", _lineage(tags, run_id)),
        ("How to use", _how(name)),
    ]
    parts = [
        f"{'#' if number == 0 else '##'} {title}\n\n" + "\n".join(lines)
        for number, (title, lines) in enumerate(sections)
    ]
    return "\n\n".join(parts) + "\n"


def _summary(metrics: Values) -> Iterator[str]:
    yield "A Siamese network: tells whether two images show the same identity, by a score from 0 to 1 and a threshold."
    doubtful = trained_on.is_doubtful(metrics)
    yield "On test pairs:" if doubtful else "On test pairs, whose images training never saw:"
    yield f"{_in_words(metrics, 'eer')}, {_in_words(metrics, 'precision')}."
    if doubtful:
        yield ""
        yield f"**Take care: {trained_on.doubt()}.**"
    if metrics.get("note"):
        yield ""
        yield f"**Its data is not real: {metrics['note']}. The figures below say nothing about real images.**"


def _use() -> Iterable[str]:
    return (
        "Comparing two images of the kind that it was trained on, framed and lit alike, as one hint among others to a",
        "person who decides.",
        "",
        "Out of scope:",
        "",
        "- images of another kind: what it does with them was not measured;",
        "- decisions about people that no person checks, and any use where the error rates below are too high;",
        "- telling whether an image is genuine: a photograph of a photograph, or a forgery, may get a high score;",
        "- telling who somebody is among many: errors add up with the number of identities compared.",
    )


def _data(metrics: Values, parameters: Values, tags: Mapping[str, str]) -> Iterator[str]:
    yield f"- folder: `{tags.get('siamese.data.path', parameters['data.path'])}`"
    yield f"- DVC hash: {_tag(tags, 'siamese.data.hash')}"
    if metrics.get("note"):
        yield f"- note: {metrics['note']}"
    splits = str(parameters.get("catalog.splits", HASH))  # runs of older versions lack it
    if splits != HASH:
        yield f"- split: as `{splits}` in that folder lists it"
    else:
        yield from _by_hash(parameters)
    yield ""
    counts = metrics["counts"]
    columns = ("identities", "images", "positive_pairs", "negative_pairs")
    yield from _table(
        ("split", "identities", "images", "positive pairs", "negative pairs"),
        ((split, *(f"{counts[split][column]:,}" for column in columns)) for split in SPLITS),
    )


def _by_hash(parameters: Values) -> Iterator[str]:
    shares = ", ".join(f"{split} {float(parameters[f'catalog.{split}']):.0%}" for split in SPLITS)
    yield f"- split: {shares} of the identities, none of which lies in two splits"
    yield f"  (in role folders: of each role's images), by a hash with seed {parameters['catalog.seed']}"


def _measured(metrics: Values) -> Iterator[str]:
    yield "Test pairs; intervals of 95 % resample whole identities (in role folders: images); raw pixels: the plain"
    yield "difference of pixels, judged on the same pairs."
    yield ""
    baseline = metrics.get("baseline_raw_pixels", {})
    rows = []
    for name, words in NAMES.items():
        if name in metrics["test"]:
            rows.append((words, _figure(metrics["test"][name]), _interval(metrics, name), _figure(baseline.get(name))))
    for ways, found in metrics.get("one_shot", {}).items():
        ends = _ends(found["low"], found["high"])
        rows.append((f"one-shot, {ways.replace('_', ' ')}", _figure(found["accuracy"]), ends, "-"))
    yield from _table(("", "value", "95 % interval", "raw pixels"), rows)
    gain = metrics.get("eer_below_raw_pixels", {})
    if gain.get("value") is not None:
        yield ""
        between = _ends(gain["low"], gain["high"])
        yield f"Its equal error rate lies {gain['value']:.3f} below that of raw pixels (95 %: {between})."
    if metrics.get("undefined"):
        yield ""
        yield "Not measured:"
        yield ""
        yield from (f"- {NAMES.get(name, name.replace('_', ' '))}: {why}" for name, why in metrics["undefined"].items())


def _threshold(metrics: Values, threshold: Values) -> Iterator[str]:
    test, low, high = (metrics.get(name, {}) for name in ("test", "test_low", "test_high"))
    missed = [None if value is None else 1 - value for value in (test["recall"], high["recall"], low["recall"])]
    pairs = f"{threshold['pairs']:,} {threshold['chosen_on']} pairs"
    yield f"{metrics['threshold']:.4f}, by the rule `{threshold['rule']}` on {pairs}."
    yield "A pair of this score or more counts as the same. On test pairs it errs so:"
    yield ""
    accepted = _figure(test["false_accept_rate"])
    yield f"- different identities taken for the same: {accepted} (95 %: {_interval(metrics, 'false_accept_rate')})"
    yield f"- the same identity taken for different ones: {_figure(missed[0])} (95 %: {_ends(missed[1], missed[2])})"
    if threshold.get("warning"):
        yield f"- warning: {threshold['warning']}"


def _limits(metrics: Values) -> Iterator[str]:
    counted = metrics["counts"]["test"]
    identities, positive, negative = (counted[name] for name in ("identities", "positive_pairs", "negative_pairs"))
    few = ", few: look at the intervals, not at the values" if identities < FEW_IDENTITIES else ""
    yield f"- It was measured on images of {identities:,} {'identity' if identities == 1 else 'identities'}{few}."
    yield f"- The figures are coarse: one pair more or less moves an error rate by {1 / min(positive, negative):.4f}."
    error = _figure(metrics["test"].get("calibration_error"))
    yield f"- A score is no probability: scores of this network tend to be over-confident (calibration error {error})."
    yield "  Decide by the threshold, not by 0.5."
    yield "- An image is squeezed to 100 x 100 pixels: what shows only in finer detail is lost."
    yield "- Nothing is known of groups of people that the data doesn't name: errors may differ among them."


def _training(parameters: Values) -> Iterator[str]:
    own = (key for key in parameters if key.startswith(("model.", "train.")))
    yield from _table(("parameter", "value"), ((f"`{key}`", str(parameters[key])) for key in own))


def _lineage(tags: Mapping[str, str], run_id: str) -> Iterator[str]:
    yield f"- run: {run_id}"
    yield f"- git commit: {_tag(tags, 'siamese.git.commit')}"
    if tags.get("siamese.git.dirty") == "true":
        yield "- **the code had changes that were not committed**"
    if RECORDED in tags:
        yield "- **recorded after training: code, data and parameters are those of that moment**"
    yield f"- siamese {_tag(tags, 'siamese.version')}"
    yield ""
    yield "`siamese lineage MODEL` prints the commands that make it again."


def _how(name: str) -> Iterable[str]:
    return (
        "```sh",
        f"siamese verify A.png B.png --model models:/{name}@champion",
        f"mlflow models serve -m models:/{name}@champion --env-manager uv",
        "```",
        "",
        "```python",
        f'model = mlflow.pyfunc.load_model("models:/{name}@champion")',
        'model.predict(pd.DataFrame({"anchor": ["A.png"], "other": ["B.png"]}), params={"images": "paths"})',
        "```",
    )


def _in_words(metrics: Values, name: str) -> str:
    return f"{NAMES[name]} {_figure(metrics['test'][name])} (95 %: {_interval(metrics, name)})"


def _interval(metrics: Values, name: str) -> str:
    return _ends(metrics.get("test_low", {}).get(name), metrics.get("test_high", {}).get(name))


def _ends(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _tag(tags: Mapping[str, str], name: str) -> str:
    return f"`{tags[name]}`" if tags.get(name) else "not recorded"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
