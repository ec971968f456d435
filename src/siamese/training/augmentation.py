"""Augmentation: each training image is drawn anew, within the limits of section `train.augmentation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from siamese.params import AugmentationParams

_GRID = 4  # points a side of an elastic field

Draw = Callable[[Sequence[int], float, float], Any]  # extents, low, high -> float32 [images, *extents]


def augmentation(params: AugmentationParams) -> Callable[[Any, Any, Any, Any], Any]:
    """A function of pixels, positions, images and a seed to changed pixels, uint8 [share, height, width, channels].

    Its arguments: pixels of some of a step's images, uint8 [share, height, width, channels]; the positions of these in
    the step, int32 [share]; how many images the step has, int32 scalar; the seed, int32 [2].

    The same seed gives the same pixels, whatever the share: an image is drawn by its position in the step. With every
    parameter at its "off", the pixels pass unchanged.
    """
    changes: list[Callable[[Any, Draw], Any]] = []
    if params.affine:
        changes.append(lambda x, draw: _affine(x, draw, params.affine))
    if params.elastic:
        changes.append(lambda x, draw: _elastic(x, draw, params.elastic))
    if params.flip:
        changes.append(_flip)
    if params.blur:
        changes.append(lambda x, draw: _blur(x, draw, params.blur))
    if params.brightness:
        changes.append(lambda x, draw: _brighten(x, draw, params.brightness))
    if not changes:
        return lambda pixels, positions, images, seed: pixels

    def augment(pixels: Any, positions: Any, images: Any, seed: Any) -> Any:
        x = tf.cast(pixels, tf.float32)
        for number, change in enumerate(changes):
            x = change(x, _drawing(tf.random.experimental.stateless_fold_in(seed, number), positions, images))
        return tf.cast(tf.clip_by_value(tf.round(x), 0, 255), tf.uint8)

    return augment


def _drawing(seed: Any, positions: Any, images: Any) -> Draw:
    """Uniform random numbers for all of a step's images, of which those at `positions` are taken."""

    def draw(extents: Sequence[int], low: float, high: float) -> Any:
        return tf.gather(tf.random.stateless_uniform([images, *extents], seed, low, high), positions)

    return draw


def _affine(x: Any, draw: Draw, limit: float) -> Any:
    """Rotation and shear up to `limit` radians, scaling by up to 1 ± `limit`, shift by up to `limit` of the side."""
    height, width = x.shape[1], x.shape[2]
    turn, shear, scale, across, down = tf.unstack(draw([5], -limit, limit), axis=1)
    scale = 1 + scale
    a, b = scale * tf.cos(turn), scale * (shear * tf.cos(turn) - tf.sin(turn))
    c, d = scale * tf.sin(turn), scale * (shear * tf.sin(turn) + tf.cos(turn))
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    shift_x = middle_x - a * middle_x - b * middle_y + across * width
    shift_y = middle_y - c * middle_x - d * middle_y + down * height
    nothing = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=tf.stack([a, b, shift_x, c, d, shift_y, nothing, nothing], axis=1),
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )


def _elastic(x: Any, draw: Draw, deviation: float) -> Any:
    """Moves each pixel by a smooth random field of displacements, interpolating bilinearly (Simard et al. 2003).

    The field is drawn on a grid of 4x4 and enlarged; `deviation`, of the grid's displacements, is a share of the side.
    """
    images, height, width = tf.shape(x)[0], x.shape[1], x.shape[2]
    uniform = draw([_GRID, _GRID, 2], -1, 1) * np.sqrt(3).astype(np.float32)  # of deviation 1
    field = tf.image.resize(uniform * np.array([height, width], np.float32) * deviation, [height, width], "bicubic")
    rows = tf.range(height, dtype=tf.float32)[:, None] + field[..., 0]
    columns = tf.range(width, dtype=tf.float32) + field[..., 1]
    rows, columns = tf.clip_by_value(rows, 0, height - 1), tf.clip_by_value(columns, 0, width - 1)
    top = tf.minimum(tf.cast(rows, tf.int32), height - 2)  # a floor, as it isn't negative
    left = tf.minimum(tf.cast(columns, tf.int32), width - 2)
    down, right = ((place - tf.cast(corner, tf.float32))[..., None] for place, corner in ((rows, top), (columns, left)))
    corner = (tf.range(images)[:, None, None] * height + top) * width + left
    flat = tf.reshape(x, [-1, x.shape[3]])

    def at(offset: int) -> Any:
        return tf.gather(flat, corner + offset)

    above = at(0) * (1 - right) + at(1) * right
    return above * (1 - down) + (at(width) * (1 - right) + at(width + 1) * right) * down


def _flip(x: Any, draw: Draw) -> Any:
    """Mirrors left and right, one image in two."""
    mirrored = draw([1, 1, 1], 0, 1) < 0.5
    return tf.where(mirrored, x[:, :, ::-1], x)


def _blur(x: Any, draw: Draw, limit: float) -> Any:
    """A Gaussian blur of up to `limit` pixels' standard deviation, by one normalised matrix a side and image."""
    deviation = draw([1, 1], 1e-3, limit)

    def matrix(side: int) -> Any:
        place = tf.range(side, dtype=tf.float32)
        weights = tf.exp(-(((place[:, None] - place[None, :]) / deviation) ** 2) / 2)
        return weights / tf.reduce_sum(weights, axis=2, keepdims=True)

    down = tf.einsum("nij,njwc->niwc", matrix(x.shape[1]), x)
    return tf.einsum("nij,nhjc->nhic", matrix(x.shape[2]), down)


def _brighten(x: Any, draw: Draw, limit: float) -> Any:
    """Adds up to ± `limit` of full white."""
    return x + 255 * draw([1, 1, 1], -limit, limit)
