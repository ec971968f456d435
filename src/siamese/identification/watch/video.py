"""What OpenCV does: reads cameras, streams and video files, writes videos, shows a window."""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np

from siamese.data.images.formats import Rejected, check
from siamese.errors import InputError
from siamese.storage.files import atomic_file

USUAL_RATE = 25.0  # where a source tells none
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_COUNTED = (".avi", ".m4v", ".mov", ".mp4")  # such files hold the number of their frames; others how long they last
_MOTION_JPEG = (b"MJPG", b"jpeg")
_ENDS_A_WINDOW = (27, ord("q"))


@cache
def opencv() -> ModuleType:
    """OpenCV, which says nothing by itself.

    Raises:
        InputError: it isn't installed.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"watching needs OpenCV ({error}): pip install 'siamese[watch]'") from None
    return cv2


class Capture:
    """Pictures of a camera, a stream or a video file.

    Attributes:
        rate: frames a second.
        frames: how many there are, or about so many; 0: nobody knows, so it is live.
        expected: the same where the kind of file counts them; else 0.
        damaged: frames of a Motion JPEG file left out so far, since part of them is missing.
    """

    def __init__(self, name: str | int, shown: str) -> None:
        """
        Args:
            name: a camera's index, an address, or a file's path.
            shown: what to call it in errors.

        Raises:
            InputError: it can't be opened.
        """
        cv2 = opencv()
        self._opened = cv2.VideoCapture(name) if isinstance(name, int) else cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not self._opened.isOpened():
            what = "a camera that can be opened" if isinstance(name, int) else "a video that OpenCV can open"
            raise InputError(f"{shown}: is not {what}: name a camera's index, an address, a video file or a folder")
        rate = self._opened.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 0 < rate <= 1000 else USUAL_RATE
        self.frames = max(0, int(self._opened.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.expected = self.frames if str(name).lower().endswith(_COUNTED) else 0
        self.damaged = 0
        codec = (int(self._opened.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little")
        is_file = isinstance(name, str) and os.path.isfile(name)
        self._encoded = _EncodedFrames(name) if is_file and codec in _MOTION_JPEG else None

    def advance(self) -> bool:
        """Goes to the next picture; False at the end."""
        while self._opened.grab():
            if self._encoded is None or self._encoded.is_whole(self._opened.get(opencv().CAP_PROP_PTS)):
                return True
            self.damaged += 1
        return False

    def picture(self) -> np.ndarray:
        """The picture gone to: uint8 [height, width, 3], RGB."""
        return np.ascontiguousarray(self._opened.retrieve()[1][..., ::-1])

    def close(self) -> None:
        """Lets go of it."""
        self._opened.release()
        if self._encoded is not None:
            self._encoded.close()


class _EncodedFrames:
    """The same Motion JPEG file, not decoded: FFmpeg fills what is missing in a frame, and doesn't report it."""

    def __init__(self, name: str | int) -> None:
        cv2 = opencv()
        self._opened = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        self._opened.set(cv2.CAP_PROP_FORMAT, -1)
        self._time = -math.inf

    def is_whole(self, time: float) -> bool:
        """Whether the frame of a time, in the file's own unit, is whole. Times rise from call to call."""
        while self._time < time and self._opened.grab():
            self._time = self._opened.get(opencv().CAP_PROP_PTS)
        _, frame = self._opened.retrieve()
        if self._time != time or frame is None:
            return True  # nothing is known of it
        try:
            check(frame.tobytes() + b"\xff\xd9", sys.maxsize)  # some programs leave the end marker out
        except Rejected as reason:
            return not str(reason).startswith(("damaged", "truncated"))
        return True

    def close(self) -> None:
        self._opened.release()


def decoded(encoded: bytes) -> np.ndarray:
    """An image as `read_image` gives it to uint8 [height, width, 3], RGB.

    Raises:
        ValueError: OpenCV can't.
    """
    cv2 = opencv()
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    if found is None:
        raise ValueError("OpenCV can't decode it")
    return np.ascontiguousarray(found[..., ::-1])


