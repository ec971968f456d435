"""The pipeline's steps as commands: same name, same parameters, same default paths as the stages of dvc.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import paths
from siamese.cli.options import AsJson, ParamsFile, Settings, done, where
from siamese.errors import InputError
from siamese.storage import file_types
from siamese.storage.object_store import as_path
from siamese.storage.staging import staged

# The sections that a measured model depends on: what the report shows.
MEASURED = ("data", "sample", "catalog", "pairs", "preprocess", "model", "train", "evaluate")

Data = Annotated[str | None, where("--data", help="Image folder.", show_default="data.path of params.yaml")]
Catalog = Annotated[str, where("--catalog", help="Catalog of images.")]
Rejected = Annotated[str, where("--rejected", help="Files that were not taken, with reasons.")]
Pairs = Annotated[str, where("--pairs", help="Labelled pairs.")]
Images = Annotated[str, where("--images", help="Stored pixels.")]
Transform = Annotated[str, where("--transform", help="Transform graph.")]
Model = Annotated[str, where("--model", help="Model folder.")]
Run = Annotated[str, where("--run", help="Which run in MLflow this training is.")]
History = Annotated[str, where("--history", help="Figures of each epoch.")]
Metrics = Annotated[str, where("--metrics", help="Figures of the test split.")]
Plots = Annotated[str, where("--plots", help="Curves, as CSV.")]
Report = Annotated[str, where("--report", help="The report, one HTML file.")]
Threshold = Annotated[str, where("--threshold-file", help="The threshold chosen.")]


def add_to(app: typer.Typer) -> None:
    """Adds the steps in the order in which they run."""
    for step in (sample, catalog, pairs, preprocess, train, evaluate):
        app.command(rich_help_panel="Pipeline steps")(step)


def sample(
    out: Annotated[str, where(help="Folder to write; must be new or empty.")] = str(paths.SAMPLE),
    identities: Annotated[int | None, typer.Option(help="Writers.", show_default="sample.identities")] = None,
    images: Annotated[int | None, typer.Option(help="Signatures a writer.", show_default="sample.images")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same pixels.", show_default="sample.seed")] = None,
    layout: Annotated[str | None, typer.Option(help="identities | roles", show_default="sample.layout")] = None,
    forgeries: Annotated[bool | None, typer.Option(help="Draw forgeries too.", show_default="sample.forgeries")] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw pen signatures, a stand-in for real data, into a new folder."""
    from siamese.config import load_params
    from siamese.data.synthetic import sample as step

    given = dict(identities=identities, images=images, seed=seed, layout=layout, forgeries=forgeries)
    own = [f"sample.{key}={str(value).lower()}" for key, value in given.items() if value is not None]
    with staged() as at:
        step.run(at.output_folder(out, own=[]), load_params(params_file, [*(settings or []), *own]).sample)
    done("sample", as_json, images=out)


