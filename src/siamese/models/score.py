"""Scores of a list of pairs: a CSV of image paths in, the same rows with score and verdict out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from siamese.errors import InputError
from siamese.models import scoring
from siamese.models.resolved_model import ResolvedModel
from siamese.models.verifier import read_image
from siamese.storage.files import atomic_file
from siamese.storage.tables import read_list

ADDED = ("score", "same")  # columns


def score_list(pairs_csv: Path, model: ResolvedModel, own_threshold: float | None, max_pixels: int) -> pd.DataFrame:
    """The pairs of `pairs_csv` with the columns score, float32, and same, bool, added. Each image is embedded once.

    Args:
        pairs_csv: columns anchor and other, paths from the working folder; further columns are kept.
        model, own_threshold, max_pixels: as in `siamese.models.verify.verify`.

    Raises:
        InputError: the list, an image, the model or the threshold is missing or can't be used; or the list has such a
            column already.
    """
    pairs, _ = read_list(pairs_csv, ["anchor", "other"], "write the columns anchor and other, an image path in each")
    taken = [name for name in ADDED if name in pairs]
    if taken:
        raise InputError(f"{pairs_csv}: has a column {taken[0]} already, and none is ever replaced: call it otherwise")
    threshold = model.threshold(own_threshold)
    verifier = model.load()
    names = pd.Index(pd.unique(pd.concat([pairs.anchor, pairs.other])))
    embeddings = scoring.in_batches(
        lambda part: verifier.embed_encoded([read_image(Path(name), max_pixels) for name in names[part]]), len(names)
    )
    rows = [names.get_indexer(pairs[column]) for column in ("anchor", "other")]
    found = scoring.score_pairs(verifier, scoring.EmbeddingTable(names, embeddings), *rows)
    return pairs.assign(score=found, same=found >= np.float32(threshold))


def write(scored: pd.DataFrame, output: Path) -> None:
    """Writes the scored pairs as CSV, whole."""
    with atomic_file(output) as beside:
        scored.to_csv(beside, index=False)
