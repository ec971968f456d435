"""From the embeddings of a batch and its pairs to one loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from siamese.params import TrainParams


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


def of(params: TrainParams) -> Callable[[Any, Any, Any, Any, Any], Any]:
    """The loss that section `train` asks for: a function of labels, logits, first, second and the number of images."""
    # Drawn pairs are balanced as they are; among a batch's images most pairs are negative.
    entropy = cross_entropy if params.pairing == "listed" else balanced_cross_entropy
    if params.loss == "n_pair":
        return n_pair
    return lambda labels, logits, first, second, images: entropy(labels, logits)


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


def n_pair(labels: Any, logits: Any, first: Any, second: Any, images: Any) -> Any:
    """How far each positive pair stands out from the negative pairs of its two images.

    Sohn 2016 (Improved deep metric learning with multi-class N-pair loss objective), equation 4, with the score's
    logit z as similarity: for a positive pair p and either of its images, log(1 + sum over the image's negative pairs n
    of exp(z_n - z_p)); the mean over all of these.

    Args:
        labels: float32 [pairs], 0 or 1.
        logits: float32 [pairs], the score before its sigmoid.
        first, second: int32 [pairs], the images of each pair.
        images: int32 scalar, number of images.

    Returns:
        float32 scalar; 0 where there is no positive pair.
    """
    ends = tf.concat([first, second], axis=0)
    labels, logits = tf.tile(labels, [2]), tf.tile(logits, [2])
    low = tf.constant(-1e9, logits.dtype)
    negatives = tf.where(labels == 0, logits, low)
    highest = tf.stop_gradient(tf.maximum(tf.math.unsorted_segment_max(negatives, ends, images), low))
    # An image without negative pairs has a sum of 0; its logarithm would be infinite, and the gradient no number.
    total = tf.math.unsorted_segment_sum(tf.exp(negatives - tf.gather(highest, ends)) * (1 - labels), ends, images)
    of_image = tf.where(total > 0, highest + tf.math.log(tf.where(total > 0, total, 1)), low)
    each = tf.nn.softplus(tf.gather(of_image, ends) - logits)
    return tf.reduce_sum(labels * each) / tf.maximum(tf.reduce_sum(labels), 1)
