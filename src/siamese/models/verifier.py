"""A trained model in use: embeddings of images, scores of pairs. Needs TensorFlow alone, and no code of the network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from siamese import tf_runtime
from siamese.data.images.formats import Rejected, canonical, check, refuse_too_large
from siamese.errors import InputError, as_input_error
from siamese.models import foreign_models
from siamese.storage.object_store import AnyPath


class OtherImages(InputError):
    """Stored images have another size than the model sees: `stored` and `seen`, such as 100x100x3."""

    def __init__(self, stored: Sequence[int], seen: Sequence[int]) -> None:
        self.stored, self.seen = ("x".join(map(str, shape)) for shape in (stored, seen))
        super().__init__(
            f"the stored images are {self.stored}, the model sees {self.seen}: run `siamese preprocess` with the "
            "model.network that it was trained with"
        )


class Verifier:
    """The SavedModel `servable/` of a model folder."""

    def __init__(self, servable: Any) -> None:
        self._servable = servable

    @classmethod
    def load(cls, model_folder: Path) -> Verifier:
        """The model in `model_folder`, as step `train` wrote it.

        Raises:
            InputError: there is no model in that folder.
        """
        folder = model_folder / "servable"
        if not (folder / "saved_model.pb").exists():
            raise foreign_models.no_model(model_folder)
        tf = tf_runtime.import_tensorflow()
        with as_input_error(f"{model_folder}: the model is damaged: run `siamese train` again, or name another folder"):
            return cls(tf.saved_model.load(str(folder)))

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network sees."""
        embed = self._servable.embed_pixels
        traced = embed.concrete_functions[0] if hasattr(embed, "concrete_functions") else embed.get_concrete_function()
        (pixels,), _ = traced.structured_input_signature
        height, width, channels = pixels.shape[1:]
        return height, width, channels

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Stored pixels, uint8 [images, *image_shape], to embeddings, float32 [images, units]. All at once.

        Raises:
            OtherImages: they were stored for another network.
        """
        if pixels.shape[1:] != self.image_shape:
            raise OtherImages(pixels.shape[1:], self.image_shape)
        return np.asarray(self._servable.embed_pixels(pixels))

    def pixels(self, images: Sequence[bytes]) -> np.ndarray:
        """Encoded images, as `read_image` gives them, to stored pixels, uint8 [images, height, width, channels]."""
        return np.asarray(self._servable.transform.pixels(np.array(images, dtype=object)))

    def embed_transformed(self, images: np.ndarray) -> np.ndarray:
        """What the transform gives, float32 [images, *image_shape], to embeddings, float32 [images, units]."""
        return np.asarray(self._servable.embed_image(images))

    def embed_encoded(self, images: Sequence[bytes]) -> np.ndarray:
        """Encoded images, as `read_image` gives them, to embeddings, float32 [images, units]. All at once."""
        return np.asarray(self._servable.embed(np.array(images, dtype=object))["embedding"])

    def head(self) -> tuple[np.ndarray, float]:
        """The weights, float32 [units], and the bias of the last layer: `siamese.models.scoring.Head` is made of "
        "them."""
        kernel, bias = (np.asarray(variable) for variable in self._servable.head)
        return kernel[:, 0], float(bias[0])

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Embeddings, float32 [pairs, units] each, to similarities in [0, 1], float32 [pairs]. All at once."""
        return np.asarray(self._servable.compare(anchors, others))


def read_image(file: AnyPath, max_pixels: int) -> bytes:
    """An image file in any accepted format, as the transform graph takes it.

    Raises:
        InputError: the file can't be read, or isn't an image that can be taken, with the reason.
    """
    try:
        refuse_too_large(file, max_pixels)
        data = file.read_bytes()
        check(data, max_pixels)
        return canonical(data, max_pixels)
    except OSError as error:
        raise InputError(f"{file}: can't be read ({error.strerror}): name an image file") from None
    except Rejected as reason:
        raise InputError(f"{file}: {reason}") from None
    except MemoryError:  # a device has no size
        raise InputError(f"{file}: is more than this machine's memory holds: name an image file") from None
