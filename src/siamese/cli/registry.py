"""From a model on a disk to a version of the registry, and back to its origin: `register`, `lineage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import paths
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, where
from siamese.cli.steps import Catalog, Data, History, Metrics, Model, Plots, Report, Run, Threshold
from siamese.storage.object_store import as_path
from siamese.storage.staging import staged


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel="Pipeline steps")(register)
    app.command(rich_help_panel="Questions")(lineage)


def register(
    model_folder: Model = str(paths.MODEL),
    threshold_file: Threshold = str(paths.THRESHOLD),
    metrics_file: Metrics = str(paths.METRICS),
    plots_folder: Plots = str(paths.PLOTS),
    report_file: Report = str(paths.REPORT),
    catalog_file: Catalog = str(paths.CATALOG),
    history_file: History = str(paths.HISTORY),
    run_file: Run = str(paths.RUN),
    data: Data = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Make the trained model a version of the registered model, the challenger; nothing if it is one already."""
    from siamese.config import load_params
    from siamese.data import linked_folders
    from siamese.registry import register as step
    from siamese.tracking.dvc_stage import params_used

    params = params_used(load_params(params_file, settings or []), [Path(metrics_file), Path(threshold_file)])
    data_folder = as_path(data or params.data.path)
    linked_folders.warn(data_folder)
    with staged() as at:
        registered = step.run(
            at.input(model_folder),
            at.input(threshold_file),
            at.input(metrics_file),
            at.input(plots_folder),
            at.input(report_file),
            at.input(catalog_file),
            at.input(history_file),
            at.input(run_file),
            data_folder,
            params,
        )
    answer(registered.as_dict(), step.to_text(registered), as_json)


def lineage(
    model: Annotated[
        str | None,
        typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS.", show_default="the champion"),
    ] = None,
    save_params: Annotated[
        str | None, where("--save-params", metavar="FILE", help="Write its parameters as a params.yaml.")
    ] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Tell which data, code and parameters a registered model came from, and the commands that make it again."""
    from siamese.config import load_params
    from siamese.registry import lineage as question
    from siamese.registry.client import CHAMPION, SCHEME

    reference = model or f"{SCHEME}{load_params(params_file, settings or []).registry.name}@{CHAMPION}"
    if save_params:
        with staged() as at:
            question.save_params(reference, at.output(save_params))
        answer({"params": str(save_params)}, f"lineage: wrote {save_params}", as_json)
        return
    found = question.lineage(reference)
    answer(found.as_dict(), question.to_text(found), as_json)
