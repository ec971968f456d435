"""The model that is served: of a folder, or of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamese import places
from siamese.errors import InputError
from siamese.images.png import png_bytes
from siamese.shapes import IMAGE_SHAPE
from siamese.threshold import threshold_of
from siamese.verifier import Verifier
from siamese.weights import model_digest, weights_digest

_OWN = "threshold.json"  # of a folder that the registry gave


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        name, version: of the registry; of a folder `siamese`, and 12 digits of the digest of weights and threshold.
        threshold: the score from which a pair counts as the same.
    """

    name: str
    version: str
    verifier: Verifier
    threshold: float

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def load(reference: str, threshold_file: Path | None, own_threshold: float | None) -> Model:
    """The model of a folder, or of a reference `models:/name@alias`, having answered once.

    Args:
        reference: see above; a version of the registry is kept in `places.MODELS`.
        threshold_file: None: the registry's, or the folder's own, or else the one that step `evaluate` wrote.
        own_threshold: instead.

    Raises:
        InputError: the model, its threshold or the registry can't be used.
    """
    from siamese import registry

    name, version = "siamese", None
    folder = Path(reference)
    if reference.startswith(registry.SCHEME):
        of_name, found = registry.resolve(reference)
        name, version = found.name, str(found.number)
        folder = of_name.fetch(found, places.MODELS)
    if threshold_file is None:
        threshold_file = folder / _OWN if (folder / _OWN).exists() else places.THRESHOLD
    threshold = threshold_of(threshold_file, own_threshold)
    verifier = Verifier.load(folder)
    version = version or model_digest(weights_digest(folder), threshold)[:12]
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
