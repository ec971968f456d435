"""Views of an image: itself, moved a little or mirrored. The mean of their embeddings is steadier than that of one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ONE = "one"
_TURN, _SCALE, _SHIFT = 0.1, 0.1, 0.04  # radians, share of the size, share of the side


def transforms(name: str, height: int, width: int) -> np.ndarray:
    """The views by their name in params.yaml, the image itself first.

    Args:
        name: `one`, `mirrored` (2 views), or `moved` (9: turned, scaled and shifted either way).

    Returns:
        float32 [views, 8], as TensorFlow's ImageProjectiveTransformV3 takes them.
    """
    itself = _affine(height, width)
    if name == ONE:
        return np.stack([itself])
    if name == "mirrored":
        return np.stack([itself, np.array([-1, 0, width - 1, 0, 1, 0, 0, 0], np.float32)])
    moved = [_affine(height, width, **{how: sign * by}) for how, by in _MOVES.items() for sign in (-1, 1)]
    return np.stack([itself, *moved])


_MOVES = {"turn": _TURN, "scale": _SCALE, "across": _SHIFT, "down": _SHIFT}


def _affine(
    height: int, width: int, turn: float = 0, scale: float = 0, across: float = 0, down: float = 0
) -> np.ndarray:
    """Around the middle, from a place in the view to its place in the image."""
    cosine, sine = (1 + scale) * math.cos(turn), (1 + scale) * math.sin(turn)
    x, y = (width - 1) / 2, (height - 1) / 2
    shift_x = x - cosine * x + sine * y + across * width
    shift_y = y - sine * x - cosine * y + down * height
    return np.array([cosine, -sine, shift_x, sine, cosine, shift_y, 0, 0], np.float32)


def embed_views(images: Any, transform: Any) -> Any:
    """A view of each image; what lies outside of one repeats its edge.

    Args:
        images: float32 [images, height, width, channels].
        transform: float32 [8], a row of `transforms`.
    """
    import tensorflow as tf

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transform[None],
        output_shape=images.shape[1:3],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )
