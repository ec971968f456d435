"""A page that needs no network: one HTML file with its styles inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from siamese.markup import Markup, element

STYLE = Path(__file__).with_name("report.css")


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
