"""Where a page is written: never over a file that the command didn't write."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from siamese.errors import InputError
from siamese.files import whole_file


def refuse(page_file: Path, generator: str) -> None:
    """Says so where a page can't be written.

    Args:
        page_file: the page to be.
        generator: what stands in the command's pages, and in no others.

    Raises:
        InputError: it isn't called .html, or something is there that isn't the command's.
    """
    if page_file.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{page_file}: a page is .html: name it so")
    if page_file.is_dir():
        raise InputError(f"{page_file}: is a folder: name a file")
    with suppress(OSError), page_file.open(encoding="utf-8", errors="replace") as file:
        if generator not in file.read(1000):
            raise InputError(f"{page_file}: is there, and isn't a report of this command: name another file")


def write(page_file: Path, text: str) -> None:
    """Writes a page, whole.

    Raises:
        InputError: it can't be written.
    """
    with whole_file(page_file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
