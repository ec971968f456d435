"""Embedding networks beside the specification's: smaller, with batch normalisation, for a processor, too."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from siamese.models.batch_normalization import FusedBatchNormalization
from siamese.params import SIZES


def convolutional(policy: str) -> keras.Model:
    """Four blocks of a 3x3 convolution, normalisation, ReLU and pooling, and a dense layer of sigmoid units.

    The blocks of Vinyals et al. 2016 (Matching networks for one-shot learning, section 4.1), with more filters where
    the picture is small and arithmetic cheap.

    Args:
        policy: Keras's dtype policy of the arithmetic; the result is float32 always.
    """
    sizes = SIZES["convolutional"]
    image = keras.Input(sizes.image, name="image")
    x = image
    for number, filters in enumerate((32, 64, 128, 256)):
        x = _normalised(x, filters, 3, 1, policy, f"block_{number}")
        x = layers.Activation("relu", dtype=policy, name=f"block_{number}_relu")(x)
        if number < 3:
            x = layers.MaxPooling2D(2, padding="same", dtype=policy, name=f"block_{number}_pooling")(x)
    x = layers.Flatten(dtype=policy, name="flatten")(x)
    return keras.Model(image, _units(x, sizes.units, policy), name="embedding")


def residual(policy: str) -> keras.Model:
    """Four residual blocks behind a strided convolution, and a dense layer of sigmoid units.

    He et al. 2016 (Deep residual learning), figure 5 left; where a block halves the picture, its shortcut is averaged
    before it is projected (He et al. 2019, Bag of tricks, ResNet-D).

    Args:
        policy: Keras's dtype policy of the arithmetic; the result is float32 always.
    """
    sizes = SIZES["residual"]
    image = keras.Input(sizes.image, name="image")
    x = _normalised(image, 32, 5, 2, policy, "first")
    x = layers.Activation("relu", dtype=policy, name="first_relu")(x)
    for number, filters in enumerate((32, 64, 128, 256)):
        x = _residual_block(x, filters, 2 if number else 1, policy, f"block_{number}")
    x = layers.Flatten(dtype=policy, name="flatten")(x)
    return keras.Model(image, _units(x, sizes.units, policy), name="embedding")


def pooled(policy: str) -> keras.Model:
    """Details apart from their ground, a convolution, four residual blocks, the global maximum of each feature, and a
    dense layer of sigmoid units: what is anywhere in the picture, wherever it is. For surfaces, where place means
    nothing.

    Args:
        policy: Keras's dtype policy of the arithmetic; the result is float32 always.
    """
    sizes = SIZES["pooled"]
    image = keras.Input(sizes.image, name="image")
    x = FusedBatchNormalization(dtype=policy, name="details_normalisation")(_details(image))
    x = _normalised(x, 16, 5, 1, policy, "first")
    x = layers.Activation("relu", dtype=policy, name="first_relu")(x)
    x = layers.MaxPooling2D(2, dtype=policy, name="first_pooling")(x)
    for number, (filters, stride) in enumerate(((48, 1), (48, 1), (96, 2), (96, 1))):
        x = _residual_block(x, filters, stride, policy, f"block_{number}")
    x = layers.GlobalMaxPooling2D(dtype=policy, name="maximum")(x)
    return keras.Model(image, _units(x, sizes.units, policy), name="embedding")


def _details(image: Any) -> Any:
    """The image; what differs from the mean of 3x3 pixels around; and that mean less the mean of 5x5 of such: float32
    [batch, height, width, 3].

    Fine detail has little power beside the ground that it lies on: a convolution would find it, but late.
    """
    near = layers.AveragePooling2D(3, strides=1, padding="same", dtype="float32", name="near")(image)
    around = layers.AveragePooling2D(5, strides=1, padding="same", dtype="float32", name="around")(near)
    fine = layers.Subtract(dtype="float32", name="fine")([image, near])
    coarse = layers.Subtract(dtype="float32", name="coarse")([near, around])
    return layers.Concatenate(dtype="float32", name="details")([image, fine, coarse])


NETWORKS = {"convolutional": convolutional, "residual": residual, "pooled": pooled}


def _residual_block(x: Any, filters: int, stride: int, policy: str, name: str) -> Any:
    inner = _normalised(x, filters, 3, stride, policy, f"{name}_a")
    inner = layers.Activation("relu", dtype=policy, name=f"{name}_a_relu")(inner)
    inner = _normalised(inner, filters, 3, 1, policy, f"{name}_b")
    if stride > 1:
        x = layers.AveragePooling2D(stride, padding="same", dtype=policy, name=f"{name}_pooling")(x)
    if x.shape[-1] != filters:
        x = _normalised(x, filters, 1, 1, policy, f"{name}_shortcut")
    x = layers.Add(dtype=policy, name=f"{name}_add")([x, inner])
    return layers.Activation("relu", dtype=policy, name=f"{name}_relu")(x)


def _normalised(x: Any, filters: int, size: int, stride: int, policy: str, name: str) -> Any:
    x = layers.Conv2D(
        filters, size, strides=stride, padding="same", use_bias=False, dtype=policy, name=f"{name}_convolution"
    )(x)
    return FusedBatchNormalization(dtype=policy, name=f"{name}_normalisation")(x)


def _units(x: Any, units: int, policy: str) -> Any:
    activation = "sigmoid" if policy == "float32" else float32_sigmoid
    return layers.Dense(units, activation=activation, dtype=policy, name="dense")(x)


def float32_sigmoid(x: Any) -> Any:
    """The sigmoid of a layer whose arithmetic is less precise: in bfloat16 it would round embeddings to 3 digits, and
    with them every distance."""
    return ops.sigmoid(ops.cast(x, "float32"))
