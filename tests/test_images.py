"""Images: what passes as it is, what is converted and to which pixels, and what is rejected and why."""

from __future__ import annotations

import hashlib
import random
import re
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from siamese import images
from siamese.images import ImageInfo, Rejected
from siamese.images.bmp import Bmp

MAX = 1_000_000
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # PNG's colour types


def picture(width: int = 21, height: int = 13) -> Image.Image:
    """Smooth enough for JPEG, and different in each corner."""
    y, x = np.mgrid[:height, :width]
    channels = x * 200 // max(width - 1, 1), y * 200 // max(height - 1, 1), np.full_like(x, 90)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes, interlace: int = 0) -> bytes:
    """A PNG by hand; `rows` hold a filter byte each, `extra` chunks stand before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def png_without_code(code: bytes, *extra: bytes) -> bytes:
    """A 2 x 1 grey PNG around any compressed code."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, GREY, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *extra, chunk(b"IDAT", code), chunk(b"IEND", b"")])


def bmp(
    width: int, height: int, bits: int, rows: bytes, palette: bytes = b"", compression: int = 0, used: int = 0
) -> bytes:
    """A BMP by hand, with the usual 40-byte header; rows from the bottom, each filled up to 4 bytes."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, used, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


def exif(orientation: int, order: str = ">") -> bytes:
    """TIFF with one directory of two entries, the second of them Orientation."""
    mark = b"MM" if order == ">" else b"II"
    make = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\0")
    turned = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}HIH", 42, 8, 2) + make + turned + bytes(4)


def with_exif(jpeg: bytes, tiff: bytes) -> bytes:
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def pixels(data: bytes) -> list[list[list[int]]]:
    """The canonical bytes' pixels, after asserting that they are what TensorFlow decodes rightly."""
    image = Image.open(BytesIO(images.canonical(data, MAX)))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image).tolist()


def grey(*values: int) -> list[list[int]]:
    return [[value] * 3 for value in values]


PLAIN = {
    "JPEG": encoded(picture(), "JPEG"),
    "grey JPEG": encoded(picture().convert("L"), "JPEG"),
    "progressive JPEG": encoded(picture(), "JPEG", progressive=True),
    "JPEG of RGB without YCbCr": encoded(picture(), "JPEG", keep_rgb=True),
    "JPEG with restarts": encoded(picture(), "JPEG", restart_marker_rows=1),
    "upright JPEG": with_exif(encoded(picture(), "JPEG"), exif(1)),
    "JPEG with more behind it": encoded(picture(), "JPEG") + b"\xff\xd8 a second picture",
    "PNG": encoded(picture(), "PNG"),
    "grey PNG": encoded(picture().convert("L"), "PNG"),
    "PNG with a still acTL": png(1, 1, 8, RGB, bytes(4), chunk(b"acTL", struct.pack(">II", 1, 0))),
    "interlaced PNG": png(3, 2, 8, GREY, b"\0\1\0\3\0\2\0\4\5\6", interlace=1),
    "PNG with too many pixels": png(1, 1, 8, RGB, bytes(4 + 99)),
    "PNG of empty IDATs": png(1, 1, 8, RGB, bytes(4)).replace(
        chunk(b"IEND", b""), chunk(b"IDAT", b"") * 2 + chunk(b"IEND", b"")
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_tensorflow_decodes_rightly_passes_as_it_is(name: str) -> None:
    data = PLAIN[name]
    assert images.canonical(data, MAX) is data
    assert images.check(data, MAX) == images.describe(data)
    assert images.describe(data).format == ("PNG" if "PNG" in name else "JPEG")


def test_tells_size_and_format() -> None:
    for format in ("JPEG", "PNG", "BMP"):
        assert images.describe(encoded(picture(5, 3), format)) == ImageInfo(width=5, height=3, format=format)


def test_palette_becomes_its_colours() -> None:
    """Two pixels of 4 bits: colours 2 and 1."""
    palette = chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6, 7, 8, 9]))
    assert pixels(png(2, 1, 4, PALETTE, b"\0\x21", palette)) == [[[7, 8, 9], [4, 5, 6]]]


