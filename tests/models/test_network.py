"""The specification's network: exact in shapes, parameters and arithmetic, and at home in any process."""

import subprocess
import sys

import by_formula
import numpy as np
import pytest
from conftest import ROOT

from siamese import tf_runtime
from siamese.models import summary

tf = tf_runtime.import_tensorflow()
from siamese.models import network  # noqa: E402

# The specification's layer table: shape of the output, and parameters = filter height x width x channels x filters +
# filters.
LAYER_TABLE = {
    "conv2d": ((None, 91, 91, 64), 10 * 10 * 3 * 64 + 64),
    "max_pooling2d": ((None, 46, 46, 64), 0),
    "conv2d_1": ((None, 40, 40, 128), 7 * 7 * 64 * 128 + 128),
    "max_pooling2d_1": ((None, 20, 20, 128), 0),
    "conv2d_2": ((None, 17, 17, 128), 4 * 4 * 128 * 128 + 128),
    "max_pooling2d_2": ((None, 9, 9, 128), 0),
    "conv2d_3": ((None, 6, 6, 256), 4 * 4 * 128 * 256 + 256),
    "flatten": ((None, 9216), 0),
    "dense": ((None, 4096), 9216 * 4096 + 4096),
    "l1_distance": ((None, 4096), 0),
    "dense_1": ((None, 1), 4096 + 1),
}


@pytest.fixture(scope="module")
def table() -> summary.Table:
    return summary.summary("specification")


@pytest.fixture(scope="module")
def model() -> object:
    return network.build("specification", seed=1)


def test_the_layer_table_is_the_specification(table: summary.Table) -> None:
    found = {layer.name: (layer.shape, layer.parameters) for layer in table.layers}
    assert found.pop("image") == ((None, 100, 100, 3), 0)
    assert found == LAYER_TABLE
    assert table.parameters == 38_964_545


def test_the_summary_prints_every_row_and_the_totals(table: summary.Table) -> None:
    text = " ".join(summary.to_text(table).split())
    assert "conv2d (None, 91, 91, 64) 19,264" in text
    assert "total 38,964,545 parameters, 148.6 MB" in text
    assert all(name in text for name in LAYER_TABLE)


