"""Files appear whole or not at all: written beside their place, then renamed. A user's files are not replaced."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from siamese.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; renames it to `path` when the block ends well, removes it otherwise.

    Raises:
        InputError: the file can't be written (no room, no permission), or what is there is no file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file: name another one to write")
    beside = _beside(path, "unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield beside
        _sync(beside)
        beside.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        _remove(beside)


@contextmanager
def whole_folder(path: Path, own: Sequence[str]) -> Iterator[Path]:
    """As `whole_file`, for a folder: gives an empty folder beside `path`; an older `path` is replaced at the end.

    Args:
        path: the folder.
        own: patterns of the names that the step writes into it. A folder that holds anything else is somebody's, and
            is not replaced.

    Raises:
        InputError: the folder can't be written, or holds what the step doesn't write.
    """
    _refuse_foreign(path, own)
    beside, older = _beside(path, "unfinished"), _beside(path, "older")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        beside.mkdir()
        yield beside
        for file in beside.rglob("*"):
            _sync(file)
        _refuse_foreign(path, own)
        if path.exists():
            path.replace(older)
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if older.exists() and not path.exists():
            older.replace(path)
        for leftover in (beside, older):
            _remove(leftover)


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


def _beside(path: Path, state: str) -> Path:
    return path.with_name(f".{path.name}.{state}-{os.getpid()}")


def _refuse_foreign(path: Path, own: Sequence[str]) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder: name another one to write")
    for entry in path.iterdir() if path.exists() else ():
        if not any(fnmatch(entry.name, pattern) for pattern in own):
            raise InputError(f"{path} holds {entry.name}, which this step doesn't write: name another folder")


def _remove_leftovers(path: Path) -> None:
    """Removes what a killed process left beside `path`."""
    for leftover in path.parent.glob(f".{path.name}.*-*"):
        found = re.fullmatch(r"(?:unfinished|older)-(\d+)", leftover.name.removeprefix(f".{path.name}."))
        if found and not _alive(int(found[1])):
            _remove(leftover)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return process != os.getpid()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: can't be written ({error.strerror or error}): free space or permissions, then run again"
    )
