"""What a look at the pixels finds odd: leaks first, whose images they are, and images unlike the others."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import drawn
import numpy as np
import pytest
from PIL import Image, ImageFilter

from siamese.data.inspection import image_statistics, outliers, report
from siamese.params import CatalogParams
from siamese.storage import parallel

PARAMS = CatalogParams(splits="hash", train=0.7, test=0.2, validation=0.1, seed=0)
MAX = 1_000_000
IDENTITIES, OF_EACH = 12, 3


def put(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """12 identities of 3 different pictures."""
    pictures = {
        f"who-{n:02}/{k}.png": drawn.encoded(drawn.picture(n * OF_EACH + k))
        for n in range(IDENTITIES)
        for k in range(OF_EACH)
    }
    put(tmp_path / "data", pictures)
    return tmp_path / "data"


def in_split(data: Path, split: str) -> list[str]:
    """The identities of a split, as the catalog makes it."""
    images = report.survey(data, PARAMS, MAX).images
    return sorted(set(images[images["split"] == split]["identity"]))


def found(data: Path) -> outliers.OutlierReport:
    return report.look(report.survey(data, PARAMS, MAX), MAX)


def names(odd: outliers.OutlierReport, group: outliers.Group) -> list[str]:
    return [odd.paths[row] for row in group.rows]


def copied(data: Path, source: str, target: str, change: str = "as JPEG") -> None:
    with Image.open(data / source) as image:
        put(data, {target: drawn.encoded(drawn.CHANGES[change](image.convert("RGB")))})


def test_different_pictures_are_not_odd(data: Path) -> None:
    odd = found(data)
    assert (odd.groups, odd.unseen, odd.warnings()) == ((), 0, [])
    assert odd.outliers["blank"] == ()


def test_leaks_come_first_and_are_named(data: Path) -> None:
    """Of one identity; of two in one split; in train and validation; in train and test: told in the opposite order."""
    train, test, validation = (in_split(data, split) for split in ("train", "test", "validation"))
    copied(data, f"{train[0]}/0.png", f"{train[0]}/a.png")
    copied(data, f"{train[1]}/0.png", f"{train[2]}/b.png")
    copied(data, f"{train[3]}/0.png", f"{validation[0]}/c.png", "brighter")
    copied(data, f"{train[4]}/0.png", f"{test[0]}/d.png", "resized")
    odd = found(data)
    assert [(names(odd, group), group.splits) for group in odd.groups] == [
        (sorted([f"{train[4]}/0.png", f"{test[0]}/d.png"]), ("train", "test")),
        (sorted([f"{train[3]}/0.png", f"{validation[0]}/c.png"]), ("train", "validation")),
        ([f"{train[1]}/0.png", f"{train[2]}/b.png"], ("train",)),
        ([f"{train[0]}/0.png", f"{train[0]}/a.png"], ("train",)),
    ]
    assert [set(group.owners) for group in odd.groups] == [
        {train[4], test[0]},
        {train[3], validation[0]},
        {train[1], train[2]},
        {train[0]},
    ]
    told = odd.near_duplicates()
    assert (told["images"], told["groups"], told["across_identities"]) == (8, 4, 3)
    assert told["across_splits"] == {"train and test": 1, "train and validation": 1, "test and validation": 0}
    first, second, third = odd.warnings()
    assert "leak: near-duplicates lie in train and test, once, so the measured figures flatter" in first
    assert f"{train[4]}/0.png" in first and f"{test[0]}/d.png" in first
    assert "leak: near-duplicates lie in train and validation, once" in second
    assert "near-duplicates lie under different identities, 3 times" in third


def test_a_group_shows_the_pair_that_matters_most(data: Path) -> None:
    """Four of one group; the two shown lie in train and test though others are likelier."""
    train, test = in_split(data, "train"), in_split(data, "test")
    copied(data, f"{train[0]}/0.png", f"{train[0]}/a.png")
    copied(data, f"{train[0]}/0.png", f"{train[1]}/b.png", "less contrast")
    copied(data, f"{train[0]}/0.png", f"{test[0]}/c.png", "all of it")
    odd = found(data)
    (group,) = odd.groups
    assert len(group.rows) == 4
    assert f"{test[0]}/c.png" in [odd.paths[row] for row in group.shown]
    (told,) = odd.near_duplicates()["listed"]
    assert told["paths"][:2] == [odd.paths[row] for row in group.shown]
    assert sorted(told["paths"]) == names(odd, group)
    assert told["images"] == 4


def test_in_role_folders_the_target_and_others_are_two(tmp_path: Path) -> None:
    """A negative that looks like a positive contradicts it; two negatives that look the same don't."""
    roles = {"anchor": 4, "positive": 4, "negative": 12}
    seeds = iter(range(100))
    put(
        tmp_path,
        {
            f"{role}/{n}.png": drawn.encoded(drawn.picture(next(seeds)))
            for role, many in roles.items()
            for n in range(many)
        },
    )
    copied(tmp_path, "positive/0.png", "negative/like-a-positive.png")
    copied(tmp_path, "negative/0.png", "negative/like-a-negative.png")
    odd = found(tmp_path)
    owners = {names(odd, group)[0]: group.owners for group in odd.groups}
    assert owners == {
        "negative/like-a-positive.png": ("negative", "target"),
        "negative/0.png": ("negative",),
    }


