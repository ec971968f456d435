"""Files appear whole or not at all: written beside their place, then renamed. A user's files are not replaced."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol, TypeVar

from siamese.errors import InputError

_SYNCED_AT_ONCE = 16  # files
_NO_ROOM = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; renames it to `path` when the block ends well, removes it otherwise.

    Raises:
        InputError: the file can't be written (no room, no permission), or what is there is no file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file: name another one to write")
    beside = _tmp_path(path, "unfinished")
    with _explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _clear_leftovers(path)
            yield beside
            _sync(beside)
            beside.replace(path)
        finally:
            _remove(beside)


@contextmanager
def atomic_folder(path: Path, own: Sequence[str]) -> Iterator[Path]:
    """As `atomic_file`, for a folder: gives an empty folder beside `path`; an older `path` is replaced at the end.

    Args:
        path: the folder.
        own: patterns of the names that the step writes into it. A folder that holds anything else is somebody's, and
            is not replaced.

    Raises:
        InputError: the folder can't be written, or holds what the step doesn't write.
    """
    require_owned(path, own)
    beside, older = _tmp_path(path, "unfinished"), _tmp_path(path, "older")
    with _explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _clear_leftovers(path)
            beside.mkdir()
            yield beside
            _sync_all([*beside.rglob("*"), beside])
            require_owned(path, own)
            if path.exists():
                path.replace(older)
            beside.replace(path)
            _sync(path.parent)
        finally:
            _remove(beside)
            _settle(older, path)


def copy_atomically(source: Path, target: Path, own: Sequence[str] = ("*",)) -> None:
    """Copies a file by `atomic_file`, a folder by `atomic_folder`, whose `own` it takes."""
    if source.is_dir():
        with atomic_folder(target, own) as beside:
            shutil.copytree(source, beside, dirs_exist_ok=True)
    else:
        with atomic_file(target) as beside:
            shutil.copyfile(source, beside)


def require_owned(path: Path, own: Sequence[str]) -> None:
    """Refuses a place that `atomic_folder` wouldn't replace: for a step that takes long, before it begins.

    Raises:
        InputError: `path` is no folder, or holds what the step doesn't write.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder: name another one to write")
    for entry in path.iterdir() if path.exists() else ():
        if not any(fnmatch(entry.name, pattern) for pattern in own):
            raise InputError(f"{path} holds {entry.name}, which this step doesn't write: name another folder")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON with a final newline, whole."""
    with atomic_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def content_digest(place: Path) -> str:
    """SHA-256 of a file's content, or of a folder's: its files' names and contents."""
    if place.is_file():
        return sha256(place)
    files = sorted(file for file in place.rglob("*") if file.is_file())
    return digest(part for file in files for part in (os.fsencode(file.relative_to(place)), sha256(file).encode()))


class Findable(Protocol):
    """A path, or an address in a store."""

    def exists(self) -> bool:
        """Whether something is there."""


FindableT = TypeVar("FindableT", bound=Findable)


def require_exists(path: FindableT, made_by: str) -> FindableT:
    """`path` if it is there.

    Raises:
        InputError: it isn't; says which command makes it.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: run `{made_by}` first, or name another file")
    return path


@contextmanager
def only_one(lock_file: Path) -> Iterator[None]:
    """Waits until no other process is in a block with this file, which is made. The lock ends with the process."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def unwritable(path: Path, error: Exception) -> InputError | None:
    """What to raise instead of `error`; None where it isn't about a file that can't be written.

    Args:
        path: what was being written, or what `atomic_file` or `atomic_folder` gave for it.
    """
    reason = _of_the_disk(error)
    if reason is None:
        return None
    beside = re.fullmatch(r"\.(.+)\.unfinished-\d+", path.name)
    path = path.with_name(beside[1]) if beside else path
    advice = "make room" if reason in _NO_ROOM else "see to its permissions, or name another place"
    return InputError(f"{path}: can't be written ({reason}): {advice}, then run again")


def _tmp_path(path: Path, state: str) -> Path:
    return path.with_name(f".{path.name}.{state}-{os.getpid()}")


def _clear_leftovers(path: Path) -> None:
    """Removes what a killed process left beside `path`; what it had just moved away to replace, it puts back."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*-*"):
        found = re.fullmatch(r"(unfinished|older)-(\d+)", leftover.name.removeprefix(f".{path.name}."))
        if found and not _alive(int(found[2])):
            if found[1] == "older":
                _settle(leftover, path)
            else:
                _remove(leftover)


def _settle(older: Path, path: Path) -> None:
    """Removes `older`, moved away to make place, or puts it back where nothing came into its place."""
    if path.exists():
        _remove(older)
    elif older.exists():
        with suppress(OSError):
            older.replace(path)


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


def _sync_all(paths: Sequence[Path]) -> None:
    """Has all of them on the disk: before the rename, or a power cut could leave a whole folder of empty files.

    Many at a time, which the file system then does together: 2,000 small files take 0.3 s instead of 7. `os.sync` is
    as fast, but waits for what everybody else on the machine is writing, and tells of no error.
    """
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        deque(pool.map(_sync, paths), maxlen=0)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns a failure to write into one line; libraries that write tell of it in errors of their own."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        told = unwritable(path, error)
        if told is None:
            raise
        raise told from error


def _of_the_disk(error: BaseException) -> str | None:
    """The system's reason why something couldn't be written, if that's what the error is about."""
    link: BaseException | None = error
    while link is not None:  # closing a half written file often fails again, and that error hides the first
        for reason in (*_NO_ROOM, os.strerror(errno.EROFS)):
            if reason in str(link):
                return reason
        link = link.__cause__ or link.__context__
    return " ".join((error.strerror or str(error)).split()) if isinstance(error, OSError) else None


def hard_link_or_copy(source: str, target: str) -> str:
    """The same file under another name; a copy where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
