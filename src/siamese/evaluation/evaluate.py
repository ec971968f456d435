"""Step `evaluate`: a trained model in; its threshold, its metrics with their intervals, curves and a report out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from siamese.console import log
from siamese.errors import as_input_error
from siamese.evaluation import choose_threshold, curves, report, results
from siamese.evaluation.measurement import Evaluation, measure_model
from siamese.models import trained_on
from siamese.models.artifacts import weights_digest
from siamese.models.scoring import Images, Scorer
from siamese.params import EvaluateParams
from siamese.storage.files import atomic_file, require_exists, write_json
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table

CATALOG_COLUMNS = ["image_id", "identity", "role", "split"]
PAIR_COLUMNS = ["anchor_id", "other_id", "label", "split"]


def run(
    catalog_file: Path,
    pairs_file: Path,
    images_folder: AnyPath,
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
    from siamese.models.verifier import Verifier
    from siamese.preprocessing import pixel_store

    images = pixel_store.open_store(require_exists(images_folder, "siamese preprocess"))
    history = _history(history_file)
    catalog, pairs = _tables(catalog_file, pairs_file)
    seen = trained_on.require_unseen(model_folder, catalog, catalog_file)
    measured = measure_model(catalog, pairs, Verifier.load(model_folder), images, params)
    if not seen.complete:
        log(f"{model_folder}: {trained_on.doubt()}")
    choose_threshold.write_threshold(
        threshold_file, measured.model.threshold, "validation", weights_digest(model_folder)
    )
    curves.write(plots_folder, measured)
    with atomic_file(report_file) as beside:
        page = report.render(measured, images, history, params, note, settings, seen.complete)
        beside.write_text(page, encoding="utf-8", newline="\n")
    write_json(metrics_file, results.metrics(measured, params, note, seen))


def measure(
    catalog_file: Path,
    pairs_file: Path,
    images: Images,
    scorer: Scorer,
    params: EvaluateParams,
    model_file: Path,
) -> Evaluation:
    """What `scorer` makes of the pairs of splits validation and test, measured and not written.

    Args:
        model_file: of `scorer`: what it has seen is noted beside it.

    Raises:
        InputError: as `run`.
    """
    catalog, pairs = _tables(catalog_file, pairs_file)
    seen = trained_on.require_unseen(model_file.parent, catalog, catalog_file)
    if not seen.complete:
        log(f"{model_file}: {trained_on.doubt()}")
    return measure_model(catalog, pairs, scorer, images, params)


def _tables(catalog_file: Path, pairs_file: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    catalog = read_table(require_exists(catalog_file, "siamese catalog"), CATALOG_COLUMNS)
    return catalog, read_table(require_exists(pairs_file, "siamese pairs"), PAIR_COLUMNS)


def _history(file: Path) -> pd.DataFrame | None:
    if not file.exists():
        return None
    with as_input_error(f"{file}: is no history of a training: run `siamese train` again"):
        return pd.read_csv(file).astype(float)