def test_blank_dark_bright_blurred_and_noisy_images_stand_out(data: Path) -> None:
    """Each is put among 36 others; blank ones aren't near-duplicates of each other, however many there are."""
    picture = drawn.picture(500)
    grey = np.asarray(picture).astype(float)
    noisy = np.clip(grey + np.random.default_rng(0).normal(0, 60, grey.shape), 0, 255)
    put(
        data,
        {
            "who-00/white.png": drawn.encoded(Image.new("RGB", (90, 90), "white")),
            "who-01/black.png": drawn.encoded(Image.new("RGB", (70, 90), "black")),
            "who-02/dark.png": drawn.encoded(Image.fromarray((grey * 0.1).astype(np.uint8))),
            "who-03/bright.png": drawn.encoded(Image.fromarray((255 - grey * 0.1).astype(np.uint8))),
            "who-04/blurred.png": drawn.encoded(drawn.picture(501).filter(ImageFilter.GaussianBlur(10))),
            "who-05/noisy.png": drawn.encoded(Image.fromarray(noisy.astype(np.uint8))),
        },
    )
    odd = found(data)
    first = {kind: {odd.paths[one.row] for one in many} for kind, many in odd.outliers.items()}
    assert first["blank"] == {"who-00/white.png", "who-01/black.png"}
    assert "who-02/dark.png" in first["dark"]
    assert "who-03/bright.png" in first["bright"]
    assert "who-04/blurred.png" in first["blurry"]
    assert "who-05/noisy.png" in first["sharp"]
    assert odd.paths[odd.outliers["dark"][0].row] == "who-02/dark.png"
    assert all(one.z is not None and one.z < -3.5 for one in odd.outliers["dark"])
    assert not any("white" in path or "black" in path for group in odd.groups for path in names(odd, group))
    assert "images that show next to nothing: 2, the first is who-00/white.png" in odd.warnings()
    told = odd.outlying()["dark"]["listed"][0]
    assert told["path"] == "who-02/dark.png" and told["value"] < 40 and told["z"] < -3.5


def test_an_image_that_went_away_since_is_counted(data: Path) -> None:
    read = report.survey(data, PARAMS, MAX)
    (data / "who-03/1.png").unlink()
    (data / "who-04/1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    odd = report.look(read, MAX)
    assert odd.unseen == 2
    assert odd.warnings() == ["images that could not be decoded for a look at their pixels: 2"]


def test_rows_are_right_where_images_before_them_are_blank_or_gone(data: Path) -> None:
    put(data, {"who-00/00-blank.png": drawn.encoded(Image.new("RGB", (50, 50), "white"))})
    copied(data, "who-05/0.png", "who-06/copy.png")
    read = report.survey(data, PARAMS, MAX)
    (data / "who-00/0.png").unlink()
    odd = report.look(read, MAX)
    assert [names(odd, group) for group in odd.groups] == [["who-05/0.png", "who-06/copy.png"]]
    assert [odd.paths[one.row] for one in odd.outliers["blank"]] == ["who-00/00-blank.png"]


@pytest.mark.parametrize("many", [0, 1])
def test_nothing_is_odd_among_none_or_one(tmp_path: Path, many: int) -> None:
    (tmp_path / "data/a").mkdir(parents=True)
    put(tmp_path / "data", {f"a/{n}.png": drawn.encoded(drawn.picture(n)) for n in range(many)})
    odd = found(tmp_path / "data")
    assert (odd.groups, len(odd.paths)) == ((), many)
    assert not any(odd.outliers.values())


def test_what_is_told_is_plain_and_of_bounded_length(data: Path) -> None:
    for n in range(30):
        picture = drawn.picture(1000 + n)
        put(data, {f"who-{k:02}/many-{n}.png": drawn.encoded(picture, compress_level=k) for k in range(2)})
        put(data, {f"who-02/blank-{n}.png": drawn.encoded(Image.new("L", (40 + n, 40), 90))})
    odd = found(data)
    told = {"near_duplicates": odd.near_duplicates(), "outliers": odd.outlying()}
    assert json.loads(json.dumps(told)) == told
    assert told["outliers"]["blank"]["images"] == 30
    assert len(told["outliers"]["blank"]["listed"]) == outliers.PATHS
    assert len(told["near_duplicates"]["listed"]) <= outliers.LISTED


def test_processes_find_what_one_finds(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(data.rglob("*.png"))
    alone = image_statistics.measure_images(files, 0, MAX)
    monkeypatch.setattr(parallel, "available", lambda: 2)
    together = image_statistics.measure_images(files, 10**9, MAX)
    for name in ("rows", "hashes", "pictures", "brightness", "contrast", "sharpness"):
        assert np.array_equal(getattr(alone, name), getattr(together, name)), name


def test_images_are_looked_at_as_a_person_sees_them(tmp_path: Path) -> None:
    """Turned by EXIF, transparent on white, or CMYK: the look is that of the plain picture."""
    picture = drawn.strokes(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    see_through = picture.convert("RGBA")
    see_through.putalpha(Image.fromarray(np.where(np.asarray(picture).min(axis=2) < 250, 255, 0).astype(np.uint8)))
    plain = drawn.encoded(Image.fromarray(np.where(np.asarray(picture) == 250, 255, np.asarray(picture))))
    put(tmp_path, {"plain.png": plain, "alpha.png": drawn.encoded(see_through)})
    file = BytesIO()
    turned.save(file, "JPEG", quality=95, exif=exif)
    put(
        tmp_path,
        {"turned.jpg": file.getvalue(), "cmyk.jpg": drawn.encoded(picture.convert("CMYK"), "JPEG", quality=95)},
    )
    made = {file.name: image_statistics.measure_image(file, MAX) for file in tmp_path.iterdir()}
    for name, look in made.items():
        assert look is not None, name
        assert np.abs(look.picture.astype(int) - made["plain.png"].picture).max() < 12, name
