"""A trained model in use: `verify`, `score`, `trials`, `calibrate`, `report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from siamese import kinds, places
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, done, here, where
from siamese.cli.steps import Catalog, Data, Images, Model, Pairs, Threshold
from siamese.remote import place
from siamese.staging import staged

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
    model: AnyModel = str(places.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Tell whether two images show the same identity: exit code 0 for the same, 1 for different."""
    from siamese import verify as command
    from siamese.params import load

    params = load(params_file, settings or [])
    with staged() as at:
        images, found = (at.input(a), at.input(b)), at.model(model)
        own = at.input_if_named(threshold_file)
        result = command.verify(*images, found, own, threshold, params.data.max_pixels)
    answer(result.as_dict(), str(result), as_json)
    return 0 if result.same else 1


def score(
    pairs_csv: Annotated[str, where(metavar="PAIRS.csv", help="Columns anchor and other: image paths.")],
    output: Annotated[str | None, where("--output", "-o", help="CSV to write.", show_default="terminal")] = None,
    model: AnyModel = str(places.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score a list of pairs: adds the columns score and same."""
    from siamese import score as command
    from siamese.params import load

    params = load(params_file, settings or [])
    with staged() as at:
        listed, found = at.input(pairs_csv), at.model(model)
        own = at.input_if_named(threshold_file)
        written = at.output_if_named(output, kinds.csv(*command.ADDED))
        scored = command.score(listed, found, own, threshold, params.data.max_pixels)
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
    model: AnyModel = str(places.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model by a protocol of your own: a list of trials, whose images lie in the data folder."""
    from siamese import trials as command
    from siamese.claims import Fusion
    from siamese.errors import InputError
    from siamese.files import write_json
    from siamese.params import load

    if fuse not in get_args(Fusion):
        raise InputError(f"--fuse {fuse}: must be one of {', '.join(get_args(Fusion))}")
    params = load(params_file, settings or [])
    with staged() as at:
        written = at.output_if_named(output, kinds.json_object)
        if log_file:
            at.output(str(log_file))
        result = command.run(
            at.input(trials_csv),
            place(data or params.data.path),
            at.model(model),
            at.input_if_named(threshold_file),
            threshold,
            cast(Fusion, fuse),
            at.input_if_named(cohort),
            log_file,
            at.output_if_named(scores_file, kinds.csv("probe", "score")),
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
    pairs_file: Pairs = str(places.PAIRS),
    images_folder: Images = str(places.IMAGES),
    model_folder: Model = str(places.MODEL),
    threshold_file: Threshold = str(places.CALIBRATED),
    split: Annotated[str, typer.Option(help="Use the pairs of this split; all: every pair.")] = "validation",
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Choose a new threshold on other pairs, without retraining."""
    from siamese import calibrate as command
    from siamese.params import load

    rule = load(params_file, settings or []).evaluate.threshold
    chosen_split = None if split == "all" else split
    with staged() as at:
        inputs = at.input(pairs_file), place(images_folder), at.input(model_folder)
        chosen = command.run(*inputs, at.output(threshold_file, kinds.json_object), rule, chosen_split)
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
    ] = str(places.MODEL),
    output: Annotated[str, where("--output", "-o", help="The page, one HTML file.")] = str(places.MODEL_REPORT),
    split: Annotated[str, typer.Option(help="Show the pairs of this split: test | validation | train.")] = "test",
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option("--pair", metavar="A B", help="Two images: show which of their regions matter, too."),
    ] = None,
    catalog_file: Catalog = str(places.CATALOG),
    pairs_file: Pairs = str(places.PAIRS),
    images_folder: Images = str(places.IMAGES),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Draw a page of pictures: pairs and scores, worst mistakes, ROC, a map of embeddings, which regions matter."""
    from siamese import model_page as command
    from siamese import whole_page
    from siamese.params import load
    from siamese.sample import STAND_IN

    params = load(params_file, settings or [])
    whole_page.refuse_elsewhere(place(output), command.GENERATOR)
    with staged() as at:
        command.run(
            at.model(model),
            at.input(catalog_file),
            at.input(pairs_file),
            place(images_folder),
            split,
            (at.input(pair[0]), at.input(pair[1])) if pair else None,
            at.output(output),
            at.input_if_named(threshold_file),
            threshold,
            params.evaluate,
            params.data.max_pixels,
            note=STAND_IN if Path(params.data.path).resolve() == places.SAMPLE.resolve() else None,
        )
    done("report", as_json, page=output)
