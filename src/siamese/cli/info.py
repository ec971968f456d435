"""Questions that change nothing: `inspect`, `summary`, `metrics`, `changes`, `params`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import paths
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, here, where
from siamese.cli.steps import Plots
from siamese.storage.object_store import as_path
from siamese.storage.staging import staged


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
    from siamese.config import load_params
    from siamese.data.inspection import report as question

    values = load_params(params_file, settings or [])
    if html:
        from siamese.data.inspection import page

        page.refuse(html, as_path(data))  # before the minutes that looking takes
    read = question.survey(as_path(data), values.catalog, values.data.max_pixels)
    if html:
        page.refuse(html, as_path(data), read.folders)
    odd = question.look(read, values.data.max_pixels) if thorough or html else None
    report = question.report(read, odd)
    if html and odd:
        page.write(html, report, read, odd, values)
    answer(report.as_dict(), question.to_text(report), as_json)


def summary(
    draw: Annotated[Path | None, here("--draw", help="Also draw the network into this .svg or .png.")] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Print the network's layers, with shapes and numbers of parameters."""
    from siamese.config import load_params
    from siamese.models import summary as question

    if draw:
        question.drawing_kind(draw)  # before the seconds that the network takes
    table = question.summary(load_params(params_file, settings or []).model.network)
    if draw:
        question.draw(table, draw)
    answer(table.as_dict(), question.to_text(table), as_json)


def metrics(
    metrics_file: Annotated[str, where(help="What evaluate wrote.")] = str(paths.METRICS), as_json: AsJson = False
) -> None:
    """Print the figures of the test split, with intervals and the raw-pixel baseline."""
    from siamese.evaluation import results

    with staged() as at:
        found = results.read(at.input(metrics_file))
    answer(found, results.to_text(found), as_json)


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
    plots: Plots = str(paths.PLOTS),
    earlier_plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Curves from before, drawn in grey.")
    ] = None,
) -> None:
    """Report in Markdown what has changed since a revision: figures, data, parameters, and what the gate says."""
    from siamese.monitoring import diff as question

    judged = question.verdict(verdict) if verdict else None
    before, after = question.at(since), question.now()
    address = picture_address or (question.path_from(output, picture) if picture else None)
    text = question.render(before, after, judged, address)
    if picture:
        from siamese.monitoring import diff_curves

        diff_curves.draw(picture, Path(plots), paths.HISTORY, earlier_plots)
    if output:
        question.write(output, text)
    else:
        print(text, end="")


def params(params_file: ParamsFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Print the effective parameters, validated."""
    from siamese.config import load_params, to_yaml

    values = load_params(params_file, settings or [], may_be_empty=True)
    answer(values.model_dump(), to_yaml(values).rstrip("\n"), as_json)
