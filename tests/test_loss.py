"""The loss: binary cross-entropy by its formula, both classes weighing the same."""

import math

import numpy as np
import pytest

from siamese import backend

tf = backend.tensorflow()
from siamese import loss, network  # noqa: E402


def test_balanced_cross_entropy_by_hand() -> None:
    """Scores 0.8 (positive), 0.5 and 0.1 (negative): (-ln 0.8 + (-ln 0.5 - ln 0.9) / 2) / 2."""
    scores = np.array([0.8, 0.5, 0.1], np.float32)
    value = loss.balanced_cross_entropy(tf.constant([1.0, 0.0, 0.0]), tf.constant(np.log(scores / (1 - scores))))
    assert float(value) == pytest.approx((-math.log(0.8) + (-math.log(0.5) - math.log(0.9)) / 2) / 2, rel=1e-6)


def test_where_classes_are_equal_in_number_it_is_plain_binary_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=10).astype(np.float32), np.repeat([1, 0], 5).astype(np.float32)
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -np.mean(labels * np.log(scores) + (1 - labels) * np.log(1 - scores))
    assert float(loss.balanced_cross_entropy(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_batch_of_one_class_counts_that_class_alone(label: float) -> None:
    value = loss.balanced_cross_entropy(tf.constant([label, label]), tf.constant([0.0, 0.0]))
    assert float(value) == pytest.approx(math.log(2))


def test_a_pair_scores_as_the_network_scores_it() -> None:
    model = network.build("specification", seed=3)
    embedding, distance, head = network.parts(model)
    images = np.random.default_rng(0).random((3, 100, 100, 3), np.float32)
    logits = loss.pair_logits(embedding(images), tf.constant([0, 1]), tf.constant([2, 1]), distance, head)
    expected = model([images[[0, 1]], images[[2, 1]]]).numpy()[:, 0]
    np.testing.assert_allclose(tf.sigmoid(logits), expected, rtol=1e-5)
