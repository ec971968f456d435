"""Images that a program hands over: as paths or as arrays, one or a batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from siamese import scores
from siamese.errors import InputError
from siamese.verifier import Verifier, read_image


def score(verifier: Verifier, anchors: Any, others: Any, max_pixels: int) -> np.ndarray:
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
    embeddings = np.concatenate([embed(verifier, images, max_pixels) for images in (first, second)])
    embedded = scores.Embedded(pd.RangeIndex(2 * pairs), embeddings)
    return scores.score(verifier, embedded, np.arange(pairs), np.arange(pairs, 2 * pairs))


def embed(verifier: Verifier, images: Sequence[Path] | np.ndarray, max_pixels: int) -> np.ndarray:
    """Embeddings, float32 [images, units], of what `images_of` gives."""

    def part_of(part: slice) -> np.ndarray:
        chosen = images[part]
        if not isinstance(chosen, np.ndarray):
            return verifier.embed_encoded([read_image(file, max_pixels) for file in chosen])
        return verifier.embed(chosen) if chosen.dtype == np.uint8 else verifier.embed_transformed(chosen)

    return scores.in_batches(part_of, len(images))


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
