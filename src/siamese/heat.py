"""A picture in grey with a map of numbers laid over it in two colours."""

from __future__ import annotations

import numpy as np

from siamese.charts import BLUE, ORANGE

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
