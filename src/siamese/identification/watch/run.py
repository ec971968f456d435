"""Who of a gallery is seen: in a camera's or a stream's pictures, a video file, or a folder that is being filled.

Frames are cropped and given to the model as image files are, as encoded bytes: preprocessing is the transform graph.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamese.console import log
from siamese.data.images.png import png_bytes
from siamese.errors import InputError, as_input_error
from siamese.identification.identify import Answer, Identifier, prepare
from siamese.identification.watch.hot_folder import Folder
from siamese.identification.watch.loop import Lines, Output, Recording, Screen, WatchStats, watch
from siamese.identification.watch.regions import Box, Faces, OnePlace, Region, WholeFrame
from siamese.identification.watch.sources import AsItPlays, EveryFrame, Frame, Newest, Source
from siamese.identification.watch.video import Capture, VideoFile, Window, decoded, opencv
from siamese.models.resolved_model import ResolvedModel
from siamese.params import IMAGE_SHAPE, IdentifyParams
from siamese.process import Interrupt, Interrupted


class Stopped(Interrupted):
    """A signal ended the watch of what would have ended by itself."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.args = (f"stopped by {signal.Signals(number).name}: what was seen until then is written",)


@dataclass(frozen=True)
class WatchOptions:
    """How to watch.

    Attributes:
        region: left,top,width,height of the place to look at; None: elsewhere.
        faces: whether to look at faces; else, without a region, at the whole frame.
        lines_file: lines of JSON are appended to it; None: they go to standard output.
        video_file: the annotated video, .mp4 or .avi; None: none.
        window: whether to show a window.
        every: look at every so manieth frame.
        realtime: play a file at its own rate, and skip what is missed.
        idle: seconds without a new image after which the watch of a folder ends; None: never.
    """

    region: str | None
    faces: bool
    lines_file: Path | None
    video_file: Path | None
    window: bool
    every: int
    realtime: bool
    idle: float | None


def run(
    gallery_file: Path,
    source: str,
    model: ResolvedModel,
    how: IdentifyParams,
    own_threshold: float | None,
    wishes: WatchOptions,
    max_pixels: int,
) -> WatchStats:
    """Watches until the source ends, the window is closed, or SIGTERM or SIGINT.

    Args:
        gallery_file, model, how, own_threshold: as in `siamese.identification.identify.prepare`.
        source: a camera's index; an address, such as rtsp://; a video file; or a folder.
        wishes: where to look, and whom to tell.
        max_pixels: an image file of more can't be taken.

    Raises:
        InputError: gallery, model or source can't be used, a live source gives no more, or an output can't be written.
        Stopped: a signal came before the end of a file.
    """
    region = _region(wishes)
    _refuse_spoiling(wishes)
    opened = _opened(source, wishes)
    video = VideoFile(wishes.video_file, opened.rate if opened else Folder.rate) if wishes.video_file else None
    with ExitStack() as held:
        window = held.enter_context(closing(Window(f"siamese: {shown(source)}"))) if wishes.window else None
        identifier = prepare(gallery_file, model, how.score, how.top, how.far, own_threshold)
        look = FrameRecognizer(identifier, region)
        look.warm_up()
        if identifier.threshold.warning:
            log(f"siamese: {identifier.threshold.warning}")
        interrupt = held.enter_context(Interrupt())  # before the outputs, which are finished under it
        outputs: list[Output] = [held.enter_context(closing(Lines(wishes.lines_file)))]
        outputs += [Recording(held.enter_context(video))] if video else []
        outputs += [Screen(window)] if window else []
        watched = held.enter_context(closing(_source(source, opened, wishes, max_pixels)))
        names, threshold = len(identifier.gallery.identities), identifier.threshold.threshold
        log(f"watching {shown(source)}: {names} identities, threshold {threshold:.3f}")
        tally = watch(watched, look, outputs, wishes.every, lambda: interrupt.number is not None, time.monotonic)
    log(str(tally))
    if interrupt.number is not None and not watched.endless:
        raise Stopped(interrupt.number)
    if watched.lost:
        raise InputError(f"{shown(source)}: {watched.lost}: see to it, then run again")
    if opened and opened.damaged:
        raise InputError(
            f"{shown(source)}: damaged: {opened.damaged} frames lack a part and were left out; copy the file again"
        )
    return tally


class FrameRecognizer:
    """Who is seen in a frame, and where."""

    def __init__(self, identifier: Identifier, region: Region) -> None:
        self._identifier, self._region = identifier, region

    def __call__(self, frame: Frame) -> tuple[Sequence[Box], Sequence[Answer]]:
        """The places, and who is at each."""
        boxes = self._region.find(frame.pixels)
        return boxes, self._identifier.of_encoded([_cropped(frame, box) for box in boxes])

    def warm_up(self) -> None:
        """The first answer takes several times as long as the next."""
        self._identifier.of_encoded([png_bytes(np.full(IMAGE_SHAPE, 128, np.uint8))])


def shown(source: str) -> str:
    """A source as messages may have it: an address without user and password."""
    return re.sub(r"(?<=://)[^/?#]*@", "", source)  # to the last @: a password may have one


def _cropped(frame: Frame, box: Box) -> bytes:
    left, top, width, height = box
    if frame.encoded is not None and box == (0, 0, frame.pixels.shape[1], frame.pixels.shape[0]):
        return frame.encoded
    return png_bytes(frame.pixels[top : top + height, left : left + width])


def _region(wishes: WatchOptions) -> Region:
    if wishes.region and wishes.faces:
        raise InputError("--region and --faces exclude each other: give one")
    return OnePlace(wishes.region) if wishes.region else Faces() if wishes.faces else WholeFrame()


def _refuse_spoiling(wishes: WatchOptions) -> None:
    """Nothing where the outputs are free, or lines that more can follow.

    Raises:
        InputError: something is there that would be replaced, or spoiled.
    """
    if wishes.video_file and wishes.video_file.exists():
        raise InputError(f"{wishes.video_file}: is there already, and no video is ever replaced: name a new file")
    if wishes.lines_file and wishes.lines_file.is_file():
        told = f"{wishes.lines_file}: can't be read, name another file for the lines"
        with as_input_error(told), wishes.lines_file.open("rb") as file:
            begins = file.read(1000)
        if b"\0" in begins:
            raise InputError(
                f"{wishes.lines_file}: is no text, to which lines could be added: name another file for them"
            )


def _opened(source: str, wishes: WatchOptions) -> Capture | None:
    """The camera, stream or file; None: it's a folder."""
    opencv()
    folder = Path(source).is_dir()
    if wishes.idle is not None and not folder:
        raise InputError(f"--idle is for a folder, which {shown(source)} is not: leave it out")
    if wishes.realtime and (folder or source.isdecimal() or "://" in source):
        raise InputError(f"--realtime is for a video file, which {shown(source)} is not: leave it out")
    if folder:
        return None
    if source.isdecimal():
        return Capture(int(source), f"camera {source}")
    if "://" in source:
        return Capture(source, shown(source))
    if not Path(source).is_file():
        raise InputError(f"{source}: no such file or folder: name a camera's index, an address, a video or a folder")
    return Capture(str(Path(source).absolute()), source)


def _source(source: str, opened: Capture | None, wishes: WatchOptions, max_pixels: int) -> Source:
    if opened is None:
        return Folder(Path(source), wishes.idle, max_pixels, decoded, time.monotonic, time.sleep)
    if source.isdecimal() or ("://" in source and not opened.frames):
        return Newest(opened, time.monotonic)
    return AsItPlays(opened, time.monotonic, time.sleep) if wishes.realtime else EveryFrame(opened)
