"""The curves of a retraining as one PNG: where a report can't carry a page, it can carry a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from siamese.errors import InputError
from siamese.reporting.charts import BLUE, GREY, ORANGE
from siamese.storage.files import atomic_file, require_exists

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(file: Path, plots: Path, history: Path, earlier: Path | None = None) -> None:
    """ROC curve, scores and validation EER, side by side. Equal tables give an equal picture.

    Args:
        file: PNG to write, whole.
        plots: folder with roc.csv and scores.csv, as step `evaluate` writes them.
        history: history.csv of step `train`; left out where it is missing.
        earlier: the folder `plots` of an earlier model, whose ROC curve is drawn in grey.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), dpi=100, layout="constrained")
    roc_axes, scores_axes, training_axes = figure.subplots(1, 3)
    _roc(roc_axes, plots, earlier)
    _scores(scores_axes, plots)
    _training(training_axes, history)
    for axes in (roc_axes, scores_axes, training_axes):
        axes.grid(color="#e6e8eb")
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small")
    with atomic_file(file) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})


def _roc(axes: Axes, plots: Path, earlier: Path | None) -> None:
    axes.set(title="ROC curve", xlabel="false accept rate", ylabel="true accept rate", xlim=(0, 1), ylim=(0, 1.01))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    if earlier is not None and (earlier / "roc.csv").is_file():
        _curve(axes, earlier, GREY, "before")
    _curve(axes, plots, BLUE, "now")


def _curve(axes: Axes, plots: Path, colour: str, label: str) -> None:
    table = _table(plots / "roc.csv", ["false_accept_rate", "true_accept_rate"])
    axes.plot(table.false_accept_rate, table.true_accept_rate, color=colour, label=label)


def _scores(axes: Axes, plots: Path) -> None:
    table = _table(plots / "scores.csv", ["bin", "same", "different"])
    width = float(table["bin"].diff().median())
    for name, colour in (("different", ORANGE), ("same", BLUE)):
        share = table[name] / max(table[name].sum(), 1)
        axes.bar(table["bin"], share, width, align="edge", color=colour, alpha=0.5, label=f"{name} identities")
    axes.set(title="Scores of test pairs", xlabel="score", ylabel="share of the pairs of each kind", xlim=(0, 1))


def _training(axes: Axes, history: Path) -> None:
    axes.set(title="Training", xlabel="epoch", ylabel="EER on validation pairs", ylim=(0, 0.6))
    axes.set_visible(history.is_file())
    if history.is_file():
        table = _table(history, ["epoch", "eer"])
        axes.plot(table.epoch, table.eer, color=BLUE, marker="." if len(table) <= 60 else "")


def _table(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(require_exists(file, "siamese evaluate"), usecols=list(columns))
    except ValueError as error:
        raise InputError(f"{file}: {' '.join(str(error).split())[:120]}: run `siamese evaluate` again") from None
