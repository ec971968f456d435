"""A side: the training step in the original's form, with the specification's pooling.

Each image of a pair goes through the embedding by a call of its own, in float32, from pairs that were decoded
beforehand and are kept as floats.

python -m benchmarks.speed.original_step PAIRS
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks.speed.sides import answer

STEPS = 6


def main() -> None:
    pairs = int(sys.argv[1])
    import keras
    import tensorflow as tf

    from siamese.models.network import build

    model = build("specification")
    optimizer = keras.optimizers.Adam(1e-4)
    entropy = keras.losses.BinaryCrossentropy()
    rng = np.random.default_rng(0)
    images = [rng.random((4 * pairs, 100, 100, 3), np.float32) for _ in range(2)]
    labels = np.tile([1.0, 0.0], 2 * pairs).astype(np.float32)
    cached = tf.data.Dataset.from_tensor_slices((*images, labels)).cache().shuffle(1024).repeat()
    coming = iter(cached.batch(pairs).prefetch(8))

    @tf.function
    def step(anchors: Any, others: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = entropy(labels, tf.squeeze(model([anchors, others], training=True), axis=1))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def work() -> dict[str, Any]:
        for _ in range(STEPS):
            assert np.isfinite(float(step(*next(coming))))
        return {"images": STEPS * 2 * pairs}

    answer(work)


if __name__ == "__main__":
    main()
