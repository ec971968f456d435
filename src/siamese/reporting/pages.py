"""HTML pages and SVG by function calls: text is escaped unless an element made it, and a page needs no network.

A page is written over another only if the same command wrote that one.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from siamese.errors import InputError
from siamese.storage.files import atomic_file
from siamese.storage.object_store import AnyPath, RemotePath

VOID = {"br", "img", "meta"}


class Markup(str):
    """Text that is HTML already; any other text is escaped when it is put into an element."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: `Markup` as it is, other text escaped.
        attributes: `class_` for class, `text_anchor` for text-anchor; numbers to two decimals; None leaves one out.
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{given}>" if tag in VOID else f"<{tag}{given}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Children one after the other, text escaped."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


STYLE = Path(__file__).with_name("style.css")


def page(title: str, *body: str, styles: Sequence[Path] = (STYLE,), generator: str | None = None) -> str:
    """The whole file.

    Args:
        title: what the browser shows above it.
        body: its content.
        styles: CSS files, the later ones prevailing.
        generator: what wrote it, for programs to read.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="generator", content=generator) if generator else "",
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup("".join(file.read_text(encoding="utf-8") for file in styles))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', element('main', *body)), lang='en')}\n"


def section(title: str, *content: str) -> Markup:
    """A part of the page under its title."""
    return element("section", element("h2", title), *content)


def small(text: str) -> Markup:
    """A paragraph of less weight."""
    return element("p", text, class_="small")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table that scrolls sideways where the page is too narrow for it; without titles if `head` is empty."""
    titles = element("thead", element("tr", *(element("th", title) for title in head))) if head else ""
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    return element("div", element("table", titles, element("tbody", *body)), class_="table")


def data_uri(content: bytes, kind: str) -> str:
    """The content as an address that holds it, for `src`; `kind` is its media type, such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


_BEGINS = 1000  # bytes of a page


def require_page_writable(page_file: Path, generator: str) -> None:
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


def require_local_page(page: AnyPath, generator: str) -> None:
    """`refuse` for a page in a store; nothing for one here.

    Raises:
        InputError: something is there that isn't the command's.
    """
    if isinstance(page, RemotePath) and page.is_file() and not _is_by(generator, page.read_bytes()[:_BEGINS]):
        raise InputError(f"{page}: is there, and isn't a report of this command: name another file")


def _is_by(generator: str, begins: bytes) -> bool:
    """Whether a page that begins so names this one as what wrote it, as `siamese.reporting.pages.page` writes that."""
    return element("meta", name="generator", content=generator).encode() in begins


def write_page(page_file: Path, text: str) -> None:
    """Writes a page, whole.

    Raises:
        InputError: it can't be written.
    """
    with atomic_file(page_file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
