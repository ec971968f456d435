"""Progress: a bar for a person at a terminal, a few plain lines for a log, nothing on standard output."""

import io
import sys

import pytest

from siamese import console


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that advances by its second entry at each look."""
    time = [0.0, 0.0]

    def look() -> float:
        time[0] += time[1]
        return time[0]

    monkeypatch.setattr(console.time, "monotonic", look)
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 15)
    return time


def test_all_items_pass_in_order() -> None:
    assert list(console.track(iter("abc"), "reading")) == ["a", "b", "c"]


def test_a_quick_step_says_nothing(capsys, clock) -> None:
    list(console.track(range(100), "reading"))
    assert capsys.readouterr() == ("", "")


def test_a_long_step_in_a_log_is_a_few_plain_lines_on_standard_error(capsys, clock) -> None:
    """20 seconds an item: one line for each, and one at the end."""
    clock[1] = 20.0
    list(console.track(range(3), "reading"))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" done")[0] for line in err.splitlines()] == [
        "reading: 1 of 3", "reading: 2 of 3", "reading: 3 of 3", "reading: 3"
    ]  # fmt: skip


def test_a_terminal_gets_a_bar(monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(console.track([1, 2], "reading images")) == [1, 2]
    assert "reading images" in terminal.getvalue()
