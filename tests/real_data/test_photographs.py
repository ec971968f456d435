"""Real photographs, as they are and encoded otherwise, decode as Pillow decodes them.

Runs where SIAMESE_REAL_DATA names a folder with `orl_faces` (400 grey PNG) or `lfw-deepfunneled` (the 4,992 JPEG of its
View 1) in it, as the publishers lay them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from image_writers import RGB, bmp, bmp_rows, chunk, encoded, exif, on_white, png, with_exif
from odd_images import UPRIGHT, seen_by_pillow
from PIL import Image

from siamese.data import catalog
from siamese.data.images import formats
from siamese.data.images.formats import ImageInfo
from siamese.params import CatalogParams
from siamese.preprocessing import transform

MAX_PIXELS = 1_000_000
SAMPLE = 150
FOLDERS = {
    name: Path(os.environ.get("SIAMESE_REAL_DATA", "nowhere")) / name for name in ("orl_faces", "lfw-deepfunneled")
}
SUFFIXES = {"orl_faces": "png", "lfw-deepfunneled": "jpg"}


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder of either database."""
    folder = FOLDERS[request.param]
    if not folder.is_dir():
        pytest.skip(f"SIAMESE_REAL_DATA names no folder with {folder.name}")
    return folder


def photographs(folder: Path, count: int) -> list[Path]:
    """So many, of people all over the folder."""
    files = sorted(folder.glob(f"*/*.{SUFFIXES[folder.name]}"))
    return files[:: len(files) // count][:count]


def decoded(data: bytes) -> np.ndarray:
    """int [height, width, 3]: as the catalog takes the file and the pipeline decodes it."""
    pixels = transform._full_size(tf.constant(formats.canonical(data, MAX_PIXELS))).numpy()
    info = formats.check(data, MAX_PIXELS)
    assert (info.height, info.width, 3) == pixels.shape
    return pixels.astype(int)


def test_all_are_taken_and_people_lie_in_one_split(folder: Path) -> None:
    """Sizes and counts as published: 40 people of 10 images; 4,992 images."""
    people, count, info = {
        "orl_faces": (40, 400, ImageInfo(92, 112, "PNG")),
        "lfw-deepfunneled": (3095, 4992, ImageInfo(250, 250, "JPEG")),
    }[folder.name]
    found = catalog.collect(folder, MAX_PIXELS)
    assert set(found.rejected["path"]) <= {"README.original.txt"}
    assert (len(found.images), found.images["identity"].nunique()) == (count, people)
    assert set(zip(found.images["width"], found.images["height"], found.images["format"], strict=True)) == {
        (info.width, info.height, info.format)
    }
    split = catalog.with_splits(found, CatalogParams(splits="hash", train=0.7, test=0.2, validation=0.1, seed=0))
    assert (split.groupby("identity")["split"].nunique() == 1).all()


def test_as_they_are(folder: Path) -> None:
    """They pass as they are: PNG to the grey level, JPEG within one, which two builds of a decoder may round."""
    sample = photographs(folder, SAMPLE)
    assert len(sample) == SAMPLE
    for file in sample:
        data = file.read_bytes()
        assert formats.canonical(data, MAX_PIXELS) is data
        tolerance = 1 if file.suffix == ".jpg" else 0
        np.testing.assert_allclose(decoded(data), seen_by_pillow(data), rtol=0, atol=tolerance, err_msg=str(file))


def lossless(pixels: np.ndarray) -> Iterator[tuple[bytes, np.ndarray]]:
    """Files of a photograph, uint8 [height, width, 3], and what they show."""
    height, width, _ = pixels.shape
    image = Image.fromarray(pixels)
    yield encoded(image, "PNG", optimize=True), pixels
    yield png(pixels, 8, RGB, interlaced=True), pixels
    lower = np.random.default_rng(0).integers(256, size=pixels.shape)
    yield png(pixels.astype(int) << 8 | lower, 16, RGB), pixels
    for orientation, turn in UPRIGHT.items():
        yield png(pixels, 8, RGB, chunk(b"eXIf", exif(orientation))), turn(pixels)
    opacity = np.broadcast_to(np.arange(width) * 255 // width, (height, width)).astype(np.uint8)
    yield encoded(np.dstack([pixels, opacity]), "PNG"), on_white(pixels.astype(int), opacity[..., None].astype(int))
    few = image.quantize(64)
    yield encoded(few, "PNG"), np.asarray(few.convert("RGB"))
    yield encoded(few, "BMP"), np.asarray(few.convert("RGB"))
    yield encoded(image, "BMP"), pixels
    yield bmp((width, -height), 24, bmp_rows(pixels[::-1, :, ::-1], 24)), pixels


def lossy(pixels: np.ndarray) -> Iterator[tuple[bytes, int]]:
    """JPEG files of a photograph, and by how many levels decoders may differ: none where Pillow decodes for us."""
    image = Image.fromarray(pixels)
    for options in ({"quality": 30}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 2}):
        yield encoded(image, "JPEG", **options), 1
    yield encoded(image.convert("L"), "JPEG"), 1
    yield encoded(image.convert("CMYK"), "JPEG"), 0
    for orientation in range(1, 9):
        yield with_exif(encoded(image, "JPEG"), exif(orientation, "<")), int(orientation == 1)


def test_encoded_otherwise(folder: Path) -> None:
    """The same photograph in other formats shows the same; what Pillow shows, in any case."""
    for file in photographs(folder, 4):
        with Image.open(file) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        for data, shown in lossless(pixels):
            assert np.array_equal(decoded(data), shown)
            assert np.array_equal(seen_by_pillow(data), shown)
        for data, tolerance in lossy(pixels):
            np.testing.assert_allclose(decoded(data), seen_by_pillow(data), rtol=0, atol=tolerance)


def test_cmyk_shows_the_photograph(folder: Path) -> None:
    """Inks of 255 − level and no black, as a JPEG of full colour: 2 levels away on average, not inverted."""
    for file in photographs(folder, 4):
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        data = encoded(image.convert("CMYK"), "JPEG", quality=95)
        assert np.abs(decoded(data) - np.asarray(image)).mean() < 2
