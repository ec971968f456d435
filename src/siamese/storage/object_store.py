"""Places in an object store, named by URI, beside paths of this machine: the one module that knows fsspec.

`s3://bucket/run/images` is as good a place as `artifacts/images`. What steps read and write in bulk, image folders and
stored pixels, they read and write there, by the few names that `Address` shares with `Path`; everything else is small
and is staged (siamese.storage.staging). fsspec is imported when the first URI is used, and not before.
"""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from siamese.errors import InputError, summarise_exception
from siamese.storage import files

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 16  # requests of one reader or writer that are under way
FORGOTTEN = 24 * 3600  # seconds after which nobody is still writing what was begun beside its place

_URI = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
# In seconds. A store takes a while to join the parts of a large file. By default s3fs asks again after 15 s, and the
# store answers that the upload no longer exists.
_TIMEOUTS = {"connect_timeout": 10, "read_timeout": 300}
_SETTINGS = {"s3": {"config_kwargs": {"max_pool_connections": 4 * AT_ONCE, **_TIMEOUTS}}}
_ADVICE = "see to the address, the credentials and their rights"
_NO_CREDENTIALS = "give credentials, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


@dataclass(frozen=True)
class Status:
    """What of `os.stat_result` a store knows: the size in bytes."""

    st_size: int


