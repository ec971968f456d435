"""The rows of the table: what was measured, beside which peer, and whether the goal was reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured.
        ours, peer: its figure and the peer's, with units, in words.
        goal: what was to be reached, in words.
        reached: whether it was; None where there is no goal or nothing could be measured.
        ratio: ours to the peer's, above 1 where ours is better; None where there is no peer.
        runs: every single measurement, by name.
    """

    what: str
    ours: str
    peer: str
    goal: str
    reached: bool | None
    ratio: float | None = None
    runs: dict[str, Any] = field(default_factory=dict)


def to_markdown(rows: Sequence[Row]) -> str:
    """The table, a line a row."""
    lines = ["| what | ours | peer, same run | ratio | to reach | |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = {True: "reached", False: "**short**", None: ""}[row.reached]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.what} | {row.ours} | {row.peer} | {ratio} | {row.goal} | {verdict} |")
    return "\n".join(lines)


def to_plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON has them, numpy's numbers as Python's."""
    plain: list[dict[str, Any]] = json.loads(json.dumps([asdict(row) for row in rows], default=lambda one: one.item()))
    return plain


def seconds(runs: Sequence[dict[str, Any]]) -> float:
    """The median of the runs' seconds."""
    return median(run["seconds"] for run in runs)


def rate(runs: Sequence[dict[str, Any]], name: str = "images") -> float:
    """The median over the runs of a number that each did, a second."""
    return median(run[name] / run["seconds"] for run in runs)
