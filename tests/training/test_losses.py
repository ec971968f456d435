"""The loss: binary cross-entropy by its formula, plain, and with both classes weighing the same."""

import math
from collections.abc import Callable

import by_formula
import numpy as np
import pytest

from siamese import tf_runtime

tf = tf_runtime.import_tensorflow()
import keras  # noqa: E402

from siamese.models import network  # noqa: E402
from siamese.training import losses  # noqa: E402


def test_cross_entropy_by_hand() -> None:
    """Scores 0.8 (positive), 0.5 and 0.1 (negative): (-ln 0.8 - ln 0.5 - ln 0.9) / 3."""
    scores = np.array([0.8, 0.5, 0.1], np.float32)
    value = losses.cross_entropy(tf.constant([1.0, 0.0, 0.0]), tf.constant(np.log(scores / (1 - scores))))
    assert float(value) == pytest.approx((-math.log(0.8) - math.log(0.5) - math.log(0.9)) / 3, rel=1e-6)


def test_balanced_cross_entropy_by_hand() -> None:
    """Scores 0.8 (positive), 0.5 and 0.1 (negative): (-ln 0.8 + (-ln 0.5 - ln 0.9) / 2) / 2."""
    scores = np.array([0.8, 0.5, 0.1], np.float32)
    value = losses.balanced_cross_entropy(tf.constant([1.0, 0.0, 0.0]), tf.constant(np.log(scores / (1 - scores))))
    assert float(value) == pytest.approx((-math.log(0.8) + (-math.log(0.5) - math.log(0.9)) / 2) / 2, rel=1e-6)


