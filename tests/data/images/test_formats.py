"""Image files one by one: what is rejected and why, damage, limits, and what Pillow must not do meanwhile.

What every kind of image becomes: test_odd_images.py.
"""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from image_writers import (
    GREY,
    RGB,
    animation,
    chunk,
    compressed_text,
    encoded,
    exif,
    international_text,
    noise,
    png,
    png_around,
    raw_profile,
    scans,
    segment,
    smooth,
    with_exif,
    xmp,
)
from odd_images import CORPUS, MAX_PIXELS, REJECTED
from PIL import Image, ImageFile, ImageOps

from siamese.data.images import formats
from siamese.data.images.bmp import Bmp
from siamese.data.images.formats import ImageInfo, Rejected

JPEG, PNG, BMP = (CORPUS[path].data for path in ("jpeg/4:2:0.jpg", "png/8 bits.png", "bmp/24 bits.bmp"))
KINDS = [odd.data for path, odd in CORPUS.items() if not path.startswith("sizes/")]


@pytest.mark.parametrize(
    "tiff", [b"", b"MM", b"MM\0*\xff\xff\xff\xff", exif(0), exif(9), exif(6)[:20], b"XX" + exif(6)[2:]]
)
def test_damaged_orientation_counts_as_none(tiff: bytes) -> None:
    data = with_exif(JPEG, tiff)
    assert formats.canonical(data, MAX_PIXELS) is data
    assert formats.check(data, MAX_PIXELS) == formats.describe(JPEG)


XMP, XMP_SEGMENT, PROFILE = b"XML:com.adobe.xmp", b"http://ns.adobe.com/xap/1.0/\0", b"Raw profile type exif"
IN_PNG = {  # chunks before the pixels
    "EXIF": lambda number: chunk(b"eXIf", exif(number)),
    "EXIF with a prefix": lambda number: chunk(b"eXIf", b"Exif\0\0" + exif(number, "<")),
    "EXIF with two prefixes": lambda number: chunk(b"eXIf", b"Exif\0\0" * 2 + exif(number)),
    "EXIF in text": lambda number: chunk(b"tEXt", b"exif\0Exif\0\0" + exif(number)),
    "EXIF twice, the last counts": lambda number: chunk(b"eXIf", exif(3)) + chunk(b"eXIf", exif(number)),
    "raw profile": lambda number: chunk(b"tEXt", PROFILE + b"\0" + raw_profile(b"Exif\0\0" + exif(number))),
    "raw profile, compressed": lambda number: compressed_text(PROFILE, raw_profile(b"Exif\0\0" + exif(number))),
    "raw profile, international": lambda number: international_text(PROFILE, raw_profile(exif(number, "<"))),
    "XMP": lambda number: international_text(XMP, xmp(number)),
    "XMP, an element": lambda number: international_text(XMP, xmp(number, as_element=True)),
    "XMP, compressed": lambda number: international_text(XMP, xmp(number), compressed=True),
    "XMP in plain text": lambda number: chunk(b"tEXt", XMP + b"\0" + xmp(number)),
    "XMP in compressed text": lambda number: compressed_text(XMP, xmp(number)),
    "EXIF before XMP": lambda number: international_text(XMP, xmp(3)) + chunk(b"eXIf", exif(number)),
    "EXIF before a raw profile": lambda number: (
        compressed_text(PROFILE, raw_profile(exif(3))) + chunk(b"eXIf", exif(number))
    ),
    "XMP, for EXIF has none": lambda number: international_text(XMP, xmp(number)) + chunk(b"eXIf", other_tag()),
    "a raw profile before XMP": lambda number: (
        international_text(XMP, xmp(3)) + compressed_text(PROFILE, raw_profile(exif(number)))
    ),
}
IN_JPEG = {  # application segments
    "EXIF": lambda number: segment(0xE1, b"Exif\0\0" + exif(number)),
    "EXIF with two prefixes": lambda number: segment(0xE1, b"Exif\0\0" * 2 + exif(number)),
    "EXIF in two segments": lambda number: (
        segment(0xE1, b"Exif\0\0" + exif(number, "<")[:20]) + segment(0xE1, b"Exif\0\0" + exif(number, "<")[20:])
    ),
    "EXIF twice, the first counts": lambda number: (
        segment(0xE1, b"Exif\0\0" + exif(number)) + segment(0xE1, b"Exif\0\0" + exif(3))
    ),
    "EXIF of 32 bits": lambda number: segment(0xE1, b"Exif\0\0" + of_32_bits(exif(number))),
    "XMP": lambda number: segment(0xE1, XMP_SEGMENT + xmp(number)),
    "XMP, an element": lambda number: segment(0xE1, XMP_SEGMENT + xmp(number, as_element=True)),
    "EXIF before XMP": lambda number: segment(0xE1, XMP_SEGMENT + xmp(3)) + segment(0xE1, b"Exif\0\0" + exif(number)),
    "XMP, for EXIF has none": lambda number: (
        segment(0xE1, XMP_SEGMENT + xmp(number)) + segment(0xE1, b"Exif\0\0" + other_tag())
    ),
}


