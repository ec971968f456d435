"""`siamese watch`: names in a video that is made here of signatures, as in cameras, streams and folders.

Each writer's signature fills some frames of a video, in a known order. The model is a small one whose score falls with
the distance of embeddings.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import working_folder
from drawn import encoded, picture
from image_writers import halved
from PIL import Image, ImageDraw, ImageFilter
from registered import small_model
from waiting import PATIENCE

from siamese import cli
from siamese.data.images.formats import canonical
from siamese.errors import InputError
from siamese.identification.identify import Answer, Candidate
from siamese.identification.watch import video
from siamese.identification.watch.annotation import KNOWN, UNKNOWN, annotated
from siamese.identification.watch.hot_folder import LOOK_EVERY, Folder
from siamese.identification.watch.loop import Detection, Lines, WatchStats
from siamese.identification.watch.regions import Faces, OnePlace, WholeFrame
from siamese.identification.watch.run import Source, shown, watch
from siamese.identification.watch.sources import AsItPlays, EveryFrame, Frame, Newest

MAX = 10**8
RATE = 10  # frames a second
WIDTH, HEIGHT = 160, 100
ORDER = [2, 0, 3, 1]  # writers, as they appear
EACH = 3  # frames
NAMES = [f"writer-{number:03}" for number in ORDER for _ in range(EACH)]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"), workspace, better=True)


@pytest.fixture(scope="module")
def signatures(workspace: Path) -> dict[int, Path]:
    """One of each of four writers."""
    return {number: next((workspace / f"data/sample/writer-{number:03}").glob("000.*")) for number in range(4)}


@pytest.fixture(scope="module")
def gallery(model: Path, signatures: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for number, file in signatures.items():
        (folder / f"in/writer-{number:03}").mkdir(parents=True)
        shutil.copy(file, folder / f"in/writer-{number:03}")
    assert cli.run(["enroll", str(folder / "four.parquet"), str(folder / "in"), "--model", str(model)]) == 0
    return folder / "four.parquet"


def upright(file: Path) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH, 3], RGB."""
    return np.asarray(Image.open(file).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def written(file: Path, frames: list[np.ndarray]) -> Path:
    """A video of Motion JPEG."""
    size = frames[0].shape[1], frames[0].shape[0]
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), RATE, size)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return file


