"""The model that is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamese.data.images.png import png_bytes
from siamese.errors import InputError
from siamese.models.artifacts import model_digest
from siamese.models.verifier import Verifier
from siamese.params import IMAGE_SHAPE
from siamese.registry import client, locator


@dataclass(frozen=True)
class LoadedModel:
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


def load(reference: str, threshold_file: Path | None, own_threshold: float | None) -> LoadedModel:
    """The model that a reference names, having answered once.

    Args:
        reference, threshold_file: as in `siamese.registry.locator.resolve_model`.
        own_threshold: a score, instead of the model's threshold.

    Raises:
        InputError: the model, its threshold or the registry can't be used.
    """
    name, version = "siamese", None
    if reference.startswith(client.SCHEME):
        wanted = client.resolve(reference)[1]
        reference, name, version = wanted.uri, wanted.name, str(wanted.number)  # an alias may move meanwhile
    found = locator.resolve_model(reference, threshold_file)
    threshold = found.threshold(own_threshold)
    verifier = found.load()
    if version is None:
        version = model_digest(found.weights(), threshold)[:12]
    loaded = LoadedModel(name, version, verifier, threshold)
    _warm_up(loaded)
    return loaded


def _warm_up(model: LoadedModel) -> None:
    """The first answer takes several times as long as the next."""
    grey = png_bytes(np.full(IMAGE_SHAPE, 128, np.uint8))
    embeddings = model.verifier.embed(model.verifier.pixels([grey, grey]))
    score = model.verifier.score(embeddings[:1], embeddings[1:])
    if not (np.isfinite(embeddings).all() and np.isfinite(score).all()):
        raise InputError(f"{model}: gives numbers that aren't finite: take another model")
