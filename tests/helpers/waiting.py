"""Wait for events in tests: however long a busy machine takes, and no longer than the event takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
PATIENCE = 1800.0  # seconds after which a wait counts as a hang: no test may depend on the speed of the machine


def wait_until(happens: Callable[[], Result], meanwhile: Callable[[], object] = lambda: None) -> Result:
    """Return what `happens()` gives as soon as it is true.

    Args:
        meanwhile: called between two looks, to raise if there is nothing left to wait for.
    """
    deadline = time.monotonic() + PATIENCE
    while not (result := happens()):
        meanwhile()
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.02)
    return result
