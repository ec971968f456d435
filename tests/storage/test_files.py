"""Files and folders appear whole or not at all."""

import errno
import json
import os
from pathlib import Path

import pytest

from siamese.errors import InputError
from siamese.storage import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_of_the_block(tmp_path) -> None:
    with files.atomic_file(tmp_path / "new" / "a.txt") as beside:
        beside.write_text("x")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert names(tmp_path / "new") == ["a.txt"]


def test_what_a_killed_process_left_is_removed_whatever_the_name_of_the_file(tmp_path) -> None:
    """Of a file whose name is a pattern, too; no process has the number 2^22 + 1, beyond Linux's largest."""
    for name in ("a.txt", "a[1].txt", "a*.txt"):
        (tmp_path / f".{name}.unfinished-{2**22 + 1}").write_text("half")
        with files.atomic_file(tmp_path / name) as beside:
            beside.write_text("whole")
    assert names(tmp_path) == ["a*.txt", "a.txt", "a[1].txt"]


def test_a_failure_leaves_the_older_file_and_nothing_beside_it(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("older")
    with pytest.raises(RuntimeError), files.atomic_file(tmp_path / "a.txt") as beside:
        beside.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "older"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_older_one_only_at_the_end(tmp_path) -> None:
    place = tmp_path / "out"
    for content in ("first", "second"):
        with files.atomic_folder(place, own=["first", "second"]) as beside:
            (beside / content).write_text(content)
    assert names(place) == ["second"]
    with pytest.raises(RuntimeError), files.atomic_folder(place, own=["*"]) as beside:
        (beside / "half").write_text("")
        raise RuntimeError
    assert names(place) == ["second"]
    assert names(tmp_path) == ["out"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"), files.atomic_file(tmp_path / "file" / "a.txt"):
        pass
    with pytest.raises(InputError, match="can't be written"), files.atomic_folder(tmp_path / "file" / "a", own=[]):
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "(No space left on device): make room, then run again"),
        (OSError(errno.EROFS, "Read-only file system"), "(Read-only file system): see to its permissions"),
        (OSError("Error writing\nbytes"), "(Error writing bytes): see to its permissions"),
        (RuntimeError("ResourceExhausted: x.index; No space left on device"), "(No space left on device): make room"),
        (RuntimeError("something else"), None),
    ],
)
def test_libraries_tell_of_a_full_disk_in_errors_of_their_own(tmp_path, error: Exception, told: str | None) -> None:
    for writing in (files.atomic_file(tmp_path / "out"), files.atomic_folder(tmp_path / "out", own=[])):
        with pytest.raises(InputError if told else RuntimeError) as raised, writing:
            raise error
        if told:
            assert str(raised.value).startswith(f"{tmp_path}/out: can't be written {told}")


def test_what_hides_the_error_of_a_full_disk_is_looked_through(tmp_path) -> None:
    """As when a half written archive can't be closed either."""
    with pytest.raises(InputError, match="No space left on device"), files.atomic_file(tmp_path / "out"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise ValueError("can't close")


def test_an_error_of_its_own_inside_the_block_is_left_as_it_is(tmp_path) -> None:
    with (
        pytest.raises(InputError, match=r"^No space left on device, says the step$"),
        files.atomic_file(tmp_path / "a"),
    ):
        raise InputError("No space left on device, says the step")


def test_a_folder_that_holds_anything_else_is_somebodys_and_stays(tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("")
    refused = pytest.raises(InputError, match=r"holds me\.jpg, which this step doesn't write")
    with refused, files.atomic_folder(tmp_path / "photos", own=["part-*.tfrecord"]):
        pass
    assert names(tmp_path / "photos") == ["me.jpg"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="is no regular file"), files.atomic_file(place):
            pass
    with pytest.raises(InputError, match="is no folder"), files.atomic_folder(tmp_path / "pipe", own=["*"]):
        pass


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path) -> None:
    """No process has the highest number there can be; this one's parent is alive."""
    dead, alive = 2**22 + 1, os.getppid()
    for process in (dead, alive):
        (tmp_path / f".out.unfinished-{process}").mkdir()
    with files.atomic_folder(tmp_path / "out", own=[]):
        pass
    assert names(tmp_path) == [f".out.unfinished-{alive}", "out"]


def test_json_is_readable_and_ends_with_a_newline(tmp_path) -> None:
    files.write_json(tmp_path / "a.json", {"wörd": 1})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"wörd": 1}
    assert "wörd" in text and text.endswith("}\n")


def test_the_digest_tells_where_one_part_ends() -> None:
    assert files.digest([b"ab", b"c"]) != files.digest([b"a", b"bc"])


def test_a_missing_input_says_which_command_makes_it(tmp_path) -> None:
    with pytest.raises(InputError, match="run `siamese catalog` first"):
        files.require_exists(tmp_path / "catalog.parquet", "siamese catalog")
