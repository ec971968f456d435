"""A trained model in use: `verify`, `score`, `calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from siamese import places
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, done
from siamese.cli.steps import Images, Model, Pairs, Threshold

AnyModel = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="Model folder, models:/NAME/VERSION, models:/NAME@ALIAS, or a .keras file."
    ),
]
ItsThreshold = Annotated[
    Path | None,
    typer.Option("--threshold-file", help="Another threshold.", show_default="the model's own"),
]
OwnThreshold = Annotated[
    float | None,
    typer.Option("--threshold", min=0, max=1, help="Decide at this score.", show_default="the one evaluate chose"),
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (verify, score, calibrate):
        app.command(rich_help_panel="A model in use")(command)


def verify(
    a: Annotated[Path, typer.Argument(help="An image.")],
    b: Annotated[Path, typer.Argument(help="Another image.")],
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
    result = command.verify(a, b, model, threshold_file, threshold, params.data.max_pixels)
    answer(result.as_dict(), str(result), as_json)
    return 0 if result.same else 1


def score(
    pairs_csv: Annotated[Path, typer.Argument(metavar="PAIRS.csv", help="Columns anchor and other: image paths.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV to write.", show_default="terminal")
    ] = None,
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
    scored = command.score(pairs_csv, model, threshold_file, threshold, params.data.max_pixels)
    if output:
        command.write(scored, output)
        done("score", as_json, scores=output)
    else:
        answer({"pairs": scored.to_dict("records")}, scored.to_csv(index=False).rstrip("\n"), as_json)


def calibrate(
    pairs_file: Pairs = places.PAIRS,
    images_folder: Images = places.IMAGES,
    model_folder: Model = places.MODEL,
    threshold_file: Threshold = places.CALIBRATED,
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
    chosen = command.run(pairs_file, images_folder, model_folder, threshold_file, rule, chosen_split)
    text = (
        f"threshold {chosen.threshold:.4f} by {rule} from {chosen.pairs} pairs: use --threshold-file {threshold_file}"
    )
    answer(asdict(chosen), text, as_json)
