"""Adam as the specification has it, in one pass over the weights."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from siamese.params import TrainParams


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, whose update of a variable is one operation instead of ten, each of which goes through memory.

    Kingma and Ba 2015, section 2, in the form at its end, with epsilon outside of the bias correction: for step t
    and gradient g, m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2,
    w <- w - rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon).
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(tf.constant(self.beta_1), step),
            beta2_power=tf.pow(tf.constant(self.beta_2), step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _all_reduce_sum_gradients(self, gradients_and_variables: Any) -> Any:
        # Keras would sum them over the replicas here, behind loss scaling, which must see the sum: the step does it.
        return gradients_and_variables


def optimizer(params: TrainParams, precision: str, steps_per_epoch: int) -> Any:
    """The optimizer of `train.optimizer` with the schedule of `train.schedule`: a Keras optimizer, not built yet."""
    wanted = params.optimizer
    rate: Any = wanted.learning_rate
    if params.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=params.epochs * steps_per_epoch)
    adam = FusedAdam(rate, beta_1=wanted.beta_1, beta_2=wanted.beta_2, epsilon=wanted.epsilon)
    # float16 has no room for small gradients: the loss is scaled up before, the gradients down after.
    return keras.optimizers.LossScaleOptimizer(adam) if precision == "float16" else adam


def _handle(variable: Any) -> Any:
    return variable.handle if isinstance(variable, tf.Variable) else variable.value.handle
