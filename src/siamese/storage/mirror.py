"""Working files that outlive a container: checkpoints and records of training, kept beside an address of their own.

A step that is retried, or whose machine was taken away, begins in an empty container. Inside `working_files`, the
working folder is one that survives: a folder of a volume itself, or one that is copied from a URI at the beginning and
to it whenever a checkpoint is complete. A copy that was cut short is found damaged when it is read
(siamese.training.checkpoints), and the one before is taken: it is removed from the URI only when its successor is
there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from siamese.console import log
from siamese.errors import as_input_error, summarise_exception
from siamese.paths import CHECKPOINT, CHECKPOINTS, TRACKING
from siamese.storage import object_store
from siamese.storage.files import hard_link_or_copy

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SECONDS = 5.0  # between two looks for what is new
KEPT = (CHECKPOINTS, TRACKING)


@contextlib.contextmanager
def working_files(place: str) -> Iterator[None]:
    """Makes `place` the working folder.

    Args:
        place: a folder, or a URI of one such as s3://bucket/checkpoints; "": the working folder stays what it is.

    Raises:
        InputError: it can't be reached, or not be written.
    """
    if not place:
        yield
    elif "://" not in place:
        with _explained(place):
            Path(place).mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(place):
            yield
    else:
        with TemporaryDirectory() as folder, contextlib.chdir(folder):
            copy = Mirror(Path(folder), place)
            with _explained(place):
                copy.fetch()
            with copy.kept_up():
                yield


class Mirror:
    """The files in some folders below a folder, and their copy below a URI."""

    def __init__(self, folder: Path, uri: str, kept: Sequence[Path] = KEPT) -> None:
        self._folder, self._uri, self._kept = folder, uri.rstrip("/"), kept
        self._there: dict[str, tuple[int, int]] = {}  # size and time of change of what was sent, or fetched
        self._ended = threading.Event()

    def fetch(self) -> None:
        """Copies what is there to the folder."""
        store, root = self._store()
        for name, found in store.find(root, detail=True).items():
            relative = name.removeprefix(f"{root}/")
            if found["type"] == "file" and not name.endswith(
                "/"
            ):  # else a folder's own marker, which web consoles make
                target = object_store.RemotePath(self._uri).copy_of(relative, self._folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                store.get_file(name, str(target))
                self._there[relative] = _state(target)

    def send(self) -> None:
        """Makes the copy what the folder is: new files, `state.json` of a checkpoint last; then removes others.

        What is new is linked first: on a slow line a checkpoint that is being sent is replaced here before all of it
        is there.
        """
        here = {file.relative_to(self._folder).as_posix(): file for file in self._files()}
        store, root = self._store()
        with TemporaryDirectory(prefix=".sending-", dir=self._folder) as linked:
            new: dict[str, tuple[Path, tuple[int, int]]] = {}
            for relative, file in here.items():
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    state = _state(file)
                    if self._there.get(relative) != state:
                        new[relative] = Path(hard_link_or_copy(str(file), f"{linked}/{len(new)}")), state
            for relative, (file, state) in sorted(new.items(), key=lambda one: one[0].endswith("state.json")):
                store.makedirs(f"{root}/{relative}".rpartition("/")[0], exist_ok=True)
                store.put_file(str(file), f"{root}/{relative}")
                self._there[relative] = state
        for relative in [name for name in self._there if name not in here]:
            with contextlib.suppress(FileNotFoundError):
                store.rm_file(f"{root}/{relative}")
            del self._there[relative]

    @contextlib.contextmanager
    def kept_up(self) -> Iterator[None]:
        """Sends what is new every few seconds, and at the end."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()
            self._sent()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            self._sent()

    def _sent(self) -> None:
        """A store that is away doesn't end a training."""
        try:
            self.send()
        except Exception as error:  # each store has errors of its own
            log(f"{self._uri}: working files can't be kept there ({summarise_exception(error)}): trying again")

    def _files(self) -> Iterator[Path]:
        """Whole files of checkpoints and records; what is being written has a name that begins with a dot."""
        for kept in self._kept:
            for parent, folders, names in os.walk(self._folder / kept):
                folders[:] = [name for name in folders if not name.startswith(".")]
                below = Path(parent)
                if CHECKPOINT.as_posix() not in below.as_posix():  # goes to the run's artifacts
                    yield from (below / name for name in names if not name.startswith(".") and (below / name).is_file())

    def _store(self) -> tuple[AbstractFileSystem, str]:
        store, root = object_store.open_file(self._uri)
        return store, root.rstrip("/")


def _explained(place: str) -> contextlib.AbstractContextManager[None]:
    return as_input_error(f"{place}: can't hold checkpoints: see to the address, its permissions and credentials")


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
