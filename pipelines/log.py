"""What a run on this machine says: the steps' own words, each with its step. What kfp says besides goes to a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from pipelines.steps import component_name

COLOUR = re.compile(r"\x1b\[\d+m")
OF_KFP = re.compile(r"\d\d:\d\d:\d\d\.\d{3} - \w+ - (?P<said>.*)")
BEGINS = re.compile(r"Executing task '(?P<step>[\w-]+)'")
ENDS = re.compile(r"Task '(?P<step>[\w-]+)' finished with status (?P<status>\w+)")
OF_EXECUTOR = "[KFP Executor "


@contextmanager
def steps_words(file: Path) -> Iterator[None]:
    """Inside, what is printed goes to `file`, and of it what a person wants to read to standard output."""
    import sys

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as log, redirect_stdout(Log(log, sys.stdout)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"kfp\.local")  # of settings that only a cluster honours
        yield


class Log(TextIOBase):
    """Takes what kfp's local runner prints, line by line."""

    def __init__(self, everything: TextIO, shown: TextIO) -> None:
        self._everything, self._shown = everything, shown
        self._line = ""
        self._step = ""  # whose words come now
        self._skipping: str | None = None  # up to this line: the inputs, which the executor repeats as JSON

    def write(self, text: str) -> int:
        """As of any stream."""
        self._everything.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            words = self._words(COLOUR.sub("", line))
            if words:
                print(words, file=self._shown, flush=True)
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        self._everything.flush()

    def _words(self, line: str) -> str | None:
        of_kfp = OF_KFP.match(line.strip())  # behind a step's last words, kfp's own are indented as they are
        if of_kfp:
            said = of_kfp["said"]
            begins, ends = BEGINS.match(said), ENDS.match(said)
            if begins or ends:
                self._step, self._skipping = (component_name(begins["step"]) if begins else ""), None
            return f"{component_name(ends['step'])}: {ends['status'].lower()}" if ends else None
        if not self._step or not line.strip():
            return None
        words = line.strip()
        if OF_EXECUTOR in words:
            self._skipping = "" if words.endswith("Got executor_input:") else None
            return None
        if self._skipping is not None:
            self._skipping = None if line == self._skipping else self._skipping or line.replace("{", "}")
            return None
        return f"{self._step}: {words}"
