"""A page is never written over what the command didn't write, here or in a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from siamese import page as pages
from siamese import whole_page
from siamese.errors import InputError
from siamese.remote import place

OURS = "by siamese"


def test_a_page_of_ours_may_be_replaced_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    whole_page.refuse(page, OURS)
    page.write_text(pages.page("Title", generator=OURS))
    whole_page.refuse(page, OURS)
    page.write_text(f"<h1>my notes on pages {OURS}</h1>")
    with pytest.raises(InputError, match="isn't a report of this command"):
        whole_page.refuse(page, OURS)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(InputError, match=r"page\.html: is no regular file: name another one to write"):
        whole_page.refuse(tmp_path / "page.html", OURS)


def test_what_cannot_be_looked_at_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.symlink_to(page)
    with pytest.raises(InputError, match=r"page.html: is there, and can't be read \(.+\): name another file"):
        whole_page.refuse(page, OURS)


def test_a_page_in_a_store_is_looked_at_too(tmp_path: Path) -> None:
    page = place("memory://bucket/index.html")
    whole_page.refuse_elsewhere(page, OURS)
    page.write_bytes(pages.page("Title", generator=OURS).encode())
    whole_page.refuse_elsewhere(page, OURS)
    page.write_bytes(b"<h1>my site</h1>")
    with pytest.raises(InputError, match=r"memory://bucket/index\.html: is there, and isn't a report of this command"):
        whole_page.refuse_elsewhere(page, OURS)
    whole_page.refuse_elsewhere(tmp_path / "page.html", OURS)  # `refuse` looks at that
