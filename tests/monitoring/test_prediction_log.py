"""The log of predictions: what is in it, what a full disk does to it, and how it is read."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from waiting import PATIENCE

from siamese.data.images.formats import ImageInfo
from siamese.errors import InputError
from siamese.monitoring import prediction_log
from siamese.monitoring.prediction_log import COLUMNS, Prediction, PredictionLog, Statistics, statistics_of

SEEN = Statistics(250, 200, "JPEG", 131.25, 52.5, 1.5)
UNSEEN = Statistics(30, 40, "BMP", 10.0, 0.0, 0.0)


def prediction(number: int) -> Prediction:
    return Prediction(1_700_000_000.25 + number, f"request-{number}", "siamese/3", 0.75, 0.5, True, SEEN, UNSEEN)


def test_a_line_says_what_the_format_promises(tmp_path: Path) -> None:
    """1,700,000,000 seconds after 1970 began are 2023-11-14, 22:13:20."""
    log = PredictionLog(tmp_path / "log.jsonl")
    log.add(prediction(0))
    log.close(PATIENCE)
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {
        "time": "2023-11-14T22:13:20.250Z",
        "id": "request-0",
        "model": "siamese/3",
        "score": 0.75,
        "threshold": 0.5,
        "same": True,
        "anchor": {"width": 250, "height": 200, "format": "JPEG",
                   "brightness": 131.25, "contrast": 52.5, "sharpness": 1.5},
        "other": {"width": 30, "height": 40, "format": "BMP", "brightness": 10.0, "contrast": 0.0, "sharpness": 0.0},
    }  # fmt: skip


def test_what_was_logged_is_read_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    for numbers in ((0, 1), (2,)):  # a second server appends
        log = PredictionLog(file)
        for number in numbers:
            log.add(prediction(number))
        log.close(PATIENCE)
    table = prediction_log.read(file)
    assert tuple(table.columns) == COLUMNS
    assert table.id.tolist() == ["request-0", "request-1", "request-2"]
    assert table.time[1] == pd.Timestamp("2023-11-14 22:13:21.25", tz="UTC")
    assert (table.same.dtype, table.score.dtype, table.anchor_width.dtype) == (bool, np.float64, np.int64)
    assert table.anchor_brightness.tolist() == [131.25] * 3 and table.other_format.tolist() == ["BMP"] * 3
    assert (table.other_sharpness == 0).all() and table.other_sharpness.dtype == np.float64


def test_an_empty_log_is_an_empty_table(tmp_path: Path) -> None:
    PredictionLog(tmp_path / "log.jsonl").close(60)
    table = prediction_log.read(tmp_path / "log.jsonl")
    assert len(table) == 0 and tuple(table.columns) == COLUMNS
    assert str(table.time.dtype).startswith("datetime64") and table.anchor_contrast.dtype == np.float64


def test_a_full_disk_costs_lines_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    lost = []
    log = PredictionLog(Path("/dev/full"), lambda: lost.append(1))
    for number in range(5):
        log.add(prediction(number))
    log.close(PATIENCE)
    assert len(lost) == 5
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_disk_that_fills_within_a_line_costs_that_line_alone(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: it takes half of the third line."""
    lines = [prediction(number).line() for number in range(4)]
    file, room = tmp_path / "log.jsonl", 2 * len(lines[0]) + 100
    lost: list[int] = []
    pid = os.fork()
    if not pid:  # a limit can't be taken back by everyone
        try:
            import resource
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            log = PredictionLog(file, lambda: lost.append(1))
            for number in range(3):
                log.add(prediction(number))
            while not lost:
                pass
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            log.add(prediction(3))
            log.close(PATIENCE)
        finally:
            os._exit(len(lost))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert file.read_bytes() == lines[0] + lines[1] + lines[2][:100] + b"\n" + lines[3]
    assert prediction_log.read(file).id.tolist() == ["request-0", "request-1", "request-3"]


def test_a_disk_that_does_not_answer_delays_nobody(tmp_path: Path) -> None:
    """A pipe that nobody reads takes 64 kB; what is added beyond waits, up to 10,000 lines, then is dropped."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    lost = []
    log = PredictionLog(tmp_path / "pipe", lambda: lost.append(1))
    adding = threading.Thread(target=lambda: [log.add(prediction(0)) for _ in range(12_000)])
    adding.start()
    adding.join(PATIENCE)
    assert not adding.is_alive() and 1000 < len(lost) <= 2000
    log.close(0.01)
    os.close(reader)


def test_the_file_may_be_renamed_while_it_is_written(tmp_path: Path) -> None:
    written = threading.Semaphore(0)
    log = PredictionLog(tmp_path / "log.jsonl")
    write = log._write
    log._write = lambda line: (write(line), written.release())[0]
    log.add(prediction(0))
    assert written.acquire(timeout=PATIENCE)
    (tmp_path / "log.jsonl").rename(tmp_path / "log.1")
    log.add(prediction(1))
    log.close(PATIENCE)
    assert prediction_log.read(tmp_path / "log.1").id.tolist() == ["request-0"]
    assert prediction_log.read(tmp_path / "log.jsonl").id.tolist() == ["request-1"]


def test_a_place_that_can_not_be_written_is_told_before_serving(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be written .* name another file with --log"):
        PredictionLog(tmp_path / "nowhere" / "log.jsonl")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is missing"),
        (b"anchor,other\na.png,b.png\n", "holds no predictions"),
        (b'{"score": 1}\n', "line 1 is no prediction"),
        (b"\n[1]\n", "line 2 is no prediction"),
        (b"\xff\xfe", "holds no predictions"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        prediction_log.read(tmp_path / "log.jsonl")


def test_statistics_are_those_of_the_picture_that_the_network_sees() -> None:
    """Left half black, right half grey level 200: mean 100, deviation 100. Of the 98 columns that the Laplacian covers,
    the two at the edge have 200 and -200: its variance is 2 * 200^2 / 98, sharpness that over 100^2."""
    halves = np.zeros((100, 100, 3), np.uint8)
    halves[:, 50:] = 200
    found = statistics_of(ImageInfo(900, 700, "JPEG"), halves)
    assert found == Statistics(900, 700, "JPEG", 100, 100, round(2 * 200**2 / 98 / 100**2, 4))
