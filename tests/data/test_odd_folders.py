"""A folder as people have it: odd images are taken, all else has its reason, the run goes on, nothing is touched."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import working_folder
from image_writers import encoded, smooth
from odd_images import CORPUS, MAX_PIXELS, REJECTED, best_known

from siamese import cli
from siamese.data import catalog
from siamese.params import IMAGE_SHAPE
from siamese.preprocessing import transform
from siamese.preprocessing.pixel_store import StoredImages

LIMIT = ["-S", f"data.max_pixels={MAX_PIXELS}"]
CHOSEN = [path for path in CORPUS if path.startswith(("bmp/1", "run lengths/4", "turned/6", "names/a "))]
ELSEWHERE = encoded(smooth(blue=240), "PNG")
CONTROL = "name has a control character, such as a line break"

Entry = tuple[int | bytes, ...]


def fingerprint(folder: Path) -> dict[bytes, Entry]:
    """All that can be known of each entry of a folder, itself included, save for when it was last read."""
    found: dict[bytes, Entry] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in (b".", *folders, *files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            numbers = status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_size
            found[path] = (*numbers, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


def write(folder: Path, path: str | bytes, data: bytes) -> None:
    file = os.path.join(os.fsencode(folder), os.fsencode(path))
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as opened:
        opened.write(data)


def fill(data: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Makes the folder; gives the images that can be taken, and the path and reason of every other entry."""
    taken = {path: odd.data for path, odd in CORPUS.items()}
    reasons = {f"damaged/{name}": reason for name, (_, reason) in REJECTED.items()}
    for path, content in taken.items():
        write(data, path, content)
    for name, (content, _) in REJECTED.items():
        write(data, f"damaged/{name}", content)

    image = CORPUS["png/grey.png"].data
    others = {
        "at the top.png": "not in a folder of its identity",
        "png/.hidden.png": "hidden",
        ".Trash/deleted.png": "hidden",
        "png/Thumbs.db": "system file: Thumbs.db",
        "png/@eaDir/grey.png/THUMB_M.png": "system file: @eaDir",
        "png/no suffix": "other suffix: none, not bmp, jpeg, jpg, png",
        "png/new.png.part": "other suffix: .part, not bmp, jpeg, jpg, png",
        "png/two\nlines.png": CONTROL,
        "two\r\nlines/image.png": CONTROL,
        "png/\x1b[2Jclears the screen.png": CONTROL,
        "png/zzz, a copy.png": "copy: of png/grey.png",
    }
    for path in others:
        write(data, path, image)
    not_utf8 = {b"png/caf\xe9.png": r"png/caf\xe9.png", b"\xff\xfe/image.png": r"\xff\xfe/image.png"}
    for name in not_utf8:
        write(data, name, image)
    for path in ("alpha/both.png", "bmp/both.png"):
        write(data, path, encoded(smooth(blue=241), "PNG"))
        others[path] = "copies under several identities: alpha, bmp"
    reasons |= others | dict.fromkeys(not_utf8.values(), "name is not UTF-8")

    (data / "empty folder").mkdir()
    write(data.parent, "elsewhere/deeper/image.png", ELSEWHERE)
    write(data.parent, "elsewhere/linked.png", encoded(smooth(blue=242), "PNG"))
    (data / "linked folder").symlink_to(data.parent / "elsewhere/deeper")
    (data / "png/linked.png").symlink_to("../../elsewhere/linked.png")
    taken |= {"linked folder/image.png": ELSEWHERE, "png/linked.png": encoded(smooth(blue=242), "PNG")}
    links = {
        "png/gone.png": ("nowhere.png", "broken link: No such file or directory"),
        "png/itself.png": ("itself.png", "broken link: Too many levels of symbolic links"),
        "png/one.png": ("other.png", "broken link: Too many levels of symbolic links"),
        "png/other.png": ("one.png", "broken link: Too many levels of symbolic links"),
        "png/loop": (".", "link to a folder already read"),
        "jpeg/up": ("..", "link to a folder already read"),
        "png again": ("png", "link to a folder already read"),
    }
    for path, (target, _) in links.items():
        (data / path).symlink_to(target)
    os.mkfifo(data / "png/pipe.png")
    with working_folder(data / "png"), socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.png")  # a longer path wouldn't do
    reasons |= {path: reason for path, (_, reason) in links.items()}
    reasons |= dict.fromkeys(("png/pipe.png", "png/socket.png"), "not a regular file")
    return taken, reasons


class Messy:
    """The folder `data` after all commands, in the folder `at`, with the commands' outputs."""

    def __init__(self, at: Path, parameters: str, workspace: Path) -> None:
        self.at = at
        self.taken, self.reasons = fill(at / "data")
        (at / "params.yaml").write_text(parameters)
        (at / "references").mkdir()
        for number, path in enumerate(CHOSEN):
            (at / f"references/{number}.png").write_bytes(reference(path))
        rows = [(f"data/{path}", "data/png/grey.png") for path in CHOSEN]
        rows += [(f"references/{number}.png", "data/png/grey.png") for number in range(len(CHOSEN))]
        pd.DataFrame(rows, columns=["anchor", "other"]).to_csv(at / "pairs.csv", index=False)
        model = ["--model", str(workspace / "artifacts/model"), "--threshold", "0.5"]
        commands = {
            "catalog": ["--data", "data"],
            "inspect": ["data", "--json", "--html", "data.html"],
            "preprocess": ["--data", "data"],
            "verify": ["data/cmyk/of Adobe.jpg", "data/bmp/1 bit.bmp", *model, "--json"],
            "score": ["pairs.csv", *model, "--output", "scores.csv"],
        }
        self.said: dict[str, str] = {}
        self.untouched: dict[str, bool] = {}
        folders = at / "data", at / "elsewhere"
        before = [fingerprint(folder) for folder in folders]
        with working_folder(at):
            for command, arguments in commands.items():
                with redirect_stdout(StringIO()) as said:
                    code = cli.run([command, *arguments, *LIMIT])
                assert code in ((0, 1) if command == "verify" else (0,)), command
                self.said[command] = said.getvalue()
                self.untouched[command] = [fingerprint(folder) for folder in folders] == before


