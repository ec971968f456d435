"""The score from which a pair counts as the same, as step `evaluate` or `calibrate` chose it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from siamese.errors import InputError

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
