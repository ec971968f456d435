"""Signals and exit codes of a process: SIGTERM and SIGINT end training after the current step and a checkpoint."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from siamese.console import log
from siamese.errors import ExitCode, InputError


class Interrupted(Exception):
    """A signal ended the work; what was reached is saved. `exit_code` is 128 + the signal's number, as shells have
    it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}: run the same command again to continue")


@contextmanager
def handle_signals(handler: Any, *numbers: int) -> Iterator[dict[int, Any]]:
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
        self._handled = handle_signals(self._remember, signal.SIGTERM, signal.SIGINT)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.number = number
        signal.signal(number, self._before[number])  # who insists, with a second one, ends it at once


TERMINATED = 128 + signal.SIGTERM
TRACEBACK = "SIAMESE_TRACEBACK"  # set to anything: an unexpected failure shows where it happened


def exit_code_of(work: Callable[[], int | None]) -> int:
    """Does `work` and gives the exit code of a process that did it, None counting as 0.

    What goes wrong is one line on standard error, an interruption too.
    """
    # SIGTERM unwinds the stack, so that what is half written beside its place is removed.
    with handle_signals(lambda *_: sys.exit(TERMINATED), signal.SIGTERM):
        try:
            code = int(work() or ExitCode.DONE)
            sys.stdout.flush()  # while a closed pipe can still be told
            return code
        except Interrupted as stopped:
            return _failed(str(stopped), stopped.exit_code)
        except (SystemExit, BrokenPipeError) as ended:  # by SIGTERM; or nobody reads what is printed
            if isinstance(ended, SystemExit) and ended.code == TERMINATED:
                return TERMINATED
            return ExitCode.WRONG_INPUT
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            return _failed(_in_one_line(error))
        finally:
            _let_go_of_unwritable_streams()


def _let_go_of_unwritable_streams() -> None:
    """Python flushes both streams once more at exit, and where that fails the exit code would be its own, 120."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # as where the answer goes; steps tell it themselves
        return f"{text}: make room, then run again"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}: see to the path and its permissions"
    if isinstance(error, MemoryError):
        return f"out of memory ({text or 'nothing more is free'}): give less at once, or use a machine with more"
    if hasattr(error, "format_message"):  # Typer's own: an unknown command, option or value
        return f"{error.format_message() or 'name a command'} (`siamese --help` shows what there is)"
    return f"unexpected {type(error).__name__}: {text} (set {TRACEBACK}=1 to see where)"


def _failed(line: str, exit_code: int = ExitCode.WRONG_INPUT) -> int:
    log(f"siamese: {line}")
    return exit_code
