"""A polite end: SIGTERM and SIGINT wait for the step in progress and a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self


class Interrupted(Exception):
    """A signal ended the work; what was reached is saved. `exit_code` is 128 + the signal's number, as shells have
    it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}: run the same command again to continue")


@contextmanager
def handled(handler: Any, *numbers: int) -> Iterator[dict[int, Any]]:
    """While open, these signals go to `handler`; gives the handlers of before.

    In other threads than the main one it does nothing: Python delivers signals to no other.
    """
    here = numbers if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handler) for number in here}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class Interrupt:
    """While open, SIGTERM and SIGINT are only remembered, as `number`; None: none came."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._handled = handled(self._remember, signal.SIGTERM, signal.SIGINT)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.number = number
        signal.signal(number, self._before[number])  # who insists, with a second one, ends it at once
