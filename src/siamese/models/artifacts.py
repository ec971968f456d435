"""Identity of a model: the digest of its weights, and the threshold file that belongs to them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from siamese.errors import InputError
from siamese.storage.files import digest, sha256


def weights_digest(model_folder: Path) -> str:
    """SHA-256 of the weights in `servable/`, as 64 hexadecimal digits.

    The rest of a SavedModel differs from one export of the same network to the next; this part is equal to the bit.
    """
    files = sorted((model_folder / "servable/variables").glob("*.data-*"))
    return digest(sha256(file).encode() for file in files)


def model_digest(weights: str, threshold: float) -> str:
    """SHA-256 of a digest of weights and a threshold, as 64 hexadecimal digits."""
    return digest([weights.encode(), repr(threshold).encode()])


JUST_ABOVE_ONE = 1.001


def threshold_of(threshold_file: Path, own: float | None) -> float:
    """`own` where given, else the threshold in `threshold_file`.

    Raises:
        InputError: neither is there, or the file holds no score.
    """
    if own is not None:
        return own
    try:
        found = json.loads(threshold_file.read_text(encoding="utf-8"))["threshold"]
        # A threshold just above 1 refuses every score.
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= JUST_ABOVE_ONE:
            return float(found)
    except FileNotFoundError:
        raise InputError(f"{threshold_file} is missing: run `siamese evaluate`, or give --threshold SCORE") from None
    except PermissionError as error:
        raise InputError(f"{threshold_file}: can't be read ({error.strerror}): see to its permissions") from None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{threshold_file} holds no threshold: run `siamese evaluate` again, or give --threshold SCORE")


def weights_of(file: Path) -> str | None:
    """Digest of the weights of the model that threshold.json or run.json is of; None where it doesn't say."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(file.read_text(encoding="utf-8")).get("weights")
        return found if isinstance(found, str) else None
    return None
