"""What stands around a step so that its artifacts may have URIs: small inputs are fetched, small outputs sent.

A step's function takes paths. `staged` gives it paths of this machine: those that a person named, or for a URI others
in a temporary folder, filled before and sent afterwards. Outputs are sent when the command has ended well, folders as
`siamese.storage.object_store.atomic_remote_folder` does. The two sets, image folders and stored pixels, aren't staged:
the functions that take them read them where they are.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from siamese.console import alias_path
from siamese.errors import InputError, as_input_error
from siamese.storage.file_types import Kind, require_same_kind
from siamese.storage.object_store import RemotePath, all_of, as_path, atomic_remote_folder, is_uri


@contextmanager
def staged() -> Iterator[Staging]:
    """Gives what turns names into paths; sends the outputs when the block ends well.

    Raises:
        InputError: an output can't be sent; what was written is kept, and the line says where.
    """
    with ExitStack() as opened:
        staging = Staging(opened)
        try:
            yield staging
            staging.send()
        except InputError:
            staging.send_what_tells_why()
            raise
        finally:
            opened.close()  # what still copies from the folder comes first
            staging.remove()


class Staging:
    """The paths of one command's artifacts."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._folder: Path | None = None
        self._paths = 0
        self._read: list[str] = []
        self._written: list[str] = []
        self._sending: list[Callable[[], None]] = []
        self._told_anyway: list[Callable[[], None]] = []

    def input(self, named: str, beside: Sequence[str] = ()) -> Path:
        """A file or folder that is read. Where a URI leads to nothing, nothing is at the path.

        Args:
            named: path or URI.
            beside: names of files beside it that are read, too, where they are.

        Raises:
            InputError: the store can't be used, or has no such bucket; or the command writes there.
        """
        known = as_path(named)
        self._keep_apart(named, self._read, self._written)
        if isinstance(known, Path):
            return known
        here = self._path_for(known)
        known.fetch(here)
        if not here.exists():
            known.require_bucket()
        for name in beside:
            known.with_name(name).fetch(here.with_name(name))
        return here

    def input_if_named(self, named: str | None) -> Path | None:
        """`input`; None where an option names none."""
        return self.input(named) if named else None

    def model(self, named: str) -> str:
        """A model as `siamese.registry.locator` takes it: its folder is fetched, the registry's name stays."""
        return str(self.input(named)) if is_uri(named) else named

    def output(self, named: str, kind: Kind | None = None, tells_why: bool = False) -> Path:
        """A file that is written.

        Args:
            named: path or URI.
            kind: what it is; a file of another kind is not replaced. None: the step sees to that.
            tells_why: whether it is sent, too, when the step refuses its input.

        Raises:
            InputError: it can't be written; a folder is there, or a file that isn't the step's; or the command reads
                or writes there otherwise.
        """
        known = as_path(named)
        self._keep_apart(named, self._written, [*self._read, *self._written])
        if isinstance(known, Path):
            if kind and known.is_file():
                require_same_kind(known, kind)
            return known
        known.require_writable()
        if known.is_dir():
            raise InputError(f"{known} is a folder: name another file to write")
        here = self._path_for(known)
        sending = self._told_anyway if tells_why else self._sending
        sending.append(lambda: known.send(here) if here.exists() else None)
        return here

    def output_if_named(self, named: str | None, kind: Kind | None = None) -> Path | None:
        """`output`; None where an option names none."""
        return self.output(named, kind) if named else None

    def output_folder(self, named: str, own: Sequence[str], mark: str = "") -> Path:
        """A folder that is written.

        Args:
            named: path or URI.
            own, mark: as in `siamese.storage.object_store.atomic_remote_folder`.

        Raises:
            InputError: it can't be written, or holds what the step doesn't write.
        """
        known = as_path(named)
        if isinstance(known, Path):
            return known
        known.require_writable()
        known.refuse_foreign(own)
        here = self._path_for(known)
        self._sending.append(lambda: _send_folder(here, known, own, mark))
        return here

    def working_folder(self, named: str) -> Path:
        """A folder that is read and written as the work goes on: sent every few seconds, whatever becomes of it.

        Raises:
            InputError: the store can't be used.
        """
        known = as_path(named)
        if isinstance(known, Path):
            return known
        from siamese.storage.mirror import Mirror

        known.require_writable()
        here = self._path_for(known)
        here.mkdir()
        copy = Mirror(here, str(known), kept=[Path()])
        with as_input_error(f"{known}: can't be read: see to the address, its permissions and credentials"):
            copy.fetch()
        self._opened.enter_context(copy.kept_up())
        return here

    def send(self) -> None:
        """Sends the outputs, in the order in which they were named."""
        try:
            for send in (*self._told_anyway, *self._sending):
                send()
        except InputError as error:
            kept, self._folder = self._folder, None
            raise InputError(f"{error}; what was to be written is kept in {kept}") from error

    def send_what_tells_why(self) -> None:
        """Sends what a refused step has written all the same; the reason that it gave is more important."""
        with suppress(InputError):
            for send in self._told_anyway:
                send()

    def remove(self) -> None:
        """Removes the folder."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_apart(self, named: str, known: list[str], others: Sequence[str]) -> None:
        """Notes a name, in `known`, which none of `others` may be."""
        one = str(as_path(named)) if is_uri(named) else os.path.realpath(named)
        if one in others:
            raise InputError(f"{named}: is given for two things, one of which this command writes: name another file")
        known.append(one)

    def _path_for(self, address: RemotePath) -> Path:
        """A free path of the same name, alone in a folder."""
        self._folder = self._folder or Path(tempfile.mkdtemp(prefix="siamese-"))
        self._paths += 1
        here = self._folder / str(self._paths) / address.name
        here.parent.mkdir()
        alias_path(here, str(address))
        return here


def _send_folder(here: Path, address: RemotePath, own: Sequence[str], mark: str) -> None:
    if not here.exists():  # of several workers, one writes
        return
    names = [file.relative_to(here).as_posix() for file in here.rglob("*") if file.is_file()]
    with atomic_remote_folder(address, own, mark) as beside:
        if isinstance(beside, RemotePath):
            all_of(lambda name: (beside / name).send(here / name), names)
