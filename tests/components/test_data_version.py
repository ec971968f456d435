"""Step `data_version` refuses links that step `fetch_data` would lose."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Repository

from components.data_version import data_version
from siamese.errors import InputError


@pytest.mark.parametrize("revision", ["", "HEAD"])
def test_links_that_cannot_be_fetched_are_refused(tmp_path: Path, revision: str) -> None:
    """Of a revision, git has the text of a link alone; in a working tree, links to files are followed."""
    repository = Repository(tmp_path)
    for name in ("faces/a/1.png", "library/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "faces/a/2.png").symlink_to("../../library/b/2.png")
    (tmp_path / "faces/b").symlink_to("../library/b")
    repository.run("git", "init", "-q")
    repository.run("dvc", "init", "-q")
    repository.commit()
    links = {"": "faces/b", "HEAD": r"faces/a/2.png \(and 1 more\)"}
    with pytest.raises(InputError, match=f"{links[revision]} is a link, which can't be fetched: put the file"):
        data_version.python_func(str(tmp_path), revision, "faces")
    (tmp_path / "faces/b").unlink()
    if revision:
        (tmp_path / "faces/a/2.png").unlink()
    repository.commit()
    digest, _ = data_version.python_func(str(tmp_path), revision, "faces")
    assert len(digest) == 32