@pytest.mark.parametrize(("name", "start"), [("net.svg", b"<?xml"), ("net.png", b"\x89PNG")])
def test_the_network_is_drawn(tmp_path, table: summary.Table, name: str, start: bytes) -> None:
    summary.draw(table, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_the_score_is_the_heads_sigmoid_of_the_l1_distance(model) -> None:
    """By hand from the embeddings: 1 / (1 + exp(-(|a - b| . w + b)))."""
    embedding, _, head = network.parts(model)
    head.bias.assign([0.25])
    images = np.random.default_rng(0).random((2, 100, 100, 3), np.float32)
    a, b = embedding(images).numpy().astype(np.float64)
    expected = 1 / (1 + np.exp(-(np.abs(a - b) @ head.kernel.numpy()[:, 0] + 0.25)))
    assert model([images[:1], images[1:]]).numpy().item() == pytest.approx(expected, rel=1e-5)
    assert model([images[:1], images[1:]]).numpy() == pytest.approx(model([images[1:], images[:1]]).numpy())


def test_embeddings_are_sigmoids(model) -> None:
    found = network.parts(model)[0](np.random.default_rng(0).random((2, 100, 100, 3), np.float32)).numpy()
    assert found.dtype == np.float32 and found.min() > 0 and found.max() < 1


class TestAgainstTheFormulas:
    """Every layer computed again in float64, without TensorFlow: `by_formula`."""

    def test_a_small_network_of_the_same_layers(self) -> None:
        """14x13 pixels, loops over every product: 12x11, 6x6 (an edge of one column), 5x5, 3x3 (a corner), 2x2x4."""
        embedding = network.embedding((14, 13, 3), [(5, 3), (3, 2), (4, 2)], units=7, policy="float32")
        shapes = [layer.output.shape[1:] for layer in embedding.layers[1:]]
        assert shapes == [(12, 11, 5), (6, 6, 5), (5, 5, 3), (3, 3, 3), (2, 2, 4), (16,), (7,)]
        self.check(network.twins(embedding), by_formula.convolution_by_loops, gain=8)

    def test_the_specification_s_network(self) -> None:
        self.check(network.build("specification"), by_formula.convolution, gain=1)

    def test_both_ways_to_write_the_convolution_agree(self) -> None:
        rng = np.random.default_rng(0)
        image, kernel, bias = rng.normal(size=(6, 5, 2)), rng.normal(size=(3, 2, 2, 4)), rng.normal(size=4)
        by_loops = by_formula.convolution_by_loops(image, kernel, bias)
        np.testing.assert_allclose(by_formula.convolution(image, kernel, bias), by_loops, rtol=1e-12)

    @staticmethod
    def check(model, convolve, gain: float) -> None:
        """Equal to 1e-5, with weights and images that spread embeddings widely between 0 and 1."""
        rng = np.random.default_rng(7)
        model.set_weights([lively(weight.shape, gain, rng) for weight in model.get_weights()])
        images = rng.random((2, *model.input_shape[0][1:]), np.float32)
        images[1, :, : images.shape[2] // 2] = 0  # the left half of the second is black
        part, _, head = network.parts(model)
        expected = np.stack([by_formula.embedding(image, part.get_weights(), convolve) for image in images])
        np.testing.assert_allclose(part(images).numpy(), expected, atol=1e-5)
        assert expected.std() > 0.15 and (abs(expected - 0.5) < 0.45).mean() > 0.8
        assert abs(expected[0] - expected[1]).mean() > 0.05

        score = by_formula.score(*expected, head.get_weights())
        assert model([images[:1], images[1:]]).numpy().item() == pytest.approx(score, abs=1e-5)
        assert 0.05 < score < 0.95 and abs(score - by_formula.sigmoid(head.get_weights()[1]).item()) > 0.02


def lively(shape: tuple[int, ...], gain: float, rng: np.random.Generator) -> np.ndarray:
    """Weights that neither let what comes out of a layer die away nor drive its sigmoids to 0 or 1.

    Args:
        gain: of the dense layers.
    """
    if len(shape) == 1:
        return rng.normal(0, 0.2, shape)
    return (gain if len(shape) == 2 else 1) * rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_and_scores_are_float32_in_every_precision(precision: str) -> None:
    other = network.build("specification", precision=precision)
    assert {str(variable.dtype) for variable in other.variables} == {"float32"}
    embedding = network.parts(other)[0]
    assert embedding(np.zeros((1, 100, 100, 3), np.float32)).dtype == tf.float32
    assert embedding.get_layer("conv2d").compute_dtype == precision


def test_the_same_seed_gives_the_same_weights(model) -> None:
    again, other = network.build("specification", seed=1), network.build("specification", seed=2)
    kernels = [network.parts(one)[0].get_layer("conv2d").kernel.numpy() for one in (model, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_keras_alone_loads_the_saved_network_and_finds_the_same_layers(tmp_path, model) -> None:
    """The program is the one in docs/networks.md."""
    section = (ROOT / "docs/networks.md").read_text().partition("## Open a model in Keras")[2]
    (tmp_path / "artifacts/model").mkdir(parents=True)
    network.save(model, tmp_path / "artifacts/model/siamese.keras")
    images = np.random.default_rng(5).random((2, 100, 100, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    program = section.partition("```python\n")[2].partition("```")[0] + (
        "import sys, numpy as np\n"
        "images = np.load('images.npy')\n"
        "print(*[layer.name for layer in model.layers], model.count_params(), 'siamese' in sys.modules)\n"
        "print(float(model([images[:1], images[1:]])[0, 0]))\n"
        "print(float(head(distance([embedding(images[:1]), embedding(images[1:])]))[0, 0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    layers, *scores = done.stdout.splitlines()
    assert layers == "anchor other embedding l1_distance dense_1 38964545 False"
    expected = float(model([images[:1], images[1:]])[0, 0])
    assert [float(score) for score in scores] == pytest.approx([expected, expected], rel=1e-6)
