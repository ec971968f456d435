"""Step `evaluate`: a trained model in; its threshold, its metrics with their intervals, curves and a report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from siamese import calibrate, plots, report, trained_on
from siamese.errors import in_one_line
from siamese.files import existing, whole_file, write_json
from siamese.measured import Judged, Measured, measure_model
from siamese.metrics import METRICS
from siamese.one_shot import OneShot
from siamese.params import EvaluateParams
from siamese.progress import say
from siamese.remote import Place
from siamese.scores import Images, Scorer
from siamese.tables import read_table
from siamese.trained_on import TrainedOn
from siamese.weights import weights_digest

CATALOG_COLUMNS = ["image_id", "identity", "role", "split"]
PAIR_COLUMNS = ["anchor_id", "other_id", "label", "split"]
BASELINE_METRICS = ("eer", "auc", "accuracy", "precision")


def run(
    catalog_file: Path,
    pairs_file: Path,
    images_folder: Place,
    model_folder: Path,
    history_file: Path,
    metrics_file: Path,
    plots_folder: Path,
    report_file: Path,
    threshold_file: Path,
    params: EvaluateParams,
    note: str | None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Evaluates the model in `model_folder`: the step as DVC and Kubeflow call it.

    Args:
        catalog_file, pairs_file, images_folder, model_folder: what the earlier steps wrote.
        history_file: history.csv of step `train`; where it is missing the report has no training curves.
        metrics_file, plots_folder, report_file, threshold_file: what is written.
        note: a sentence shown on top of the report, such as that the data is a stand-in.
        settings: the parameters of all steps, for the report alone.

    Raises:
        InputError: an input is missing, or doesn't allow an evaluation; or the model has seen what is to measure it.
    """
    from siamese import stored
    from siamese.verifier import Verifier

    images = stored.opened(existing(images_folder, "siamese preprocess"))
    history = _history(history_file)
    catalog, pairs = _tables(catalog_file, pairs_file)
    seen = trained_on.require_unseen(model_folder, catalog, catalog_file)
    measured = measure_model(catalog, pairs, Verifier.load(model_folder), images, params)
    if not seen.complete:
        say(f"{model_folder}: {trained_on.doubt()}")
    calibrate.write_threshold(threshold_file, measured.model.threshold, "validation", weights_digest(model_folder))
    plots.write(plots_folder, measured)
    with whole_file(report_file) as beside:
        page = report.render(measured, images, history, params, note, settings, seen.complete)
        beside.write_text(page, encoding="utf-8", newline="\n")
    write_json(metrics_file, metrics(measured, params, note, seen))


def measure(
    catalog_file: Path,
    pairs_file: Path,
    images: Images,
    scorer: Scorer,
    params: EvaluateParams,
    model_file: Path,
) -> Measured:
    """What `scorer` makes of the pairs of splits validation and test, measured and not written.

    Args:
        model_file: of `scorer`: what it has seen is noted beside it.

    Raises:
        InputError: as `run`.
    """
    catalog, pairs = _tables(catalog_file, pairs_file)
    seen = trained_on.require_unseen(model_file.parent, catalog, catalog_file)
    if not seen.complete:
        say(f"{model_file}: {trained_on.doubt()}")
    return measure_model(catalog, pairs, scorer, images, params)


def _tables(catalog_file: Path, pairs_file: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    catalog = read_table(existing(catalog_file, "siamese catalog"), CATALOG_COLUMNS)
    return catalog, read_table(existing(pairs_file, "siamese pairs"), PAIR_COLUMNS)


def _history(file: Path) -> pd.DataFrame | None:
    if not file.exists():
        return None
    with in_one_line(f"{file}: is no history of a training: run `siamese train` again"):
        return pd.read_csv(file).astype(float)


def metrics(measured: Measured, params: EvaluateParams, note: str | None, seen: TrainedOn) -> dict[str, Any]:
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


def _judged(name: str, judged: Judged, wanted: Sequence[str]) -> dict[str, dict[str, float | None]]:
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
