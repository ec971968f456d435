"""Published data: `fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siamese import paths
from siamese.cli.options import AsJson, done, here


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel="Data")(fetch)


def fetch(
    name: Annotated[str, typer.Argument(help="orl | omniglot | lfw | signatures")],
    sources: Annotated[
        list[Path] | None,
        here(
            "--from",
            help="Archive, or folder of archives or of what they held; may be repeated.",
            show_default="downloaded from the publisher",
        ),
    ] = None,
    to: Annotated[Path | None, here("--to", help="Folder to write; new or empty.", show_default="data/NAME")] = None,
    as_json: AsJson = False,
) -> None:
    """Lay out a published data set as identity folders, with its protocol beside them."""
    from siamese.data.datasets import fetch as command

    folder = to or Path("data") / command.of(name).name
    wrote = command.run(name, sources or [], folder, paths.DOWNLOADS)
    done("fetch", as_json, **({"images": folder} if wrote else {}))