@pytest.fixture(scope="module")
def film(signatures: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each writer's signature for three frames, and nothing beside."""
    frames = [upright(signatures[number]) for number in ORDER for _ in range(EACH)]
    return written(tmp_path_factory.mktemp("film") / "film.avi", frames)


@pytest.fixture
def run(workspace: Path, model: Path, gallery: Path, capsys: pytest.CaptureFixture) -> Run:
    """Watches: exit code, lines, and what was said beside."""

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with working_folder(workspace):
            code = cli.run(["watch", str(gallery), *map(str, arguments), "--model", str(model)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def seen(lines: str) -> list[tuple[int, str | None]]:
    """Frame and nearest identity of each line's only place."""
    told = [json.loads(line) for line in lines.splitlines()]
    return [(one["frame"], one["found"][0]["candidates"][0][0]) for one in told]


def pictures(file: Path) -> list[np.ndarray]:
    capture = video.Capture(str(file), str(file))
    found = []
    while capture.advance():
        found.append(capture.picture())
    return found


def test_every_frame_is_named_in_order(run: Run, film: Path) -> None:
    code, out, err = run(film, "--threshold", "0")
    assert code == 0
    assert seen(out) == list(enumerate(NAMES))
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["seconds"] for line in lines] == [number / RATE for number in range(12)]
    assert [line["found"][0]["identity"] for line in lines] == NAMES
    assert {tuple(line["found"][0]["box"]) for line in lines} == {(0, 0, WIDTH, HEIGHT)}
    assert all(line["fps"] > 0 and line["skipped"] == 0 for line in lines)
    said = err.splitlines()
    assert said[-2] == f"watching {film}: 4 identities, threshold 0.000"
    assert said[-1].startswith("12 frames looked at in ") and said[-1].endswith(" frames a second; 0 skipped")


def test_a_place_in_the_frame_is_looked_at_alone(run: Run, signatures: dict[int, Path], tmp_path: Path) -> None:
    """The signatures lie in a picture of noise."""
    noise = np.random.default_rng(0)
    frames = []
    for number in ORDER:
        frame = noise.integers(256, size=(240, 320, 3), dtype=np.uint8)
        frame[80 : 80 + HEIGHT, 96 : 96 + WIDTH] = upright(signatures[number])
        frames.append(frame)
    film = written(tmp_path / "film.avi", frames)
    _, out, _ = run(film, "--region", f"96,80,{WIDTH},{HEIGHT}")
    assert [name for _, name in seen(out)] == [f"writer-{number:03}" for number in ORDER]
    assert json.loads(out.splitlines()[0])["found"][0]["box"] == [96, 80, WIDTH, HEIGHT]


def test_lines_are_appended_to_a_file(run: Run, film: Path, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("earlier\n")
    assert run(film, "--jsonl", tmp_path / "lines", "--every", "5")[1] == ""
    earlier, *lines = (tmp_path / "lines").read_text().splitlines()
    assert earlier == "earlier" and [json.loads(line)["frame"] for line in lines] == [0, 5, 10]


@pytest.mark.parametrize(("name", "threshold", "channel"), [("a.avi", "0", 1), ("a.mp4", "1", 0)])
def test_the_annotated_video_has_every_frame(
    run: Run, film: Path, tmp_path: Path, name: str, threshold: str, channel: int
) -> None:
    """Who is known has a green box, who isn't a red one, in frames that weren't looked at, too."""
    run(film, "--video", tmp_path / name, "--threshold", threshold, "--every", "4")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    drawn = pictures(tmp_path / name)
    assert [one.shape for one in drawn] == [(HEIGHT, WIDTH, 3)] * 12
    for one in drawn:
        edge = one[40:-10, 0].mean(axis=0)
        assert edge.argmax() == channel and edge[channel] > edge[1 - channel] + 50
    for one, plain in zip(drawn, pictures(film), strict=True):
        assert np.abs(one[30:, 20:-20].astype(int) - plain[30:, 20:-20]).mean() < 20


class Reel:
    """Pictures that say which they are."""

    rate = float(RATE)
    expected = 0

    def __init__(self, count: int) -> None:
        self._count, self._at, self.closed = count, -1, False

    def advance(self) -> bool:
        self._at += 1
        return self._at < self._count

    def picture(self) -> np.ndarray:
        assert self._at < self._count, "as in OpenCV, behind the end there is no picture any more"
        return np.full((1, 1, 3), self._at, np.uint8)

    def close(self) -> None:
        self.closed = True


class Time:
    """A clock that goes on only when somebody waits or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def watched(source: Source, work: Callable[[], None], every: int = 1) -> tuple[list[Detection], WatchStats]:
    """What a watch tells whose looks are `work`."""
    sights: list[Detection] = []

    class Kept:
        def take(self, sight: Detection) -> bool:
            sights.append(sight)
            return True

    def look(frame: Frame) -> tuple[list, list]:
        assert frame.pixels[0, 0, 0] == frame.number
        work()
        return [], []

    clock = source._clock if hasattr(source, "_clock") else lambda: 0.0
    return sights, watch(source, look, [Kept()], every, lambda: False, clock)


def test_a_slow_model_skips_frames_of_a_file_that_plays() -> None:
    """10 frames at 10 a second, 0.35 s each look. At 0 s frame 0; at 0.35 s frame 3 is the newest; at 0.7 s frame 7;
    at 1.05 s, past the end, frame 9: 4 are looked at, 6 skipped, in 4 x 0.35 s."""
    time = Time()
    source = AsItPlays(Reel(10), time.clock, time.pass_by)
    sights, tally = watched(source, lambda: time.pass_by(0.35))
    assert [sight.frame.number for sight in sights] == [0, 3, 7, 9]
    assert [sight.skipped for sight in sights] == [0, 2, 5, 6]
    assert (tally.frames, tally.skipped, tally.seconds) == (4, 6, pytest.approx(1.4))
    assert [sight.rate for sight in sights] == [pytest.approx(1 / 0.35)] * 4
    assert str(tally) == "4 frames looked at in 1.4 s, 2.9 frames a second; 6 skipped"


@pytest.mark.parametrize("name", ["film.avi", "film.mp4"])
def test_a_slow_model_sees_the_last_frame_of_a_real_file(tmp_path: Path, name: str) -> None:
    """As above; each frame's grey is its number's."""
    with video.VideoFile(tmp_path / name, RATE) as file:
        for number in range(10):
            file.add(np.full((64, 64, 3), 20 * number, np.uint8))
    time, greys = Time(), []
    source = AsItPlays(video.Capture(str(tmp_path / name), name), time.clock, time.pass_by)
    while frame := source.next(lambda: False):
        greys.append(round(float(frame.pixels.mean()) / 20))
        time.pass_by(0.35)
    assert greys == [0, 3, 7, 9] and source.lost is None


def test_a_film_that_is_cut_is_told(run: Run, film: Path, tmp_path: Path) -> None:
    """Its first third: the head still tells of twelve frames."""
    content = film.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 3])
    code, out, err = run(tmp_path / "cut.avi", "--video", tmp_path / "seen.avi")
    count = len(out.splitlines())
    assert 0 < count < 10 and code == 2
    assert f"cut.avi: damaged: ends after {count} of 12 frames" in err.splitlines()[-1]
    assert len(pictures(tmp_path / "seen.avi")) == count


def test_frames_of_motion_jpeg_that_lack_a_part_are_left_out_and_counted(run: Run, film: Path, tmp_path: Path) -> None:
    """The second half of frame 4's code, and all but the beginning of frame 7's, are zeros; FFmpeg fills both."""
    content = bytearray(film.read_bytes())
    starts = [found.start() for found in re.finditer(rb"\xff\xd8\xff", content)]
    for number, part in ((4, 0.5), (7, 0.1)):
        scan, end = content.index(b"\xff\xda", starts[number]) + 14, content.index(b"\xff\xd9", starts[number])
        middle = scan + int(part * (end - scan))
        content[middle:end] = bytes(end - middle)
    (tmp_path / "zeros.avi").write_bytes(content)
    assert len(starts) == len(NAMES)
    code, out, err = run(tmp_path / "zeros.avi", "--threshold", "0", "--video", tmp_path / "seen.avi")
    assert code == 2
    assert [name for _, name in seen(out)] == [name for number, name in enumerate(NAMES) if number not in (4, 7)]
    assert err.splitlines()[-1].endswith(
        "zeros.avi: damaged: 2 frames lack a part and were left out; copy the file again"
    )
    assert len(pictures(tmp_path / "seen.avi")) == 10


@pytest.mark.parametrize("name", ["full.avi", "full.mp4"])
def test_a_video_that_finds_no_room_is_told_and_not_kept(tmp_path: Path, name: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with (
            pytest.raises(InputError, match=rf"{name}: can't be written whole \(\d+ of 60 frames\): make room"),
            video.VideoFile(tmp_path / name, RATE) as file,
        ):
            for _ in range(60):
                file.add(noise.integers(256, size=(120, 160, 3), dtype=np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(tmp_path.iterdir())


def test_what_is_there_is_not_spoiled(run: Run, film: Path, gallery: Path, tmp_path: Path) -> None:
    """Not by the video, not even a video; lines are added to text alone, which a gallery isn't."""
    own = Path(shutil.copy(film, tmp_path / "own.avi"))
    for arguments, expected in (
        ((own, "--video", own), "own.avi: is there already, and no video is ever replaced: name a new file"),
        ((own, "--jsonl", gallery), "four.parquet: is no text, to which lines could be added: name another file"),
        ((own, "--jsonl", own), "own.avi: is no text"),
    ):
        before = own.read_bytes(), gallery.read_bytes()
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and expected in err.splitlines()[-1]
        assert (own.read_bytes(), gallery.read_bytes()) == before


def test_who_reads_the_lines_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the watch ends, as when a window is closed, and the video is finished."""

    def left(*_: object, **__: object) -> None:
        raise BrokenPipeError

    lines = Lines(None)
    monkeypatch.setattr("builtins.print", left)
    assert not lines.take(Detection(Frame(0, 0.0, np.zeros((1, 1, 3), np.uint8)), [], [], True, 1.0, 0))


def test_a_fast_model_waits_for_the_frames_of_a_file_that_plays() -> None:
    """0.02 s each look: frame n comes at n / 10 s, none is skipped; the film is over after 1 s."""
    time = Time()
    sights, tally = watched(AsItPlays(Reel(10), time.clock, time.pass_by), lambda: time.pass_by(0.02))
    assert [sight.frame.seconds for sight in sights] == [pytest.approx(number / 10) for number in range(10)]
    assert (tally.frames, tally.skipped, tally.seconds) == (10, 0, pytest.approx(1))


def test_a_file_is_else_seen_frame_by_frame_however_long_it_takes() -> None:
    reel = Reel(5)
    source = EveryFrame(reel)
    sights, tally = watched(source, lambda: None)
    assert ([sight.frame.number for sight in sights], tally.skipped) == ([0, 1, 2, 3, 4], 0)
    source.close()
    assert reel.closed


def test_of_a_camera_the_newest_frame_alone_is_kept() -> None:
    """All five came before anybody asked: the last is given, four were skipped. Then it is lost, and says so."""
    reel, time = Reel(5), Time()
    source = Newest(reel, time.clock)
    source.reader.join(PATIENCE)
    frame = source.next(lambda: False)
    assert frame is not None and (frame.number, frame.pixels[0, 0, 0], source.skipped) == (4, 4, 4)
    assert source.lost is None
    assert source.next(lambda: False) is None
    assert source.lost == "gives no more frames" and reel.closed


def test_a_camera_is_waited_for_until_somebody_stops() -> None:
    """Each frame comes when the one before is being looked at: none is skipped."""
    come, ended = threading.Semaphore(0), threading.Event()

    class Slow(Reel):
        def advance(self) -> bool:
            come.acquire()
            return not ended.is_set() and super().advance()

    time = Time()
    source = Newest(Slow(100), time.clock)
    for number in range(3):
        come.release()
        frame = source.next(lambda: False)
        assert frame is not None and frame.number == number
    assert source.next(lambda: True) is None and source.lost is None
    ended.set()
    come.release()
    source.close()
    assert source.skipped == 0


def test_an_error_of_a_camera_is_told() -> None:
    class Broken(Reel):
        def picture(self) -> np.ndarray:
            raise cv2.error("unplugged")

    source = Newest(Broken(3), Time().clock)
    assert source.next(lambda: False) is None
    assert source.lost == "error: unplugged"


def test_every_nth_frame_is_looked_at_and_the_others_keep_what_was_seen() -> None:
    sights, tally = watched(EveryFrame(Reel(7)), lambda: None, every=3)
    assert [sight.fresh for sight in sights] == [True, False, False, True, False, False, True]
    assert tally.frames == 3


class Filling:
    """A folder, and what happens to it while it is waited for: at each wait the next of `events`."""

    def __init__(self, folder: Path, *events: Callable[[Path], object], idle: float | None = None) -> None:
        self.time, self._events, self._folder = Time(), list(events), folder
        self.source = Folder(folder, idle, MAX, video.decoded, self.time.clock, self._wait)
        self.waits = 0

    def _wait(self, seconds: float) -> None:
        assert seconds == LOOK_EVERY
        self.waits += 1
        self.time.pass_by(seconds)
        if self._events:
            self._events.pop(0)(self._folder)

    def names(self) -> list[str | None]:
        """Of all frames, until the events are over and nothing new comes for two looks."""
        frames = []
        while frame := self.source.next(lambda: not self._events and self.waits > 20):
            frames.append(frame.name)
            assert len(frames) < 9, "the same again and again"
        return frames


def put(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def nothing(folder: Path) -> None:
    pass


def test_images_of_a_folder_are_taken_once_each_as_they_come(tmp_path: Path) -> None:
    """One was there, one comes, and one that was given is written again."""
    (tmp_path / "a.png").write_bytes(encoded(picture(0)))
    filling = Filling(tmp_path, nothing, put("b.png", encoded(picture(1))), nothing, put("a.png", encoded(picture(2))))
    assert filling.names() == ["a.png", "b.png"]


def test_a_file_that_grows_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    """Written in three parts, a look after each; taken after two looks at the whole."""
    whole = encoded(picture(0))
    events = (put("a.png", whole[:100]), put("a.png", whole[:2000]), put("a.png", whole))
    filling = Filling(tmp_path, *events)
    frame = filling.source.next(lambda: filling.waits > 9)
    assert frame is not None and frame.encoded == whole
    assert filling.waits == 4


@pytest.mark.parametrize(
    ("whole", "damaged", "reason"),
    [
        (encoded(picture(0)), encoded(picture(0))[:100], "truncated PNG"),
        (
            encoded(picture(0), "JPEG"),
            halved(encoded(picture(0), "JPEG")),
            "damaged JPEG: part of the picture is missing",
        ),
    ],
)
def test_a_file_that_stays_damaged_is_told_once_and_taken_when_mended(
    tmp_path: Path, capsys, whole: bytes, damaged: bytes, reason: str
) -> None:
    filling = Filling(tmp_path, put("a.png", damaged), nothing, nothing, nothing, put("a.png", whole))
    assert filling.names() == ["a.png"]
    assert capsys.readouterr().err == f"siamese: {tmp_path}/a.png: {reason}\n"


def test_what_has_left_the_folder_is_forgotten_and_numbers_go_on(tmp_path: Path) -> None:
    """A camera that writes one name again and again, for somebody who takes each picture away: three of them."""
    take_away = lambda folder: (folder / "a.png").unlink()  # noqa: E731
    pictures_come = (put("a.png", encoded(picture(number))) for number in range(3))
    events = [event for come in pictures_come for event in (come, nothing, take_away)]
    filling = Filling(tmp_path, *events)
    frames = [filling.source.next(lambda: filling.waits > 12) for _ in range(3)]
    assert [frame and frame.number for frame in frames] == [0, 1, 2]
    assert [frame and frame.encoded for frame in frames] == [encoded(picture(number)) for number in range(3)]


def test_a_name_that_is_no_text_is_a_line_in_json_s_escapes(tmp_path: Path) -> None:
    """Linux lets a name be any bytes; here one is Latin 1."""
    (tmp_path / os.fsdecode(b"J\xfcrgen.png")).write_bytes(encoded(picture(0)))
    frame = Filling(tmp_path, nothing).source.next(lambda: False)
    assert frame is not None
    lines = Lines(tmp_path / "lines.jsonl")
    lines.take(Detection(frame, [], [], True, 0.0, 0))
    lines.take(Detection(replace(frame, name="Jürgen.png"), [], [], True, 0.0, 0))
    lines.close()
    odd, plain = (tmp_path / "lines.jsonl").read_text(encoding="utf-8").splitlines()
    assert r'"file": "J\udcfcrgen.png"' in odd and json.loads(odd)["frame"] == 0
    assert '"file": "Jürgen.png"' in plain


def test_hidden_files_and_other_suffixes_are_left_alone_and_a_renamed_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "below.png").mkdir()
    whole = encoded(picture(0))
    rename = lambda folder: (folder / ".a.png").rename(folder / "a.PNG")  # noqa: E731
    assert Filling(tmp_path, put(".a.png", whole), nothing, nothing, rename).names() == ["a.PNG"]


def test_a_folder_without_news_ends_after_so_many_seconds(tmp_path: Path) -> None:
    """The image is given at the second look, 0.25 s after the first; 1 s later it's over. What is just coming is waited
    for, even with no second to spare."""
    (tmp_path / "a.png").write_bytes(encoded(picture(0)))
    filling = Filling(tmp_path, idle=1.0)
    assert filling.names() == ["a.png"] and filling.waits == 1 + 4
    assert Filling(tmp_path, idle=0).names() == ["a.png"]


def test_a_folder_that_goes_away_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="can't be read as a folder"):
        Filling(tmp_path / "in", lambda folder: folder.rmdir()).names()


def test_the_images_of_a_folder_score_as_by_identify(
    run: Run, model: Path, gallery: Path, workspace: Path, tmp_path: Path, capsys
) -> None:
    """To the last digit that is printed: the file's own bytes are what the model gets."""
    for file in sorted((workspace / "data/sample").glob("writer-00[0-3]/00[12].*")):
        shutil.copy(file, tmp_path / f"{file.parent.name}-{file.name}")
    code, out, _ = run(tmp_path, "--idle", "0", "--video", tmp_path / "out.avi")
    lines = {line["file"]: line["found"][0] for line in map(json.loads, out.splitlines())}
    files = sorted(file for file in tmp_path.iterdir() if file.suffix != ".avi")
    assert code == 0 and sorted(lines) == [file.name for file in files] and len(lines) == 8
    cli.run(["identify", str(gallery), *map(str, files), "--model", str(model), "--json"])
    for answer in json.loads(capsys.readouterr().out)["images"]:
        line = lines[Path(answer["image"]).name]
        assert line["score"] == pytest.approx(answer["score"], abs=2e-6)
        assert line["candidates"][0][0] == answer["candidates"][0]["identity"]
    assert len(pictures(tmp_path / "out.avi")) == 8  # of several sizes


@pytest.fixture
def interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Watches, and sends itself a signal when the first line is written."""
    take = Lines.take

    def command(number: int, lines: Path, *arguments: object) -> tuple[int, str, str]:
        def take_and_send(told: Lines, sight: Detection) -> bool:
            first = not lines.read_text()
            goes_on = take(told, sight)
            if first:
                os.kill(os.getpid(), number)
            return goes_on

        monkeypatch.setattr(Lines, "take", take_and_send)
        return run(*arguments, "--jsonl", lines)

    return command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watch_of_a_folder_well(interrupted: Run, tmp_path: Path, number: int) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(encoded(picture(0)))
    code, _, err = interrupted(number, tmp_path / "lines", tmp_path / "in", "--video", tmp_path / "a.mp4")
    assert code == 0 and err.splitlines()[-1].startswith("1 frames looked at")
    assert len(pictures(tmp_path / "a.mp4")) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "in", "lines"]


def test_a_signal_before_the_end_of_a_file_leaves_a_whole_video_of_what_was_seen(
    interrupted: Run, signatures: dict[int, Path], tmp_path: Path
) -> None:
    film = written(tmp_path / "film.avi", [upright(signatures[0])] * 30)
    code, _, err = interrupted(signal.SIGTERM, tmp_path / "lines", film, "--video", tmp_path / "a.avi")
    assert code == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == "siamese: stopped by SIGTERM: what was seen until then is written"
    lines = (tmp_path / "lines").read_text().splitlines()
    assert 0 < len(lines) < 30 and len(pictures(tmp_path / "a.avi")) == len(lines)


@pytest.fixture
def stream(signatures: dict[int, Path]) -> Iterator[str]:
    """The address of a camera that speaks HTTP: writer 3's signature, 40 times."""
    image = np.ascontiguousarray(upright(signatures[3])[..., ::-1])
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(40):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:secret@127.0.0.1:{server.server_port}/camera"
        server.shutdown()


def test_a_stream_is_watched_until_it_is_lost(run: Run, stream: str, tmp_path: Path) -> None:
    code, out, err = run(stream, "--video", tmp_path / "a.avi")
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines and {name for _, name in seen(out)} == {"writer-003"}
    last = lines[-1]
    assert len(lines) + last["skipped"] == last["frame"] + 1 == len(pictures(tmp_path / "a.avi"))
    address = stream.replace("me:secret@", "")
    assert code == 2 and err.splitlines()[-1] == f"siamese: {address}: gives no more frames: see to it, then run again"
    assert "secret" not in err


def test_wrong_input_is_one_line_and_nothing_is_written(run: Run, film: Path, tmp_path: Path, monkeypatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "text.avi").write_text("no video")
    for arguments, expected in (
        ((tmp_path / "nowhere.avi",), "nowhere.avi: no such file or folder"),
        ((tmp_path / "text.avi",), "text.avi: is not a video that OpenCV can open"),
        (("999",), "camera 999: is not a camera that can be opened"),
        (("rtsp://me:secret@127.0.0.1:1/x",), "rtsp://127.0.0.1:1/x: is not a video that OpenCV can open"),
        ((film, "--region", "1,2,3"), "--region 1,2,3: must be left,top,width,height"),
        ((film, "--region", "0,0,0,9"), "--region 0,0,0,9: must be left,top,width,height"),
        ((film, "--region", "200,0,9,9"), "--region 200,0,9,9: lies outside a frame of 160x100"),
        ((film, "--region", "0,0,9,9", "--faces"), "exclude each other"),
        ((film, "--idle", "1"), "--idle is for a folder"),
        ((tmp_path, "--realtime"), "--realtime is for a video file"),
        ((film, "--video", tmp_path / "a.mov"), "a.mov: a video is .mp4 or .avi"),
        ((film, "--every", "0"), "--every"),
        ((film, "--window"), "there is no screen here" if sys.platform == "linux" else "--window"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and expected in err.splitlines()[-1], (arguments, err)
        assert "secret" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["text.avi"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("rtsp://me:secret@camera:554/x", "rtsp://camera:554/x"),
        ("rtsp://me:s@cret@camera/x", "rtsp://camera/x"),
        ("http://camera/at@night?mail=me@home", "http://camera/at@night?mail=me@home"),
        ("0", "0"),
    ],
)
def test_an_address_is_told_without_user_and_password(source: str, told: str) -> None:
    assert shown(source) == told


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    video.opencv.cache_clear()
    with pytest.raises(InputError, match=r"needs OpenCV .*pip install 'siamese\[watch\]'"):
        video.opencv()


def test_an_opencv_without_windows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(cv2, "namedWindow", broken)
    with pytest.raises(InputError, match="this OpenCV can't show windows"):
        video.Window("title")


def broken(*_: object) -> None:
    raise cv2.error("not implemented")


def test_a_place_is_cut_at_the_frames_edge() -> None:
    frame = np.zeros((100, 160, 3), np.uint8)
    assert WholeFrame().find(frame) == [(0, 0, 160, 100)]
    assert OnePlace("100,50,200,20").find(frame) == [(100, 50, 60, 20)]


def drawn_face(width: int, height: int, left: int, top: int) -> np.ndarray:
    """A head of ellipses, some 180 x 280, with its left edge at `left + 10`: enough of a face for the detector."""
    image = Image.new("L", (width, height), 100)
    draw = ImageDraw.Draw(image)
    parts = (
        ((10, -20, 190, 260), 200),  # head
        ((30, 60, 90, 100), 90),  # eyes
        ((110, 60, 170, 100), 90),
        ((45, 70, 75, 92), 30),
        ((125, 70, 155, 92), 30),
        ((85, 60, 115, 150), 225),  # nose
        ((80, 135, 120, 155), 150),
        ((55, 175, 145, 205), 80),  # mouth
    )
    for place, grey in parts:
        draw.ellipse([at + (left, top)[number % 2] for number, at in enumerate(place)], fill=grey)
    for place in ((30, 48, 88, 58), (112, 48, 170, 58)):  # brows
        draw.rectangle([at + (left, top)[number % 2] for number, at in enumerate(place)], fill=60)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(4)).convert("RGB"))


def test_a_face_is_found_where_it_is_and_none_where_there_is_none() -> None:
    """The box holds both eyes and the mouth."""
    assert Faces().find(np.full((240, 320, 3), 200, np.uint8)) == []
    for left, top in ((140, 60), (60, 60)):
        ((x, y, width, height),) = Faces().find(drawn_face(480, 360, left, top))
        assert x <= left + 30 and y <= top + 60
        assert x + width >= left + 170 and y + height >= top + 205


def test_faces_are_looked_at_and_a_frame_without_one_is_a_line_without_anybody(run: Run, tmp_path: Path) -> None:
    film = written(tmp_path / "film.avi", [np.full((360, 480, 3), 100, np.uint8), drawn_face(480, 360, 140, 60)])
    code, out, _ = run(film, "--faces", "--video", tmp_path / "out.avi")
    nobody, somebody = (json.loads(line)["found"] for line in out.splitlines())
    assert (code, nobody, len(somebody)) == (0, [], 1)
    assert somebody[0]["identity"] is None or somebody[0]["identity"].startswith("writer-")


def test_a_box_is_drawn_with_a_label_above_or_where_there_is_no_room_inside() -> None:
    """On black: the box's left edge is its colour, its middle stays black; a name beyond ASCII has white letters."""
    frame = np.zeros((200, 300, 3), np.uint8)
    boxes = [(20, 100, 80, 60), (150, 0, 80, 60)]
    answers = [
        Answer("Jürgen", (Candidate("Jürgen", 0.9, "a"),)),
        Answer(None, (Candidate("Jürgen", 0.1, "a"),)),
    ]
    drawn = annotated(frame, boxes, answers)
    assert not frame.any()
    for (left, top, width, height), colour in zip(boxes, (KNOWN, UNKNOWN), strict=True):
        assert tuple(drawn[top + height // 2, left]) == tuple(drawn[top + height - 1, left + width - 1]) == colour
        assert not drawn[top + height // 2 + 5 : top + height - 5, left + 5 : left + width - 5].any()
    assert (drawn[60:100, 20:150] == 255).all(axis=2).any() and not drawn[:60, :140].any()
    assert (drawn[:40, 150:] == 255).all(axis=2).any()


def test_a_picture_of_another_size_is_fitted_with_a_margin() -> None:
    """100 x 50 in 60 x 60: 60 x 30, 15 black lines above and below."""
    whole = video.fitted(np.full((50, 100, 3), 200, np.uint8), 60, 60)
    assert whole.shape == (60, 60, 3)
    assert (whole[15:45] == 200).all() and not whole[:15].any() and not whole[45:].any()


def test_a_folders_image_is_shown_as_it_is() -> None:
    image = picture(3)
    np.testing.assert_array_equal(video.decoded(canonical(encoded(image), MAX)), np.asarray(image))
