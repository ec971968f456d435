"""The step of training, compiled: a batch's pixels and pairs in; weights one update further, and the loss, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from siamese.models.network import parts, trunk_and_units
from siamese.params import TrainParams
from siamese.preprocessing.transform import Transform
from siamese.training import losses
from siamese.training.augmentation import augmentation
from siamese.training.distribution import Distribution


def compile_step(
    model: Any,
    optimizer: Any,
    averages: Sequence[Any],
    transform: Transform,
    params: TrainParams,
    precision: str,
    replicas: Distribution,
) -> Callable[..., Any]:
    """The step of a network, as a `tf.function` that changes `model`, `optimizer` and `averages`.

    Args:
        model: what `siamese.models.network.build` made, in `precision`, within `replicas.scope()`.
        optimizer: what `siamese.training.optimizer.optimizer` made, built on the model's trainable variables.
        averages: a variable for each of the model's weights, to become its running mean; none: no means.
        transform: what the network sees of pixels.
        params: section `train`.

    Returns:
        A function of pixels, uint8 [images, *image_shape]; first and second, int32 [pairs], which images make a pair;
        labels, float32 [pairs]; and what augmentation is drawn by, int32 [2]. It gives the loss before the update,
        float32 scalar.
    """
    embedding, distance, head = parts(model)
    trunk, last = trunk_and_units(embedding)
    # Most weights are the last layer's: between machines, images' features are far less to send than its gradient.
    send_features = replicas.workers > 1
    own_variables = [id(variable) for variable in last.trainable_variables]
    equal = [send_features and id(variable) in own_variables for variable in model.trainable_variables]
    augment, objective = augmentation(params.augmentation), losses.of(params)

    def embedded(own: list[Any], shares: list[Any], images: Any) -> Any:
        """Embeddings of all of a step's images, float32 [images, units]; each replica brings its own shares."""
        embed = trunk if send_features else embedding
        features = tf.concat([embed(part, training=True) for part in own], axis=0)
        gathered = replicas.gather(tf.cast(features, tf.float32), tf.concat(shares, axis=0))
        if not send_features:
            return gathered
        return tf.concat([last(tf.gather(gathered, share)) for share in replicas.all_shares(images)], axis=0)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *model.input_shape[0][1:]], tf.uint8),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([2], tf.int32),
        ]
    )
    def step(pixels: Any, first: Any, second: Any, labels: Any, seed: Any) -> Any:
        def of_replica() -> Any:
            images = tf.shape(pixels)[0]
            shares = replicas.shares(images, precision)
            own = [transform.image(augment(tf.gather(pixels, share), share, images, seed)) for share in shares]
            with tf.GradientTape() as tape:
                logits = losses.pair_logits(embedded(own, shares, images), first, second, distance, head)
                value = objective(labels, logits, first, second, images)
                # Each replica has the whole loss, and their gradients are summed.
                scaled = optimizer.scale_loss(value) / replicas.count
            gradients = replicas.sum_gradients(tape.gradient(scaled, model.trainable_variables), equal)
            optimizer.apply(gradients, model.trainable_variables)
            if averages:
                _follow(averages, model.weights, params.average, optimizer.iterations)
            return value

        return replicas.run(of_replica)

    compiled_step: Callable[..., Any] = step
    return compiled_step


def average_of(variable: Any) -> Any:
    """A variable for the running mean of a weight, which begins as its value."""
    only_first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # they are equal on all
    value = tf.convert_to_tensor(variable)
    return tf.Variable(value, trainable=False, aggregation=only_first, name=f"average_of_{variable.name}")


def _follow(averages: Sequence[Any], weights: Sequence[Any], most: float, iterations: Any) -> None:
    steps = tf.cast(iterations, tf.float32)
    decay = tf.minimum(most, (1 + steps) / (10 + steps))  # the first ones count for little
    for average, weight in zip(averages, weights, strict=True):
        average.assign(decay * average + (1 - decay) * tf.convert_to_tensor(weight))
