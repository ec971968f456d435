"""The pipeline's steps as commands: same name, same parameters, same default paths as the stages of dvc.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import places
from siamese.cli.options import AsJson, ParamsFile, Settings, done

# The sections that a measured model depends on: what the report shows.
MEASURED = ("data", "sample", "catalog", "pairs", "preprocess", "model", "train", "evaluate")

Data = Annotated[Path | None, typer.Option("--data", help="Image folder.", show_default="data.path of params.yaml")]
Catalog = Annotated[Path, typer.Option("--catalog", help="Catalog of images.")]
Rejected = Annotated[Path, typer.Option("--rejected", help="Files that were not taken, with reasons.")]
Pairs = Annotated[Path, typer.Option("--pairs", help="Labelled pairs.")]
Images = Annotated[Path, typer.Option("--images", help="Stored pixels.")]
Transform = Annotated[Path, typer.Option("--transform", help="Transform graph.")]
Model = Annotated[Path, typer.Option("--model", help="Model folder.")]
Run = Annotated[Path, typer.Option("--run", help="Which run in MLflow this training is.")]
History = Annotated[Path, typer.Option("--history", help="Figures of each epoch.")]
Metrics = Annotated[Path, typer.Option("--metrics", help="Figures of the test split.")]
Plots = Annotated[Path, typer.Option("--plots", help="Curves, as CSV.")]
Report = Annotated[Path, typer.Option("--report", help="The report, one HTML file.")]
Threshold = Annotated[Path, typer.Option("--threshold-file", help="The threshold chosen.")]


def add_to(app: typer.Typer) -> None:
    """Adds the steps in the order in which they run."""
    for step in (sample, catalog, pairs, preprocess, train, evaluate):
        app.command(rich_help_panel="Pipeline steps")(step)


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.")] = places.SAMPLE,
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
    from siamese import sample as step
    from siamese.params import load

    given = dict(identities=identities, images=images, seed=seed, layout=layout, forgeries=forgeries)
    own = [f"sample.{key}={str(value).lower()}" for key, value in given.items() if value is not None]
    step.run(out, load(params_file, [*(settings or []), *own]).sample)
    done("sample", as_json, images=out)


def catalog(
    data: Data = None,
    catalog_file: Catalog = places.CATALOG,
    rejected_file: Rejected = places.REJECTED,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List the usable images of a folder, and give each identity its split."""
    from siamese import catalog as step
    from siamese.params import load

    params = load(params_file, settings or [])
    step.run(data or Path(params.data.path), catalog_file, rejected_file, params.catalog, params.data.max_pixels)
    done("catalog", as_json, catalog=catalog_file, rejected=rejected_file)


def pairs(
    catalog_file: Catalog = places.CATALOG,
    pairs_file: Pairs = places.PAIRS,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw which two images are compared, within each split."""
    from siamese import pairs as step
    from siamese.params import load

    step.run(catalog_file, pairs_file, load(params_file, settings or []).pairs)
    done("pairs", as_json, pairs=pairs_file)


def preprocess(
    data: Data = None,
    catalog_file: Catalog = places.CATALOG,
    images_folder: Images = places.IMAGES,
    transform_folder: Transform = places.TRANSFORM,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write every image once as the network sees it, and the graph that does so."""
    from siamese import preprocess as step
    from siamese.params import load

    params = load(params_file, settings or [])
    data_folder = data or Path(params.data.path)
    step.run(data_folder, catalog_file, images_folder, transform_folder, params.preprocess, params.data.max_pixels)
    done("preprocess", as_json, images=images_folder, transform=transform_folder)


def train(
    catalog_file: Catalog = places.CATALOG,
    pairs_file: Pairs = places.PAIRS,
    images_folder: Images = places.IMAGES,
    transform_folder: Transform = places.TRANSFORM,
    model_folder: Model = places.MODEL,
    history_file: History = places.HISTORY,
    run_file: Run = places.RUN,
    checkpoint_folder: Annotated[Path, typer.Option("--checkpoints", help="Working files.")] = places.CHECKPOINTS,
    resume: Annotated[
        Path | None,
        typer.Option(help="Continue from this checkpoint, or a folder of them.", show_default="the run's own newest"),
    ] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train the network; started again after an interruption, continue where it was."""
    from siamese import train as step
    from siamese.params import load
    from siamese.tracking.record import recorded

    params = load(params_file, settings or [])
    with recorded(params, catalog_file, history_file, run_file) as listener:
        wrote = step.run(
            catalog_file,
            pairs_file,
            images_folder,
            transform_folder,
            model_folder,
            history_file,
            params.train,
            params.model.network,
            checkpoint_folder,
            resume,
            listener,
        )
    outputs = {"model": model_folder, "history": history_file, "run": run_file}
    done("train", as_json, **(outputs if wrote else {}))


def evaluate(
    catalog_file: Catalog = places.CATALOG,
    pairs_file: Pairs = places.PAIRS,
    images_folder: Images = places.IMAGES,
    model_folder: Model = places.MODEL,
    history_file: History = places.HISTORY,
    metrics_file: Metrics = places.METRICS,
    plots_folder: Plots = places.PLOTS,
    report_file: Report = places.REPORT,
    threshold_file: Threshold = places.THRESHOLD,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Choose the threshold on validation pairs, then measure once on the test split."""
    from siamese import evaluate as step
    from siamese.params import load
    from siamese.sample import STAND_IN

    params = load(params_file, settings or [])
    step.run(
        catalog_file,
        pairs_file,
        images_folder,
        model_folder,
        history_file,
        metrics_file,
        plots_folder,
        report_file,
        threshold_file,
        params.evaluate,
        settings=params.model_dump(include=set(MEASURED)),
        note=STAND_IN if Path(params.data.path).resolve() == places.SAMPLE.resolve() else None,
    )
    done("evaluate", as_json, metrics=metrics_file, plots=plots_folder, report=report_file, threshold=threshold_file)
