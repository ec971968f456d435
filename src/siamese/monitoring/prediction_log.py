"""The log of predictions, without any picture: `siamese serve` writes it, `drift` reads it.

JSON lines, appended, one a request that was answered by a score:

    {"time": "2026-03-01T12:00:00.123Z", "id": "5f0c…", "model": "siamese/3",
     "score": 0.91, "threshold": 0.4, "same": true,
     "anchor": {"width": 250, "height": 250, "format": "JPEG", "brightness": 131.2, "contrast": 52.0, "sharpness": 1.3},
     "other": {…}}

`time` is UTC, `id` the request's (its answer has it as X-Request-ID), `model` as the answer names it. An image's width
and height are in pixels, upright, of the file that came; brightness, contrast and sharpness are
`siamese.data.inspection.image_statistics`'s, of the picture as the network sees it, in grey.

Each line is written by one call to a file opened anew, so the file may be renamed or removed at any time. What the disk
doesn't take is dropped and counted; a line that it took in part is ended before the next one.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.console import log
from siamese.data.images.formats import ImageInfo
from siamese.data.inspection import image_statistics
from siamese.errors import InputError
from siamese.storage.files import require_exists

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SIDES = ("anchor", "other")
STATISTICS = ("width", "height", "format", "brightness", "contrast", "sharpness")
COLUMNS = (
    "time", "id", "model", "score", "threshold", "same",
    *(f"{side}_{name}" for side in SIDES for name in STATISTICS),
)  # fmt: skip
_KINDS = {
    "width": "int64",
    "height": "int64",
    "format": "str",
    "brightness": "float64",
    "contrast": "float64",
    "sharpness": "float64",
}
_TYPES = {"id": "str", "model": "str", "score": "float64", "threshold": "float64", "same": "bool"} | {
    f"{side}_{name}": kind for side in SIDES for name, kind in _KINDS.items()
}
_KEPT = 10_000  # lines that wait for a slow disk, some 4 MB


@dataclass(frozen=True)
class Statistics:
    """What the log says of an image: see above."""

    width: int
    height: int
    format: str
    brightness: float
    contrast: float
    sharpness: float


@dataclass(frozen=True)
class Prediction:
    """A line of the log: see above. `time` in seconds since 1970."""

    time: float
    id: str
    model: str
    score: float
    threshold: float
    same: bool
    anchor: Statistics
    other: Statistics

    def line(self) -> bytes:
        """The line, with its end."""
        moment = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps(asdict(self) | {"time": moment}, separators=(",", ":")).encode() + b"\n"


def statistics_of(image: ImageInfo, pixels: np.ndarray) -> Statistics:
    """Statistics of an image.

    Args:
        image: what its headers say.
        pixels: uint8 [100, 100, 3], as the transform graph gives them.
    """
    grey = image_statistics.grey(pixels)
    measured = (
        round(measure(grey), 4)
        for measure in (image_statistics.brightness, image_statistics.contrast, image_statistics.sharpness)
    )
    return Statistics(image.width, image.height, image.format, *measured)


class PredictionLog:
    """A file that predictions are appended to, by a thread of its own."""

    def __init__(self, file: Path, dropped: Callable[[], None] = lambda: None) -> None:
        """Starts the thread.

        Args:
            file: to append to; made where there is none.
            dropped: called for each line that is lost.

        Raises:
            InputError: the file can't be written.
        """
        self._file = file
        self._dropped = dropped
        self._cut_off = False  # whether the file ends within a line
        self._failing = False
        self._lines: queue.Queue[bytes | None] = queue.Queue(_KEPT)
        try:
            _append(file, b"")
        except OSError as error:
            raise InputError(f"{file}: can't be written ({error.strerror}): name another file with --log") from None
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)
        self._thread.start()

    def add(self, prediction: Prediction) -> None:
        """Hands a prediction over to be written; never waits."""
        try:
            self._lines.put_nowait(prediction.line())
        except queue.Full:
            self._dropped()

    def close(self, seconds: float) -> None:
        """Returns when all that was added is written or dropped, or after so many seconds."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=seconds)
            self._thread.join(seconds)

    def _run(self) -> None:
        for line in iter(self._lines.get, None):
            self._write(b"\n" + line if self._cut_off else line)

    def _write(self, line: bytes) -> None:
        try:
            written = _append(self._file, line)
            reason = "no room" if written < len(line) else None
        except OSError as error:
            written, reason = 0, error.strerror or str(error)
        if written:
            self._cut_off = written < len(line)
        if reason:
            self._dropped()
            if not self._failing:  # once, not once a request
                log(f"{self._file}: can't be written ({reason}): predictions aren't logged until it can")
        self._failing = reason is not None


def read(path: Path) -> pd.DataFrame:
    """The log as a table, a row a prediction, in the order of the lines.

    Columns `COLUMNS`: time (datetime, UTC), id, model (str), score, threshold (float64), same (bool), and of both
    images, as anchor_width and so on: width, height (int64), format (str), brightness, contrast, sharpness (float64,
    NaN where they couldn't be had). Lines that a full disk cut off are left out, and their number is said.

    Raises:
        InputError: the file is missing, can't be read, or isn't such a log.
    """
    import pandas as pd

    try:
        lines = require_exists(path, "siamese serve --log").read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}): name the file of siamese serve --log") from None
    rows, cut_off = [], 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            cut_off += 1
            continue
        try:
            rows.append(_row(found))
        except (TypeError, KeyError):
            raise InputError(f"{path}: line {number} is no prediction: name the file of siamese serve --log") from None
    if cut_off and not rows:
        raise InputError(f"{path}: holds no predictions: name the file of siamese serve --log")
    if cut_off:
        log(f"{path}: {cut_off} of {cut_off + len(rows)} lines were cut off, and are left out")
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)
    return table.assign(time=pd.to_datetime(table.time, utc=True, format="ISO8601"))


def _row(found: dict[str, Any]) -> list[Any]:
    own = [found[name] for name in COLUMNS[:6]]
    return own + [found[side][name] for side in SIDES for name in STATISTICS]


def _append(file: Path, data: bytes) -> int:
    """Appends, and gives the number of bytes that were taken. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        return os.write(descriptor, data) if data else 0
    finally:
        os.close(descriptor)
