"""Output of long steps: a progress bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 15  # a log is read afterwards: enough to see that it goes on, few enough to skip

_stand_ins: dict[str, str] = {}


def alias_path(here: Path, named: str) -> None:
    """What is said of the path `here` is said of `named` from now on: a person named that, and never saw the other."""
    _stand_ins[str(here)] = named


def with_aliases(text: str) -> str:
    """`text` with the names that a person knows."""
    for here, named in _stand_ins.items():
        text = text.replace(here, named)
    return text


def log(line: str) -> None:
    """One line to standard error: what a person reads, apart from results on standard output."""
    with suppress(OSError):  # who reads no longer, or a log on a full disk, must not end the work
        print(with_aliases(line), file=sys.stderr, flush=True)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yields `items`, showing how far along they are.

    Args:
        items: what is worked through.
        label: what is being done, as a short phrase ("reading images").
        total: number of items, where `items` doesn't know its length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, label, total)
    else:
        yield from _lines(items, label, total)


def _bar(items: Iterable[Item], label: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, description=label, total=total, console=Console(stderr=True), transient=True)


def _lines(items: Iterable[Item], label: str, total: int | None) -> Iterator[Item]:
    began = said = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            log(f"{label}: {done}{f' of {total}' if total else ''}")
    if said > began:
        log(f"{label}: {done} done in {time.monotonic() - began:.0f} s")
