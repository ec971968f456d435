"""The versions of the registered model as a table that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from siamese.registry.client import Version
from siamese.tracking.client import tracking_uri, without_credentials

TEST = "siamese.test."
TITLES = ("version", "aliases", "eer (95 %)", "precision", "threshold", "created", "what came of it")


def as_dict(version: Version) -> dict[str, Any]:
    """A version as plain values: metrics by name as numbers, None where undefined, and all its tags."""
    metrics = {
        key.removeprefix(TEST): _number(value) for key, value in sorted(version.tags.items()) if key.startswith(TEST)
    }
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "created": _time(version),
        "run_id": version.run_id,
        "threshold": _number(version.tags.get("siamese.threshold")),
        "test": metrics,
        "tags": dict(version.tags),
    }


def to_text(name: str, versions: Sequence[Version]) -> str:
    """The table, the newest version first; without versions, what to do."""
    if not versions:
        server = without_credentials(tracking_uri())
        return f"no version of {name} on {server} yet: `siamese register` adds the trained model"
    rows = [TITLES, *(_row(version) for version in versions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _row(version: Version) -> tuple[str, ...]:
    found = as_dict(version)
    test = found["test"]
    eer = _figure(test.get("eer"))
    if test.get("eer.low") is not None:
        eer += f" ({test['eer.low']:.3f} to {test['eer.high']:.3f})"
    return (
        str(version.number),
        ", ".join(version.aliases) or "-",
        eer,
        _figure(test.get("precision")),
        _figure(found["threshold"]),
        found["created"],
        _fate(version),
    )


def _fate(version: Version) -> str:
    """The last that happened to it."""
    happened = [
        (version.tags.get(f"siamese.{what}.at", ""), what.replace("_", " "), version.tags.get(f"siamese.{what}.by"))
        for what in ("promoted", "refused", "rolled_back")
    ]
    at, what, by = max(happened)
    return f"{what} {at}{f' by {by}' if by else ''}" if at else "-"


def _time(version: Version) -> str:
    return datetime.fromtimestamp(version.created / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