@dataclass(frozen=True)
class RemotePath:
    """An object in a store, or a folder: what objects lie below. Methods named as `Path`'s do the same.

    Every method may ask the store, and raises InputError, one line, where that fails: a client that isn't installed,
    credentials, the network. A missing object alone is FileNotFoundError, as it is with files.

    Attributes:
        uri: without a slash at its end.
        size: bytes of the object, where a listing has told it.
    """

    uri: str
    size: int | None = field(default=None, compare=False)
    _sizes: dict[str, int] = field(default_factory=dict, compare=False, repr=False)  # of objects below, once listed

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str | PurePath) -> RemotePath:
        return RemotePath(f"{self.uri}/{name}", self._sizes.get(str(name)))

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def bucket(self) -> str:
        """The first part behind the scheme."""
        return self.uri.partition("://")[2].partition("/")[0]

    def with_name(self, name: str) -> RemotePath:
        """Raises InputError at a bucket itself: another name would be another bucket."""
        parent, _, own = self.uri.partition("://")[2].rpartition("/")
        if not parent or not own:
            raise InputError(f"{self.uri} is a whole bucket: name a folder in it, such as {self.uri}/run")
        return RemotePath(f"{self.uri[: -len(own)]}{name}")

    def exists(self) -> bool:
        return self._kind() != ""

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def stat(self) -> Status:
        if self.size is not None:
            return Status(self.size)
        with self._store() as (store, path):
            return Status(int(store.info(path)["size"]))

    def read_bytes(self) -> bytes:
        with self._store() as (store, path):
            return bytes(store.cat_file(path))

    def write_bytes(self, data: Any) -> None:
        """Writes the object: others see it whole or not at all."""
        with self._store(writing=True) as (store, path):
            store.pipe_file(path, bytes(data))

    def unlink(self) -> None:
        """No error where there is none."""
        with self._store(writing=True) as (store, path), suppress(FileNotFoundError):
            store.rm_file(path)

    def names(self) -> set[str]:
        """Names of the objects and folders in this folder."""
        return {PurePath(found["name"]).name for found in self._entries()}

    def folders(self) -> set[str]:
        """Names of the folders in this folder."""
        return {PurePath(found["name"]).name for found in self._entries() if found["type"] == "directory"}

    def files(self) -> dict[str, int]:
        """All objects below this folder: their paths from here, in order, and sizes in bytes. Empty if it isn't there.

        A thousand objects are a request; none is opened.
        """
        with self._store() as (store, path):
            found = store.find(path, detail=True).values()
            start = len(path) + 1
            sizes = {one["name"][start:]: int(one["size"]) for one in found if one["type"] == "file"}
        sizes.pop("", None)  # a folder's own marker, which web consoles make
        self._sizes.update(sizes)
        return dict(sorted(sizes.items()))

    def newest(self) -> float:
        """When the object that changed last below this folder did so: seconds since 1970."""
        with self._store() as (store, path):
            return max((store.modified(name).timestamp() for name in store.find(path)), default=0.0)

    def fetch(self, target: Path) -> None:
        """Copies the object, or all below the folder, to a path of this machine; nothing where nothing is there."""
        kind = self._kind()
        if kind == "file":
            self._fetch_file(target)
        elif kind == "directory":
            names = [name for name in self.files() if not name.endswith("/")]
            for name in names:
                self.copy_of(name, target).parent.mkdir(parents=True, exist_ok=True)
            all_of(lambda name: (self / name)._fetch_file(target / name), names)

    def copy_of(self, name: str, folder: Path) -> Path:
        """Where in a folder of this machine the object of that name below this one is copied to.

        Raises InputError where no file can have this name, as one that would lead out of the folder.
        """
        if {"", ".", ".."} & set(name.split("/")):
            raise InputError(f"{self / name}: no file can have this name: rename the object")
        return folder / name

    def send(self, source: Path) -> None:
        """Makes the object a copy of the file."""
        with self._store(writing=True) as (store, path):
            store.put_file(str(source), path)

    def copy_from(self, other: RemotePath) -> None:
        """Makes the object a copy of another one, by the store itself."""
        with self._store(writing=True) as (store, path):
            store.cp_file(type(store)._strip_protocol(other.uri), path)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Parts of objects in this folder, `AT_ONCE` at a time: name, first byte, and the one behind the last."""
        with self._store() as (store, path):
            paths = [f"{path}/{name}" for name, _, _ in ranges]
            starts, ends = [start for _, start, _ in ranges], [end for _, _, end in ranges]
            options = {"batch_size": AT_ONCE} if store.async_impl else {}
            return list(store.cat_ranges(paths, starts, ends, on_error="raise", **options))

    def require_bucket(self) -> None:
        """Raises InputError where there is no such bucket."""
        with self._store() as (store, _):
            root = type(store)._strip_protocol(f"{self.uri.partition('://')[0]}://{self.bucket}")
            if self.bucket and not store.exists(root):
                raise InputError(f"{self.uri}: no bucket {self.bucket} is to be seen: make it, or name another")

    def require_writable(self) -> None:
        """Writes and removes an object beside: better now than after hours of work. Raises InputError."""
        probe = self.with_name(_beside(self.name))
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except InputError as error:
            raise InputError(str(error).replace(probe.uri, self.uri)) from error

    def refuse_foreign(self, own: Sequence[str]) -> None:
        """Raises InputError where `whole_folder` wouldn't write: an object is there, or what the step doesn't write."""
        kind = self._kind()
        if kind == "file":
            raise InputError(f"{self} is no folder: name another one to write")
        for name in sorted(self.names() if kind else ()):
            if not any(fnmatch(name, pattern) for pattern in own):
                raise InputError(f"{self} holds {name}, which this step doesn't write: name another folder")

    def _kind(self) -> str:
        with self._store() as (store, path):
            try:
                return str(store.info(path)["type"])
            except FileNotFoundError:
                return ""

    def _entries(self) -> list[dict[str, Any]]:
        with self._store() as (store, path):
            found: list[dict[str, Any]] = store.ls(path, detail=True)
            return [one for one in found if one["name"].rstrip("/") != path]

    def _fetch_file(self, target: Path) -> None:
        with self._store() as (store, path):
            store.get_file(path, str(target))

    @contextmanager
    def _store(self, writing: bool = False) -> Iterator[tuple[AbstractFileSystem, str]]:
        """The file system that the scheme names, and the path there; what it raises becomes one line."""
        try:
            yield open_file(self.uri)
        except InputError:
            raise
        except FileNotFoundError as error:
            if writing:
                raise InputError(
                    f"{self.uri}: can't be written ({summarise_exception(error)}): make the bucket first"
                ) from error
            reason = "no such bucket" if "bucket does not exist" in str(error) else "no such object or folder"
            raise FileNotFoundError(errno.ENOENT, reason, self.uri) from error
        except Exception as error:  # each client has errors of its own
            advice = _NO_CREDENTIALS if "credentials" in str(error).lower() else _ADVICE
            raise InputError(f"{self.uri}: can't be used ({summarise_exception(error)}): {advice}") from error


AnyPath = Path | RemotePath


def is_uri(text: str) -> bool:
    """Whether a text names a place by scheme, as s3://bucket/key does; models:/NAME/1 has one slash and isn't meant."""
    return _URI.match(text) is not None


