"""Files by name, wherever they lie: in a folder, in a zip or tar archive, or in archives in a folder."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from siamese.errors import InputError

# What a damaged archive raises, or one whose files need a password.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)

PACKED = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")  # names of archives

Read = Callable[[], bytes]
Files = dict[str, Read]


@contextmanager
def opened(places: Sequence[Path], archives: Sequence[str]) -> Iterator[Files]:
    """The files of all places by name, each with what reads it while the block lasts. Nothing is unpacked.

    Names are paths with slashes, from the archive or folder. A file that is no archive has its own name. Read them in
    the order given, which is theirs in the archive: a compressed tar file is slow in any other.

    Args:
        places: folders and files.
        archives: patterns, in small letters, of the names of archives that are looked into where a folder holds them.

    Raises:
        InputError: a place isn't there, or a file is a damaged archive.
    """
    found: Files = {}
    with ExitStack() as held:
        for place in places:
            if place.is_dir():
                files = sorted(file for file in place.rglob("*") if file.is_file())
                found |= {file.relative_to(place).as_posix(): file.read_bytes for file in files}
                packed = [file for file in files if any(fnmatch(file.name.lower(), name) for name in archives)]
            elif place.is_file():
                found[place.name] = place.read_bytes
                packed = [place]
            else:
                raise InputError(f"{place}: is not there: name an archive or a folder with --from")
            for archive in packed:
                try:
                    found |= _members(archive, held)
                except _UNREADABLE as error:
                    raise InputError(f"{archive}: can't be read as an archive ({error}): get it again") from None
        yield found


def read(name: str, reader: Read) -> bytes:
    """The content of a file of `opened`.

    Raises:
        InputError: it can't be read, or fails its archive's own check.
    """
    try:
        return reader()
    except _UNREADABLE as error:
        raise InputError(
            f"{name}: can't be read ({' '.join(str(error).split())}): get its archive again, or name the folder that "
            "you unpacked"
        ) from None


def _members(archive: Path, held: ExitStack) -> Files:
    """What an archive holds; nothing where the file is none.

    Raises:
        one of _UNREADABLE: it is damaged.
    """
    if zipfile.is_zipfile(archive):
        zipped = held.enter_context(zipfile.ZipFile(archive))
        return {name: partial(zipped.read, name) for name in zipped.namelist() if not name.endswith("/")}
    if tarfile.is_tarfile(archive):
        tape = held.enter_context(tarfile.open(archive))  # noqa: SIM115
        return {member.name.removeprefix("./"): partial(_extracted, tape, member) for member in tape if member.isfile()}
    if archive.name.lower().endswith(PACKED):
        raise zipfile.BadZipFile("neither a zip nor a tar file, or half of one")
    return {}


def _extracted(tape: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tape.extractfile(member)
    assert content is not None, stat.filemode(member.mode)  # `_members` lists plain files alone
    return content.read()
