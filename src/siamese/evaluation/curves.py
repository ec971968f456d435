"""Curves of an evaluation: as tables, which `dvc plots` draws and compares, and as charts of the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from siamese.evaluation.measurement import Evaluation, ScorerEvaluation
from siamese.evaluation.metrics.verification import CALIBRATION_BINS, calibration_bin, rank, roc, same
from siamese.reporting.charts import BLACK, BLUE, GREEN, GREY, ORANGE, Axis, Bars, Line, Mark, Point, chart, nice_ticks
from siamese.reporting.pages import Markup
from siamese.storage.files import atomic_folder

ROC_ROWS = 1000
HISTOGRAM_BINS = 50


def write(folder: Path, measured: Evaluation) -> None:
    """Writes roc.csv, det.csv, scores.csv, calibration.csv and confusion.csv into `folder`, whole."""
    labels, scores = measured.test.label, measured.model.scores
    curve = roc_table(labels, scores)
    tables = {
        "roc": curve,
        "det": det_table(curve),
        "scores": histogram_table(labels, scores),
        "calibration": calibration_table(labels, scores),
        "confusion": confusion_table(labels, scores, measured.model.threshold.threshold),
    }
    with atomic_folder(folder, own=["*.csv"]) as beside:
        for name, table in tables.items():
            table.to_csv(beside / f"{name}.csv", index=False, lineterminator="\n")


def roc_table(labels: pd.Series, scores: np.ndarray) -> pd.DataFrame:
    """The ROC curve in `ROC_ROWS` rows or fewer: false_accept_rate, true_accept_rate, and the threshold giving them.

    The first row accepts nothing: its threshold is the next number above the highest score.
    """
    ranking = rank(labels, scores)
    far, tar = roc(ranking)
    levels = ranking.scores[ranking.last].astype(np.float32)
    threshold = np.concatenate([[np.nextafter(levels[0], np.float32(2))], levels])
    kept = np.unique(np.linspace(0, len(far) - 1, ROC_ROWS).round().astype(int))
    table = pd.DataFrame({"false_accept_rate": far, "true_accept_rate": tar, "threshold": threshold})
    return table.iloc[kept].reset_index(drop=True)


def det_table(curve: pd.DataFrame) -> pd.DataFrame:
    """The same points as two errors weighed against each other: false_accept_rate, false_reject_rate, threshold."""
    return pd.DataFrame(
        {
            "false_accept_rate": curve.false_accept_rate,
            "false_reject_rate": 1 - curve.true_accept_rate,
            "threshold": curve.threshold,
        }
    )


def histogram_table(labels: pd.Series, scores: np.ndarray) -> pd.DataFrame:
    """How scores lie: bin (its lower edge), same and different (numbers of pairs of one and of two identities)."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    truth = labels.to_numpy() == 1
    return pd.DataFrame(
        {
            "bin": edges[:-1].round(6),
            "same": np.histogram(scores[truth], edges)[0],
            "different": np.histogram(scores[~truth], edges)[0],
        }
    )


def calibration_table(labels: pd.Series, scores: np.ndarray) -> pd.DataFrame:
    """Score against truth: mean_score, share_same and pairs of each bin of scores that has any."""
    bins = calibration_bin(scores)
    pairs = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = pairs > 0
    total_score = np.bincount(bins, scores.astype(np.float64), minlength=CALIBRATION_BINS)
    total_same = np.bincount(bins, labels.to_numpy(float), minlength=CALIBRATION_BINS)
    return pd.DataFrame(
        {
            "mean_score": total_score[filled] / pairs[filled],
            "share_same": total_same[filled] / pairs[filled],
            "pairs": pairs[filled],
        }
    )


def confusion_table(labels: pd.Series, scores: np.ndarray, threshold: float) -> pd.DataFrame:
    """A row a pair, actual and predicted, each same or different: what the confusion template of `dvc plots` counts."""
    words = np.array(["different", "same"])
    return pd.DataFrame(
        {"actual": words[labels.to_numpy(int)], "predicted": words[same(scores, threshold).astype(int)]}
    )


SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)
DOTTED_EPOCHS = 30  # with more epochs, dots hide the line


def roc_chart(measured: Evaluation) -> Markup:
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


def histogram_chart(measured: Evaluation) -> Markup:
    """How the scores of both kinds of pair lie to the threshold."""
    table = histogram_table(measured.test.label, measured.model.scores)
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


def calibration_chart(measured: Evaluation) -> Markup:
    """Mean score against share of same pairs."""
    table = calibration_table(measured.test.label, measured.model.scores)
    return chart(
        "Calibration: what a score is worth",
        Axis("mean score of a bin", 0, 1, SHARES, percent=False),
        Axis("share that is the same", 0, 1, SHARES, percent=True),
        [
            Line("perfectly calibrated", GREY, [0, 1], [0, 1], dashed=True),
            Line("the model", BLUE, table.mean_score.to_numpy(), table.share_same.to_numpy(), dots=True),
        ],
    )


def training_chart(history: pd.DataFrame) -> list[Markup]:
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


def _roc_line(label: str, colour: str, labels: pd.Series, judged: ScorerEvaluation) -> Line:
    table = roc_table(labels, judged.scores)
    return Line(label, colour, table.false_accept_rate.to_numpy(), table.true_accept_rate.to_numpy())
