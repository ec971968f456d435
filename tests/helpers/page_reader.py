"""A page as a browser finds it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"br", "img", "meta"}


class Page(HTMLParser):
    """What a browser would find: text but for styles, tags in their order, attributes; every tag must close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes, self.open = "", [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.text += f"{data} "

    def every(self, attribute: str) -> list[str]:
        """The values of an attribute, in their order."""
        return [value for name, value in self.attributes if name == attribute]
