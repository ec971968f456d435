"""The specification's network: exact in shapes, parameters and arithmetic, and at home in any process."""

import subprocess
import sys

import numpy as np
import pytest

from siamese import backend, summary

tf = backend.tensorflow()
from siamese import network  # noqa: E402

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


def test_a_fresh_process_loads_the_saved_network_with_nothing_passed(tmp_path, model) -> None:
    model.save(tmp_path / "siamese.keras")
    images = np.random.default_rng(5).random((2, 100, 100, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, keras, numpy as np, siamese.network\n"
        "model = keras.saving.load_model(sys.argv[1] + '/siamese.keras')\n"
        "images = np.load(sys.argv[1] + '/images.npy')\n"
        "print(repr(float(model([images[:1], images[1:]])[0, 0])))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(float(model([images[:1], images[1:]])[0, 0]), rel=1e-6)
