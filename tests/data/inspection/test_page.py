"""The data report as a page: all that inspect says, with pictures, in one bounded file that touches no data."""

from __future__ import annotations

import base64
import json
import os
import re
from io import BytesIO
from pathlib import Path

import drawn
import pytest
from page_reader import Page
from PIL import Image
from test_outliers import MAX, PARAMS, copied, data, in_split, put

from siamese import cli, config
from siamese.data.inspection import report as report_module
from siamese.data.inspection.page import (
    LONGEST_NAME,
    SHEET_IDENTITIES,
    THUMBNAIL,
    contact_sheet,
    refuse,
    render,
    short,
    thumbnail,
    write,
)
from siamese.errors import InputError

__all__ = ["data"]

VALUES = config.load_params(config.packaged_file(), [f"data.max_pixels={MAX}"])
PICTURES_AT_MOST = 96 + 2 * 16 + 5 * 5


def rendered(folder: Path) -> str:
    read = report_module.survey(folder, PARAMS, MAX)
    odd = report_module.look(read, MAX)
    return render(report_module.report(read, odd), read, odd, VALUES)


def pictures(page: Page) -> list[Image.Image]:
    return [Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))) for source in page.every("src")]


def state(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_it_needs_nothing_but_itself(data: Path) -> None:
    """No address, no script, no file: sources are data URIs, styles name no address."""
    html = rendered(data)
    page = Page(html)
    outside = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", outside)
    assert not {name for name, _ in page.attributes} & {"href", "srcset", "onload"}
    assert page.every("src") and all(source.startswith("data:image/jpeg;base64,") for source in page.every("src"))
    assert all(max(picture.size) <= THUMBNAIL for picture in pictures(page))


def test_all_facts_and_warnings_are_on_it(data: Path) -> None:
    train, test = in_split(data, "train"), in_split(data, "test")
    copied(data, f"{train[0]}/0.png", f"{test[0]}/copy.png")
    put(data, {"note.txt": b"", f"{train[1]}/cut.png": b"\x89PNG\r\n\x1a\n"})
    read = report_module.survey(data, PARAMS, MAX)
    odd = report_module.look(read, MAX)
    report = report_module.report(read, odd)
    text = Page(render(report, read, odd, VALUES)).text
    assert len(report.warnings) >= 3
    for _, fact in report_module.facts(report):
        assert short(fact, 4 * LONGEST_NAME) in text
    for warning in report.warnings:
        assert warning.removeprefix("leak: ") in text


def test_leaks_are_shown_first_with_their_identities_and_splits(data: Path) -> None:
    train, test = in_split(data, "train"), in_split(data, "test")
    copied(data, f"{train[0]}/0.png", f"{train[0]}/again.png")
    copied(data, f"{train[1]}/0.png", f"{train[2]}/other.png")
    copied(data, f"{train[3]}/0.png", f"{test[0]}/leak.png")
    text = " ".join(Page(rendered(data)).text.split())
    part = text[text.index("Near-duplicates 6 images") : text.index("Brightness and sharpness")]
    places = [part.index(name) for name in (f"{test[0]}/leak.png", f"{train[2]}/other.png", f"{train[0]}/again.png")]
    assert places == sorted(places)
    first, second = sorted([(train[3], "train", f"{train[3]}/0.png"), (test[0], "test", f"{test[0]}/leak.png")],
                           key=lambda one: one[2])  # fmt: skip
    assert re.search(rf"train and test , likeness [01]\.\d{{3}} {' '.join(first)} {' '.join(second)}", part)
    assert "Leaks between splits near-duplicates lie in train and test, once" in text


def test_the_sample_shows_each_split_and_groups_by_identity(data: Path) -> None:
    """12 x 0.7, 0.2 and 0.1 are 8.4, 2.4 and 1.2: 8, 3 and 1, of which validation gets its second from train."""
    read = report_module.survey(data, PARAMS, MAX)
    sheet = contact_sheet(read, VALUES)
    assert len(sheet) == 12 and all(len(rows) == 3 for _, rows in sheet)
    for name, rows in sheet:
        assert {read.images["identity"][row] for row in rows} == {name}
    shown = [read.images["split"][rows[0]] for _, rows in sheet]
    assert [shown.count(split) for split in ("train", "test", "validation")] == [7, 3, 2]
    assert shown == sorted(shown, key=("train", "test", "validation").index)


def test_the_sample_of_many_identities_follows_the_seed(tmp_path: Path) -> None:
    """150 identities of two images: 32 of them at most, each split its share."""
    small = [drawn.encoded(drawn.picture(n, 40, 30)) for n in range(300)]
    put(tmp_path, {f"who-{n:03}/{k}.png": small[2 * n + k] for n in range(150) for k in range(2)})
    read = report_module.survey(tmp_path, PARAMS, MAX)
    sheets = [
        contact_sheet(read, config.load_params(config.packaged_file(), [f"catalog.seed={seed}"])) for seed in (0, 0, 1)
    ]
    assert sheets[0] == sheets[1] != sheets[2]
    assert len(sheets[0]) == SHEET_IDENTITIES
    of_train = sum(read.images["split"][rows[0]] == "train" for _, rows in sheets[0])
    assert abs(of_train / 32 - read.split["train"]["identities"] / 150) < 1 / 32


def test_the_sample_of_uneven_identities_is_no_larger(tmp_path: Path) -> None:
    """16 identities of one image and 16 of six: all 32 are shown, with five of the six, 16 + 80 images."""
    counts = {f"who-{n:02}": 1 if n < 16 else 6 for n in range(32)}
    names = [f"{who}/{k}.png" for who, count in counts.items() for k in range(count)]
    put(tmp_path, {path: drawn.encoded(drawn.picture(n, 40, 30)) for n, path in enumerate(names)})
    sheet = contact_sheet(report_module.survey(tmp_path, PARAMS, MAX), VALUES)
    assert sorted(len(rows) for _, rows in sheet) == [1] * 16 + [5] * 16


def test_it_is_of_bounded_size(tmp_path: Path) -> None:
    """20 identities of 12 images, 40 near-duplicates, 10 blank images and long names: the numbers of pictures hold."""
    pictures_of = {f"{'long' * 40}-{n:02}/{k}.png": drawn.picture(n * 12 + k) for n in range(20) for k in range(12)}
    files = {path: drawn.encoded(picture) for path, picture in pictures_of.items()}
    for number, (path, picture) in enumerate(list(pictures_of.items())[:40]):
        files[path.replace(".png", "-copy.png")] = drawn.encoded(drawn.as_jpeg(picture))
        files[path.replace(".png", "-blank.png")] = drawn.encoded(Image.new("L", (30 + number, 30), 77))
    put(tmp_path, files)
    html = rendered(tmp_path)
    page = Page(html)
    assert page.tags.count("img") <= PICTURES_AT_MOST
    assert page.tags.count("img") > 96 + 2 * 16
    assert len(html) < 1_500_000
    assert "24 more groups without pictures" in page.text
    assert max(len(word) for word in page.text.split()) <= 4 * LONGEST_NAME + 1


def test_what_a_user_provides_is_shown_and_never_run(data: Path) -> None:
    name = "<script>alert('x')<&\"><img src=x onerror=y>"
    put(data, {f"{name}/{n}.png": drawn.encoded(drawn.picture(900 + n)) for n in range(3)})
    copied(data, f"{name}/0.png", "who-00/copy.png")
    page = Page(rendered(data))
    assert "script" not in page.tags and "onerror" not in {attribute for attribute, _ in page.attributes}
    assert name in page.text


def test_equal_data_gives_equal_text(data: Path) -> None:
    assert rendered(data) == rendered(data)


@pytest.mark.parametrize("files", [{}, {"note.txt": b""}, {"a/0.png": 1}, {"a/0.png": 1, "b/0.png": 2, "b/1.png": 2}])
def test_folders_without_a_split_have_a_page(tmp_path: Path, files: dict[str, bytes | int]) -> None:
    put(tmp_path, {path: drawn.encoded(drawn.picture(n)) if isinstance(n, int) else n for path, n in files.items()})
    assert "nothing can be trained on this folder" in Page(rendered(tmp_path)).text


def test_role_folders_show_the_split_of_each_image(tmp_path: Path) -> None:
    seeds = iter(range(100))
    roles = {"anchor": 4, "positive": 4, "negative": 12}
    put(
        tmp_path,
        {
            f"{role}/{n}.png": drawn.encoded(drawn.picture(next(seeds)))
            for role, many in roles.items()
            for n in range(many)
        },
    )
    read = report_module.survey(tmp_path, PARAMS, MAX)
    sheet = contact_sheet(read, VALUES)
    assert [(name, len(rows)) for name, rows in sheet] == list(roles.items())
    page = Page(rendered(tmp_path))
    assert page.every("class").count("tag train") >= read.split["train"]["images"]


def test_pictures_stand_upright(tmp_path: Path) -> None:
    """120 x 160 stored, to be turned: 160 x 120 shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    drawn.picture(0, 120, 160).save(file, "JPEG", exif=exif)
    (tmp_path / "one.jpg").write_bytes(file.getvalue())
    source = thumbnail(tmp_path / "one.jpg", MAX)
    assert source is not None
    assert Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).size == (112, 84)


def test_a_picture_that_went_away_leaves_a_word(data: Path) -> None:
    read = report_module.survey(data, PARAMS, MAX)
    odd = report_module.look(read, MAX)
    (data / "who-00/0.png").unlink()
    assert "can't be decoded" in Page(render(report_module.report(read, odd), read, odd, VALUES)).text


def test_the_command_writes_the_page_beside_the_text_and_leaves_the_data_alone(data: Path, capsys) -> None:
    before, page_file = state(data), data.parent / "reports/data.html"
    assert cli.run(["inspect", str(data), "--html", str(page_file)]) == 0
    told = capsys.readouterr()
    assert f"wrote {page_file}" in told.err
    assert told.out.startswith(f"folder      {data}\n") and "alike       0 near-duplicates" in told.out
    assert "What this folder of images holds" in Page(page_file.read_text(encoding="utf-8")).text
    assert state(data) == before
    assert os.listdir(page_file.parent) == ["data.html"]
    assert cli.run(["inspect", str(data), "--html", str(page_file)]) == 0  # its own page is replaced


def test_thorough_gives_the_numbers_without_a_page(data: Path, capsys) -> None:
    train, test = in_split(data, "train"), in_split(data, "test")
    copied(data, f"{train[0]}/0.png", f"{test[0]}/copy.png")
    assert cli.run(["inspect", str(data), "--thorough", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["near_duplicates"]["across_splits"]["train and test"] == 1
    assert set(told["outliers"]) == {"blank", "dark", "bright", "blurry", "sharp"}
    assert any(warning.startswith("leak: ") for warning in told["warnings"])
    assert cli.run(["inspect", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["near_duplicates"] is None and told["outliers"] is None


def refused(data: Path, page_file: Path, capsys) -> str:
    before = state(data.parent)
    assert cli.run(["inspect", str(data), "--html", str(page_file)]) == 2
    assert state(data.parent) == before
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"siamese: {page_file}: ")
    return error


def test_it_is_never_written_into_the_data(data: Path, capsys) -> None:
    """Into the folder, a folder of it, a new one, by a link to it; and into a folder that it links to."""
    (data.parent / "link").symlink_to(data)
    put(data.parent / "elsewhere", {"deeper/0.png": drawn.encoded(drawn.picture(800))})
    (data / "linked").symlink_to(data.parent / "elsewhere")
    for place in ("data", "data/who-00", "data/new", "link", "link/who-00", "elsewhere", "elsewhere/deeper"):
        error = refused(data, data.parent / place / "page.html", capsys)
        assert f"would become part of the data in {data}: name a file elsewhere" in error
    read = report_module.survey(data, PARAMS, MAX)
    odd = report_module.look(read, MAX)
    for place in (data, data.parent / "elsewhere"):
        with pytest.raises(InputError, match="would become part of the data"):
            write(place / "page.html", report_module.report(read, odd), read, odd, VALUES)


def test_other_files_are_never_replaced(data: Path, capsys) -> None:
    put(data.parent, {"mine.html": b"<html>my own page</html>", "folder.html/file": b"", "empty.html": b""})
    assert "isn't a report of this command" in refused(data, data.parent / "mine.html", capsys)
    assert "isn't a report of this command" in refused(data, data.parent / "empty.html", capsys)
    assert "is a folder: name a file" in refused(data, data.parent / "folder.html", capsys)
    assert "a page is .html" in refused(data, data.parent / "page.png", capsys)


def test_a_refused_page_is_told_before_images_are_read(data: Path) -> None:
    with pytest.raises(InputError, match="would become part"):
        refuse(data / "page.html", data)
    refuse(data.parent / "page.html", data)
    refuse(data.parent / "not there yet/page.html", data)