def catalog(
    data: Data = None,
    catalog_file: Catalog = str(paths.CATALOG),
    rejected_file: Rejected = str(paths.REJECTED),
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List the usable images of a folder, and give each identity its split."""
    from siamese.config import load_params
    from siamese.data import catalog as step

    params = load_params(params_file, settings or [])
    with staged() as at:
        outputs = (
            at.output(catalog_file, file_types.parquet),
            at.output(rejected_file, file_types.csv("path", "reason"), tells_why=True),
        )
        step.run(as_path(data or params.data.path), *outputs, params.catalog, params.data.max_pixels)
    done("catalog", as_json, catalog=catalog_file, rejected=rejected_file)


def pairs(
    catalog_file: Catalog = str(paths.CATALOG),
    pairs_file: Pairs = str(paths.PAIRS),
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw which two images are compared, within each split."""
    from siamese.config import load_params
    from siamese.data import pairs as step

    params = load_params(params_file, settings or [])
    with staged() as at:
        step.run(at.input(catalog_file), at.output(pairs_file, file_types.parquet), params.pairs)
    done("pairs", as_json, pairs=pairs_file)


def preprocess(
    data: Data = None,
    catalog_file: Catalog = str(paths.CATALOG),
    images_folder: Images = str(paths.IMAGES),
    transform_folder: Transform = str(paths.TRANSFORM),
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write every image once as the network sees it, and the graph that does so."""
    from siamese.config import load_params
    from siamese.preprocessing import preprocess as step

    params = load_params(params_file, settings or [])
    with staged() as at:
        step.run(
            as_path(data or params.data.path),
            at.input(catalog_file),
            as_path(images_folder),
            at.output_folder(transform_folder, step.OWN, mark="transform_fn/saved_model.pb"),
            params.preprocess,
            params.model.network,
            params.data.max_pixels,
        )
    done("preprocess", as_json, images=images_folder, transform=transform_folder)


def train(
    catalog_file: Catalog = str(paths.CATALOG),
    pairs_file: Pairs = str(paths.PAIRS),
    images_folder: Images = str(paths.IMAGES),
    transform_folder: Transform = str(paths.TRANSFORM),
    model_folder: Model = str(paths.MODEL),
    history_file: History = str(paths.HISTORY),
    run_file: Run = str(paths.RUN),
    checkpoint_folder: Annotated[str, where("--checkpoints", help="Working files.")] = str(paths.CHECKPOINTS),
    resume: Annotated[
        str | None,
        where("--resume", help="Continue from this checkpoint, or a folder.", show_default="the run's own newest"),
    ] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train the network; started again after an interruption, continue where it was."""
    from siamese.config import load_params
    from siamese.models.artifacts import weights_digest
    from siamese.registry.locator import initial_weights
    from siamese.tracking.dvc_stage import WatchfulListener, params_used
    from siamese.tracking.recorder import record_training
    from siamese.training import train as step

    params = load_params(params_file, settings or [])
    with staged() as at:
        inputs = (
            at.input(catalog_file, beside=[paths.REJECTED.name]),  # which the record keeps
            at.input(pairs_file),
            as_path(images_folder),
            at.input(transform_folder),
        )
        model = at.output_folder(model_folder, step.MODEL_FILES, mark="servable/saved_model.pb")
        history, run = at.output(history_file, file_types.csv("epoch")), at.output(run_file, file_types.json_object)
        checkpoints = at.working_folder(checkpoint_folder)
        begin_at = at.input_if_named(resume)
        used = params_used(params, [*inputs[:2], Path(images_folder)])
        with record_training(used, inputs[0], history, run) as listener:
            wrote = step.run(
                *inputs,
                model,
                history,
                params.train,
                params.model,
                checkpoints,
                resume=begin_at,
                listener=WatchfulListener(listener),
                first_weights=initial_weights(params.model.initial_weights),
            )
            if wrote:
                listener.weights = weights_digest(model)
    outputs = {"model": model_folder, "history": history_file, "run": run_file}
    done("train", as_json, **(outputs if wrote else {}))


def evaluate(
    catalog_file: Catalog = str(paths.CATALOG),
    pairs_file: Pairs = str(paths.PAIRS),
    images_folder: Images = str(paths.IMAGES),
    model_folder: Model = str(paths.MODEL),
    history_file: History = str(paths.HISTORY),
    metrics_file: Metrics = str(paths.METRICS),
    plots_folder: Plots = str(paths.PLOTS),
    report_file: Report = str(paths.REPORT),
    threshold_file: Threshold = str(paths.THRESHOLD),
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Choose the threshold on validation pairs, then measure once on the test split."""
    from siamese.config import load_params
    from siamese.data.synthetic.sample import STAND_IN
    from siamese.evaluation import evaluate as step
    from siamese.tracking.dvc_stage import params_used

    params = load_params(params_file, settings or [])
    used = params_used(params, [Path(file) for file in (catalog_file, pairs_file, images_folder, history_file)])
    if used.data.path != params.data.path:
        raise InputError(
            f"params.yaml: data.path is {params.data.path} now, {catalog_file} was made from {used.data.path}; "
            "run `dvc repro` again"
        )
    with staged() as at:
        step.run(
            at.input(catalog_file),
            at.input(pairs_file),
            as_path(images_folder),
            at.input(model_folder),
            at.input(history_file),
            at.output(metrics_file, file_types.json_object),
            at.output_folder(plots_folder, own=["*.csv"]),
            at.output(report_file, file_types.page),
            at.output(threshold_file, file_types.json_object),
            params.evaluate,
            settings=used.model_dump(include=set(MEASURED)),
            note=STAND_IN if Path(params.data.path).resolve() == paths.SAMPLE.resolve() else None,
        )
    done("evaluate", as_json, metrics=metrics_file, plots=plots_folder, report=report_file, threshold=threshold_file)
