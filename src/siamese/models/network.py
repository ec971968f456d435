"""The Siamese network: one embedding for both images, their L1 distance, one sigmoid unit.

The specification's layers, layer by layer, with the shape and parameter counts that `siamese summary` prints:
Koch, Zemel and Salakhutdinov 2015 (Siamese neural networks for one-shot image recognition), at 100x100x3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from siamese.models import backbones
from siamese.models.batch_normalization import FusedBatchNormalization
from siamese.params import SIZES


@keras.saving.register_keras_serializable(package="siamese")
class L1Distance(layers.Layer):
    """Component-wise distance of two embeddings: |anchor - other|, float32 [batch, units]."""

    def call(self, anchor: Any, other: Any) -> Any:
        return ops.abs(anchor - other)

    def compute_output_shape(self, anchor_shape: tuple, other_shape: tuple) -> tuple:
        return anchor_shape


def build(network: str, *, precision: str = "float32", seed: int | None = None) -> keras.Model:
    """A network by its name in params.yaml, with fresh weights.

    Args:
        network: `specification`, `convolutional`, `residual` or `pooled`.
        precision: dtype of the arithmetic inside the embedding; weights, embeddings and scores are float32 always.
        seed: of the initial weights; None: another each time.

    Returns:
        A model of two inputs, images float32 [batch, height, width, channels] of the size that `siamese.params` says,
        in [0, 1] each, to the score, float32 [batch, 1]. Its sub-model `embedding` gives float32 [batch, units].
    """
    if seed is not None:
        keras.utils.set_random_seed(seed)
    if network == "specification":
        return twins(specification_embedding(_policy(precision)))
    embed = backbones.NETWORKS[network](_policy(precision))
    # From the start, the farther apart two embeddings are, the lower their score.
    return twins(embed, keras.initializers.Constant(-8 / SIZES[network].units ** 0.5))


def twins(embed: keras.Model, kernel: Any = "glorot_uniform") -> keras.Model:
    """The model that `build` gives, of any embedding network: both images through it, their distance, the score.

    Args:
        embed: images to embeddings.
        kernel: initializer of the last layer's weights.
    """
    head = layers.Dense(1, activation="sigmoid", kernel_initializer=kernel, name="dense_1")
    return _joined(embed, L1Distance(name="l1_distance"), head)


def specification_embedding(policy: str = "float32") -> keras.Model:
    """Four convolution blocks and 4,096 sigmoid units: float32 [batch, 100, 100, 3] to float32 [batch, 4096]."""
    sizes = SIZES["specification"]
    return embedding(sizes.image, [(64, 10), (128, 7), (128, 4), (256, 4)], sizes.units, policy)


def embedding(
    image_shape: tuple[int, int, int], blocks: Sequence[tuple[int, int]], units: int, policy: str
) -> keras.Model:
    """Convolution blocks, each but the last with a pooling behind it, and a dense layer of sigmoid units.

    Args:
        image_shape: height, width, channels.
        blocks: filters and filter size of each convolution.
        units: of the dense layer.
        policy: Keras's dtype policy of the arithmetic; the result is float32 always.
    """
    image = keras.Input(image_shape, name="image")
    x = image
    for number, (filters, size) in enumerate(blocks):
        suffix = f"_{number}" if number else ""
        x = layers.Conv2D(filters, size, activation="relu", dtype=policy, name=f"conv2d{suffix}")(x)
        if number < len(blocks) - 1:
            x = layers.MaxPooling2D(2, padding="same", dtype=policy, name=f"max_pooling2d{suffix}")(x)
    x = layers.Flatten(dtype=policy, name="flatten")(x)
    activation = "sigmoid" if policy == "float32" else backbones.float32_sigmoid
    x = layers.Dense(units, activation=activation, dtype=policy, name="dense")(x)
    return keras.Model(image, x, name="embedding")


def parts(model: keras.Model) -> tuple[keras.Model, L1Distance, layers.Dense]:
    """The embedding, the distance and the head of a model made by `build` or loaded from `siamese.keras`."""
    return model.get_layer("embedding"), model.get_layer("l1_distance"), model.get_layer("dense_1")


def trunk_and_units(embedding: keras.Model) -> tuple[keras.Model, layers.Dense]:
    """An embedding network in two: images to features, float32 or less precise [batch, features], and its last layer,
    features to embeddings."""
    dense = embedding.get_layer("dense")
    return keras.Model(embedding.input, dense.input), dense


def save(model: keras.Model, file: Path) -> None:
    """Write a `.keras` file that Keras loads without this package.

    It contains the same network and weights in layers of Keras's own; its `l1_distance` is a model of two of them.

    Args:
        model: what `build` or `load` returned.
        file: its suffix must be `.keras`.
    """
    embedding, _, head = parts(model)
    embedding = _with_normalisation(embedding, FusedBatchNormalization, layers.BatchNormalization)
    pair = [keras.Input(embedding.output_shape[1:], name=name) for name in ("anchor", "other")]
    distance = keras.Model(pair, ops.abs(ops.subtract(*pair)), name="l1_distance")
    _joined(embedding, lambda anchor, other: distance([anchor, other]), head).save(file)


def load(file: Path) -> keras.Model:
    """Return the model that `save` wrote, with the layers that `build` gives it.

    Files of earlier versions, which contain these layers themselves, are loaded too.

    Raises:
        ValueError, TypeError, KeyError, OSError, BadZipFile: the file is damaged, or contains another network.
    """
    embedding, _, head = parts(keras.saving.load_model(file, compile=False))
    embedding = _with_normalisation(embedding, layers.BatchNormalization, FusedBatchNormalization)
    return _joined(embedding, L1Distance(name="l1_distance"), head)


def _joined(embedding: keras.Model, distance: Callable[[Any, Any], Any], head: layers.Dense) -> keras.Model:
    anchor = keras.Input(embedding.input_shape[1:], name="anchor")
    other = keras.Input(embedding.input_shape[1:], name="other")
    score = head(distance(embedding(anchor), embedding(other)))
    return keras.Model([anchor, other], score, name="siamese")


def _with_normalisation(embedding: keras.Model, current: Any, replacement: Any) -> keras.Model:
    """The same network with `replacement` layers in place of `current` ones; all other layers are shared."""

    def replaced(layer: Any) -> Any:
        if type(layer) is not current:
            return layer
        same = replacement(momentum=layer.momentum, epsilon=layer.epsilon, dtype=layer.dtype_policy, name=layer.name)
        same.build(layer.input.shape)
        same.set_weights(layer.get_weights())
        return same

    return keras.models.clone_model(embedding, clone_function=replaced)


def _policy(precision: str) -> str:
    return "float32" if precision == "float32" else f"mixed_{precision}"
