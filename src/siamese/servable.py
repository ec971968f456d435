"""The trained network as one SavedModel: from encoded images to embeddings and scores, preprocessing included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from siamese.network import parts
from siamese.shapes import EMBEDDING_UNITS, IMAGE_SHAPE
from siamese.transform import Transform


class Servable(tf.Module):
    """Transform graph and network in one module. Encoded images are PNG or JPEG as `siamese.images.canonical` gives
    them."""

    def __init__(self, model: Any, transform: Transform) -> None:
        super().__init__()
        self.model = model
        self.transform = transform
        self._embedding, self._distance, self._head = parts(model)
        self.head = [variable.value for variable in self._head.weights]  # kernel and bias, for who compares many
        self.score.get_concrete_function()  # what can't be served is told before training, not after

    @tf.function(input_signature=[tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, "image")])
    def embed_image(self, image: Any) -> Any:
        """Images as the transform gives them, float32 [images, 100, 100, 3], to embeddings, float32 [images, 4096]."""
        return self._embedding(image, training=False)

    @tf.function(input_signature=[tf.TensorSpec([None, *IMAGE_SHAPE], tf.uint8, "pixels")])
    def embed_pixels(self, pixels: Any) -> Any:
        """Stored pixels, uint8 [images, 100, 100, 3], to embeddings, float32 [images, 4096]."""
        return self.embed_image(self.transform.image(pixels))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def embed(self, image: Any) -> dict[str, Any]:
        """Encoded images, string [images], to {"embedding": float32 [images, 4096]}."""
        return {"embedding": self.embed_pixels(self.transform.pixels(image))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, EMBEDDING_UNITS], tf.float32, "anchor"),
            tf.TensorSpec([None, EMBEDDING_UNITS], tf.float32, "other"),
        ]
    )
    def compare(self, anchor: Any, other: Any) -> Any:
        """Embeddings, float32 [pairs, 4096] each, to scores, float32 [pairs]."""
        return tf.squeeze(self._head(self._distance(anchor, other)), axis=1)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, "anchor"), tf.TensorSpec([None], tf.string, "other")]
    )
    def score(self, anchor: Any, other: Any) -> dict[str, Any]:
        """Encoded images, string [pairs] each, to {"score": float32 [pairs]}."""
        embeddings = self.embed(tf.concat([anchor, other], axis=0))["embedding"]
        first, second = tf.split(embeddings, 2)
        return {"score": self.compare(first, second)}


def export(servable: Servable, folder: Path) -> None:
    """Writes the SavedModel `folder`, signatures `score` (default) and `embed`."""
    signatures = {"serving_default": servable.score, "score": servable.score, "embed": servable.embed}
    tf.saved_model.save(servable, str(folder), signatures=signatures)
