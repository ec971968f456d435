"""The networks beside the specification's: what they see and give, their normalisation, and a life after training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from siamese import tf_runtime
from siamese.params import SIZES

tf = tf_runtime.import_tensorflow()
import keras  # noqa: E402

from siamese.models import network  # noqa: E402
from siamese.models.batch_normalization import FusedBatchNormalization  # noqa: E402

NAMES = ["convolutional", "residual", "pooled"]
RNG = np.random.default_rng(0)


def images_for(name: str, count: int = 4) -> np.ndarray:
    return RNG.random((count, *SIZES[name].image), np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_embeddings_are_float32_sigmoids_of_the_size_that_is_said(name: str, precision: str) -> None:
    found = network.parts(network.build(name, precision=precision, seed=0))[0](images_for(name)).numpy()
    assert found.shape == (4, SIZES[name].units) and found.dtype == np.float32
    assert 0 < found.min() < found.max() < 1


@pytest.mark.parametrize("name", NAMES)
def test_the_farther_apart_the_lower_the_score_before_any_training(name: str) -> None:
    """Two images that are one score as high as any pair can: there the distance is 0, and every weight is negative."""
    model = network.build(name, seed=0)
    assert (network.parts(model)[2].kernel.numpy() == np.float32(-8 / SIZES[name].units ** 0.5)).all()
    images = images_for(name)
    same, other = model([images, images]).numpy(), model([images, images[::-1]]).numpy()
    assert (same > other).all()


def test_layers_of_the_convolutional_network_by_hand() -> None:
    """48x48 halved three times is 6x6. Parameters: 3x3 x channels in x filters, without bias; gamma and beta, 2 a
    filter, and as many running statistics; the dense layer's 6x6x256 x 512 + 512; the head's 512 + 1."""
    channels, filters = [1, 32, 64, 128], [32, 64, 128, 256]
    convolutions = sum(9 * ins * outs for ins, outs in zip(channels, filters, strict=True))
    expected = convolutions + 4 * sum(filters) + 6 * 6 * 256 * 512 + 512 + 513
    assert network.build("convolutional").count_params() == expected


def test_the_residual_network_passes_its_input_on_where_a_block_adds_nothing() -> None:
    """With every second normalisation's gamma and beta at 0 a block adds 0 to its shortcut. The first block's shortcut
    is its input, and ReLU keeps what ReLU gave."""
    embedding = network.parts(network.build("residual", seed=0))[0]
    layer = embedding.get_layer("block_0_b_normalisation")
    layer.gamma.assign(np.zeros(32))
    ends = [embedding.get_layer(name).output for name in ("first_relu", "block_0_relu")]
    before, after = keras.Model(embedding.input, ends)(images_for("residual"))
    np.testing.assert_array_equal(before, after)


def test_the_pooled_network_does_not_ask_where() -> None:
    """Its steps are 2 and 2 pixels: a detail moved by 16 on an even ground gives the same features."""
    embedding = network.parts(network.build("pooled", seed=0))[0]
    ground = np.zeros((64, 64, 1), np.float32)
    here, there = ground.copy(), ground.copy()
    here[20:26, 20:24], there[36:42, 28:32] = 1, 1
    found = embedding(np.stack([here, there, ground])).numpy()
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-3


class TestNormalisation:
    """Ioffe and Szegedy 2015 by hand."""

    X = RNG.normal(3, 2, size=(5, 4, 4, 2)).astype(np.float32)

    def layer(self) -> FusedBatchNormalization:
        layer = FusedBatchNormalization(momentum=0.75)
        layer.build((None, 4, 4, 2))
        layer.gamma.assign([2, 0.5])
        layer.beta.assign([0, 1])
        return layer

    def test_in_training_by_the_batch_s_own_statistics(self) -> None:
        mean, variance = self.X.mean((0, 1, 2)), self.X.var((0, 1, 2))
        expected = (self.X - mean) / np.sqrt(variance + 1e-3) * [2, 0.5] + [0, 1]
        np.testing.assert_allclose(self.layer()(self.X, training=True), expected, rtol=1e-4, atol=1e-5)

    def test_otherwise_by_running_means_of_them(self) -> None:
        """One batch moves the mean from 0 and the variance from 1 by a quarter; the variance is the unbiased one, of
        80 values a channel."""
        layer = self.layer()
        layer(self.X, training=True)
        mean = self.X.mean((0, 1, 2)) / 4
        variance = 0.75 + self.X.var((0, 1, 2)) * 80 / 79 / 4
        np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-5)
        np.testing.assert_allclose(layer.variance.numpy(), variance, rtol=1e-5)
        expected = (self.X - mean) / np.sqrt(variance + 1e-3) * [2, 0.5] + [0, 1]
        np.testing.assert_allclose(layer(self.X), expected, rtol=1e-4, atol=1e-5)

    def test_it_agrees_with_keras_s_own_layer_to_the_gradient(self) -> None:
        ours, theirs = self.layer(), keras.layers.BatchNormalization(momentum=0.75, epsilon=1e-3)
        theirs.build((None, 4, 4, 2))
        theirs.gamma.assign([2, 0.5])
        theirs.beta.assign([0, 1])
        gradients = []
        for layer in (ours, theirs):
            x = tf.Variable(self.X)
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(layer(x, training=True) ** 3)
            gradients.append(tape.gradient(value, [x, layer.gamma.value, layer.beta.value]))
        for one, other in zip(*gradients, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_keras_alone_loads_a_saved_network(name: str, tmp_path: Path) -> None:
    """Scores differ by rounding alone: Keras's own normalisation multiplies and adds in another order."""
    model, images = network.build(name, seed=5), images_for(name)
    network.parts(model)[0](images, training=True)  # so that running statistics are no longer the initial ones
    network.save(model, tmp_path / "siamese.keras")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "scores.npy", model([images, images[::-1]]).numpy())
    program = """
import keras
import numpy as np
model, images = keras.models.load_model("siamese.keras"), np.load("images.npy")
np.testing.assert_allclose(model([images, images[::-1]]).numpy(), np.load("scores.npy"), atol=1e-6)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.parametrize("version", ["this", "earlier"])
@pytest.mark.parametrize("name", [*NAMES, "specification"])
def test_a_saved_network_is_loaded_to_the_bit(name: str, version: str, tmp_path: Path) -> None:
    """Earlier versions wrote `L1Distance` and `FusedBatchNormalization` into the file."""
    model, images = network.build(name, seed=5), images_for(name)
    network.parts(model)[0](images, training=True)  # so that running statistics are no longer the initial ones
    file = tmp_path / "siamese.keras"
    model.save(file) if version == "earlier" else network.save(model, file)
    loaded = network.load(file)
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    pair = [images, images[::-1]]
    np.testing.assert_array_equal(loaded(pair), model(pair))
