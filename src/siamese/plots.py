"""The curves of an evaluation as tables, which `dvc plots` draws and compares, and the report draws too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from siamese.files import whole_folder
from siamese.measured import Measured
from siamese.metrics import CALIBRATION_BINS, calibration_bin, rank, roc, same

ROC_ROWS = 1000
HISTOGRAM_BINS = 50


def write(folder: Path, measured: Measured) -> None:
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
    with whole_folder(folder, own=["*.csv"]) as beside:
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
