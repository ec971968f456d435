"""Embeddings and scores of many images: of listed pairs, of images handed over as paths or arrays, and as log-odds.

Each image is read and embedded once; pairs are compared in batches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from siamese.console import track
from siamese.errors import InputError
from siamese.models.verifier import Verifier, read_image
from siamese.storage.files import require_exists
from siamese.storage.tables import read_table

IMAGES_AT_ONCE = 64
PAIRS_AT_ONCE = 1024


class Scorer(Protocol):
    """What compares images: `siamese.models.verifier.Verifier`, or a stand-in."""

    def embed(self, pixels: np.ndarray, /) -> np.ndarray:
        """uint8 [images, 100, 100, 3] to float32 [images, values]."""

    def score(self, anchors: np.ndarray, others: np.ndarray, /) -> np.ndarray:
        """Embeddings, float32 [pairs, values] each, to similarities in [0, 1], float32 [pairs]."""


class Images(Protocol):
    """Where pixels come from: `siamese.preprocessing.pixel_store.StoredImages`, or a stand-in."""

    def pixels(self, image_ids: Sequence[str], /) -> np.ndarray:
        """uint8 [images, 100, 100, 3], in the order of the ids."""


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
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
    pairs = read_table(require_exists(pairs_file, "siamese pairs"), [*columns, "split"] if split else columns)
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


def embed(scorer: Scorer, images: Images, image_ids: Sequence[str] | np.ndarray) -> EmbeddingTable:
    """Embeds each distinct image once, in the order of the ids, which is the order in which shards hold them."""
    ids = pd.Index(np.unique(np.asarray(image_ids, dtype=object)))
    return EmbeddingTable(ids, in_batches(lambda part: scorer.embed(images.pixels(ids[part].tolist())), len(ids)))


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


def score_pairs(scorer: Scorer, embedded: EmbeddingTable, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
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


def score_images(verifier: Verifier, anchors: Any, others: Any, max_pixels: int) -> np.ndarray:
    """Scores of pairs, float32 [pairs]: the first of `anchors` with the first of `others`, and so on.

    Args:
        verifier: of a network that was trained on X/255, not standardised.
        anchors, others: as many images each, as `images_of` takes them.
        max_pixels: an image file of more is refused.

    Raises:
        InputError: they are no images, or not as many.
    """
    first, second = (images_of(given, verifier.image_shape) for given in (anchors, others))
    pairs = len(first)
    if len(second) != pairs:
        raise InputError(f"{pairs} and {len(second)} images don't make pairs: give as many of both")
    embeddings = np.concatenate([embed_images(verifier, images, max_pixels) for images in (first, second)])
    embedded = EmbeddingTable(pd.RangeIndex(2 * pairs), embeddings)
    return score_pairs(verifier, embedded, np.arange(pairs), np.arange(pairs, 2 * pairs))


def embed_images(verifier: Verifier, images: Sequence[Path] | np.ndarray, max_pixels: int) -> np.ndarray:
    """Embeddings, float32 [images, units], of what `images_of` gives."""

    def part_of(part: slice) -> np.ndarray:
        chosen = images[part]
        if not isinstance(chosen, np.ndarray):
            return verifier.embed_encoded([read_image(file, max_pixels) for file in chosen])
        return verifier.embed(chosen) if chosen.dtype == np.uint8 else verifier.embed_transformed(chosen)

    return in_batches(part_of, len(images))


def images_of(given: Any, shape: tuple[int, int, int]) -> Sequence[Path] | np.ndarray:
    """One image or several, as paths or as an array.

    Args:
        given: a path or several; or [*shape] or [images, *shape], uint8, or floats from 0 to 1.
        shape: height, width and channels of what the network sees.

    Returns:
        Paths; or uint8 or float32 [images, *shape].

    Raises:
        InputError: it is neither, or floats lie outside 0 to 1.
    """
    if isinstance(given, str | os.PathLike):
        return [Path(given)]
    if isinstance(given, list | tuple) and given and all(isinstance(one, str | os.PathLike) for one in given):
        return [Path(one) for one in given]
    sides = ", ".join(map(str, shape))
    try:
        images = np.asarray(given)
    except (ValueError, TypeError):
        raise InputError(f"images of different shapes or types don't make a batch: give each as ({sides})") from None
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise InputError(f"images of type {images.dtype}: give paths, uint8 from 0 to 255, or floats from 0 to 1")
    if images.shape[-3:] != shape or images.ndim not in (3, 4) or not images.size:
        raise InputError(f"images of shape {images.shape}: must be ({sides}), or (n, {sides}) for a batch")
    images = images.reshape(-1, *shape)
    if images.dtype == np.uint8:
        return images
    outside = images[~((images >= 0) & (images <= 1))]  # NaN too
    if outside.size:
        raise InputError(f"images of floats are from 0 to 1, found {outside[0]:g}: divide by 255, or give uint8")
    return images.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Head:
    """The last layer: weights, float32 [units], and bias of the unit whose sigmoid is the score."""

    weights: np.ndarray
    bias: float


@dataclass(frozen=True, eq=False)
class LogOdds:
    """A scorer whose scores are log-odds: ln(score / (1 - score)) of the other's, from -inf to inf.

    Attributes:
        scorer: the other.
        head: its last layer.
    """

    scorer: Scorer
    head: Head

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """As the other does."""
        return self.scorer.embed(pixels)

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Embeddings, float32 [pairs, units] each, to log-odds, float32 [pairs]."""
        return np.abs(anchors - others) @ self.head.weights + np.float32(self.head.bias)


def to_score(log_odds: Any) -> Any:
    """The score of log-odds, from 0 to 1: of a number, or of each in an array."""
    return 0.5 * (1 + np.tanh(log_odds / 2))
