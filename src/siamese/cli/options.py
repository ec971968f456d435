"""Options that every command shares, and how a command answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from siamese.storage.object_store import is_uri


def where(*names: str, help: str, **settings: Any) -> Any:
    """An option or argument that is a path or a URI: a text, as a Path would make one slash of two.

    Args:
        names: of the option; none: it is an argument.
    """
    kind = typer.Option if names else typer.Argument
    return kind(*names, **{"metavar": "PATH", "help": help, **settings})


def here(*names: str, help: str, **settings: Any) -> Any:
    """As `where`, for a Path of this machine: a URI is refused."""
    return where(*names, help=help, parser=_local, **settings)


def _local(text: str | Path) -> Path:
    if is_uri(str(text)):
        raise typer.BadParameter(f"{text} is a URI: name a path of this machine")
    return Path(text)


def _refuse_other_forms(settings: list[str] | None) -> list[str] | None:
    """Raise InputError for `-S train.epochs = 3`, three words, before Typer complains of the last two."""
    from siamese.config import key_and_text

    for setting in settings or []:
        key_and_text(setting)
    return settings


ParamsFile = Annotated[
    Path | None, here("--params", help="Read parameters from this file.", show_default="params.yaml")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-S",
        "--set",
        metavar="KEY=VALUE",
        help="Set one parameter: -S train.epochs=3; may be repeated.",
        callback=_refuse_other_forms,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def answer(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Prints a command's result to standard output: as JSON for machines, else as text."""
    print(json.dumps(dict(result), indent=2, default=str) if as_json else text)


def done(step: str, as_json: bool, **outputs: Path | str) -> None:
    """Prints what a step wrote."""
    written = {name: str(path) for name, path in outputs.items()}
    lines = [f"{step}: wrote {path}" for path in written.values()]
    answer({"step": step, "outputs": written}, "\n".join(lines or [f"{step}: nothing to write here"]), as_json)
