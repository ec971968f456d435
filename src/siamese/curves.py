"""The charts of the report, drawn from the tables of `plots` and the history of training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from siamese import plots
from siamese.charts import BLACK, BLUE, GREEN, GREY, ORANGE, Axis, Bars, Line, Mark, Point, chart, nice_ticks
from siamese.markup import Markup
from siamese.measured import Judged, Measured
from siamese.metrics import same

SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)
DOTTED_EPOCHS = 30  # with more epochs, dots hide the line


def roc(measured: Measured) -> Markup:
    """ROC curves of model and raw pixels, and where the threshold puts the model."""
    labels, model = measured.test.label, measured.model
    judged, truth = same(model.scores, model.threshold.threshold), labels.to_numpy() == 1
    return chart(
        "ROC: what each threshold finds and lets through",
        Axis("false accept rate", 0, 1, SHARES, percent=True),
        Axis("true accept rate", 0, 1, SHARES, percent=True),
        [
            Line("guessing", GREY, [0, 1], [0, 1], dashed=True),
            _roc_line("raw pixels", GREEN, labels, measured.baseline),
            _roc_line("the model", BLUE, labels, model),
            Point("the model at its threshold", ORANGE, judged[~truth].mean(), judged[truth].mean()),
        ],
    )


def histogram(measured: Measured) -> Markup:
    """How the scores of both kinds of pair lie to the threshold."""
    table = plots.histogram_table(measured.test.label, measured.model.scores)
    edges = np.append(table.bin.to_numpy(), 1.0)
    of_same = (table["same"] / table["same"].sum()).to_numpy()
    of_different = (table.different / table.different.sum()).to_numpy()
    top = float(max(of_same.max(), of_different.max()))
    return chart(
        "Scores of the test pairs",
        Axis("score", 0, 1, SHARES, percent=False),
        Axis("share of the pairs of each kind", 0, top * 1.04, nice_ticks(0, top), percent=True),
        [
            Bars("different identities", ORANGE, edges, of_different),
            Bars("the same identity", BLUE, edges, of_same),
            Mark("threshold", BLACK, measured.model.threshold.threshold),
        ],
    )


def calibration(measured: Measured) -> Markup:
    """Mean score against share of same pairs."""
    table = plots.calibration_table(measured.test.label, measured.model.scores)
    return chart(
        "Calibration: what a score is worth",
        Axis("mean score of a bin", 0, 1, SHARES, percent=False),
        Axis("share that is the same", 0, 1, SHARES, percent=True),
        [
            Line("perfectly calibrated", GREY, [0, 1], [0, 1], dashed=True),
            Line("the model", BLUE, table.mean_score.to_numpy(), table.share_same.to_numpy(), dots=True),
        ],
    )


def training(history: pd.DataFrame) -> list[Markup]:
    """Loss, and figures of the validation pairs, after each epoch: columns epoch, loss, eer, accuracy, precision."""
    epochs = history.epoch.to_numpy(float)
    last = max(float(epochs.max()), 1.0)
    across = Axis("epoch", 0, last, [tick for tick in nice_ticks(0, last) if tick == int(tick)], percent=False)
    loss = history.loss.to_numpy(float)
    highest = float(np.nanmax(loss)) or 1.0
    dots = len(history) <= DOTTED_EPOCHS
    lines = [
        Line(label, colour, epochs, history[name].to_numpy(float), dots=dots)
        for name, label, colour in (
            ("accuracy", "accuracy at score 0.5", BLUE),
            ("precision", "precision at score 0.5", GREEN),
            ("eer", "equal error rate", ORANGE),
        )
    ]
    return [
        chart(
            "Training: loss",
            across,
            Axis("loss", 0, highest * 1.05, nice_ticks(0, highest), percent=False),
            [Line("training pairs", BLUE, epochs, loss, dots=dots)],
        ),
        chart(
            "Training: validation pairs",
            across,
            Axis("share of the pairs", 0, 1, SHARES, percent=True),
            lines,
        ),
    ]


def _roc_line(label: str, colour: str, labels: pd.Series, judged: Judged) -> Line:
    table = plots.roc_table(labels, judged.scores)
    return Line(label, colour, table.false_accept_rate.to_numpy(), table.true_accept_rate.to_numpy())
