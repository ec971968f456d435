"""What makes two models the same: the bytes of their weights, and the threshold that they decide by."""

from __future__ import annotations

from pathlib import Path

from siamese.files import digest, sha256


def weights_digest(model_folder: Path) -> str:
    """SHA-256 of the weights in `servable/`, as 64 hexadecimal digits.

    The rest of a SavedModel differs from one export of the same network to the next; this part is equal to the bit.
    """
    files = sorted((model_folder / "servable/variables").glob("*.data-*"))
    return digest(sha256(file).encode() for file in files)


def model_digest(weights: str, threshold: float) -> str:
    """SHA-256 of a digest of weights and a threshold, as 64 hexadecimal digits."""
    return digest([weights.encode(), repr(threshold).encode()])
