"""What a file is, by its first bytes: a step replaces what a step wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from siamese.errors import InputError

Kind = Callable[[bytes], bool]  # whether a file that begins so is of that kind

_BEGINS = 4096  # bytes


def parquet(begins: bytes) -> bool:
    """A table as steps write it."""
    return begins.startswith(b"PAR1")


def json_object(begins: bytes) -> bool:
    """Named values."""
    return begins.lstrip().startswith(b"{")


def page(begins: bytes) -> bool:
    """An HTML document."""
    return begins.lstrip().lower().startswith(b"<!doctype html")


def csv(*columns: str) -> Kind:
    """A list with these columns, at least."""

    def is_one(begins: bytes) -> bool:
        header = begins.partition(b"\n")[0].decode("utf-8", "replace").strip()
        return set(columns) <= set(header.split(","))

    return is_one


def require_same_kind(file: Path, kind: Kind) -> None:
    """Nothing where a file of this kind is, an empty one or none.

    Raises:
        InputError: something else is there, which isn't to be replaced.
    """
    try:
        with file.open("rb") as opened:
            begins = opened.read(_BEGINS)
    except OSError:  # what can't be read can't be replaced either, or isn't there
        return
    if begins and not kind(begins):
        raise InputError(f"{file}: is there, and isn't what this command writes: name another file, or remove it first")
