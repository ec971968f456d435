"""Which regions of two images a score hangs on: a square is hidden, here and there, and the pair scored again.

Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2, for pairs: one image is
hidden in part while the other stays whole. It asks for nothing but embeddings and scores, so it holds for any network.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from siamese import scores
from siamese.scores import Embedded, Scorer

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
        scorer: gives scores from 0 to 1, or `siamese.log_odds`.
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

    embeddings = scores.in_batches(embed, len(images) * each)
    first, second = np.arange(len(images) * each).reshape(-1, 2, each).swapaxes(0, 1)
    anchors = np.stack([first, np.broadcast_to(first[:, :1], first.shape)], axis=1)
    others = np.stack([np.broadcast_to(second[:, :1], second.shape), second], axis=1)
    embedded = Embedded(pd.RangeIndex(len(embeddings)), embeddings)
    found = scores.score(scorer, embedded, anchors.ravel(), others.ravel()).reshape(anchors.shape)
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
