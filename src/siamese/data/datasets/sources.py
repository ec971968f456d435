"""Sources of data sets: resumable downloads, and files by name in folders, zip and tar archives."""

from __future__ import annotations

import errno
import hashlib
import http.client
import lzma
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from siamese.console import log, track
from siamese.errors import InputError
from siamese.storage.files import atomic_file, unwritable

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
def open_archive(places: Sequence[Path], archives: Sequence[str]) -> Iterator[Files]:
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


AT_ONCE = 2**20  # bytes
ATTEMPTS = 5  # that bring nothing, in a row
WAIT = 2.0  # seconds before the second attempt; twice as many before each further one
SILENCE = 60.0  # seconds without a byte after which a line counts as cut


@dataclass(frozen=True)
class DownloadUrl:
    """A file that a publisher gives out.

    Attributes:
        url: where.
        file: the name under which it is kept.
        digest: of its content, in hexadecimal digits: SHA-256, or MD5 where the publisher gives only that; None: the
            publisher gives none, and what is in it is checked after unpacking.
    """

    url: str
    file: str
    digest: str | None = None


class _Cut(Exception):
    """The line was cut, or the server is busy: worth another attempt."""


def download(address: DownloadUrl, folder: Path, wait: float = WAIT) -> Path:
    """The file in `folder`, downloaded unless it is there; goes on where an earlier download was cut.

    Raises:
        InputError: the server can't be reached or doesn't give it, or gives something else; or no file can be written.
    """
    target = folder / address.file
    if target.exists():
        if not _as_published(address, target):
            raise InputError(f"{target}: isn't the published file: delete it and run again")
        log(f"{target}: downloaded before")
        return target
    partial = folder / f"{address.file}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) or error from error
    fruitless = 0
    while True:
        before = _size(partial)
        try:
            _receive(address, partial)
            break
        except (OSError, http.client.HTTPException, _Cut) as error:
            if _of_the_disk(error):
                raise unwritable(partial, error) or error from error
            code = error.code if isinstance(error, urllib.error.HTTPError) else None
            if code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                partial.unlink()  # killed after the last byte, or the file is shorter now
            elif code and code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                raise InputError(_refused(address, " ".join(str(error).split()))) from None
            fruitless = fruitless + 1 if _size(partial) <= before else 0
            if fruitless == ATTEMPTS:
                raise InputError(_refused(address, " ".join(str(error).split()))) from None
            log(f"{address.url}: {' '.join(str(error).split())}: {_size(partial)} bytes are here, going on")
            time.sleep(wait * 2**fruitless)
    _check(address, partial)
    with atomic_file(target) as beside:
        partial.replace(beside)
    return target


def _receive(address: DownloadUrl, partial: Path) -> None:
    """Adds to `partial` what it lacks."""
    have = _size(partial)
    mark = partial.with_suffix(".etag")
    request = urllib.request.Request(address.url)
    if have and mark.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", mark.read_text(encoding="latin-1"))  # the whole, if it has changed meanwhile
    with urllib.request.urlopen(request, timeout=SILENCE) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):
            mark.write_text(validator, encoding="latin-1")
        else:
            mark.unlink(missing_ok=True)
        with partial.open("ab" if goes_on else "wb") as file:
            parts = -(-(total - have) // AT_ONCE) if total else None
            for part in track(_parts(answer), f"downloading {address.file}, MB", parts):
                file.write(part)
    if total is not None and _size(partial) < total:
        raise _Cut(f"cut after {_size(partial)} of {total} bytes")
    mark.unlink(missing_ok=True)


def _parts(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while part := answer.read(AT_ONCE):
        yield part


def _check(address: DownloadUrl, partial: Path) -> None:
    """Removes what isn't the published file, so that the next attempt begins anew."""
    if not _as_published(address, partial):
        partial.unlink()
        raise InputError(f"{address.url}: gives another file than published: use --from with a copy of it")


def _as_published(address: DownloadUrl, file: Path) -> bool:
    if address.digest is None:
        return True
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "md5" if len(address.digest) == 32 else "sha256")
    return found.hexdigest() == address.digest


def _of_the_disk(error: Exception) -> bool:
    """Whether it's about a file here: another attempt would find the same."""
    if not isinstance(error, OSError) or isinstance(error, urllib.error.URLError):
        return False
    return error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _refused(address: DownloadUrl, reason: str) -> str:
    return f"{address.url}: can't be downloaded ({reason}): run again to go on, or use --from with a copy of it"
