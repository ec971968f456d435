"""Frames one after the other, from what may come faster than they can be looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from siamese.errors import summarise_exception

_SECONDS_TO_ASK = 0.2  # whether to stop, while nothing comes
_SECONDS_TO_END = 2.0  # for a reader that waits for a camera


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        number: its place among all that the source gave, from 0; skipped ones count.
        seconds: since the first; of a file by its own rate.
        pixels: uint8 [height, width, 3], RGB.
        name: the file's, of a folder; None: it has none.
        encoded: the file's bytes, as the transform graph takes them; None: there is no file.
    """

    number: int
    seconds: float
    pixels: np.ndarray
    name: str | None = None
    encoded: bytes | None = None


class Source(Protocol):
    """What is watched.

    Attributes:
        rate: frames a second, for a video of it.
        endless: whether nothing but a person ends it.
        skipped: frames that were not given, since newer ones were there.
        lost: why it ended, where it should not have; else None.
    """

    rate: float
    endless: bool
    skipped: int
    lost: str | None

    def next(self, stopped: Callable[[], bool]) -> Frame | None:
        """The next frame; None at the end, or as soon as `stopped` says so."""

    def close(self) -> None:
        """Lets go of it."""


class Pictures(Protocol):
    """What gives pictures: `siamese.identification.watch.video.Capture`, or a stand-in.

    Attributes:
        rate: frames a second.
        expected: how many there must be; 0: nobody knows.
    """

    rate: float
    expected: int

    def advance(self) -> bool:
        """Goes to the next picture; False at the end."""

    def picture(self) -> np.ndarray:
        """The picture gone to: uint8 [height, width, 3], RGB."""

    def close(self) -> None:
        """Lets go of it."""


def cut_short(frames: int, expected: int) -> str | None:
    """Why a file ended before its time; None where it didn't. A tenth may lack: some count more than they write."""
    if frames and frames >= 0.9 * expected - 1:
        return None
    return f"damaged: ends after {frames} of {expected} frames" if expected else "gives no frame"


class EveryFrame:
    """A file, frame by frame, however long each takes."""

    endless = False
    skipped = 0

    def __init__(self, pictures: Pictures) -> None:
        self.rate = pictures.rate
        self.lost: str | None = None
        self._pictures = pictures
        self._at = 0

    def next(self, stopped: Callable[[], bool]) -> Frame | None:
        if stopped():
            return None
        if not self._pictures.advance():
            self.lost = cut_short(self._at, self._pictures.expected)
            return None
        self._at += 1
        return Frame(self._at - 1, (self._at - 1) / self.rate, self._pictures.picture())

    def close(self) -> None:
        self._pictures.close()


class AsItPlays:
    """A file at its own rate, as if a camera gave it: the newest frame of the time that has passed, never an older one.

    Time begins with the first frame. Nothing is skipped while frames are looked at as fast as they come.
    """

    endless = False

    def __init__(self, pictures: Pictures, clock: Callable[[], float], wait: Callable[[float], None]) -> None:
        self.rate = pictures.rate
        self.skipped = 0
        self.lost: str | None = None
        self._pictures, self._clock, self._wait = pictures, clock, wait
        self._began: float | None = None
        self._at = 0  # the next frame's number

    def next(self, stopped: Callable[[], bool]) -> Frame | None:
        if stopped():
            return None
        now = self._clock()
        self._began = now if self._began is None else self._began
        due = int((now - self._began) * self.rate + 1e-6)
        if self._at > due:
            self._wait(self._began + self._at / self.rate - now)
        before, newest = self._at, None
        while self._at <= max(before, due) and self._pictures.advance():
            newest = self._pictures.picture()  # at once: at the end of a file there is none any more
            self._at += 1
        if newest is None:
            self.lost = cut_short(self._at, self._pictures.expected)
            return None
        self.skipped += self._at - before - 1
        return Frame(self._at - 1, (self._at - 1) / self.rate, newest)

    def close(self) -> None:
        self._pictures.close()


class Newest:
    """A camera or a stream: a thread reads on, and keeps the newest frame alone."""

    endless = True

    def __init__(self, pictures: Pictures, clock: Callable[[], float]) -> None:
        self.rate = pictures.rate
        self.skipped = 0
        self.lost: str | None = None
        self._pictures, self._clock = pictures, clock
        self._newest: Frame | None = None
        self._ended: str | None = None  # why
        self._closed = False
        self._changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def next(self, stopped: Callable[[], bool]) -> Frame | None:
        with self._changed:
            while self._newest is None and not self._ended and not stopped():
                self._changed.wait(_SECONDS_TO_ASK)
            if stopped():
                return None
            frame, self._newest = self._newest, None
            self.lost = None if frame else self._ended
            return frame

    def close(self) -> None:
        self._closed = True
        self.reader.join(_SECONDS_TO_END)

    def _read(self) -> None:
        began = self._clock()
        number = 0
        why = "gives no more frames"
        try:
            while not self._closed and self._pictures.advance():
                frame = Frame(number, self._clock() - began, self._pictures.picture())
                number += 1
                with self._changed:
                    self.skipped += self._newest is not None
                    self._newest = frame
                    self._changed.notify()
        except Exception as error:  # OpenCV has errors of its own
            why = summarise_exception(error)
        finally:
            self._pictures.close()  # here, since nobody may close what is being read
            with self._changed:
                self._ended = why
                self._changed.notify()
