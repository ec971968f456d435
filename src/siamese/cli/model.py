"""A trained model in use: `verify`, `score`, `trials`, `calibrate`, `report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from siamese import paths
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, done, here, where
from siamese.cli.steps import Catalog, Data, Images, Model, Pairs, Threshold
from siamese.storage import file_types
from siamese.storage.object_store import as_path
from siamese.storage.staging import staged

AnyModel = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="Model folder, models:/NAME/VERSION, models:/NAME@ALIAS, or a .keras file."
    ),
]
ItsThreshold = Annotated[
    str | None, where("--threshold-file", help="Another threshold.", show_default="the model's own")
]
OwnThreshold = Annotated[
    float | None,
    typer.Option("--threshold", min=0, max=1, help="Decide at this score.", show_default="the one evaluate chose"),
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (verify, score, trials, calibrate, report):
        app.command(rich_help_panel="A model in use")(command)


def verify(
    a: Annotated[str, where(help="An image.")],
    b: Annotated[str, where(help="Another image.")],
    model: AnyModel = str(paths.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Tell whether two images show the same identity: exit code 0 for the same, 1 for different."""
    from siamese.config import load_params
    from siamese.models import verify as command
    from siamese.registry.locator import resolve_model

    params = load_params(params_file, settings or [])
    with staged() as at:
        images = at.input(a), at.input(b)
        resolved = resolve_model(at.model(model), at.input_if_named(threshold_file))
        result = command.verify(*images, resolved, threshold, params.data.max_pixels)
    answer(result.as_dict(), str(result), as_json)
    return 0 if result.same else 1


def score(
    pairs_csv: Annotated[str, where(metavar="PAIRS.csv", help="Columns anchor and other: image paths.")],
    output: Annotated[str | None, where("--output", "-o", help="CSV to write.", show_default="terminal")] = None,
    model: AnyModel = str(paths.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a list of pairs: adds the columns score and same."""
    from siamese.config import load_params
    from siamese.models import score as command
    from siamese.registry.locator import resolve_model

    params = load_params(params_file, settings or [])
    with staged() as at:
        listed = at.input(pairs_csv)
        resolved = resolve_model(at.model(model), at.input_if_named(threshold_file))
        written = at.output_if_named(output, file_types.csv(*command.ADDED))
        scored = command.score_list(listed, resolved, threshold, params.data.max_pixels)
        if written:
            command.write(scored, written)
    if output:
        done("score", as_json, scores=output)
    else:
        answer({"pairs": scored.to_dict("records")}, scored.to_csv(index=False).rstrip("\n"), as_json)


def trials(
    trials_csv: Annotated[
        str, where(metavar="TRIALS.csv", help="Columns probe, reference, label [, claim, trial, kind].")
    ],
    data: Data = None,
    output: Annotated[str | None, where("--output", "-o", help="JSON to write.", show_default="terminal")] = None,
    fuse: Annotated[
        str, typer.Option(help="A claim's score: mean of its references' | best | relative: to how like they are.")
    ] = "mean",
    cohort: Annotated[
        str | None, where("--cohort", help="Catalog: hold each image against its training images, too.")
    ] = None,
    log_file: Annotated[
        Path | None, here("--log", help="Add a row to this CSV: which list was scored when, by which model.")
    ] = None,
    scores_file: Annotated[str | None, where("--scores", help="CSV to write: each claim's score.")] = None,
    model: AnyModel = str(paths.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model by a protocol of your own: a list of trials, whose images lie in the data folder."""
    from siamese.config import load_params
    from siamese.errors import InputError
    from siamese.evaluation import trials as command
    from siamese.evaluation.score_fusion import Fusion
    from siamese.registry.locator import resolve_model
    from siamese.storage.files import write_json

    if fuse not in get_args(Fusion):
        raise InputError(f"--fuse {fuse}: must be one of {', '.join(get_args(Fusion))}")
    params = load_params(params_file, settings or [])
    with staged() as at:
        written = at.output_if_named(output, file_types.json_object)
        if log_file:
            at.output(str(log_file))
        result = command.run(
            at.input(trials_csv),
            as_path(data or params.data.path),
            resolve_model(at.model(model), at.input_if_named(threshold_file)),
            threshold,
            cast(Fusion, fuse),
            at.input_if_named(cohort),
            log_file,
            at.output_if_named(scores_file, file_types.csv("probe", "score")),
            params.evaluate,
            params.data.max_pixels,
        )
        if written:
            write_json(written, result.as_dict())
    if output:
        done("trials", as_json, figures=output)
    else:
        answer(result.as_dict(), str(result), as_json)


def calibrate(
    pairs_file: Pairs = str(paths.PAIRS),
    images_folder: Images = str(paths.IMAGES),
    model_folder: Model = str(paths.MODEL),
    threshold_file: Threshold = str(paths.CALIBRATED),
    split: Annotated[str, typer.Option(help="Use the pairs of this split; all: every pair.")] = "validation",
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Choose a new threshold on other pairs, without retraining."""
    from siamese.config import load_params
    from siamese.evaluation import choose_threshold as command

    rule = load_params(params_file, settings or []).evaluate.threshold
    chosen_split = None if split == "all" else split
    with staged() as at:
        inputs = at.input(pairs_file), as_path(images_folder), at.input(model_folder)
        chosen = command.run(*inputs, at.output(threshold_file, file_types.json_object), rule, chosen_split)
    text = (
        f"threshold {chosen.threshold:.4f} by {rule} from {chosen.pairs} pairs: use --threshold-file {threshold_file}"
    )
    answer(asdict(chosen), text, as_json)


def report(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Model folder, models:/NAME/VERSION, models:/NAME@ALIAS, or a .keras file."
        ),
    ] = str(paths.MODEL),
    output: Annotated[str, where("--output", "-o", help="The page, one HTML file.")] = str(paths.MODEL_REPORT),
    split: Annotated[str, typer.Option(help="Show the pairs of this split: test | validation | train.")] = "test",
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option("--pair", metavar="A B", help="Two images: show which of their regions matter, too."),
    ] = None,
    catalog_file: Catalog = str(paths.CATALOG),
    pairs_file: Pairs = str(paths.PAIRS),
    images_folder: Images = str(paths.IMAGES),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw a page of pictures: pairs and scores, worst mistakes, ROC, a map of embeddings, which regions matter."""
    from siamese.config import load_params
    from siamese.data.synthetic.sample import STAND_IN
    from siamese.evaluation.model_report import explain as command
    from siamese.registry.locator import resolve_model
    from siamese.reporting import pages

    params = load_params(params_file, settings or [])
    pages.require_local_page(as_path(output), command.GENERATOR)
    with staged() as at:
        command.run(
            resolve_model(at.model(model), at.input_if_named(threshold_file)),
            at.input(catalog_file),
            at.input(pairs_file),
            as_path(images_folder),
            split,
            (at.input(pair[0]), at.input(pair[1])) if pair else None,
            at.output(output),
            threshold,
            params.evaluate,
            params.data.max_pixels,
            note=STAND_IN if Path(params.data.path).resolve() == paths.SAMPLE.resolve() else None,
        )
    done("report", as_json, page=output)
