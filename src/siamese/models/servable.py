"""The trained network as one SavedModel: from encoded images to embeddings and scores, preprocessing included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from siamese.models import test_time_augmentation
from siamese.models.network import parts
from siamese.preprocessing.transform import Transform


class Servable(tf.Module):
    """Transform graph and network in one module. Encoded images are PNG or JPEG as
    `siamese.data.images.formats.canonical` gives them.

    `embed_image`: images as the transform gives them, float32 [images, height, width, channels], to embeddings, float32
    [images, units]. `embed_pixels`: stored pixels, uint8 of that shape, to embeddings. `embed`: encoded images, string
    [images], to {"embedding": float32 [images, units]}. `compare`: embeddings, float32 [pairs, units] each, to scores,
    float32 [pairs]. `score`: encoded images, string [pairs] each, to {"score": float32 [pairs]}.
    """

    def __init__(self, model: Any, transform: Transform, of_image: str = test_time_augmentation.ONE) -> None:
        """
        Args:
            of_image: views of an image whose embeddings are averaged, by their name in params.yaml (`model.views`).
        """
        super().__init__()
        self.model = model
        self.transform = transform
        self._embedding, self._distance, self._head = parts(model)
        self.head = [variable.value for variable in self._head.weights]  # kernel and bias, for who compares many
        image, units = list(self._embedding.input_shape), self._embedding.output_shape[1]
        self._views = None
        if of_image != test_time_augmentation.ONE:
            # A variable, so that the digest of weights tells models apart that differ in their views alone.
            self._views = tf.Variable(
                test_time_augmentation.transforms(of_image, *image[1:3]), trainable=False, name="views"
            )

        def function(method: Any, **inputs: Any) -> Any:
            signature = [tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in inputs.items()]
            return tf.function(method, input_signature=signature)

        encoded = ([None], tf.string)
        self.embed_image = function(self._embed_image, image=(image, tf.float32))
        self.embed_pixels = function(self._embed_pixels, pixels=(image, tf.uint8))
        self.embed = function(self._embed, image=encoded)
        self.compare = function(self._compare, anchor=([None, units], tf.float32), other=([None, units], tf.float32))
        self.score = function(self._score, anchor=encoded, other=encoded)
        self.score.get_concrete_function()  # what can't be served is told before training, not after

    def _embed_image(self, image: Any) -> Any:
        if self._views is None:
            return self._embedding(image, training=False)
        # One view after another: together they would take so many times the memory.
        each = tf.map_fn(
            lambda transform: self._embedding(test_time_augmentation.embed_views(image, transform), training=False),
            tf.convert_to_tensor(self._views),
            fn_output_signature=tf.float32,
        )
        return tf.reduce_mean(each, axis=0)

    def _embed_pixels(self, pixels: Any) -> Any:
        return self.embed_image(self.transform.image(pixels))

    def _embed(self, image: Any) -> dict[str, Any]:
        return {"embedding": self.embed_pixels(self.transform.pixels(image))}

    def _compare(self, anchor: Any, other: Any) -> Any:
        return tf.squeeze(self._head(self._distance(anchor, other)), axis=1)

    def _score(self, anchor: Any, other: Any) -> dict[str, Any]:
        embeddings = self.embed(tf.concat([anchor, other], axis=0))["embedding"]
        first, second = tf.split(embeddings, 2)
        return {"score": self.compare(first, second)}


def export(servable: Servable, folder: Path) -> None:
    """Writes the SavedModel `folder`, signatures `score` (default) and `embed`."""
    signatures = {"serving_default": servable.score, "score": servable.score, "embed": servable.embed}
    tf.saved_model.save(servable, str(folder), signatures=signatures)
