"""The figures of metrics.json as a table that a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siamese import trained_on
from siamese.errors import InputError


def read(metrics_file: Path) -> dict[str, Any]:
    """What step `evaluate` wrote.

    Raises:
        InputError: the file is missing or isn't what `evaluate` writes.
    """
    try:
        figures = json.loads(metrics_file.read_text(encoding="utf-8"))
        to_text(figures)
    except FileNotFoundError:
        raise InputError(f"{metrics_file} is missing: run `siamese evaluate` first, or name another file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{metrics_file} holds no figures of an evaluation: run `siamese evaluate` again") from None
    return dict(figures)


def to_text(figures: Mapping[str, Any]) -> str:
    """The test split's figures, their 95 % intervals, and the raw-pixel baseline's beside them."""
    counts = figures["counts"]["test"]
    low, high, baseline = figures["test_low"], figures["test_high"], figures["baseline_raw_pixels"]
    rows = [("test", "value", "95 % interval", "raw pixels")]
    for name, value in figures["test"].items():
        between = f"{low[name]:.3f} to {high[name]:.3f}" if low.get(name) is not None else "-"
        rows.append((name, _figure(value), between, _figure(baseline.get(name))))
    for ways, found in figures["one_shot"].items():
        if found.get("accuracy") is not None:
            between = f"{found['low']:.3f} to {found['high']:.3f}"
            rows.append((f"one_shot {ways}", _figure(found["accuracy"]), between, "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{row[0]:<{widths[0]}}  " + "  ".join(f"{row[c]:>{widths[c]}}" for c in (1, 2, 3)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.append(f"{counts['pairs']} test pairs, threshold {figures['threshold']:.3f}")
    lines += [f"data: {figures['note']}"] if figures.get("note") else []
    lines += [f"model: {trained_on.doubt()}"] if trained_on.is_doubtful(figures) else []
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
