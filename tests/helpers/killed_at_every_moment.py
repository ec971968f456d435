"""Kills a process at every moment of one piece of work: a program for `test_killed.py`.

`python killed_at_every_moment.py WORK FOLDER`: does WORK in a fresh copy of its beginning, in a child process that
kills itself before its first call into the system (open, write, rename, ...), then again before the second, and so on
until the work ends. After each, prints a line of JSON: what the next process finds, and what lies there after its own
work.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from siamese.storage.files import atomic_file, atomic_folder
from siamese.training.checkpoints import Checkpoints, Origin, TrainingState

SHAPES = {"last": [(50, 1000), (3,)], "best": [(50, 1000)]}
INTO_THE_SYSTEM = {"open", "write", "close", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "truncate"}


class Checkpoint:
    """Checkpoints of epochs 1 and 2 are there; the work writes a third, with best weights of its own."""

    def __init__(self, folder: Path) -> None:
        self.kept = Checkpoints(folder, Origin({}, {}))

    def begin(self) -> None:
        self.save(1)
        self.save(2)

    def work(self) -> None:
        self.save(3)

    def found(self) -> Any:
        found = Checkpoints(self.kept.folder.parent, Origin({}, {})).newest(SHAPES)
        return found and [found[0].epoch, float(found[1][0][0, 0]), float(found[2][0][0, 0])]

    def save(self, epoch: int) -> None:
        last = [np.full((50, 1000), epoch, np.float32), np.zeros(3)]
        self.kept.save(
            TrainingState(epoch, history=[{"epoch": epoch}]), last, [np.full((50, 1000), -epoch, np.float32)]
        )


class Pruning(Checkpoint):
    """The work removes the checkpoints."""

    def work(self) -> None:
        self.kept.prune()


class Folder:
    """A folder of two files is there; the work replaces it. The next process's own replacement fails."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "model"

    def begin(self) -> None:
        self.write("older")

    def work(self) -> None:
        self.write("newer")

    def found(self) -> Any:
        with suppress(ZeroDivisionError), atomic_folder(self.place, own=["a", "b"]):
            raise ZeroDivisionError
        return [(self.place / name).read_text() for name in ("a", "b")]

    def write(self, content: str) -> None:
        with atomic_folder(self.place, own=["a", "b"]) as beside:
            for name in ("a", "b"):
                (beside / name).write_text(content)


class File(Folder):
    """As `Folder`, of a file."""

    def found(self) -> Any:
        return [self.place.read_text()]

    def write(self, content: str) -> None:
        with atomic_file(self.place) as beside:
            beside.write_text(content)


def dies_before(call: int, work: Callable[[], None]) -> bool:
    """Does the work in a child process that kills itself before that call; tells whether it came so far."""
    child = os.fork()
    if child == 0:
        counted = count()

        def hook(frame: Any, event: str, function: Any) -> None:
            if event == "c_call" and function.__name__ in INTO_THE_SYSTEM and next(counted) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(hook)
        threading.setprofile(hook)  # of those that the work starts
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(name: str, folder: Path) -> None:
    kind: Any = {kind.__name__: kind for kind in (Checkpoint, Pruning, Folder, File)}[name]
    kind(folder / "beginning").begin()
    for call in count():
        here = folder / "here"
        shutil.copytree(folder / "beginning", here)
        killed = dies_before(call, kind(here).work)
        left = sorted(str(file.relative_to(here)) for file in here.rglob("*"))
        found = kind(here).found()
        kind(here).work()
        after = sorted(str(file.relative_to(here)) for file in here.rglob("*"))
        print(json.dumps({"killed": killed, "left": left, "found": found, "after": after}))
        shutil.rmtree(here)
        if not killed:
            return


main(sys.argv[1], Path(sys.argv[2]))
