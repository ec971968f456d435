"""From the embeddings of a batch and its pairs to one loss."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def pair_logits(embeddings: Any, first: Any, second: Any, distance: Any, head: Any) -> Any:
    """The score of pairs of rows of `embeddings`, before its sigmoid.

    Args:
        embeddings: float32 [images, units].
        first, second: int32 [pairs], rows of `embeddings`.
        distance, head: the network's layers `l1_distance` and `dense_1`.

    Returns:
        float32 [pairs].
    """
    apart = distance(tf.gather(embeddings, first), tf.gather(embeddings, second))
    return tf.squeeze(tf.matmul(apart, head.kernel), axis=1) + head.bias


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Binary cross-entropy as the specification has it: the mean over pairs of -(y log p + (1 - y) log(1 - p)).

    Args:
        labels: float32 [pairs], 0 or 1.
        logits: float32 [pairs], the score p before its sigmoid.

    Returns:
        float32 scalar.
    """
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))


def balanced_cross_entropy(labels: Any, logits: Any) -> Any:
    """Binary cross-entropy in which positive and negative pairs weigh the same, whatever their numbers.

    The mean over positive pairs and the mean over negative pairs, averaged; where one class is absent, the other's
    mean.

    Args:
        labels: float32 [pairs], 0 or 1.
        logits: float32 [pairs], the score before its sigmoid.

    Returns:
        float32 scalar.
    """
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    positives, negatives = tf.reduce_sum(labels), tf.reduce_sum(1 - labels)
    classes = tf.maximum(tf.minimum(positives, 1.0) + tf.minimum(negatives, 1.0), 1.0)
    weights = labels / tf.maximum(positives, 1.0) + (1 - labels) / tf.maximum(negatives, 1.0)
    return tf.reduce_sum(weights * each) / classes
