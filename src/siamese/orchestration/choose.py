"""Step `choose`: of several trainings on the same data, the one that did best on validation pairs.

The test split has no say: it is measured once, on the model that was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from siamese.errors import InputError
from siamese.storage.files import copy_atomically, require_exists
from siamese.training.train import MODEL_FILES


def run(
    trainings: Sequence[tuple[Path, Path, Path]],
    keeps: Sequence[Literal["best", "last"]],
    model_folder: Path,
    history_file: Path,
    run_file: Path,
) -> int:
    """Copies the best training's results.

    Args:
        trainings: of each its model folder, history.csv and run.json.
        keeps: which epoch's weights each kept: `train.keep`.
        model_folder, history_file, run_file: what is written.

    Returns:
        Which one it was, from 0.

    Raises:
        InputError: there is none, or a file is missing.
    """
    eers = [
        validation_eer(pd.read_csv(require_exists(history, "siamese train")), keep)
        for (_, history, _), keep in zip(trainings, keeps, strict=True)
    ]
    if not eers:
        raise InputError("there is no training to choose from: name candidates")
    chosen = min(range(len(eers)), key=eers.__getitem__)  # of equals the first
    for source, target in zip(trainings[chosen], (model_folder, history_file, run_file), strict=True):
        copy_atomically(source, target, MODEL_FILES)
    return chosen


def validation_eer(history: pd.DataFrame, keep: Literal["best", "last"]) -> float:
    """EER on validation pairs of the epoch whose weights were kept; infinite where it has none."""
    eers = history["eer"].astype(float).fillna(float("inf"))
    return float(eers.iloc[-1] if keep == "last" else eers.min())
