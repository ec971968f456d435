"""Where a page is written: never over a file that the command didn't write."""

from __future__ import annotations

from pathlib import Path

from siamese.errors import InputError
from siamese.files import whole_file
from siamese.markup import element
from siamese.remote import Address, Place

_BEGINS = 1000  # bytes of a page


def refuse(page_file: Path, generator: str) -> None:
    """Says so where a page can't be written.

    Args:
        page_file: the page to be.
        generator: what the command's pages name as theirs.

    Raises:
        InputError: it isn't called .html, or something is there that isn't the command's.
    """
    if page_file.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{page_file}: a page is .html: name it so")
    if page_file.is_dir():
        raise InputError(f"{page_file}: is a folder: name a file")
    if page_file.exists() and not page_file.is_file():  # a pipe would be waited for
        raise InputError(f"{page_file}: is no regular file: name another one to write")
    try:
        with page_file.open("rb") as file:
            ours = _is_by(generator, file.read(_BEGINS))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{page_file}: is there, and can't be read ({error.strerror}): name another file") from None
    if not ours:
        raise InputError(f"{page_file}: is there, and isn't a report of this command: name another file")


def refuse_elsewhere(page: Place, generator: str) -> None:
    """`refuse` for a page in a store; nothing for one here.

    Raises:
        InputError: something is there that isn't the command's.
    """
    if isinstance(page, Address) and page.is_file() and not _is_by(generator, page.read_bytes()[:_BEGINS]):
        raise InputError(f"{page}: is there, and isn't a report of this command: name another file")


def _is_by(generator: str, begins: bytes) -> bool:
    """Whether a page that begins so names this one as what wrote it, as `siamese.page.page` writes that."""
    return element("meta", name="generator", content=generator).encode() in begins


def write(page_file: Path, text: str) -> None:
    """Writes a page, whole.

    Raises:
        InputError: it can't be written.
    """
    with whole_file(page_file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