def test_transparent_palette_entries_lie_on_white() -> None:
    """Opacity 0, 51 and (not given) 255: white, a fifth of the colour and four of white, the colour."""
    palette = chunk(b"PLTE", bytes([0, 100, 255] * 3))
    made = pixels(png(3, 1, 8, PALETTE, b"\0\0\1\2", palette, chunk(b"tRNS", bytes([0, 51]))))
    assert made == [[[255, 255, 255], [204, 224, 255], [0, 100, 255]]]


@pytest.mark.parametrize(("depth", "bytes_of"), [(8, 1), (16, 2)])
def test_alpha_lies_on_white(depth: int, bytes_of: int) -> None:
    """A level v of opacity a shows v * a + 255 * (1 - a): 100 at 51/255 is 20 + 204."""

    def sample(*levels: int) -> bytes:
        return b"".join(bytes([level]) * bytes_of for level in levels)  # 0x6464 is to 65535 what 0x64 is to 255

    assert pixels(png(2, 1, depth, GREY_ALPHA, b"\0" + sample(100, 51, 100, 255))) == [grey(224, 100)]
    assert pixels(png(2, 1, depth, RGB_ALPHA, b"\0" + sample(0, 100, 255, 51, 9, 8, 7, 0))) == [
        [[204, 224, 255], [255, 255, 255]]
    ]


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "shown"),
    [
        (1, b"\x40", 1, [0, 255]),  # bits 0 and 1
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 2, [85, 255]),  # levels 1 and 2 of 3
        (4, b"\x17", 7, [17, 255]),  # levels 1 and 7 of 15
        (8, b"\x07\x08", 7, [255, 8]),
        (16, b"\x12\x34\x12\x35", 0x1234, [255, 0x12]),
    ],
)
def test_one_transparent_grey_becomes_white(depth: int, row: bytes, transparent: int, shown: list[int]) -> None:
    mark = chunk(b"tRNS", struct.pack(">H", transparent))
    assert pixels(png(2, 1, depth, GREY, b"\0" + row, mark)) == [grey(*shown)]


@pytest.mark.parametrize("depth", [8, 16])
def test_one_transparent_colour_becomes_white(depth: int) -> None:
    row = np.array([1, 2, 3, 1, 2, 4], ">u2" if depth == 16 else ">u1") * (257 if depth == 16 else 1)
    mark = chunk(b"tRNS", (np.array([1, 2, 3], ">u2") * (257 if depth == 16 else 1)).astype(">u2").tobytes())
    data = png(2, 1, depth, RGB, b"\0" + row.astype(">u2" if depth == 16 else ">u1").tobytes(), mark)
    assert pixels(data) == [[[255, 255, 255], [1, 2, 4]]]


