"""A model that answers over HTTP: `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import paths
from siamese.cli.model import AnyModel, ItsThreshold, OwnThreshold
from siamese.cli.options import ParamsFile, Settings, here
from siamese.storage.staging import staged


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel="A model in use")(serve)


def serve(
    model: AnyModel = str(paths.MODEL),
    threshold_file: ItsThreshold = None,
    threshold: OwnThreshold = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: a free one.")] = 8000,
    log: Annotated[
        Path | None, here("--log", help="Append each prediction to this file, without images.", show_default="none")
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Print a line of JSON for each request.")] = False,
    params_file: ParamsFile = None,
    settings: Settings = None,
) -> None:
    """Answer over HTTP which images show the same identity, until stopped by SIGTERM or Ctrl-C."""
    from siamese.config import load_params
    from siamese.serving import server

    params = load_params(params_file, settings or [])
    limits, max_pixels = params.serve, params.data.max_pixels
    with staged() as at:
        own = at.input_if_named(threshold_file)
        server.run(at.model(model), own, threshold, host, port, log, access_log, limits, max_pixels)
