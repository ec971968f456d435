"""A folder that is being filled: each image file once, when it is complete."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from siamese.console import log
from siamese.data.images.formats import SUFFIXES
from siamese.errors import InputError, as_input_error
from siamese.identification.watch.sources import Frame
from siamese.models.verifier import read_image

LOOK_EVERY = 0.25  # seconds

State = tuple[int, int, int]  # inode, size, time of change


class Folder:
    """Images that are there, then those that come; none below in other folders.

    A file is complete when it is the same at two looks, and its image is whole. One that can't be taken is told once,
    and looked at again if it changes. Hidden files and other suffixes are left alone. What has left the folder is
    forgotten, or a folder that is emptied as it fills would be remembered whole.
    """

    rate = 1.0
    endless = True
    skipped = 0
    lost: str | None = None

    def __init__(
        self,
        folder: Path,
        idle: float | None,
        max_pixels: int,
        decode: Callable[[bytes], np.ndarray],
        clock: Callable[[], float],
        wait: Callable[[float], None],
    ) -> None:
        """
        Args:
            folder: where.
            idle: seconds without a new file after which it ends; None: never.
            max_pixels: an image of more can't be taken.
            decode: bytes as `read_image` gives them to pixels, uint8 [height, width, 3], RGB.
            clock, wait: seconds, and to let some pass.
        """
        self._folder, self._idle, self._max_pixels, self._decode = folder, idle, max_pixels, decode
        self._clock, self._wait = clock, wait
        self._seen: dict[str, State] = {}
        self._refused: dict[str, State] = {}
        self._given: set[str] = set()
        self._frames = 0
        self._complete: deque[str] = deque()
        self._coming = False  # whether a file was new or other than before at the last look
        self._began = self._last = clock()

    def next(self, stopped: Callable[[], bool]) -> Frame | None:
        while not stopped():
            if not self._complete:
                self._look()
            while self._complete:
                frame = self._read(self._complete.popleft())
                if frame:
                    self._last = self._clock()
                    return frame
            if self._idle is not None and not self._coming and self._clock() - self._last >= self._idle:
                return None
            self._wait(LOOK_EVERY)
        return None

    def close(self) -> None:
        pass

    def _look(self) -> None:
        complete = []
        self._coming = False
        there = self._states()
        self._seen = {name: state for name, state in self._seen.items() if name in there}
        self._refused = {name: state for name, state in self._refused.items() if name in there}
        self._given &= there.keys()
        for name, state in there.items():
            if name in self._given or self._refused.get(name) == state:
                continue
            if self._seen.get(name) == state:
                complete.append((state[2], name))
            else:
                self._coming = True
            self._seen[name] = state
        self._complete += [name for _, name in sorted(complete)]

    def _states(self) -> dict[str, State]:
        try:
            entries = list(os.scandir(self._folder))
        except OSError as error:
            raise InputError(f"{self._folder}: can't be read as a folder ({error.strerror}): name another") from None
        found = {}
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower().rpartition(".")[2] not in SUFFIXES:
                continue
            try:
                status = os.stat(entry.path)
            except OSError:  # gone meanwhile, or a link to nowhere
                continue
            if stat.S_ISREG(status.st_mode):
                found[entry.name] = status.st_ino, status.st_size, status.st_mtime_ns
        return found

    def _read(self, name: str) -> Frame | None:
        path = self._folder / name
        try:
            encoded = read_image(path, self._max_pixels)
            with as_input_error(f"{path}: is no image that can be shown, save it again"):
                pixels = self._decode(encoded)
        except InputError as reason:
            self._refused[name] = self._seen[name]
            log(f"siamese: {reason}")
            return None
        self._given.add(name)
        self._frames += 1
        return Frame(self._frames - 1, self._clock() - self._began, pixels, name, encoded)
