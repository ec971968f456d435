"""A page is never written over what the command didn't write, here or in a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from siamese.errors import InputError
from siamese.reporting import pages
from siamese.storage.object_store import as_path

OURS = "by siamese"


def test_a_page_of_ours_may_be_replaced_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    pages.require_page_writable(page, OURS)
    page.write_text(pages.page("Title", generator=OURS))
    pages.require_page_writable(page, OURS)
    page.write_text(f"<h1>my notes on pages {OURS}</h1>")
    with pytest.raises(InputError, match="isn't a report of this command"):
        pages.require_page_writable(page, OURS)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(InputError, match=r"page\.html: is no regular file: name another one to write"):
        pages.require_page_writable(tmp_path / "page.html", OURS)


def test_what_cannot_be_looked_at_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.symlink_to(page)
    with pytest.raises(InputError, match=r"page.html: is there, and can't be read \(.+\): name another file"):
        pages.require_page_writable(page, OURS)


def test_a_page_in_a_store_is_looked_at_too(tmp_path: Path) -> None:
    page = as_path("memory://bucket/index.html")
    pages.require_local_page(page, OURS)
    page.write_bytes(pages.page("Title", generator=OURS).encode())
    pages.require_local_page(page, OURS)
    page.write_bytes(b"<h1>my site</h1>")
    with pytest.raises(InputError, match=r"memory://bucket/index\.html: is there, and isn't a report of this command"):
        pages.require_local_page(page, OURS)
    pages.require_local_page(tmp_path / "page.html", OURS)  # `refuse` looks at that
