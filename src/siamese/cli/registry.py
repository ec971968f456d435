"""From a model on a disk to a version of the registry, and back to its origin: `register`, `lineage`."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