def other_tag() -> bytes:
    """EXIF with the tag 0x0113 in the place of Orientation."""
    return exif(3).replace(b"\1\x12", b"\1\x13")


def of_32_bits(big_endian: bytes) -> bytes:
    """EXIF whose orientation has the type LONG."""
    at = big_endian.index(b"\1\x12\0\3")
    return (
        big_endian[: at + 3] + b"\4" + big_endian[at + 4 : at + 8] + b"\0\0" + big_endian[at + 8 : at + 10] + bytes(4)
    )


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("place", [*(f"PNG, {name}" for name in IN_PNG), *(f"JPEG, {name}" for name in IN_JPEG)])
def test_is_turned_as_pillow_turns_it_wherever_the_orientation_is_stored(place: str, number: int) -> None:
    """0 and 9 are no orientations; EXIF that says so still counts before XMP."""
    format, _, name = place.partition(", ")
    if format == "PNG":
        data = png(noise(), 8, RGB, IN_PNG[name](number))
    else:
        data = JPEG[:2] + IN_JPEG[name](number) + JPEG[2:]
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of EXIF in two segments
        upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    made = formats.canonical(data, MAX_PIXELS)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(made))), upright)
    assert (made is data) == (number not in range(2, 9))
    height, width, _ = upright.shape
    assert formats.check(data, MAX_PIXELS) == ImageInfo(width, height, format)


@pytest.mark.parametrize(
    "extra",
    [
        compressed_text(b"Raw profile type exif", raw_profile(exif(6)) + bytes(20_000_000)),
        international_text(b"XML:com.adobe.xmp", xmp(6) + bytes(20_000_000), compressed=True),
    ],
    ids=["raw profile", "XMP"],
)
def test_metadata_of_20_mb_in_20_kb_is_left_alone(extra: bytes) -> None:
    """Pillow refuses to open such a file; the picture needs none of it."""
    data = png(noise(), 8, RGB, extra)
    tracemalloc.start()
    try:
        assert formats.canonical(data, MAX_PIXELS) is data
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"Raw profile type exif"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nno digits\n"),
        chunk(b"zTXt", b"Raw profile type exif\0"),
        chunk(b"zTXt", b"Raw profile type exif\0\1" + zlib.compress(raw_profile(exif(6)))),
        chunk(b"zTXt", b"Raw profile type exif\0\0no code"),
        chunk(b"iTXt", b"XML:com.adobe.xmp"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\1\0\0" + zlib.compress(xmp(6))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no code"),
        chunk(b"eXIf", b"Exif\0\0"),
    ],
)
def test_damaged_metadata_does_no_harm(extra: bytes) -> None:
    data = png(noise(), 8, RGB, extra)
    assert formats.canonical(data, MAX_PIXELS) is data


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_taken_is_rejected_with_its_reason(name: str) -> None:
    """Pillow would warn of a bomb from 89 million pixels, and raise its own error from 179 million."""
    data, reason = REJECTED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in (formats.check, formats.canonical) if "pixels: " in reason else (formats.check,):
            with pytest.raises(Rejected, match=f"^{re.escape(reason)}$"):
                look(data, MAX_PIXELS)


