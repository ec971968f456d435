"""Which regions of two images a score hangs on: a square is hidden, here and there, and the pair scored again.

Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2, for pairs: one image is
hidden in part while the other stays whole. It asks for nothing but embeddings and scores, so it holds for any network.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from siamese.models import scoring
from siamese.models.scoring import EmbeddingTable, Scorer
from siamese.reporting.charts import BLUE, ORANGE

SQUARES_A_SIDE = 8  # a square's side is this part of the image's shorter one


def squares(height: int, width: int) -> tuple[int, np.ndarray]:
    """The side of a square, in pixels, and where squares lie.

    They lie half a side apart, the last ones at the lower and right edges, so that they cover every pixel.

    Returns:
        The side, and the upper left corners, int64 [squares, 2], row by row: row and column in pixels.
    """
    side = max(min(height, width) // SQUARES_A_SIDE, 1)
    down, across = (_places(length, side) for length in (height, width))
    return side, np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)


def hidden(image: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """The image, uint8 [height, width, channels], with one square in the image's mean colour."""
    top, left = corner
    made = image.copy()
    made[top : top + side, left : left + side] = image.mean(axis=(0, 1)).round().astype(np.uint8)
    return made


def changes(scorer: Scorer, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the scores of pairs hang on regions.

    Args:
        scorer: gives scores from 0 to 1, or `siamese.models.scoring`.
        pairs: stored pixels, uint8 [pairs, 2, height, width, channels].

    Returns:
        The scores of the pairs as they are, float32 [pairs]; and for each pixel of both images by how much the score
        changes where it is hidden, float32 [pairs, 2, height, width]: the mean over the squares that cover it. Below 0:
        hiding lowers the score, so what is there speaks for the same identity; above 0: for different ones.
    """
    height, width, channels = pairs.shape[2:]
    side, corners = squares(height, width)
    images = pairs.reshape(-1, height, width, channels)
    each = 1 + len(corners)  # the image as it is, then with each square hidden

    def variant(number: int) -> np.ndarray:
        image, square = divmod(number, each)
        return hidden(images[image], corners[square - 1], side) if square else images[image]

    def embed(part: slice) -> np.ndarray:
        return scorer.embed(np.stack([variant(number) for number in range(*part.indices(len(images) * each))]))

    embeddings = scoring.in_batches(embed, len(images) * each)
    first, second = np.arange(len(images) * each).reshape(-1, 2, each).swapaxes(0, 1)
    anchors = np.stack([first, np.broadcast_to(first[:, :1], first.shape)], axis=1)
    others = np.stack([np.broadcast_to(second[:, :1], second.shape), second], axis=1)
    embedded = EmbeddingTable(pd.RangeIndex(len(embeddings)), embeddings)
    found = scoring.score_pairs(scorer, embedded, anchors.ravel(), others.ravel()).reshape(anchors.shape)
    return found[:, 0, 0], _by_pixel(found[..., 1:] - found[..., :1], corners, side, (height, width))


def _places(length: int, side: int) -> np.ndarray:
    return np.unique(np.append(np.arange(0, length - side + 1, max(side // 2, 1)), length - side))


def _by_pixel(by_square: np.ndarray, corners: np.ndarray, side: int, shape: tuple[int, int]) -> np.ndarray:
    """What squares give, [..., squares], as what pixels give, float32 [..., height, width]."""
    total, covering = np.zeros((*by_square.shape[:-1], *shape)), np.zeros(shape)
    for number, (top, left) in enumerate(corners):
        at = np.s_[..., top : top + side, left : left + side]
        total[at] += by_square[..., number, None, None]
        covering[at] += 1
    return (total / covering).astype(np.float32)


DENSEST = 0.8  # how much of the picture the full colour hides


def overlay(picture: np.ndarray, values: np.ndarray, full: float) -> np.ndarray:
    """The picture under its map: negative numbers in blue, positive ones in orange, the denser the farther from 0.

    Args:
        picture: uint8 [height, width, channels].
        values: float [height, width].
        full: from which distance from 0 on the colour is at its densest; above 0.

    Returns:
        uint8 [height, width, 3].
    """
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    colour = np.where((values < 0)[..., None], _rgb(BLUE), _rgb(ORANGE))
    density = DENSEST * np.minimum(np.abs(values) / full, 1)[..., None]
    return (grey * (1 - density) + colour * density).round().astype(np.uint8)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float64)
