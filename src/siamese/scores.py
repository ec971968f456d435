"""Scores of listed pairs: each image is read and embedded once, pairs are compared in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from siamese.errors import InputError
from siamese.files import existing
from siamese.progress import track
from siamese.tables import read_table

IMAGES_AT_ONCE = 64
PAIRS_AT_ONCE = 1024


class Scorer(Protocol):
    """What compares images: `siamese.verifier.Verifier`, or a stand-in."""

    def embed(self, pixels: np.ndarray, /) -> np.ndarray:
        """uint8 [images, 100, 100, 3] to float32 [images, values]."""

    def score(self, anchors: np.ndarray, others: np.ndarray, /) -> np.ndarray:
        """Embeddings, float32 [pairs, values] each, to similarities in [0, 1], float32 [pairs]."""


class Images(Protocol):
    """Where pixels come from: `siamese.stored.StoredImages`, or a stand-in."""

    def pixels(self, image_ids: Sequence[str], /) -> np.ndarray:
        """uint8 [images, 100, 100, 3], in the order of the ids."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Images by row: their ids and embeddings, float32 [images, values]."""

    ids: pd.Index
    embeddings: np.ndarray

    def rows(self, image_ids: pd.Series) -> np.ndarray:
        """The row of each id, int64; -1 for one that wasn't embedded."""
        return self.ids.get_indexer(pd.Index(image_ids))


def read_pairs(pairs_file: Path, split: str | None) -> pd.DataFrame:
    """The pairs of one split, or with None of all, in the file's order: anchor_id, other_id, label.

    Raises:
        InputError: the file is missing, isn't a table of pairs, or has no such pair; or a label is neither 0 nor 1.
    """
    columns = ["anchor_id", "other_id", "label"]
    pairs = read_table(existing(pairs_file, "siamese pairs"), [*columns, "split"] if split else columns)
    if split:
        pairs = pairs[pairs.split == split]
    if not len(pairs):
        raise InputError(
            f"{pairs_file}: has no pair{f' of split {split}' if split else ''}: name another file or split"
        )
    if not pairs.label.isin([0, 1]).all():
        odd = pairs.label[~pairs.label.isin([0, 1])].iloc[0]
        raise InputError(f"{pairs_file}: label {odd}: must be 1 (same identity) or 0: make it again by `siamese pairs`")
    for ids in (pairs.anchor_id, pairs.other_id):
        if pd.api.types.infer_dtype(ids, skipna=False) != "string":
            raise InputError(f"{pairs_file}: {ids.name} isn't text in every row: make it again by `siamese pairs`")
    return pairs[columns].reset_index(drop=True)


def embed(scorer: Scorer, images: Images, image_ids: Sequence[str] | np.ndarray) -> Embedded:
    """Embeds each distinct image once, in the order of the ids, which is the order in which shards hold them."""
    ids = pd.Index(np.unique(np.asarray(image_ids, dtype=object)))
    return Embedded(ids, in_batches(lambda part: scorer.embed(images.pixels(ids[part].tolist())), len(ids)))


def in_batches(embed_part: Callable[[slice], np.ndarray], images: int) -> np.ndarray:
    """The embeddings of `images` images, float32 [images, values], which `embed_part` gives for one slice at a time."""
    embeddings = np.empty((0, 0), np.float32)
    for start in track(range(0, images, IMAGES_AT_ONCE), f"embedding images, batches of {IMAGES_AT_ONCE}"):
        part = slice(start, start + IMAGES_AT_ONCE)
        embedded = embed_part(part)
        if not start:
            embeddings = np.empty((images, embedded.shape[1]), np.float32)
        embeddings[part] = embedded
    return embeddings


def score(scorer: Scorer, embedded: Embedded, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Scores of pairs of rows.

    Args:
        anchors, others: int [pairs], rows of `embedded`.

    Returns:
        float32 [pairs].
    """
    found = np.empty(len(anchors), np.float32)
    for start in track(range(0, len(anchors), PAIRS_AT_ONCE), f"comparing embeddings, batches of {PAIRS_AT_ONCE}"):
        part = slice(start, start + PAIRS_AT_ONCE)
        found[part] = scorer.score(embedded.embeddings[anchors[part]], embedded.embeddings[others[part]])
    return found


def raw_pixel_scores(images: Images, pairs: pd.DataFrame) -> np.ndarray:
    """The plainest similarity, which a model must beat: 1 - mean |a - b| / 255 over all pixels, float32 [pairs].

    Args:
        pairs: columns anchor_id and other_id.
    """
    found = np.empty(len(pairs), np.float32)
    step = PAIRS_AT_ONCE // 4  # 256 pairs of images are 15 MB
    for start in track(range(0, len(pairs), step), f"comparing raw pixels, batches of {step}"):
        part = pairs.iloc[start : start + step]
        a, b = images.pixels(part.anchor_id.tolist()), images.pixels(part.other_id.tolist())
        apart = np.maximum(a, b) - np.minimum(a, b)  # the plain difference of unsigned bytes would wrap around
        found[start : start + len(part)] = 1 - apart.mean(axis=(1, 2, 3), dtype=np.float64) / 255
    return found
