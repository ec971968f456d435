"""The model that is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamese import references, registry
from siamese.errors import InputError
from siamese.images.png import png_bytes
from siamese.shapes import IMAGE_SHAPE
from siamese.verifier import Verifier
from siamese.weights import model_digest


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        name, version: of the registry; else `siamese`, and 12 digits of the digest of weights and threshold.
        threshold: the score from which a pair counts as the same.
    """

    name: str
    version: str
    verifier: Verifier
    threshold: float

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def load(reference: str, threshold_file: Path | None, own_threshold: float | None) -> Model:
    """The model that a reference names, having answered once.

    Args:
        reference, threshold_file: as in `siamese.references.find`.
        own_threshold: a score, instead of the model's threshold.

    Raises:
        InputError: the model, its threshold or the registry can't be used.
    """
    name, version = "siamese", None
    if reference.startswith(registry.SCHEME):
        wanted = registry.resolve(reference)[1]
        reference, name, version = wanted.uri, wanted.name, str(wanted.number)  # an alias may move meanwhile
    found = references.find(reference, threshold_file)
    threshold = found.threshold(own_threshold)
    verifier = found.load()
    if version is None:
        version = model_digest(found.weights(), threshold)[:12]
    loaded = Model(name, version, verifier, threshold)
    _warm_up(loaded)
    return loaded


def _warm_up(model: Model) -> None:
    """The first answer takes several times as long as the next."""
    grey = png_bytes(np.full(IMAGE_SHAPE, 128, np.uint8))
    embeddings = model.verifier.embed(model.verifier.pixels([grey, grey]))
    score = model.verifier.score(embeddings[:1], embeddings[1:])
    if not (np.isfinite(embeddings).all() and np.isfinite(score).all()):
        raise InputError(f"{model}: gives numbers that aren't finite: take another model")