def as_path(text: str | Path) -> AnyPath:
    """What a person named: a path, or a URI.

    Raises:
        InputError: a URI that names nothing behind its scheme.
    """
    found = _URI.match(str(text))
    if not found:
        return Path(text)
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    if not rest:
        raise InputError(f"{text} names no bucket: name a place such as {scheme}://bucket/run")
    return Path(found[2]) if scheme == "file" else RemotePath(f"{scheme}://{rest}")


def open_file(uri: str) -> tuple[AbstractFileSystem, str]:
    """fsspec's file system of a URI, which keeps no listings, and the path there.

    Raises:
        InputError: no client knows the scheme, or it isn't installed.
    """
    scheme = uri.partition("://")[0]
    try:
        import fsspec

        client = fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise InputError(f"{uri}: no store is known by {scheme}://: name one such as s3://bucket/run") from None
    except ImportError as error:
        raise InputError(
            f"{uri}: the client of {scheme}:// isn't installed ({summarise_exception(error)}): install it"
        ) from None
    options = client._get_kwargs_from_urls(uri) | _SETTINGS.get(scheme, {})
    return client(**options, use_listings_cache=False), client._strip_protocol(uri)


def names_in(folder: AnyPath) -> set[str]:
    """Names of what lies in a folder that is there."""
    return set(os.listdir(folder)) if isinstance(folder, Path) else folder.names()


def put(file: AnyPath, data: Any) -> None:
    """Writes a file at once, so that others see it whole or not at all, whoever else writes the same.

    Args:
        file: in a folder that is there.
        data: bytes, or what has their buffer.
    """
    if isinstance(file, RemotePath):
        file.write_bytes(data)
        return
    beside = file.with_name(f".{uuid.uuid4().hex}")
    try:
        beside.write_bytes(data)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_remote_folder(folder: AnyPath, own: Sequence[str], mark: str) -> Iterator[AnyPath]:
    """`siamese.storage.files.atomic_folder` of either place.

    In a store nothing can be renamed. What the block writes beside is copied to its place at the end, by the store, and
    what an earlier run wrote and this one didn't is removed. `mark` is removed before that and copied last: a folder
    without it isn't whole. A block that fails leaves the folder as it was.

    Args:
        folder: the place.
        own: patterns of the names that the step writes into it; with anything else in it, it is somebody's.
        mark: path in the folder of a file that is always written, and without which nobody reads the folder; "" for a
            folder whose files are read one by one.

    Raises:
        InputError: the folder can't be written, or holds what the step doesn't write.
    """
    if isinstance(folder, Path):
        with files.atomic_folder(folder, own) as here:
            yield here
        return
    folder.refuse_foreign(own)
    _clear_forgotten(folder)
    beside = folder.with_name(_beside(folder.name))
    try:
        yield beside
        folder.refuse_foreign(own)
        new, old = beside.files(), folder.files()
        if mark:
            (folder / mark).unlink()
        all_of(lambda name: (folder / name).copy_from(beside / name), [name for name in new if name != mark])
        all_of(lambda name: (folder / name).unlink(), [name for name in old if name not in new])
        if mark in new:
            (folder / mark).copy_from(beside / mark)
    finally:
        with suppress(InputError):  # the store is away: what went wrong first is told
            _remove(beside)


def overlapped(function: Callable[[Item], Result], items: Iterable[Item], at_once: int = AT_ONCE) -> Iterator[Result]:
    """`function` of each item, in order, by threads; no more than twice `at_once` items are taken in advance."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == 2 * at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def all_of(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    """`function` of each item, by threads."""
    deque(overlapped(function, items), maxlen=0)


def _beside(name: str) -> str:
    return f".{name}.unfinished-{uuid.uuid4().hex}"


def _clear_forgotten(folder: RemotePath) -> None:
    """Removes what killed processes left beside `folder` a day ago or longer: who still writes can't be asked there."""
    start = re.compile(rf"\.{re.escape(folder.name)}\.unfinished-[0-9a-f]{{32}}")
    above = RemotePath(folder.uri.rpartition("/")[0])
    with suppress(FileNotFoundError, NotImplementedError, InputError):  # nothing depends on it
        for name in above.names():
            if start.fullmatch(name) and (above / name).newest() < time.time() - FORGOTTEN:
                _remove(above / name)


def _remove(folder: RemotePath) -> None:
    all_of(lambda name: (folder / name).unlink(), folder.files())
