"""The loop: a frame, who is seen in it, and whoever is told."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from siamese.identification.identify import Answer
from siamese.identification.watch.annotation import annotated
from siamese.identification.watch.regions import Box
from siamese.identification.watch.sources import Frame, Source
from siamese.identification.watch.video import VideoFile, Window
from siamese.storage.files import unwritable

_RECENT = 30  # frames, of which the rate in a line is


@dataclass(frozen=True, eq=False)
class Detection:
    """What was seen in a frame.

    Attributes:
        frame: the frame.
        boxes, answers: the places looked at, and who is there.
        fresh: whether this frame was looked at; else boxes and answers are of the last one that was.
        rate: frames a second that were looked at, of the last 30.
        skipped: frames of the source skipped so far.
    """

    frame: Frame
    boxes: Sequence[Box]
    answers: Sequence[Answer]
    fresh: bool
    rate: float
    skipped: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a line of JSON."""
        found = [
            {
                "box": list(box),
                "identity": answer.identity,
                "score": round(answer.score, 6),
                "candidates": [[one.identity, round(one.score, 6)] for one in answer.candidates],
            }
            for box, answer in zip(self.boxes, self.answers, strict=True)
        ]
        file = {} if self.frame.name is None else {"file": self.frame.name}
        place = {"frame": self.frame.number, "seconds": round(self.frame.seconds, 3)}
        return file | place | {"found": found, "fps": round(self.rate, 2), "skipped": self.skipped}


@dataclass(frozen=True)
class WatchStats:
    """What came of a watch: frames looked at, frames skipped, seconds from the first frame to the end."""

    frames: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        rate = f", {self.frames / self.seconds:.1f} frames a second" if self.frames and self.seconds > 0 else ""
        return f"{self.frames} frames looked at in {self.seconds:.1f} s{rate}; {self.skipped} skipped"


class Output(Protocol):
    """Who is told of each frame."""

    def take(self, sight: Detection) -> bool:
        """Whether to go on."""


def watch(
    source: Source,
    look: Callable[[Frame], tuple[Sequence[Box], Sequence[Answer]]],
    outputs: Sequence[Output],
    every: int,
    stopped: Callable[[], bool],
    clock: Callable[[], float],
) -> WatchStats:
    """Until the source ends, an output wants no more, or `stopped` says so.

    Args:
        look: who is seen in a frame, and where.
        outputs: told of every frame that the source gives.
        every: look at every so manieth frame that the source gives.
    """
    times: deque[float] = deque(maxlen=_RECENT + 1)
    given = looked = 0
    began = clock()
    seen: tuple[Sequence[Box], Sequence[Answer]] = ((), ())
    while frame := source.next(stopped):
        if not given:
            began = clock()
            times.append(began)
        fresh = given % every == 0
        given += 1
        if fresh:
            seen = look(frame)
            looked += 1
            times.append(clock())
        passed = times[-1] - times[0]
        sight = Detection(frame, *seen, fresh, (len(times) - 1) / passed if passed > 0 else 0.0, source.skipped)
        if not all([output.take(sight) for output in outputs]):
            break
    return WatchStats(looked, source.skipped, clock() - began)


class Lines:
    """A line of JSON for each frame that was looked at: to standard output, or appended to a file."""

    def __init__(self, file: Path | None) -> None:
        """
        Raises:
            InputError: the file can't be written.
        """
        self._file = file
        try:
            self._stream: TextIO = sys.stdout if file is None else file.open("a", encoding="utf-8")
        except OSError as error:
            raise unwritable(file or Path("-"), error) or error from error

    def take(self, sight: Detection) -> bool:
        if sight.fresh:
            try:
                print(_line(sight.as_dict(), self._stream.encoding), file=self._stream, flush=True)
            except BrokenPipeError:  # whoever read the lines has seen enough
                return False
            except OSError as error:
                raise unwritable(self._file or Path("standard output"), error) or error from error
        return True

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._stream.close()


def _line(told: dict[str, Any], encoding: str) -> str:
    """JSON in letters as they are; in its own escapes where the encoding lacks one, as in a name that isn't UTF-8."""
    line = json.dumps(told, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(told)
    return line


class Recording:
    """The annotated video: skipped frames show what was drawn last, so that it is as long as what was watched."""

    def __init__(self, video: VideoFile) -> None:
        self._video = video
        self._last: tuple[int, np.ndarray] | None = None

    def take(self, sight: Detection) -> bool:
        drawn = annotated(sight.frame.pixels, sight.boxes, sight.answers)
        number, before = self._last or (-1, drawn)
        for _ in range(number + 1, sight.frame.number):
            self._video.add(before)
        self._video.add(drawn)
        self._last = sight.frame.number, drawn
        return True


class Screen:
    """The annotated picture in a window."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def take(self, sight: Detection) -> bool:
        return self._window.show(annotated(sight.frame.pixels, sight.boxes, sight.answers))
