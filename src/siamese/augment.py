"""Augmentation: each training image is drawn anew, within the limits of section `train.augmentation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from siamese.params import AugmentationParams


def augmentation(params: AugmentationParams) -> Callable[[Any, Any], Any]:
    """A function of pixels, uint8 [images, height, width, channels], and a seed, int32 [2], to such pixels.

    The same seed gives the same pixels. With every parameter at its "off", the pixels pass unchanged.
    """
    changes: list[Callable[[Any, Any], Any]] = []
    if params.affine:
        changes.append(lambda x, seed: _affine(x, seed, params.affine))
    if params.flip:
        changes.append(_flip)
    if params.blur:
        changes.append(lambda x, seed: _blur(x, seed, params.blur))
    if params.brightness:
        changes.append(lambda x, seed: _brighten(x, seed, params.brightness))
    if not changes:
        return lambda pixels, seed: pixels

    def augment(pixels: Any, seed: Any) -> Any:
        x = tf.cast(pixels, tf.float32)
        for number, change in enumerate(changes):
            x = change(x, tf.random.experimental.stateless_fold_in(seed, number))
        return tf.cast(tf.clip_by_value(tf.round(x), 0, 255), tf.uint8)

    return augment


def _affine(x: Any, seed: Any, limit: float) -> Any:
    """Rotation and shear up to `limit` radians, scaling by up to 1 ± `limit`, shift by up to `limit` of the side."""
    images, height, width = tf.shape(x)[0], x.shape[1], x.shape[2]
    turn, shear, scale, across, down = tf.unstack(tf.random.stateless_uniform([5, images], seed, -limit, limit), num=5)
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


def _flip(x: Any, seed: Any) -> Any:
    """Mirrors left and right, one image in two."""
    mirrored = tf.random.stateless_uniform([tf.shape(x)[0], 1, 1, 1], seed) < 0.5
    return tf.where(mirrored, x[:, :, ::-1], x)


def _blur(x: Any, seed: Any, limit: float) -> Any:
    """A Gaussian blur of up to `limit` pixels' standard deviation, by one normalised matrix a side and image."""
    deviation = tf.random.stateless_uniform([tf.shape(x)[0], 1, 1], seed, 1e-3, limit)

    def matrix(side: int) -> Any:
        place = tf.range(side, dtype=tf.float32)
        weights = tf.exp(-(((place[:, None] - place[None, :]) / deviation) ** 2) / 2)
        return weights / tf.reduce_sum(weights, axis=2, keepdims=True)

    down = tf.einsum("nij,njwc->niwc", matrix(x.shape[1]), x)
    return tf.einsum("nij,nhjc->nhic", matrix(x.shape[2]), down)


def _brighten(x: Any, seed: Any, limit: float) -> Any:
    """Adds up to ± `limit` of full white."""
    return x + 255 * tf.random.stateless_uniform([tf.shape(x)[0], 1, 1, 1], seed, -limit, limit)
