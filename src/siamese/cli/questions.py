"""Questions that change nothing: `inspect`, `summary`, `metrics`, `changes`, `params`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import places
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, here, where
from siamese.cli.steps import Plots
from siamese.remote import place
from siamese.staging import staged


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (inspect, summary, metrics, changes, params):
        app.command(rich_help_panel="Questions")(command)


def inspect(
    data: Annotated[str, where(help="Image folder.")],
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Also look at all pixels: near-duplicates, and images unlike the others.")
    ] = False,
    html: Annotated[
        Path | None, here("--html", metavar="FILE", help="Look thoroughly, and draw the report as a page, too.")
    ] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Report on a folder of images: what is usable, what isn't and why, and the split that would result."""
    from siamese import inspect as question
    from siamese.params import load

    values = load(params_file, settings or [])
    if html:
        from siamese import data_page

        data_page.refuse(html, place(data))  # before the minutes that looking takes
    read = question.survey(place(data), values.catalog, values.data.max_pixels)
    if html:
        data_page.refuse(html, place(data), read.folders)
    odd = question.look(read, values.data.max_pixels) if thorough or html else None
    report = question.report(read, odd)
    if html and odd:
        data_page.write(html, report, read, odd, values)
    answer(report.as_dict(), question.to_text(report), as_json)


def summary(
    draw: Annotated[Path | None, here("--draw", help="Also draw the network into this .svg or .png.")] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Print the network's layers, with shapes and numbers of parameters."""
    from siamese import summary as question
    from siamese.params import load

    if draw:
        question.drawing_kind(draw)  # before the seconds that the network takes
    table = question.summary(load(params_file, settings or []).model.network)
    if draw:
        question.draw(table, draw)
    answer(table.as_dict(), question.to_text(table), as_json)


def metrics(
    metrics_file: Annotated[str, where(help="What evaluate wrote.")] = str(places.METRICS), as_json: AsJson = False
) -> None:
    """Print the figures of the test split, with intervals and the raw-pixel baseline."""
    from siamese import figures

    with staged() as at:
        found = figures.read(at.input(metrics_file))
    answer(found, figures.to_text(found), as_json)


def changes(
    since: Annotated[str, typer.Option("--since", metavar="REV", help="Compare with this revision of git.")] = "HEAD",
    output: Annotated[
        Path | None, here("--output", metavar="FILE", help="Write the Markdown here.", show_default="print it")
    ] = None,
    verdict: Annotated[Path | None, typer.Option(metavar="FILE", help="What `siamese promote --json` printed.")] = None,
    picture: Annotated[
        Path | None,
        here("--picture", metavar="FILE.png", help="Draw the curves here, and show them in the report."),
    ] = None,
    picture_address: Annotated[
        str | None, typer.Option(metavar="URL", help="Where readers find the picture.", show_default="its path")
    ] = None,
    plots: Plots = str(places.PLOTS),
    earlier_plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Curves from before, drawn in grey.")
    ] = None,
) -> None:
    """Report in Markdown what has changed since a revision: figures, data, parameters, and what the gate says."""
    from siamese import changes as question

    judged = question.verdict(verdict) if verdict else None
    before, after = question.at(since), question.now()
    address = picture_address or (question.path_from(output, picture) if picture else None)
    text = question.render(before, after, judged, address)
    if picture:
        from siamese.changes import curves

        curves.draw(picture, Path(plots), places.HISTORY, earlier_plots)
    if output:
        question.write(output, text)
    else:
        print(text, end="")


def params(params_file: ParamsFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Print the effective parameters, validated."""
    from siamese.params import load, to_yaml

    values = load(params_file, settings or [], may_be_empty=True)
    answer(values.model_dump(), to_yaml(values).rstrip("\n"), as_json)