@pytest.mark.parametrize(
    ("depth", "row", "shown"),
    [
        (1, b"\x40", [0, 255]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (4, b"\x0f\x71", [0, 255, 119, 17]),
        (16, b"\x00\xff\xff\xff\x80\x00", [0, 255, 128]),
    ],
)
def test_grey_of_other_depths_is_scaled_to_8_bits(depth: int, row: bytes, shown: list[int]) -> None:
    assert pixels(png(len(shown), 1, depth, GREY, b"\0" + row)) == [grey(*shown)]


def test_rgb_of_16_bits_is_scaled_as_grey_is() -> None:
    assert pixels(png(1, 1, 16, RGB, b"\0\x00\xff\xff\xff\x80\x00")) == [[[0, 255, 128]]]


def cmyk_jpeg(*stored: int) -> bytes:
    """One colour, stored as these four bytes: Pillow inverts what it is given, and marks the file as Adobe's."""
    inverted = tuple(255 - value for value in stored)
    return encoded(Image.new("CMYK", (8, 8), inverted), "JPEG", quality=100)


ADOBE = re.compile(rb"\xff\xee\x00\x0eAdobe.{7}", re.DOTALL)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        # red = (255 - cyan) * (255 - black) / 255, and so on; Adobe stores 255 - ink: inks 0, 55, 155 and 51
        (cmyk_jpeg(255, 200, 100, 204), [204, 160, 80]),
        # without Adobe's segment the inks themselves are stored
        (ADOBE.sub(b"", cmyk_jpeg(0, 55, 155, 51)), [204, 160, 80]),
        # YCCK: luminance 100 without colour is (100, 100, 100), which stands for inks 100 (inverted twice); black 55
        (ADOBE.sub(b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\2", cmyk_jpeg(100, 128, 128, 200)), [122, 122, 122]),
    ],
    ids=["Adobe", "not Adobe", "YCCK"],
)
def test_cmyk_becomes_rgb(data: bytes, shown: list[int]) -> None:
    assert images.check(data, MAX) == ImageInfo(8, 8, "JPEG")
    np.testing.assert_allclose(pixels(data), np.broadcast_to(shown, (8, 8, 3)), atol=2)


ABC = np.arange(1, 7).reshape(2, 3)  # two rows of three, all different


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [  # of [[1, 2, 3], [4, 5, 6]], by EXIF's words on where the stored first row and first column lie
        (2, [[3, 2, 1], [6, 5, 4]]),  # top, right
        (3, [[6, 5, 4], [3, 2, 1]]),  # bottom, right
        (4, [[4, 5, 6], [1, 2, 3]]),  # bottom, left
        (5, [[1, 4], [2, 5], [3, 6]]),  # left, top
        (6, [[4, 1], [5, 2], [6, 3]]),  # right, top
        (7, [[6, 3], [5, 2], [4, 1]]),  # right, bottom
        (8, [[3, 6], [2, 5], [1, 4]]),  # left, bottom
    ],
)
def test_turned_images_stand_upright(orientation: int, upright: list[list[int]], order: str) -> None:
    rows = b"".join(b"\0" + bytes(row) for row in ABC.tolist())
    data = png(3, 2, 8, GREY, rows, chunk(b"eXIf", exif(orientation, order)))
    assert images.describe(data) == ImageInfo(len(upright[0]), len(upright), "PNG")
    assert pixels(data) == [grey(*row) for row in upright]

    jpeg = with_exif(encoded(picture(21, 13), "JPEG", quality=95), exif(orientation, order))
    assert images.check(jpeg, MAX) == ImageInfo(*(21, 13) if orientation < 5 else (13, 21), format="JPEG")
    assert np.asarray(pixels(jpeg)).shape == ((13, 21, 3) if orientation < 5 else (21, 13, 3))


def test_orientation_counts_behind_the_pixels_too() -> None:
    data = png(3, 2, 8, GREY, b"\0\1\2\3\0\4\5\6")
    end = chunk(b"IEND", b"")
    turned = data.replace(end, chunk(b"eXIf", exif(6)) + end)
    assert pixels(turned) == [grey(4, 1), grey(5, 2), grey(6, 3)]


@pytest.mark.parametrize(
    "tiff", [b"", b"MM", b"MM\0*\xff\xff\xff\xff", exif(0), exif(9), exif(6)[:20], b"XX" + exif(6)[2:]]
)
def test_damaged_orientation_counts_as_none(tiff: bytes) -> None:
    data = with_exif(PLAIN["JPEG"], tiff)
    assert images.canonical(data, MAX) is data
    assert images.check(data, MAX) == ImageInfo(21, 13, "JPEG")


