"""Adam: its update by the formula, step for step, and Keras's own beside it."""

import by_formula
import numpy as np
import pytest

from siamese import config, tf_runtime

tf = tf_runtime.import_tensorflow()
import keras  # noqa: E402

from siamese.training.optimizer import optimizer  # noqa: E402


def made(*settings: str, precision: str = "float32") -> object:
    return optimizer(config.load_params(config.packaged_file(), settings).train, precision, steps_per_epoch=10)


def test_updates_are_those_of_the_formula_over_many_steps() -> None:
    """Sixteen weights, gradients of sizes from 1e-9, far below epsilon, to 1e3, some of them 0: 100 steps in float64.

    From weights of 0, so that float32 leaves their movement its digits.
    """
    rng = np.random.default_rng(0)
    variable = keras.Variable(np.zeros(16, np.float32))
    adam, expected = made("train.optimizer.learning_rate=0.01"), by_formula.Adam(np.zeros(16), rate=0.01)
    adam.build([variable])
    sizes = np.logspace(-9, 3, 16)
    for _ in range(100):
        gradient = (sizes * rng.normal(0.5, 1, size=16) * (rng.random(16) > 0.2)).astype(np.float32)
        adam.apply([tf.constant(gradient)], [variable])
        expected.update(gradient.astype(np.float64))
        np.testing.assert_allclose(variable.numpy(), expected.weight, rtol=1e-4, atol=1e-7)
    assert (abs(expected.weight) > 0.005).all()


@pytest.mark.parametrize(("gradient", "moved"), [(1000.0, 1e-4), (-0.5, -1e-4), (1e-8, 3.0653e-6), (0.0, 0.0)])
def test_the_first_step_by_hand(gradient: float, moved: float) -> None:
    """m = g / 10, v = g^2 / 1000, so that the step is 1e-4 g / (|g| + 1e-8 sqrt(1000)): the rate itself for any large
    gradient, whatever its size; for 1e-8, 1e-4 / (1 + sqrt(1000)) = 1e-4 / 32.623. Epsilon 1e-7, which is Keras's own,
    would make it 1e-4 / 317.2."""
    variable = keras.Variable(0.0)
    adam = made()
    adam.build([variable])
    adam.apply([tf.constant(gradient)], [variable])
    assert float(variable.numpy()) == pytest.approx(-moved, rel=1e-4)


def test_three_equal_gradients_move_it_by_the_rate_each_time() -> None:
    """Corrected for their start at 0, the means of equal gradients are the gradient and its square: 3 x 1e-4."""
    variable = keras.Variable(0.0)
    adam = made()
    adam.build([variable])
    for step in (1, 2, 3):
        adam.apply([tf.constant(0.25)], [variable])
        assert float(variable.numpy()) == pytest.approx(-step * 1e-4, rel=1e-4)


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
