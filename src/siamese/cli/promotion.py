"""Which version is in use: `models`, `promote`, `rollback`."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