def four(*values: int) -> bytes:
    return bytes(values).ljust(-(-len(values) // 4) * 4, b"\0")


BLACK_WHITE = bytes([0, 0, 0, 0, 255, 255, 255, 0])
BLUE_RED = bytes([200, 0, 0, 0, 0, 0, 100, 0])  # BMP stores blue first
BMPS: dict[str, tuple[bytes, list[list[list[int]]]]] = {
    "1 bit": (bmp(2, 1, 1, four(0x40), BLACK_WHITE), [grey(0, 255)]),
    "1 bit, coloured": (bmp(2, 1, 1, four(0x40), BLUE_RED), [[[0, 0, 200], [100, 0, 0]]]),
    "4 bits": (bmp(3, 1, 4, four(0x10, 0x10), BLUE_RED + bytes(56)), [[[100, 0, 0], [0, 0, 200], [100, 0, 0]]]),
    "8 bits": (bmp(2, 1, 8, four(1, 0), BLUE_RED + bytes(1016)), [[[100, 0, 0], [0, 0, 200]]]),
    "8 bits, black and white alone": (bmp(3, 1, 8, four(1, 0, 1), BLACK_WHITE, used=2), [grey(255, 0, 255)]),
    "4 bits, black and white alone": (bmp(3, 1, 4, four(0x10, 0x10), BLACK_WHITE, used=2), [grey(255, 0, 255)]),
    "8 bits, grey": (bmp(2, 1, 8, four(7, 9), b"".join(bytes([n, n, n, 0]) for n in range(256))), [grey(7, 9)]),
    "8 bits, run lengths": (
        bmp(3, 2, 8, bytes([3, 1, 0, 0, 0, 3, 0, 1, 1, 0, 0, 1]), BLUE_RED, compression=1, used=2),
        [[[0, 0, 200], [100, 0, 0], [100, 0, 0]], [[100, 0, 0]] * 3],
    ),
    "16 bits, 5 a channel": (bmp(2, 1, 16, struct.pack("<HH", 0x7C00, 0x001F)), [[[255, 0, 0], [0, 0, 255]]]),
    "16 bits, 5, 6 and 5": (
        bmp(2, 1, 16, struct.pack("<HH", 0xF800, 0x07E0), struct.pack("<III", 0xF800, 0x7E0, 0x1F), compression=3),
        [[[255, 0, 0], [0, 255, 0]]],
    ),
    "24 bits, from the bottom": (bmp(1, 2, 24, four(1, 2, 3) + four(4, 5, 6)), [[[6, 5, 4]], [[3, 2, 1]]]),
    "24 bits, from the top": (bmp(1, -2, 24, four(1, 2, 3) + four(4, 5, 6)), [[[3, 2, 1]], [[6, 5, 4]]]),
    "32 bits, fourth unused": (bmp(1, 1, 32, bytes([1, 2, 3, 99])), [[[3, 2, 1]]]),
    "OS/2": (
        b"BM" + struct.pack("<IHHI", 30, 0, 0, 26) + struct.pack("<IHHHH", 12, 1, 1, 1, 24) + four(1, 2, 3),
        [[[3, 2, 1]]],
    ),
}


def bmp_with_alpha(*alphas: int) -> bytes:
    """One row of black pixels of these opacities; the 56-byte header that has a mask for alpha."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = b"".join(bytes([0, 0, 0, alpha]) for alpha in alphas)
    header = struct.pack("<IiiHHIIiiII", 56, len(alphas), 1, 1, 32, 3, len(rows), 0, 0, 0, 0) + masks
    return b"BM" + struct.pack("<IHHI", 70 + len(rows), 0, 0, 70) + header + rows


@pytest.mark.parametrize("name", BMPS)
def test_every_kind_of_bmp_becomes_png(name: str) -> None:
    data, shown = BMPS[name]
    assert images.check(data, MAX) == ImageInfo(len(shown[0]), len(shown), "BMP")
    assert pixels(data) == shown


def test_alpha_of_a_bmp_counts_unless_it_is_zero_everywhere() -> None:
    """Programs that don't know alpha leave it 0; the image would be all white."""
    assert pixels(bmp_with_alpha(255, 0)) == [grey(0, 255)]
    assert pixels(bmp_with_alpha(0, 0)) == [grey(0, 0)]


def test_canonical_of_canonical_is_itself() -> None:
    once = images.canonical(encoded(picture(), "BMP"), MAX)
    assert images.canonical(once, MAX) is once
    assert images.check(once, MAX) == ImageInfo(21, 13, "PNG")


def jpeg_frame(marker: int, depth: int = 8, width: int = 8, height: int = 8, components: int = 3) -> bytes:
    """A JPEG of nothing but a frame header and a scan header."""
    frame = struct.pack(">BHHB", depth, height, width, components) + b"\1\x11\0" * components
    return b"".join(
        [b"\xff\xd8\xff", bytes([marker]), struct.pack(">H", len(frame) + 2), frame, b"\xff\xda\0\4\0\0", b"\xff\xd9"]
    )


def corrupted(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def animation(format: str) -> bytes:
    frames = [picture(), picture().rotate(90)]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


REJECTED = {
    "empty file": b"",
    "not an image": b"a note",
    "not an image ": b"\xff\xd8",
    "is GIF, not JPEG, PNG or BMP": encoded(picture(), "GIF"),
    "is TIFF, not JPEG, PNG or BMP": encoded(picture(), "TIFF"),
    "is WEBP, not JPEG, PNG or BMP": encoded(picture(), "WEBP"),
    "is AVIF, not JPEG, PNG or BMP": b"\0\0\0\x20ftypavif",
    "is JPEG 2000, not JPEG, PNG or BMP": encoded(picture(), "JPEG2000"),
    "animated PNG: 2 frames": animation("PNG"),
    "unsupported JPEG: 12 bits a sample": jpeg_frame(0xC1, depth=12),
    "unsupported JPEG: lossless": jpeg_frame(0xC3),
    "unsupported JPEG: hierarchical": jpeg_frame(0xC5),
    "unsupported JPEG: arithmetic-coded": jpeg_frame(0xC9),
    "unsupported JPEG: 2 colour components": jpeg_frame(0xC0, components=2),
    "damaged JPEG: 8 x 0 pixels": jpeg_frame(0xC0, height=0),
    "damaged JPEG: no image data": PLAIN["JPEG"][:2] + b"\xff\xd9",
    # all pixels are there, which is enough for Pillow; a segment longer than the file follows instead of the end
    "truncated JPEG": PLAIN["JPEG"][:-2] + b"\xff\xe1\xff\0\xff\xd9",
    "damaged JPEG: a segment without content": PLAIN["JPEG"][:2] + b"\xff\xe0\0\0" + PLAIN["JPEG"][2:],
    "damaged PNG: wrong checksum in IDAT": corrupted(PLAIN["PNG"], len(PLAIN["PNG"]) - 14),
    "damaged PNG: unknown filter": png(2, 1, 8, GREY, b"\5ab"),
    "damaged PNG: unknown chunk 'CgBI'": png(1, 1, 8, GREY, b"\0a", chunk(b"CgBI", b"")),
    "damaged PNG: chunks out of order": png(1, 1, 8, GREY, b"\0a", chunk(b"IDAT", b""), chunk(b"tEXt", b"")),
    "damaged PNG: chunks out of order ": b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
    "damaged PNG: a chunk without a name": png(1, 1, 8, GREY, b"\0a", chunk(b"a\0b\0", b"")),
    "damaged PNG: palette of the wrong length": png(1, 1, 8, PALETTE, b"\0\0"),
    "damaged PNG: transparent colour of the wrong length": png(1, 1, 8, RGB, bytes(4), chunk(b"tRNS", b"\0\0")),
    "damaged PNG: unknown kind of pixels": png(1, 1, 3, GREY, b"\0a"),
    "damaged PNG: 0 x 1 pixels": png(0, 1, 8, GREY, b"\0"),
    "truncated PNG": png(2, 1, 8, GREY, b"\0a"),
    "truncated PNG ": png_without_code(zlib.compress(b"\0ab")[:-4]),
    "truncated BMP": BMPS["24 bits, from the top"][0][:-2],
    "too many pixels: 1001 x 1000 are more than data.max_pixels, 1000000": encoded(Image.new("1", (1001, 1000)), "PNG"),
}


@pytest.mark.parametrize("reason", REJECTED)
def test_what_cannot_be_taken_is_rejected_with_its_reason(reason: str) -> None:
    with pytest.raises(Rejected) as rejected:
        images.check(REJECTED[reason], MAX)
    assert str(rejected.value) == reason.strip()


@pytest.mark.parametrize(
    "data",
    [
        png(30_000, 30_000, 8, RGB, b""),
        jpeg_frame(0xC0, width=65_000, height=65_000),
        bmp(30_000, 30_000, 24, b""),
        bmp(30_000, -30_000, 8, b"", bytes(1024), compression=1),
    ],
    ids=["PNG", "JPEG", "BMP", "BMP of run lengths"],
)
def test_a_bomb_is_rejected_by_its_header(data: bytes) -> None:
    """Pillow would warn from 89 million pixels and raise its own error from 179 million."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in (images.check, images.canonical):
            with pytest.raises(Rejected, match=r"too many pixels: .* more than data\.max_pixels, 1000000"):
                look(data, MAX)


def test_the_limit_is_the_callers_not_pillows() -> None:
    """200 million black pixels of one bit are 25 MB; Pillow's own limit is 179 million."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = png(20_000, 10_000, 1, GREY, bytes(2501) * 10_000)
        assert images.check(data, 200_000_000) == ImageInfo(20_000, 10_000, "PNG")
        with pytest.raises(Rejected, match="too many pixels"):
            images.check(data, 199_999_999)


def test_longer_sides_than_tensorflow_reads_are_rejected() -> None:
    with pytest.raises(Rejected, match="too long: 1000001 x 1"):
        images.check(png(1_000_001, 1, 1, GREY, bytes(125_002)), 10**9)


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "grey JPEG", "PNG", "interlaced PNG", "BMP"])
def test_a_file_cut_anywhere_is_rejected(name: str) -> None:
    """Also one byte before its end, where every pixel is there and some readers are content (JPEG, PNG)."""
    data = encoded(picture(20, 13), "BMP") if name == "BMP" else PLAIN[name]
    for length in {*range(0, len(data), max(len(data) // 200, 1)), *range(len(data) - 20, len(data))}:
        with pytest.raises(Rejected, match=r"truncated|not an image|empty file|damaged"):
            images.check(data[:length], MAX)


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


def every_kind() -> list[bytes]:
    modes = [picture().convert(mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    odd = [encoded(image, "PNG") for image in modes] + [cmyk_jpeg(1, 2, 3, 4), bmp_with_alpha(1, 2)]
    turned = [with_exif(PLAIN["JPEG"], exif(6)), png(1, 1, 8, GREY, b"\0a", chunk(b"eXIf", exif(5)))]
    return [*PLAIN.values(), *(data for data, _ in BMPS.values()), *odd, *turned, animation("PNG")]


def test_damage_is_rejected_or_harmless_and_never_a_crash() -> None:
    """What `check` accepts, `canonical` converts, to an image of the size that was told; nothing warns."""
    rng = random.Random(0)
    kinds = every_kind()
    accepted = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6000):
            data = damaged(rng.choice(kinds), rng)
            try:
                info = images.check(data, MAX)
            except Rejected as reason:
                assert len(str(reason).splitlines()) == 1
                continue
            accepted += 1
            told = images.describe(images.canonical(data, MAX))
            assert (told.width, told.height) == (info.width, info.height)
            assert images.describe(data) == info
    assert accepted > 300  # otherwise this tests nothing


def test_metadata_that_makes_pillow_warn_or_refuse_does_no_harm() -> None:
    """EXIF cut short, a text of 100 MB in 100 kB, an animation header of no frames."""
    bomb = b"note\0\0" + zlib.compress(bytes(100_000_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (
            with_exif(re.sub(rb"\xff\xe0\0\x10JFIF.{10}", b"", PLAIN["JPEG"], flags=re.DOTALL), exif(1)[:30]),
            png(1, 1, 8, RGB, bytes(4), chunk(b"zTXt", bomb)),
            png(1, 1, 8, RGB, bytes(4), chunk(b"acTL", bytes(8))),
        ):
            assert images.check(data, MAX)
            assert images.canonical(data, MAX) is data
        for odd in (chunk(b"zTXt", bomb), chunk(b"zTXt", b"note\0\1"), chunk(b"acTL", bytes(8)), chunk(b"fcTL", b"")):
            assert pixels(png(1, 1, 1, GREY, b"\0\xff", odd)) == [grey(255)]


def test_threads_do_not_disturb_each_other() -> None:
    kinds = [data for data in every_kind() if data != animation("PNG")] * 4
    alone = [images.canonical(data, MAX) for data in kinds]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda data: images.canonical(data, MAX), kinds)) == alone


def test_pillows_globals_are_left_alone() -> None:
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_examines_a_file(tmp_path: Path) -> None:
    data = encoded(picture(5, 3), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    examined = images.examine(tmp_path / "a.bmp", MAX)
    assert examined == images.FileInfo(hashlib.sha256(data).hexdigest(), len(data), ImageInfo(5, 3, "BMP"))


def test_a_file_that_cannot_be_read_is_a_reason_not_an_error(tmp_path: Path) -> None:
    assert str(images.examine(tmp_path / "gone.png", MAX)) == "can't be read: No such file or directory"
    assert str(images.examine(tmp_path, MAX)) == "can't be read: Is a directory"
    (tmp_path / "text.png").write_text("a note")
    assert str(images.examine(tmp_path / "text.png", MAX)) == "not an image"


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte, which no memory holds."""
    with (tmp_path / "film.png").open("wb") as file:
        file.truncate(10**12)
    assert str(images.examine(tmp_path / "film.png", MAX)).startswith("too large: 1000000000000 bytes")


def test_too_little_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Bmp, "pixels", full)
    with pytest.raises(Rejected, match="too large for this machine's memory"):
        images.canonical(encoded(picture(), "BMP"), MAX)


def test_a_file_larger_than_memory_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> bytes:
        raise MemoryError

    (tmp_path / "a.png").write_bytes(PLAIN["PNG"])
    monkeypatch.setattr(Path, "read_bytes", full)
    assert str(images.examine(tmp_path / "a.png", MAX)).startswith("too large for this machine's memory")


def test_needs_neither_tensorflow_nor_pandas() -> None:
    """A pool's processes import this module, each anew."""
    code = (
        "import sys, siamese.images; sys.exit(any(name in sys.modules for name in ('tensorflow', 'pandas', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tensorflow_decodes_what_is_canonical_as_pillow_does() -> None:
    """Within one grey level, whichever of its decoders is asked, with the exact inverse cosine transform for JPEG."""
    import tensorflow as tf

    def as_jpeg(data: bytes) -> np.ndarray:
        return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()

    def as_any(data: bytes) -> np.ndarray:
        return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()

    readers: list[Callable[[bytes], np.ndarray]] = [as_jpeg, as_any]
    for data in every_kind():
        if data == animation("PNG"):
            continue
        canonical = images.canonical(data, MAX)
        shown = np.asarray(Image.open(BytesIO(canonical)).convert("RGB")).astype(int)
        for reader in readers if canonical.startswith(b"\x89PNG") else readers[:1]:
            np.testing.assert_allclose(reader(canonical), shown, atol=1)


def test_tensorflow_decodes_whatever_check_accepts() -> None:
    """Damage that `check` misses would end a run of hours: files damaged at random, as above."""
    import tensorflow as tf

    rng = random.Random(1)
    kinds = every_kind()
    decoded = 0
    for _ in range(3000):
        data = damaged(rng.choice(kinds), rng)
        try:
            info = images.check(data, MAX)
        except Rejected:
            continue
        made = tf.io.decode_image(images.canonical(data, MAX), channels=3, expand_animations=False)
        assert made.shape == (info.height, info.width, 3)
        decoded += 1
    assert decoded > 100