def test_the_limit_is_the_callers_not_pillows() -> None:
    """200 million black pixels of one bit are 25 MB; Pillow's own limit is 179 million."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = png_around((20_000, 10_000, 1, GREY, 0), zlib.compress(bytes(2501) * 10_000))
        assert formats.check(data, 200_000_000) == ImageInfo(20_000, 10_000, "PNG")
        with pytest.raises(Rejected, match="too many pixels"):
            formats.check(data, 199_999_999)


def test_longer_sides_than_tensorflow_reads_are_rejected() -> None:
    with pytest.raises(Rejected, match="too long: 1000001 x 1"):
        formats.check(png_around((1_000_001, 1, 1, GREY, 0), zlib.compress(bytes(125_002))), 10**9)


@pytest.mark.parametrize(
    ("path", "spare"),
    [
        *((f"jpeg/{name}.jpg", 0) for name in ("4:2:0", "progressive", "grey", "with restarts")),
        *((f"png/{name}.png", 0) for name in ("8 bits", "8 bits, interlaced", "grey of 1 bits")),
        ("bmp/24 bits.bmp", 1),  # which fills the last row of 87 bytes
        ("bmp/8 bits.bmp", 3),  # of 29 bytes
        ("run lengths/8 bits.bmp", 5),  # one fills what stands before the end of the row and the end of the image
    ],
)
def test_a_file_cut_anywhere_is_rejected(path: str, spare: int) -> None:
    """Of JPEG and PNG also one byte before its end, where every pixel is there and some readers are content."""
    data = CORPUS[path].data
    end = len(data) - spare
    for length in {*range(0, end, max(end // 200, 1)), *range(end - 20, end)}:
        with pytest.raises(Rejected, match=r"truncated|not an image|empty file|damaged"):
            formats.check(data[:length], MAX_PIXELS)
    if spare:
        assert formats.canonical(data[:end], MAX_PIXELS) == formats.canonical(data, MAX_PIXELS)


@pytest.mark.parametrize(
    "name", ["4:2:0", "4:4:4, noise", "grey", "a scan per colour", "progressive", "grey, progressive", "with restarts"]
)
def test_a_jpeg_cut_anywhere_is_rejected_with_an_end_marker_too(name: str) -> None:
    """Decoders fill the rest with grey. The last two blocks of 8 x 8 pixels may lack unnoticed."""
    data = CORPUS[f"jpeg/{name}.jpg"].data
    start, end = scans(data)[0][0] + 20, scans(data)[-1][1] - (200 if "noise" in name else 40)
    for length in range(start, end, max((end - start) // 200, 1)):
        with pytest.raises(Rejected, match=r"^(damaged|truncated) JPEG"):
            formats.check(data[:length] + b"\xff\xd9", MAX_PIXELS)


def test_whole_jpegs_of_any_size_and_kind_are_taken() -> None:
    """Random pictures: flat, smooth and noisy, and everything that Pillow can write."""
    rng = random.Random(2)
    for _ in range(500):
        width, height = rng.randrange(1, 150), rng.randrange(1, 150)
        level, step = rng.randrange(256), rng.choice([0, 0, 1, 7, 100])
        picture = np.resize(noise(seed=level) * step // 100 + level, (height, width, 3)) % 256
        colours = rng.choice([("RGB", {"subsampling": rng.randrange(3)}), ("L", {}), ("CMYK", {})])
        image = Image.fromarray(picture.astype(np.uint8)).convert(colours[0])
        options = {"quality": rng.choice([1, 20, 75, 95, 100]), "progressive": rng.random() < 0.4} | colours[1]
        if rng.random() < 0.3:
            options["restart_marker_blocks"] = rng.choice([1, 2, 9])
        if not options["progressive"]:
            options["optimize"] = rng.random() < 0.5
        data = encoded(image, "JPEG", **options)
        assert formats.check(data, MAX_PIXELS) == ImageInfo(width, height, "JPEG"), options


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, taken out or put in; half of the PNGs get checksums that agree with the damage."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.randrange(min(len(changed), rng.choice([60, 10**6])))
        changed[at : at + rng.choice([0, 1, 1, 1, 5])] = rng.randbytes(rng.choice([0, 1, 1, 1, 5]))
        if not changed:
            break
    return mended(bytes(changed)) if data.startswith(b"\x89PNG") and rng.random() < 0.5 else bytes(changed)


def mended(data: bytes) -> bytes:
    made, at = data[:8], 8
    while at + 12 <= len(data) and at + 12 + int.from_bytes(data[at : at + 4]) <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        made += chunk(data[at + 4 : at + 8], data[at + 8 : end])
        at = end + 4
    return made + data[at:]


def test_damage_is_rejected_or_harmless_and_never_a_crash() -> None:
    """What `check` accepts, `canonical` converts, to an image of the size that was told; nothing warns."""
    rng = random.Random(0)
    accepted = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6000):
            data = damaged(rng.choice([*KINDS, animation("PNG")] if rng.random() < 0.01 else KINDS), rng)
            try:
                info = formats.check(data, MAX_PIXELS)
            except Rejected as reason:
                assert len(str(reason).splitlines()) == 1
                continue
            accepted += 1
            told = formats.describe(formats.canonical(data, MAX_PIXELS))
            assert (told.width, told.height) == (info.width, info.height)
            assert formats.describe(data) == info
    assert accepted > 300  # otherwise this tests nothing


def test_tensorflow_decodes_whatever_check_accepts() -> None:
    """Damage that `check` misses would end a run of hours: files damaged at random, as above."""
    import tensorflow as tf

    rng = random.Random(1)
    decoded = 0
    for _ in range(3000):
        data = damaged(rng.choice(KINDS), rng)
        try:
            info = formats.check(data, MAX_PIXELS)
        except Rejected:
            continue
        made = tf.io.decode_image(formats.canonical(data, MAX_PIXELS), channels=3, expand_animations=False)
        assert made.shape == (info.height, info.width, 3)
        decoded += 1
    assert decoded > 100


def test_metadata_that_makes_pillow_warn_or_refuse_does_no_harm() -> None:
    """EXIF cut short, a text of 100 MB in 100 kB, an animation header of no frames."""
    bomb = b"note\0\0" + zlib.compress(bytes(100_000_000))
    white = np.ones((1, 1, 1), int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (
            with_exif(re.sub(rb"\xff\xe0\0\x10JFIF.{10}", b"", JPEG, flags=re.DOTALL), exif(1)[:30]),
            png(white.repeat(3, axis=2), 8, RGB, chunk(b"zTXt", bomb)),
            png(white.repeat(3, axis=2), 8, RGB, chunk(b"acTL", bytes(8))),
        ):
            assert formats.check(data, MAX_PIXELS)
            assert formats.canonical(data, MAX_PIXELS) is data
        for odd in (chunk(b"zTXt", bomb), chunk(b"zTXt", b"note\0\1"), chunk(b"acTL", bytes(8)), chunk(b"fcTL", b"")):
            shown = Image.open(BytesIO(formats.canonical(png(white, 1, GREY, odd), MAX_PIXELS)))
            assert shown.getpixel((0, 0)) == (255, 255, 255)


def test_threads_do_not_disturb_each_other() -> None:
    kinds = KINDS * 4
    alone = [formats.canonical(data, MAX_PIXELS) for data in kinds]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda data: formats.canonical(data, MAX_PIXELS), kinds)) == alone


def test_pillows_globals_are_left_alone() -> None:
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_examines_a_file(tmp_path: Path) -> None:
    data = encoded(smooth(5, 3), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    examined = formats.examine(tmp_path / "a.bmp", MAX_PIXELS)
    assert examined == formats.FileInfo(hashlib.sha256(data).hexdigest(), len(data), ImageInfo(5, 3, "BMP"))


def test_a_file_that_cannot_be_read_is_a_reason_not_an_error(tmp_path: Path) -> None:
    assert str(formats.examine(tmp_path / "gone.png", MAX_PIXELS)) == "can't be read: No such file or directory"
    assert str(formats.examine(tmp_path, MAX_PIXELS)) == "can't be read: Is a directory"
    (tmp_path / "text.png").write_text("a note")
    assert str(formats.examine(tmp_path / "text.png", MAX_PIXELS)) == "not an image"


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte, which no memory holds."""
    with (tmp_path / "film.png").open("wb") as file:
        file.truncate(10**12)
    assert str(formats.examine(tmp_path / "film.png", MAX_PIXELS)).startswith("too large: 1000000000000 bytes")


def test_too_little_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Bmp, "pixels", full)
    with pytest.raises(Rejected, match="too large for this machine's memory"):
        formats.canonical(BMP, MAX_PIXELS)


def test_a_file_larger_than_memory_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> bytes:
        raise MemoryError

    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(Path, "read_bytes", full)
    assert str(formats.examine(tmp_path / "a.png", MAX_PIXELS)).startswith("too large for this machine's memory")


def test_needs_neither_tensorflow_nor_pandas() -> None:
    """A pool's processes import this module, each anew."""
    heavy = "('tensorflow', 'pandas', 'keras')"
    code = f"import sys, siamese.data.images.formats; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