def reference(path: str) -> bytes:
    """The picture in a file of the corpus as an ordinary PNG."""
    return encoded(best_known(path)[0], "PNG")


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory, small_params: str, workspace: Path) -> Messy:
    return Messy(tmp_path_factory.mktemp("messy"), small_params, workspace)


def test_no_command_touches_the_users_folder(messy: Messy) -> None:
    """No byte, name, mode, owner, date or link, in it and behind its links; nothing is added."""
    assert messy.untouched == dict.fromkeys(("catalog", "inspect", "preprocess", "verify", "score"), True)


def test_every_image_is_taken_with_its_size_and_format(messy: Messy) -> None:
    found = pd.read_parquet(messy.at / "artifacts/catalog.parquet").set_index("path")
    assert sorted(found.index) == sorted(messy.taken)
    for path, data in messy.taken.items():
        row = found.loc[path]
        assert (row.image_id, row.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert row.identity == path.partition("/")[0]
        if path in CORPUS:
            assert (row.height, row.width) == best_known(path)[0].shape[:2]
            assert data.startswith({"PNG": b"\x89PNG", "JPEG": b"\xff\xd8\xff", "BMP": b"BM"}[row.format])


def test_everything_else_has_its_reason(messy: Messy) -> None:
    rejected = pd.read_csv(messy.at / "artifacts/rejected.csv", keep_default_na=False, lineterminator="\n")
    found = dict(zip(rejected["path"], rejected["reason"], strict=True))
    assert found == messy.reasons
    assert len(rejected) == len(messy.reasons)


def test_the_report_counts_the_same(messy: Messy) -> None:
    report = json.loads(messy.said["inspect"])
    assert report["left_out"] == {"hidden": 2, "system file": 2}
    assert (report["images"], report["rejected"] + 2 + 2) == (len(messy.taken), len(messy.reasons))
    assert report["trainable"]


def test_the_stored_pixels_are_those_of_the_picture(messy: Messy) -> None:
    """As if the folder held the same pictures as ordinary PNG; of a JPEG within the grey level of its decoder."""
    found = pd.read_parquet(messy.at / "artifacts/catalog.parquet").set_index("path")
    pixels = dict(
        zip(found.index, StoredImages(messy.at / "artifacts/images").pixels(found.image_id.tolist()), strict=True)
    )
    for path in CORPUS:
        expected = transform._decode(tf.constant(reference(path)), 1, IMAGE_SHAPE).numpy()
        assert np.abs(pixels[path].astype(int) - expected).max() <= best_known(path)[1], path


def test_the_score_is_that_of_the_picture(messy: Messy) -> None:
    """In another format, turned, under a wrong name: to the bit, unless a JPEG's decoder rounds otherwise."""
    score = pd.read_csv(messy.at / "scores.csv")["score"].to_numpy()
    assert len(CHOSEN) > 10
    np.testing.assert_allclose(score[: len(CHOSEN)], score[len(CHOSEN) :], atol=1e-3)
    exact = [number for number, path in enumerate(CHOSEN) if not CORPUS[path].within]
    assert np.array_equal(score[exact], score[np.add(exact, len(CHOSEN))])
    assert 0 <= json.loads(messy.said["verify"])["score"] <= 1


@pytest.mark.parametrize("name", REJECTED)
def test_verify_refuses_with_the_same_reason(messy: Messy, name: str) -> None:
    with working_folder(messy.at), redirect_stderr(StringIO()) as said:
        assert cli.run(["verify", "data/png/grey.png", f"data/damaged/{name}", *LIMIT]) == 2
    assert said.getvalue() == f"siamese: data/damaged/{name}: {REJECTED[name][1]}\n"


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """The superuser may read everything: for a while this process isn't his."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


def test_what_may_not_be_read_is_a_row(tmp_path: Path) -> None:
    """Paths are relative, because the test's folders above may not be entered."""
    paths = ["a/1.png", "a/secret.png", "closed/2.png", "listed/3.png"]
    for path, odd in zip(paths, CORPUS.values(), strict=False):
        write(tmp_path, path, odd.data)
    (tmp_path / "data").mkdir()
    modes = {"a/secret.png": 0o000, "closed": 0o000, "listed": 0o444}
    before = {path: (tmp_path / path).stat().st_mode for path in modes}
    with working_folder(tmp_path):
        catalog.collect(Path(), MAX_PIXELS)  # what it imports may lie where the other user can't go
        try:
            for path, mode in modes.items():
                os.chmod(path, mode)
            os.chmod(".", 0o755)
            with an_ordinary_user():
                found = catalog.collect(Path(), MAX_PIXELS)
        finally:
            for path, mode in before.items():
                os.chmod(path, mode)
    assert found.images["path"].tolist() == ["a/1.png"]
    assert dict(zip(found.rejected["path"], found.rejected["reason"], strict=True)) == {
        "a/secret.png": "can't be read: Permission denied",
        "closed": "folder can't be read: Permission denied",
        "listed/3.png": "can't be read: Permission denied",
    }
