"""The record of trainings: `sync`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from siamese.cli.options import AsJson, answer


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(rich_help_panel="Tracking and registry")(sync)


def sync(as_json: AsJson = False) -> None:
    """Send to the tracking server what it missed while it was away."""
    from siamese.tracking.client import tracking_uri, without_credentials
    from siamese.tracking.sync import sync as send_all

    server = without_credentials(tracking_uri())
    done = send_all()
    lines = [f"sync: run {one.name}: {one.records} records to {server}" for one in done]
    answer(
        {"server": server, "runs": [asdict(one) for one in done]},
        "\n".join(lines or [f"sync: nothing is left to send to {server}"]),
        as_json,
    )