def test_where_classes_are_equal_in_number_it_is_the_specification_s_binary_cross_entropy() -> None:
    """The mean of -[y log p + (1 - y) log(1 - p)], which Keras computes from the scores too."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, size=10).astype(np.float32), np.repeat([1, 0], 5).astype(np.float32)
    scores = by_formula.sigmoid(logits.astype(np.float64))
    found = float(losses.balanced_cross_entropy(labels, logits))
    assert found == pytest.approx(by_formula.cross_entropy(labels, scores), rel=1e-6)
    assert found == pytest.approx(float(keras.losses.binary_crossentropy(labels, scores.astype(np.float32))), rel=1e-5)


def test_where_one_class_is_rarer_it_is_the_entropy_of_pairs_repeated_until_both_are_equal_in_number() -> None:
    """2 positive and 6 negative pairs: as 6 and 6, each positive one three times."""
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 2, size=8), np.repeat([1.0, 0.0], [2, 6])
    times = np.repeat([3, 1], [2, 6])
    expected = by_formula.cross_entropy(np.repeat(labels, times), by_formula.sigmoid(np.repeat(logits, times)))
    assert float(losses.balanced_cross_entropy(labels, logits)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("positives", [0, 1, 3, 6])
def test_its_gradient_is_score_minus_label_times_what_the_pair_weighs(positives: int) -> None:
    """d/dz -[y log s(z) + (1 - y) log(1 - s(z))] = s(z) - y; a pair weighs 1 / (2 x pairs of its class), of one class
    alone 1 / pairs. Finite differences in float64 say the same."""
    labels = np.repeat([1.0, 0.0], [positives, 6 - positives])
    logits = np.random.default_rng(2).normal(0, 2, size=6)
    of_class = np.where(labels == 1, positives, 6 - positives)
    classes = 1 if positives in (0, 6) else 2
    by_hand = (by_formula.sigmoid(logits) - labels) / (classes * of_class)

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = losses.balanced_cross_entropy(tf.constant(labels), variable)
    np.testing.assert_allclose(tape.gradient(value, variable), by_hand, rtol=1e-12)
    np.testing.assert_allclose(
        slope(lambda z: float(losses.balanced_cross_entropy(labels, z)), logits), by_hand, rtol=1e-6
    )


def test_its_gradient_reaches_embeddings_and_head() -> None:
    """Through z = sum_k w_k |a_k - b_k| + b: with g the gradient of z, dw_k = sum g |a_k - b_k|, db = sum g,
    da_k = g w_k sign(a_k - b_k) = -db_k, added up over the pairs that an image is in; checked by finite differences.
    """
    rng = np.random.default_rng(3)
    embeddings, kernel, bias = rng.random((4, 5)), rng.normal(size=(5, 1)), rng.normal(size=1)
    first, second, labels = np.array([0, 0, 0, 1, 2]), np.array([1, 2, 3, 3, 3]), np.array([1.0, 0, 0, 0, 1])
    distance = network.L1Distance(dtype="float64")

    class Head:
        def __init__(self, kernel: np.ndarray, bias: np.ndarray) -> None:
            self.kernel, self.bias = tf.Variable(kernel), tf.Variable(bias)

    def value_of(embeddings: np.ndarray, head: Head) -> object:
        return losses.balanced_cross_entropy(labels, losses.pair_logits(embeddings, first, second, distance, head))

    variable, head = tf.Variable(embeddings), Head(kernel, bias)
    with tf.GradientTape() as tape:
        value = value_of(variable, head)
    found = [tf.convert_to_tensor(part) for part in tape.gradient(value, [variable, head.kernel, head.bias])]

    apart = embeddings[first] - embeddings[second]
    z = abs(apart) @ kernel[:, 0] + bias
    g = (by_formula.sigmoid(z) - labels) / np.where(labels == 1, 2 * 2, 2 * 3)
    of_embeddings = np.zeros((4, 5))
    for pair in range(5):
        of_embeddings[first[pair]] += g[pair] * kernel[:, 0] * np.sign(apart[pair])
        of_embeddings[second[pair]] -= g[pair] * kernel[:, 0] * np.sign(apart[pair])
    for got, expected in zip(found, (of_embeddings, (g @ abs(apart))[:, None], [g.sum()]), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    by_differences = slope(lambda e: float(value_of(e.reshape(4, 5), head)), embeddings.ravel())
    np.testing.assert_allclose(of_embeddings.ravel(), by_differences, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("label", "logit", "expected"), [(1, -200, 200), (1, 200, 0), (0, 200, 200), (0, -200, 0)])
def test_a_sure_score_costs_its_logit_or_nothing_and_never_infinity(label: int, logit: int, expected: int) -> None:
    """-log s(-200) = 200 + log(1 + e^-200), where s(-200) itself is 0 in float32."""
    value = losses.balanced_cross_entropy(tf.constant([float(label)]), tf.constant([float(logit)]))
    assert float(value) == expected


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_batch_of_one_class_counts_that_class_alone(label: float) -> None:
    value = losses.balanced_cross_entropy(tf.constant([label, label]), tf.constant([0.0, 0.0]))
    assert float(value) == pytest.approx(math.log(2))


def test_a_pair_scores_as_the_network_scores_it() -> None:
    model = network.build("specification", seed=3)
    embedding, distance, head = network.parts(model)
    images = np.random.default_rng(0).random((3, 100, 100, 3), np.float32)
    logits = losses.pair_logits(embedding(images), tf.constant([0, 1]), tf.constant([2, 1]), distance, head)
    expected = model([images[[0, 1]], images[[2, 1]]]).numpy()[:, 0]
    np.testing.assert_allclose(tf.sigmoid(logits), expected, rtol=1e-5)


def test_n_pair_by_hand() -> None:
    """Images 0 and 1 show the same, 2 another; logits z01 = 1, z02 = 0, z12 = -2. Image 0 has the negative z02, image 1
    has z12: (log(1 + e^(0-1)) + log(1 + e^(-2-1))) / 2."""
    pairs = {"first": [0, 0, 1], "second": [1, 2, 2]}
    value = losses.n_pair(tf.constant([1.0, 0, 0]), tf.constant([1.0, 0, -2]), **pairs, images=3)
    assert float(value) == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(-3))) / 2, rel=1e-6)


def test_n_pair_sums_over_all_negatives_of_an_image_and_not_over_its_positives() -> None:
    """5 images of identities 0 0 0 1 1, by a loop over every positive pair and either end of it."""
    codes, rng = np.array([0, 0, 0, 1, 1]), np.random.default_rng(4)
    first, second = np.triu_indices(5, k=1)
    labels, logits = (codes[first] == codes[second]).astype(float), rng.normal(0, 3, size=10)
    z = np.zeros((5, 5))
    z[first, second] = z[second, first] = logits
    each = [
        math.log(1 + sum(math.exp(z[i, n] - z[i, j]) for n in range(5) if codes[n] != codes[i]))
        for i in range(5)
        for j in range(5)
        if i != j and codes[i] == codes[j]
    ]
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = losses.n_pair(tf.constant(labels), variable, first, second, 5)
    assert float(value) == pytest.approx(sum(each) / len(each), rel=1e-9)
    by_differences = slope(lambda logits: float(losses.n_pair(tf.constant(labels), logits, first, second, 5)), logits)
    np.testing.assert_allclose(tape.gradient(value, variable), by_differences, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_n_pair_of_a_batch_of_one_class_is_nothing_to_learn_from(label: float) -> None:
    variable = tf.Variable([0.5, -0.5])
    with tf.GradientTape() as tape:
        value = losses.n_pair(tf.constant([label, label]), variable, [0, 0], [1, 2], 3)
    assert float(value) == 0
    np.testing.assert_array_equal(tape.gradient(value, variable), [0, 0])


def test_n_pair_doesn_t_overflow() -> None:
    """log(1 + e^(1000 + 1000)) = 2000."""
    value = losses.n_pair(tf.constant([1.0, 0, 0]), tf.constant([-1000.0, 1000, 1000]), [0, 0, 1], [1, 2, 2], 3)
    assert float(value) == 2000


def slope(value: Callable[[np.ndarray], float], where: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """The gradient by central differences: float64 [n] for `where`, float64 [n]."""
    steps = step * np.eye(len(where))
    return np.array([(value(where + one) - value(where - one)) / (2 * step) for one in steps])
