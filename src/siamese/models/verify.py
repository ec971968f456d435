"""Whether two images show the same identity: the question that everything else prepares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siamese.models.resolved_model import ResolvedModel
from siamese.models.verifier import read_image


@dataclass(frozen=True)
class Verification:
    """The answer for one pair: its score, the threshold that it's held against, and whether it counts as the same."""

    same: bool
    score: float
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{'same' if self.same else 'different'} (score {self.score:.3f}, threshold {self.threshold:.3f})"


def verify(
    a: Path,
    b: Path,
    model: ResolvedModel,
    own_threshold: float | None,
    max_pixels: int,
) -> Verification:
    """Compares two image files.

    Args:
        a, b: images in any accepted format.
        model: as `siamese.registry.locator.resolve_model` returns it.
        own_threshold: a score in [0, 1] that replaces the threshold of `model`.
        max_pixels: an image of more is refused.

    Raises:
        InputError: an image, the model or the threshold is missing or can't be used.
    """
    images = [read_image(file, max_pixels) for file in (a, b)]  # before the model loads: a wrong path fails early
    threshold = model.threshold(own_threshold)
    verifier = model.load()
    embeddings = verifier.embed_encoded(images)
    score = verifier.score(embeddings[:1], embeddings[1:])[0]
    return Verification(bool(score >= np.float32(threshold)), float(score), threshold)
