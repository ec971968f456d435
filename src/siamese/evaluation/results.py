"""Contents of metrics.json, and the table that `siamese metrics` prints of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from siamese.errors import InputError
from siamese.evaluation.measurement import Evaluation, ScorerEvaluation
from siamese.evaluation.metrics.one_shot import OneShot
from siamese.evaluation.metrics.verification import METRICS
from siamese.models import trained_on
from siamese.models.trained_on import TrainedOn
from siamese.params import EvaluateParams

BASELINE_METRICS = ("eer", "auc", "accuracy", "precision")


def metrics(measured: Evaluation, params: EvaluateParams, note: str | None, seen: TrainedOn) -> dict[str, Any]:
    """The content of metrics.json: numbers by name, as `dvc metrics show` and `diff` list them; None where undefined.

    The ends of the 95 % intervals stand in `test_low` and `test_high` under the names of their metrics; `undefined`
    gives the reasons for what has no value, in words, `note` what else must be known of the data, and `trained_on` is
    there, as `unknown`, if the model may have seen the test images.
    """
    model, baseline = measured.model, measured.baseline
    gain, gain_range = measured.eer_gain
    low, high = gain_range or (None, None)
    positives = measured.counts["test"]["positive_pairs"] / measured.counts["test"]["pairs"]
    return {
        **({"note": note} if note else {}),
        **seen.in_metrics(),
        "threshold": model.threshold.threshold,
        **_judged("test", model, METRICS),
        "validation": _rounded({name: value for name, value in model.validation.items()}),
        "one_shot": {f"{ways}_way": _one_shot(ways, found) for ways, found in measured.one_shot.items()},
        **_judged("baseline_raw_pixels", baseline, BASELINE_METRICS),
        "eer_below_raw_pixels": _rounded({"value": gain, "low": low, "high": high}),
        "chance": _rounded({"precision": positives, "accuracy": max(positives, 1 - positives), "auc": 0.5, "eer": 0.5}),
        "counts": {split: dict(counted) for split, counted in measured.counts.items()},
        "seeds": {"evaluate": params.seed},
        "undefined": {
            **model.undefined,
            **{f"{ways}_way": why for ways, why in measured.one_shot.items() if isinstance(why, str)},
        },
    }


def _judged(name: str, judged: ScorerEvaluation, wanted: Sequence[str]) -> dict[str, dict[str, float | None]]:
    ends = {metric: judged.intervals[metric] or (None, None) for metric in wanted}
    return {
        name: _rounded({metric: judged.values[metric] for metric in wanted}),
        f"{name}_low": _rounded({metric: low for metric, (low, _) in ends.items()}),
        f"{name}_high": _rounded({metric: high for metric, (_, high) in ends.items()}),
    }


def _one_shot(ways: int, found: OneShot | str) -> dict[str, float | None]:
    if isinstance(found, str):
        return {"accuracy": None, "low": None, "high": None, "trials": 0, "chance": 1 / ways}
    shares = _rounded({"accuracy": found.accuracy, "low": found.low, "high": found.high})
    return shares | {"trials": found.trials, "chance": 1 / ways}


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    # Six decimals are more than any test set can tell apart, and keep a last bit's difference out of `dvc metrics
    # diff`.
    return {name: None if value is None else round(value, 6) for name, value in values.items()}


def read(metrics_file: Path) -> dict[str, Any]:
    """What step `evaluate` wrote.

    Raises:
        InputError: the file is missing or isn't what `evaluate` writes.
    """
    try:
        figures = json.loads(metrics_file.read_text(encoding="utf-8"))
        to_text(figures)
    except FileNotFoundError:
        raise InputError(f"{metrics_file} is missing: run `siamese evaluate` first, or name another file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{metrics_file} holds no figures of an evaluation: run `siamese evaluate` again") from None
    return dict(figures)


def to_text(figures: Mapping[str, Any]) -> str:
    """The test split's figures, their 95 % intervals, and the raw-pixel baseline's beside them."""
    counts = figures["counts"]["test"]
    low, high, baseline = figures["test_low"], figures["test_high"], figures["baseline_raw_pixels"]
    rows = [("test", "value", "95 % interval", "raw pixels")]
    for name, value in figures["test"].items():
        between = f"{low[name]:.3f} to {high[name]:.3f}" if low.get(name) is not None else "-"
        rows.append((name, _figure(value), between, _figure(baseline.get(name))))
    for ways, found in figures["one_shot"].items():
        if found.get("accuracy") is not None:
            between = f"{found['low']:.3f} to {found['high']:.3f}"
            rows.append((f"one_shot {ways}", _figure(found["accuracy"]), between, "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{row[0]:<{widths[0]}}  " + "  ".join(f"{row[c]:>{widths[c]}}" for c in (1, 2, 3)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.append(f"{counts['pairs']} test pairs, threshold {figures['threshold']:.3f}")
    lines += [f"data: {figures['note']}"] if figures.get("note") else []
    lines += [f"model: {trained_on.doubt()}"] if trained_on.is_doubtful(figures) else []
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
