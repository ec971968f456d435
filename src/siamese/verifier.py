"""A trained model in use: embeddings of images, scores of pairs. Needs TensorFlow alone, and no code of the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siamese import backend
from siamese.errors import InputError
from siamese.images import Rejected, canonical, check

BATCH = 64  # images embedded at once: more gains nothing, and 64 take some 200 MB inside the network


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
            raise InputError(f"{model_folder}: no trained model here: run `siamese train` first, or name its folder")
        tf = backend.tensorflow()
        return cls(tf.saved_model.load(str(folder)))

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Stored pixels, uint8 [images, 100, 100, 3], to embeddings, float32 [images, 4096]."""
        return _in_batches(self._servable.embed_pixels, pixels)

    def embed_encoded(self, images: Sequence[bytes]) -> np.ndarray:
        """Encoded images, as `read_image` gives them, to embeddings, float32 [images, 4096]."""
        return _in_batches(lambda batch: self._servable.embed(batch)["embedding"], np.array(images, dtype=object))

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Embeddings, float32 [pairs, 4096] each, to similarities in [0, 1], float32 [pairs]."""
        scores = [
            self._servable.compare(anchors[part], others[part]).numpy() for part in _parts(len(anchors), 16 * BATCH)
        ]
        return np.concatenate(scores) if scores else np.empty(0, np.float32)


def read_image(file: Path, max_pixels: int) -> bytes:
    """An image file in any accepted format, as the transform graph takes it.

    Raises:
        InputError: the file can't be read, or isn't an image that can be taken, with the reason.
    """
    try:
        data = file.read_bytes()
        check(data, max_pixels)
        return canonical(data, max_pixels)
    except OSError as error:
        raise InputError(f"{file}: can't be read ({error.strerror}): name an image file") from None
    except Rejected as reason:
        raise InputError(f"{file}: {reason}") from None


def _in_batches(embed: Any, images: np.ndarray) -> np.ndarray:
    return np.concatenate([embed(images[part]).numpy() for part in _parts(len(images), BATCH)])


def _parts(count: int, size: int) -> Iterable[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
