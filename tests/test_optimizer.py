"""Adam: its update by the formula, step for step, and Keras's own beside it."""

import numpy as np
import pytest

from siamese import backend, params

tf = backend.tensorflow()
import keras  # noqa: E402

from siamese.optimizer import optimizer  # noqa: E402


def made(*settings: str, precision: str = "float32") -> object:
    return optimizer(params.load(params.packaged_file(), settings).train, precision, steps_per_epoch=10)


def test_three_updates_by_the_formula() -> None:
    """Kingma and Ba 2015 in float64: m, v, and w - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)."""
    gradients = [np.array([0.5, -2.0, 1e-6]), np.array([-0.1, -2.0, 0.0]), np.array([3.0, 0.7, 1e-6])]
    weight, m, v = np.array([1.0, -1.0, 0.0]), np.zeros(3), np.zeros(3)
    variable = keras.Variable(weight.astype(np.float32))
    adam = made("train.optimizer.learning_rate=0.01")
    adam.build([variable])
    for step, gradient in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        weight = weight - 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-8)
        adam.apply([tf.constant(gradient, tf.float32)], [variable])
        np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_it_updates_as_keras_does(compiled: bool) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(20, 30)).astype(np.float32)
    ours, theirs = made(), keras.optimizers.Adam(1e-4, epsilon=1e-8)
    variables = [keras.Variable(start), keras.Variable(start)]
    for one, variable in zip((ours, theirs), variables, strict=True):
        one.build([variable])

    def update(gradient: object) -> None:
        ours.apply([gradient], [variables[0]])
        theirs.apply([gradient], [variables[1]])

    run = tf.function(update) if compiled else update
    for _ in range(5):
        run(tf.constant(rng.normal(size=start.shape), tf.float32))
    assert not np.array_equal(variables[0].numpy(), start)
    np.testing.assert_allclose(variables[0].numpy(), variables[1].numpy(), rtol=1e-5, atol=1e-8)


def test_the_cosine_schedule_is_half_way_down_at_half_time_and_ends_at_zero() -> None:
    adam = made("train.schedule=cosine", "train.epochs=2")
    adam.build([keras.Variable(0.0)])
    rates = []
    for iteration in (0, 10, 20):
        adam.iterations.assign(iteration)
        rates.append(float(adam.learning_rate))
    assert rates == pytest.approx([1e-4, 0.5e-4, 0], abs=1e-9)


def test_float16_scales_its_loss() -> None:
    variable = keras.Variable(0.0)
    adam = made(precision="float16")
    adam.build([variable])
    assert float(adam.scale_loss(tf.constant(1.0))) > 1000
