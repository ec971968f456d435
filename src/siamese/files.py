"""Files appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from siamese.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; renames it to `path` when the block ends well, removes it otherwise.

    Raises:
        InputError: the file can't be written (no room, no permission), with the reason.
    """
    beside = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        _sync(beside)
        beside.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As `whole_file`, for a folder: gives an empty folder beside `path`; an older `path` is replaced at the end.

    Only for folders that a step owns as its output; never for a user's.

    Raises:
        InputError: the folder can't be written, with the reason.
    """
    beside = path.with_name(f".{path.name}.unfinished-{os.getpid()}")
    older = path.with_name(f".{path.name}.older-{os.getpid()}")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        if path.exists():
            path.replace(older)
        beside.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if older.exists() and not path.exists():
            older.replace(path)
        for leftover in (beside, older):
            shutil.rmtree(leftover, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON with a final newline, whole."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def existing(path: Path, made_by: str) -> Path:
    """`path` if it is there.

    Raises:
        InputError: it isn't; says which command makes it.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: run `{made_by}` first, or name another file")
    return path


def _sync(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: can't be written ({error.strerror or error}): free space or permissions, then run again"
    )
