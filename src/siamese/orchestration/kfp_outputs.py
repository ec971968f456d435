"""What step `evaluate` wrote, as plain lists and numbers: for those who show it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from siamese.evaluation import results
from siamese.models import trained_on
from siamese.params import PromoteParams
from siamese.registry import gate

CATEGORIES = ["different", "same"]


def roc(plots_folder: Path) -> tuple[list[float], list[float], list[float]]:
    """The ROC curve's false accept rates, true accept rates and thresholds."""
    table = pd.read_csv(plots_folder / "roc.csv")
    return table.false_accept_rate.tolist(), table.true_accept_rate.tolist(), table.threshold.tolist()


def confusion(plots_folder: Path) -> list[list[int]]:
    """Numbers of test pairs: a row for each of `CATEGORIES` that they are of, a column for what they were taken for."""
    table = pd.read_csv(plots_folder / "confusion.csv")
    counts = pd.crosstab(table.actual, table.predicted).reindex(index=CATEGORIES, columns=CATEGORIES, fill_value=0)
    return [[int(count) for count in row] for row in counts.to_numpy()]


def of_test_split(metrics_file: Path) -> dict[str, float]:
    """The figures of the test split that have a value, by name.

    Raises:
        InputError: the file isn't what `evaluate` writes.
    """
    found: Mapping[str, Any] = results.read(metrics_file)["test"]
    return {name: value for name, value in found.items() if value is not None}


def reasons_against(metrics_file: Path, params: PromoteParams) -> list[str]:
    """Why the model isn't good enough by itself, by the gate's absolute limits; empty if it is.

    Raises:
        InputError: the file isn't what `evaluate` writes.
    """
    measured = results.read(metrics_file)
    doubts = [f"{trained_on.doubt()}: {gate.ACCEPT_DOUBTS}"] if trained_on.is_doubtful(measured) else []
    return list(gate.absolute(measured["test"], measured["undefined"], params, doubts).reasons)