class VideoFile:
    """A video that appears whole at the end of the block. Of no picture, there is no file.

    All pictures are brought to the first one's size, with a black margin.
    """

    def __init__(self, file: Path, rate: float) -> None:
        """
        Args:
            file: .mp4 (MPEG-4) or .avi (Motion JPEG).
            rate: frames a second.

        Raises:
            InputError: another suffix.
        """
        if file.suffix.lower() not in CODECS:
            raise InputError(f"{file}: a video is {' or '.join(CODECS)}: name it so")
        self._file, self._rate = file, rate
        self._held = ExitStack()
        self._writer: Any = None
        self._size = (0, 0)
        self._written = 0
        self._link = Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if error is not None:
            self._held.__exit__(kind, error, trace)
            return
        with self._held:
            if self._writer is not None:
                self._require_whole()

    def add(self, pixels: np.ndarray) -> None:
        """One picture: uint8 [height, width, 3], RGB.

        Raises:
            InputError: the file can't be written.
        """
        if self._writer is None:
            self._open(pixels.shape[1], pixels.shape[0])
        self._writer.write(np.ascontiguousarray(fitted(pixels, *self._size)[..., ::-1]))
        self._written += 1

    def _open(self, width: int, height: int) -> None:
        cv2 = opencv()
        beside = self._held.enter_context(atomic_file(self._file))
        beside.touch()
        # OpenCV tells the format by the suffix, which the file beside hasn't: it writes through a link.
        folder = self._held.enter_context(TemporaryDirectory())
        self._link = link = Path(folder) / f"video{self._file.suffix.lower()}"
        link.symlink_to(beside.resolve())
        codec = cv2.VideoWriter_fourcc(*CODECS[self._file.suffix.lower()])
        self._writer = cv2.VideoWriter(str(link), cv2.CAP_FFMPEG, codec, self._rate, (width, height))
        self._size = width, height
        if not self._writer.isOpened():
            raise InputError(f"{self._file}: OpenCV can't write such a video: name an .avi or .mp4 file")

    def _require_whole(self) -> None:
        """OpenCV doesn't say where it couldn't write, as on a full disk."""
        try:
            there = Capture(str(self._link), str(self._file))
            frames = there.frames
            there.close()
        except InputError:
            frames = 0
        if frames != self._written:
            raise InputError(
                f"{self._file}: can't be written whole ({frames} of {self._written} frames): make room, or see to its "
                "permissions, then run again"
            )


def fitted(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture of this size, uint8 [height, width, 3]: made smaller or larger as a whole, black beside it."""
    if pixels.shape[:2] == (height, width):
        return pixels
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    cv2 = opencv()
    scaled = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    whole = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    whole[top : top + size[1], left : left + size[0]] = scaled
    return whole


class Window:
    """A window; Escape or q in it, or closing it, ends the watch."""

    def __init__(self, title: str) -> None:
        """
        Raises:
            InputError: this OpenCV or machine has no windows.
        """
        cv2 = opencv()
        screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        try:
            if not screen:  # OpenCV would end the process
                raise InputError("--window: there is no screen here (DISPLAY is not set): leave it out")
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error:
            raise InputError(
                "--window: this OpenCV can't show windows (it is opencv-python-headless): install opencv-python in its "
                "place, or leave --window out"
            ) from None
        self._title = title

    def show(self, pixels: np.ndarray) -> bool:
        """Shows a picture, uint8 [height, width, 3], RGB; whether the person goes on watching."""
        cv2 = opencv()
        cv2.imshow(self._title, np.ascontiguousarray(pixels[..., ::-1]))
        ends = cv2.waitKey(1) & 0xFF in _ENDS_A_WINDOW
        return not ends and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Closes it."""
        opencv().destroyWindow(self._title)
