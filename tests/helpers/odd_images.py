"""Image files of every odd kind, each with the picture that it shows, or with the reason why it isn't taken.

A path's first folder stands for an identity, so that the whole corpus is a data folder too.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from image_writers import (
    GREY,
    GREY_ALPHA,
    HEIGHT,
    PALETTE,
    RGB,
    RGB_ALPHA,
    WIDTH,
    a_scan_per_colour,
    animation,
    bmp,
    bmp_palette,
    bmp_rows,
    chunk,
    encoded,
    exif,
    jpeg_frame,
    little_endian,
    noise,
    on_white,
    os2_bmp,
    packed,
    png,
    png_around,
    resampled,
    run_lengths,
    scans,
    segment,
    smooth,
    three,
    with_exif,
    with_segment,
)
from PIL import Image, ImageOps

SIZE = WIDTH, HEIGHT
MAX_PIXELS = 1_000_000  # allowed; the reasons name it
UPRIGHT = {  # EXIF 2.3: what turns the stored picture upright, as steps of rows and columns
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@dataclass(frozen=True)
class Odd:
    """A file's bytes, and what a person sees.

    Attributes:
        data: the bytes.
        shows: uint8 [height, width, 3], upright, known from how the file was made; None where only a decoder can tell.
        within: grey levels by which a decoded file may differ from that; 0 unless JPEG.
        plain: whether TensorFlow decodes the bytes rightly as they are.
    """

    data: bytes
    shows: np.ndarray | None
    within: int = 0
    plain: bool = False


def exact(data: bytes, shows: np.ndarray, plain: bool = False) -> Odd:
    return Odd(data, shows.astype(np.uint8), plain=plain)


def lossy(data: bytes, shows: np.ndarray | None, plain: bool = True) -> Odd:
    """A smooth picture's JPEG, colours at half the resolution, is some 6 levels away."""
    return Odd(data, shows, 10, plain)


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    return encoded(pixels, "JPEG", **{"quality": 95} | options)


def _png() -> Iterator[tuple[str, Odd]]:
    colour, grey = noise(), noise(channels=1)
    yield "8 bits", exact(png(colour, 8, RGB), colour, plain=True)
    yield "8 bits, interlaced", exact(png(colour, 8, RGB, interlaced=True), colour, plain=True)
    yield "grey", exact(png(grey, 8, GREY), three(grey), plain=True)
    yield "grey, interlaced", exact(png(grey, 8, GREY, interlaced=True), three(grey), plain=True)
    yield "by Pillow", exact(encoded(smooth(blue=1), "PNG"), smooth(blue=1), plain=True)
    notes = chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"bKGD", bytes(6)), chunk(b"tEXt", b"Title\0x")
    yield "with gamma and background", exact(png(colour, 8, RGB, *notes), colour, plain=True)
    still = chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"fcTL", struct.pack(">5I2H2B", 0, *SIZE, *[0] * 6))
    yield "animation of one frame", exact(png(grey, 8, GREY, *still), three(grey), plain=True)
    header, rows = (*SIZE, 8, RGB, 0), b"".join(b"\0" + row for row in packed(colour, 8))
    yield "more code than pixels", exact(png_around(header, zlib.compress(rows + b"more")), colour, plain=True)
    code = zlib.compress(rows)
    parts = png_around(header, code[500:], chunk(b"IDAT", code[:500]), chunk(b"IDAT", b""))
    yield "code in parts", exact(parts, colour, plain=True)
    for interlaced in (False, True):
        name = ", interlaced" * interlaced
        for depth in (1, 2, 4):
            levels = noise(2**depth, 1)
            shown = three(levels * 255 // (2**depth - 1))
            yield f"grey of {depth} bits{name}", exact(png(levels, depth, GREY, interlaced=interlaced), shown)
        deep, deep_grey = noise(2**16), noise(2**16, 1)
        yield f"16 bits{name}", exact(png(deep, 16, RGB, interlaced=interlaced), deep >> 8)
        yield f"grey of 16 bits{name}", exact(png(deep_grey, 16, GREY, interlaced=interlaced), three(deep_grey >> 8))


def _palette() -> Iterator[tuple[str, Odd]]:
    for depth in (1, 2, 4, 8):
        colours = np.random.default_rng(depth).integers(256, size=(2**depth, 3))
        table = chunk(b"PLTE", colours.astype(np.uint8).tobytes())
        indices = noise(2**depth, 1)
        yield f"{depth} bits", exact(png(indices, depth, PALETTE, table), colours[indices[..., 0]])
        opacity = np.append(np.arange(2**depth - 1) * 255 // 2**depth, 255)
        clear = chunk(b"tRNS", opacity[:-1].astype(np.uint8).tobytes())  # a colour that it doesn't reach is opaque
        shown = on_white(colours[indices[..., 0]], opacity[indices])
        yield f"{depth} bits, transparent", exact(png(indices, depth, PALETTE, table, clear), shown)
    few = noise(3, 1)
    table = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    shown = 255 * np.eye(3, dtype=int)[few[..., 0]]
    yield "3 colours of 256, interlaced", exact(png(few, 8, PALETTE, table, interlaced=True), shown)


def _alpha() -> Iterator[tuple[str, Odd]]:
    for depth in (8, 16):
        for name, kind, channels in (("grey", GREY_ALPHA, 2), ("colour", RGB_ALPHA, 4)):
            samples = noise(2**depth, channels)
            samples[:4, :, -1], samples[4:8, :, -1] = 0, 2**depth - 1
            upper = samples >> depth - 8
            shown = on_white(upper[..., :-1], upper[..., -1:])
            yield f"{name} of {depth} bits", exact(png(samples, depth, kind), shown)
    samples = noise(256, 4)
    shown = on_white(samples[..., :3], samples[..., 3:])
    yield "interlaced", exact(png(samples, 8, RGB_ALPHA, interlaced=True), shown)
    for depth in (1, 2, 4, 8, 16):
        levels = 2**depth - 1 - noise(min(2**depth, 300), 1)  # of 16 bits 300 levels: many alike in the upper 8
        clear = levels[3, 5, 0]
        scaled = levels >> 8 if depth == 16 else levels * 255 // (2**depth - 1)
        data = png(levels, depth, GREY, chunk(b"tRNS", struct.pack(">H", clear)))
        yield f"one grey of {depth} bits", exact(data, on_white(scaled, np.where(levels == clear, 0, 255)))
    for depth in (8, 16):
        samples = noise(2**depth)
        clear = samples[0, 0].copy()
        samples[:5, :3] = clear
        samples[5, :3] = clear ^ 1  # of 16 bits: alike in the upper 8, and not transparent
        opaque = (samples != clear).any(axis=2, keepdims=True)
        data = png(samples, depth, RGB, chunk(b"tRNS", clear.astype(">u2").tobytes()))
        yield f"one colour of {depth} bits", exact(data, on_white(samples >> depth - 8, 255 * opaque))


def _turned_png() -> Iterator[tuple[str, Odd]]:
    for orientation, turn in UPRIGHT.items():
        levels = noise(256, 1, seed=orientation)
        data = png(levels, 8, GREY, chunk(b"eXIf", exif(orientation, "<>"[orientation % 2])))
        yield str(orientation), exact(data, turn(three(levels)), plain=orientation == 1)
    levels, end = noise(256, 1), chunk(b"IEND", b"")
    data = png(levels, 8, GREY).replace(end, chunk(b"eXIf", exif(7)) + end)
    yield "told behind the pixels", exact(data, UPRIGHT[7](three(levels)))
    levels = noise(2**16, 4)
    shown = UPRIGHT[6](on_white(levels[..., :3] >> 8, levels[..., 3:] >> 8))
    yield "16 bits, alpha", exact(png(levels, 16, RGB_ALPHA, chunk(b"eXIf", exif(6))), shown)


def _turned_jpeg() -> Iterator[tuple[str, Odd]]:
    for orientation, turn in UPRIGHT.items():
        picture = smooth(blue=100 + orientation)
        data = with_exif(jpeg(picture), exif(orientation, "><"[orientation % 2]))
        yield str(orientation), lossy(data, turn(picture), plain=orientation == 1)
    grey = smooth()[..., :1]
    data = with_exif(jpeg(grey[..., 0], progressive=True), exif(5))
    yield "grey, progressive", lossy(data, UPRIGHT[5](three(grey)), plain=False)


def _jpeg() -> Iterator[tuple[str, Odd]]:
    picture, grey = smooth(), smooth()[..., :1]
    for number, sampling in enumerate(("4:4:4", "4:2:2", "4:2:0")):
        yield sampling, lossy(jpeg(picture, subsampling=number), picture)
        yield f"{sampling}, noise", lossy(jpeg(noise(seed=number), subsampling=number), None)
    blocks = jpeg(np.resize(noise(), (112, 112, 3)), subsampling=2)  # 7 x 7 blocks of 16 x 16 pixels
    yield "4:1:1", lossy(resampled(blocks, (223, 55), 0x41), None)  # 7 x 7 of 32 x 8
    blocks = jpeg(np.resize(noise(), (96, 96, 3)), subsampling=1)  # 6 x 12 blocks of 16 x 8
    yield "4:4:0", lossy(resampled(blocks, (95, 95), 0x12), None)  # 12 x 6 of 8 x 16
    yield "of quality 1", lossy(jpeg(picture, quality=1), None)
    yield "grey", lossy(jpeg(grey[..., 0]), three(grey))
    yield "progressive", lossy(jpeg(picture, progressive=True), picture)
    yield "grey, progressive", lossy(jpeg(grey[..., 0], progressive=True), three(grey))
    yield "of RGB", lossy(jpeg(picture, keep_rgb=True), picture)
    large = smooth(100, 90)
    yield "with restarts", lossy(jpeg(large, restart_marker_blocks=3), large)
    yield "progressive, with restarts", lossy(jpeg(large, progressive=True, restart_marker_rows=1), large)
    yield "with a colour profile", lossy(jpeg(smooth(blue=30), icc_profile=bytes(100)), smooth(blue=30))
    yield "with a note", lossy(with_segment(jpeg(smooth(blue=40)), 0xFE, b"a note"), smooth(blue=40))
    yield "with more behind it", lossy(jpeg(smooth(blue=50)) + b"\xff\xd8 a second picture", smooth(blue=50))
    filled = jpeg(smooth(blue=60)).replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1)
    yield "with filling before a segment", lossy(filled, smooth(blue=60))
    yield "a scan per colour", lossy(a_scan_per_colour(smooth(blue=70)), smooth(blue=70))


def _jpeg_with_spare_bytes() -> Iterator[tuple[str, Odd]]:
    """Whole pictures with bytes that no pixel needs."""
    end = b"\xff\xd9"
    for number, (name, before, behind) in enumerate(
        [
            ("zeros behind its end", b"", bytes(5000)),
            ("bytes before its end", bytes(range(1, 200)), b""),
            ("zeros before its end", bytes(5000), b""),
            ("filling before its end", b"\xff" * 5, b""),
            ("a restart before its end", b"\xff\xd0", b""),
        ]
    ):
        picture = smooth(blue=70 + number)
        yield name, lossy(jpeg(picture)[:-2] + before + end + behind, picture)
        yield f"progressive, {name}", lossy(jpeg(picture, progressive=True)[:-2] + before + end + behind, picture)
    picture = smooth(100, 90, blue=80)
    restarts = jpeg(picture, restart_marker_blocks=3)
    for marker in (b"\xff\xd0", b"\xff\xd5"):
        restarts = restarts.replace(marker, b"a few" + marker)
    yield "bytes before restarts", lossy(restarts, picture)
    progressive = jpeg(smooth(blue=81), progressive=True)
    yield "bytes before a scan", lossy(progressive.replace(b"\xff\xda", b"a few\xff\xda"), smooth(blue=81))
    flat = np.full((300, 300, 3), 200, np.uint8)
    assert bytes(200) in jpeg(flat, optimize=True)
    yield "a flat picture is zeros", lossy(jpeg(flat, optimize=True), flat)
    yield "a flat picture is zeros, progressive", lossy(jpeg(flat, progressive=True), flat)
    yield "a flat picture, zeros before its end", lossy(jpeg(flat)[:-2] + bytes(500) + end, flat)


def _cmyk() -> Iterator[tuple[str, Odd]]:
    """Each shows red = (255 − cyan)·(255 − black)/255, and so on. Pillow stores 255 − ink, as Adobe does."""

    def printed(inks: np.ndarray, **options: object) -> bytes:
        return encoded(Image.frombytes("CMYK", SIZE, inks.tobytes()), "JPEG", quality=95, **options)

    picture = smooth()
    black = np.full((HEIGHT, WIDTH, 1), 51, np.uint8)
    inks = np.concatenate([255 - picture, black], axis=2)
    shown = np.rint(picture * (204 / 255)).astype(np.uint8)
    yield "of Adobe", lossy(printed(inks), shown, plain=False)
    yield "progressive", lossy(printed(inks, progressive=True), shown, plain=False)
    yield "turned", lossy(with_exif(printed(inks), exif(8)), UPRIGHT[8](shown), plain=False)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    assert adobe in printed(inks)
    # Without Adobe's segment the inks themselves are stored.
    yield "not of Adobe", lossy(printed(255 - inks).replace(adobe, b""), shown, plain=False)
    # YCCK: 255 − black, and luminance and colour differences of cyan, magenta and yellow (inverted twice).
    differences = np.asarray(Image.fromarray(inks[..., :3]).convert("YCbCr"))
    stored = np.concatenate([differences, 255 - black], axis=2)
    yield "as YCCK", lossy(printed(255 - stored).replace(adobe, adobe[:-1] + b"\2"), shown, plain=False)


def _palette_bmp() -> Iterator[tuple[str, Odd]]:
    rng = np.random.default_rng(9)
    black_white, greys = np.array([[0] * 3, [255] * 3]), np.arange(256)[:, None].repeat(3, axis=1)
    tables = {
        "1 bit": (1, black_white),
        "1 bit, white first": (1, black_white[::-1]),
        "1 bit, coloured": (1, rng.integers(256, size=(2, 3))),
        "2 bits": (2, rng.integers(256, size=(4, 3))),
        "4 bits": (4, rng.integers(256, size=(16, 3))),
        "4 bits, black and white alone": (4, black_white),
        "4 bits, almost black": (4, greys[:16]),
        "8 bits": (8, rng.integers(256, size=(256, 3))),
        "8 bits, grey": (8, greys),
        "8 bits, black and white alone": (8, black_white),
        "8 bits, five colours": (8, rng.integers(256, size=(5, 3))),
    }
    for number, (name, (bits, colours)) in enumerate(tables.items()):
        indices = noise(len(colours), 1, seed=number)
        used = 0 if len(colours) == 2**bits else len(colours)
        data = bmp(SIZE, bits, bmp_rows(indices, bits), bmp_palette(colours), used=used)
        yield name, exact(data, colours[indices[..., 0]])
    colours, indices = rng.integers(256, size=(256, 3)), noise(256, 1, seed=20)
    shown, code, table = colours[indices[..., 0]], bmp_rows(indices, 8), bmp_palette(colours)
    yield "8 bits, from the top", exact(bmp((WIDTH, -HEIGHT), 8, bmp_rows(indices[::-1], 8), table), shown)
    yield "8 bits, a gap before the pixels", exact(bmp(SIZE, 8, code, table, gap=b"a gap"), shown)
    data = bmp(SIZE, 8, code, table)
    yield "8 bits, place of the pixels not given", exact(data[:10] + bytes(4) + data[14:], shown)
    missing = np.where(indices < 200, colours[indices[..., 0]], 0)
    yield "8 bits, colours missing", exact(bmp(SIZE, 8, code, table[:800], used=200), missing)
    yield "8 bits, of OS2", exact(os2_bmp(SIZE, 8, code, colours[:, ::-1].astype(np.uint8).tobytes()), shown)


def _direct_bmp() -> Iterator[tuple[str, Odd]]:
    pixels, fourth = noise(seed=30), noise(channels=1, seed=31)
    blue_first = pixels[..., ::-1]
    code, from_top = bmp_rows(blue_first, 24), bmp_rows(blue_first[::-1], 24)
    yield "24 bits", exact(bmp(SIZE, 24, code), pixels)
    yield "24 bits, from the top", exact(bmp((WIDTH, -HEIGHT), 24, from_top), pixels)
    yield "24 bits, of OS2", exact(os2_bmp(SIZE, 24, code), pixels)
    four = np.concatenate([blue_first, fourth], axis=2)
    code, from_top = bmp_rows(four, 32), bmp_rows(four[::-1], 32)
    yield "32 bits, fourth unused", exact(bmp(SIZE, 32, code), pixels)
    yield "32 bits, from the top", exact(bmp((WIDTH, -HEIGHT), 32, from_top), pixels)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield "32 bits, alpha", exact(bmp(SIZE, 32, code, masks=masks, compression=3), on_white(pixels, fourth))
    longer = bmp(SIZE, 32, code, masks=masks + bytes(68), compression=3)
    yield "32 bits, header of 124 bytes", exact(longer, on_white(pixels, fourth))
    # Programs that don't know alpha leave it 0: all would be white.
    empty = bmp(SIZE, 32, bmp_rows(four * [1, 1, 1, 0], 32), masks=masks, compression=3)
    yield "32 bits, alpha 0 everywhere", exact(empty, pixels)
    five, six = noise(32, seed=32), noise(64, seed=33)
    code = bmp_rows(little_endian(five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]), 16)
    yield "16 bits", exact(bmp(SIZE, 16, code), five * 255 // 31)
    code = bmp_rows(little_endian(five[..., 0] << 11 | six[..., 1] << 5 | five[..., 2]), 16)
    shown = np.stack([five[..., 0] * 255 // 31, six[..., 1] * 255 // 63, five[..., 2] * 255 // 31], axis=-1)
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    yield "16 bits, six of them green", exact(bmp(SIZE, 16, code, masks=masks, compression=3), shown)


def _run_lengths() -> Iterator[tuple[str, Odd]]:
    colours = np.random.default_rng(40).integers(256, size=(16, 3))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mixed = np.where((x + y) % 13 < 6, noise(16, 1)[..., 0], y % 16)  # up to 6 that differ, then 7 alike

    def packed_bmp(indices: np.ndarray, bits: int, code: bytes, gap: bytes = b"") -> Odd:
        size, table = indices.shape[::-1], bmp_palette(colours)
        data = bmp(size, bits, code, table, compression={8: 1, 4: 2}[bits], used=16, gap=gap)
        return exact(data, colours[indices])

    yield "8 bits", packed_bmp(mixed, 8, run_lengths(mixed, 8))
    yield "4 bits", packed_bmp(mixed, 4, run_lengths(mixed, 4))
    yield "8 bits, from an odd byte", packed_bmp(mixed, 8, run_lengths(mixed, 8), gap=b"odd")
    yield "4 bits, no end", packed_bmp(mixed, 4, run_lengths(mixed, 4)[:-2])
    yield "4 bits, no end, filled up", packed_bmp(mixed, 4, run_lengths(mixed, 4)[:-2] + bytes(3))
    yield "4 bits, more behind its end", packed_bmp(mixed, 4, run_lengths(mixed, 4) + bytes(3000))
    # Code starts with the bottom row; what it jumps over and leaves out has colour 0.
    turns = np.array([[1, 2, 1, 2, 1], [3, 3, 3, 3, 3]])
    yield "4 bits, two colours by turns", packed_bmp(turns, 4, bytes([5, 0x33, 0, 0, 5, 0x12, 0, 0, 0, 1]))
    jumps = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 7, 7], [0, 0, 0, 0, 0], [6, 0, 0, 0, 0], [5, 5, 0, 0, 0]])
    code = b"\2\5\0\0\1\6\0\2\2\2\2\7\0\1"  # the third part: 2 to the right, 2 up
    yield "jumps and an early end", packed_bmp(jumps, 8, code)
    blank = np.array([[4, 4, 4], [0, 0, 0], [9, 9, 9]])
    yield "a blank row", packed_bmp(blank, 8, bytes([3, 9, 0, 0, 0, 0, 3, 4, 0, 1]))
    beyond = np.array([[8, 8, 1], [2, 3, 4]])
    code = b"\0\5\2\3\4\x09\x09\0\0\0\2\x08\7\1\0\1"  # five in a row of 3; two and seven
    yield "more than a row holds", packed_bmp(beyond, 8, code)


def _sizes() -> Iterator[tuple[str, Odd]]:
    for width, height in ((1, 1), (1, 20_000), (20_000, 1)):
        picture = smooth(width, height, blue=width % 251)
        yield f"{width} x {height}.png", exact(encoded(picture, "PNG"), picture, plain=True)
        yield f"{width} x {height}.jpg", lossy(jpeg(picture), picture)
        yield f"{width} x {height}.bmp", exact(encoded(picture, "BMP"), picture)


def _names() -> Iterator[tuple[str, Odd]]:
    wrong = ["a JPEG.png", "a JPEG.bmp", "a PNG.jpg", "a PNG.bmp", "a BMP.png", "a BMP.jpeg"]
    case = ["JPEG.JPG", "JPEG.JpEg", "BMP.BMP", "PNG.PnG"]
    unusual = [
        "two.dots.PNG.png",
        "'PNG', \"quotes\".png",
        "名前 PNG.png",
        "x.png/PNG in a folder.png",
        "PNG " * 60 + ".png",
    ]
    for number, name in enumerate(wrong + case + unusual):
        picture = smooth(blue=150 + number)
        if "JPEG" in name:
            yield name, lossy(jpeg(picture), picture)
        else:
            format = "BMP" if "BMP" in name else "PNG"
            yield name, exact(encoded(picture, format), picture, plain=format == "PNG")


CORPUS: dict[str, Odd] = {
    f"{folder}/{name}{suffix}": odd
    for folder, suffix, part in (
        ("png", ".png", _png), ("palette", ".png", _palette), ("alpha", ".png", _alpha),
        ("turned", ".png", _turned_png), ("turned", ".jpg", _turned_jpeg), ("jpeg", ".jpg", _jpeg),
        ("spare bytes", ".jpg", _jpeg_with_spare_bytes),
        ("cmyk", ".jpg", _cmyk), ("bmp", ".bmp", _palette_bmp), ("bmp", ".bmp", _direct_bmp),
        ("run lengths", ".bmp", _run_lengths), ("sizes", "", _sizes), ("names", "", _names),
    )
    for name, odd in part()
}  # fmt: skip

MISREAD_BY_PILLOW = {  # version 12.3, and why what it reads is no measure
    **dict.fromkeys(
        ("alpha/one grey of 2 bits.png", "alpha/one grey of 4 bits.png", "alpha/one colour of 16 bits.png"),
        "compares the transparent colour with pixels that it has already brought to 8 bits",
    ),
    "cmyk/not of Adobe.jpg": "takes all CMYK as Adobe's, which stores it inverted",
    "bmp/2 bits.bmp": "knows no 2 bits",
    **dict.fromkeys(
        (f"bmp/{kind}.bmp" for kind in (
            "4 bits, black and white alone", "8 bits, black and white alone", "4 bits, almost black")),
        "takes a grey palette as a sign of 1 or 8 bits",
    ),
    "bmp/32 bits, alpha 0 everywhere.bmp": "takes what a program left empty as transparency",
    "run lengths/4 bits.bmp": "reads half a byte too little where an odd number of pixels stand as they are",
    **dict.fromkeys(
        (f"run lengths/4 bits, {end}.bmp" for end in ("no end", "no end, filled up", "more behind its end")), "the same"
    ),
    "run lengths/8 bits, from an odd byte.bmp": "counts the filling byte from the start of the file",
    "run lengths/jumps and an early end.bmp": "refuses an image that ends before its last pixel",
    "run lengths/a blank row.bmp": "leaves it out",
    "run lengths/more than a row holds.bmp": "writes it into the next row",
}  # fmt: skip


def seen_by_pillow(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3]: upright, of 16 bits the upper 8, transparency laid on white."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    if image.mode.startswith("I;16"):
        levels = np.asarray(image)
        opaque = levels != image.info.get("transparency", -1)
        image = Image.merge("LA", [Image.fromarray(part.astype(np.uint8)) for part in (levels >> 8, 255 * opaque)])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def best_known(path: str) -> tuple[np.ndarray, int]:
    """The picture in a file of the corpus, and by how many grey levels another decoder may differ from it."""
    odd = CORPUS[path]
    if odd.shows is not None and (not odd.within or path in MISREAD_BY_PILLOW):
        return odd.shows, odd.within
    return seen_by_pillow(odd.data), int(odd.plain)  # Pillow decodes it for us where it isn't plain


def _cut() -> Iterator[tuple[str, bytes, str]]:
    """Files that end too early: within the header, early, in the middle, just before their end."""
    cuts: dict[str, tuple[int | float, ...]] = {
        "png/8 bits.png": (20, 60, 0.5, -1),
        "png/8 bits, interlaced.png": (0.5, -1),
        "alpha/colour of 16 bits.png": (0.5, -1),
        "jpeg/4:2:0.jpg": (4, 300, 0.5, 0.95, -1),
        "jpeg/progressive.jpg": (0.5, 0.95, -1),
        "cmyk/of Adobe.jpg": (0.5, -1),
        "bmp/24 bits.bmp": (4, 30, 0.5, -2),
        "bmp/4 bits.bmp": (4, 30, 60, 0.5, -2),
        "run lengths/8 bits.bmp": (0.5, -6),
        "run lengths/4 bits.bmp": (0.5, -6),
    }
    for path, points in cuts.items():
        whole, (name, suffix) = CORPUS[path].data, path.replace("/", ", ").rsplit(".", 1)
        for point in points:
            length = int(point * len(whole)) if isinstance(point, float) else point % len(whole)
            kind = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP"}[suffix]
            yield f"{name}, the first {length} bytes.{suffix}", whole[:length], f"truncated {kind}"


def _other() -> Iterator[tuple[str, bytes, str]]:
    yield "empty.png", b"", "empty file"
    for name, data in {"a note.png": b"a note", "a page.jpg": b"<!DOCTYPE html>", "zeros.bmp": bytes(99)}.items():
        yield name, data, "not an image"
    yield "two bytes.jpg", b"\xff\xd8", "not an image"
    for format in ("GIF", "TIFF", "WEBP"):
        yield f"a {format}.png", encoded(smooth(), format), f"is {format}, not JPEG, PNG or BMP"
    yield "moving.png", animation("GIF"), "is GIF, not JPEG, PNG or BMP"
    for brands, format in {
        "avif": "AVIF",
        "avis": "AVIF",
        "mif1 avif miaf": "AVIF",
        "msf1 iso8 avis": "AVIF",
        "mif1 miaf heic": "HEIC",
        **dict.fromkeys(("heic mif1", "heix", "heim", "heis", "hevc msf1", "hevx", "hevm", "hevs"), "HEIC"),
        **dict.fromkeys(("heif", "mif1", "msf1", "mif1 miaf"), "HEIF"),
    }.items():
        major, *compatible = brands.encode().split()
        box = struct.pack(">I", 16 + 4 * len(compatible)) + b"ftyp" + major + bytes(4) + b"".join(compatible)
        yield f"{brands}.jpg", box + b"avis", f"is {format}, not JPEG, PNG or BMP"
    yield "a box cut short.jpg", b"\0\0\0\x20ftypmif1\0", "is HEIF, not JPEG, PNG or BMP"
    yield "a video.jpg", b"\0\0\0\x18ftypisom\0\0\0\0isommif1", "not an image"
    yield "a JPEG 2000.jpg", encoded(smooth(), "JPEG2000"), "is JPEG 2000, not JPEG, PNG or BMP"
    yield "animated.png", animation("PNG"), "animated PNG: 2 frames"


def _too_large() -> Iterator[tuple[str, bytes, str]]:
    large = 30_000
    for name, data, (width, height) in (
        ("just too large.png", encoded(Image.new("1", (1001, 1000)), "PNG"), (1001, 1000)),
        ("bomb.png", png_around((large, large, 8, RGB, 0), b""), (large, large)),
        ("bomb.jpg", jpeg_frame(0xC0, width=65_000, height=65_000), (65_000, 65_000)),
        ("bomb.bmp", bmp((large, large), 24, b""), (large, large)),
        ("bomb of run lengths.bmp", bmp((large, -large), 8, b"", bytes(1024), compression=1), (large, large)),
    ):
        yield name, data, f"too many pixels: {width} x {height} are more than data.max_pixels, {MAX_PIXELS}"


def _unusable_jpeg() -> Iterator[tuple[str, bytes, str]]:
    yield "12 bits", jpeg_frame(0xC1, depth=12), "unsupported JPEG: 12 bits a sample"
    yield "lossless", jpeg_frame(0xC3), "unsupported JPEG: lossless"
    yield "hierarchical", jpeg_frame(0xC5), "unsupported JPEG: hierarchical"
    yield "arithmetic-coded", jpeg_frame(0xC9), "unsupported JPEG: arithmetic-coded"
    yield "two components", jpeg_frame(0xC0, components=2), "unsupported JPEG: 2 colour components"
    yield "no height", jpeg_frame(0xC0, height=0), "damaged JPEG: 8 x 0 pixels"
    whole = jpeg(smooth())
    yield "no pixels", whole[:2] + b"\xff\xd9", "damaged JPEG: no image data"
    yield "an empty segment", whole[:2] + b"\xff\xe0\0\0" + whole[2:], "damaged JPEG: a segment without content"
    # All pixels are there, which is enough for Pillow; a segment longer than the file follows instead of the end.
    yield "no end", whole[:-2] + b"\xff\xe1\xff\0\xff\xd9", "truncated JPEG"


def _damaged_jpeg() -> Iterator[tuple[str, bytes, str]]:
    """Files with an end, which decoders accept: they fill what is missing with grey."""
    missing, zeros = (
        "damaged JPEG: part of the picture is missing",
        "damaged JPEG: zeros in place of part of the picture",
    )
    interval, scan = "damaged JPEG: a part between two restart markers is missing", "damaged JPEG: a scan is missing"
    picture = np.resize(noise(), (96, 96, 3))
    for name, whole in {
        "colour": jpeg(picture),
        "grey": jpeg(picture[..., 0]),
        "optimised": jpeg(picture, optimize=True),
        "a scan per colour": a_scan_per_colour(picture.astype(np.uint8)),
    }.items():
        start, end = scans(whole)[-1]
        half = (start + end) // 2
        yield f"{name}, half missing", whole[:half] + whole[end:], missing
        yield f"{name}, last 200 bytes missing", whole[: end - 200] + whole[end:], missing
        yield f"{name}, its middle dropped", whole[: start + (half - start) // 2] + whole[(half + end) // 2 :], missing
        yield f"{name}, zeros to its end", whole[:half] + bytes(end - half) + whole[end:], zeros
        yield f"{name}, a sector of zeros", whole[: half - 512] + bytes(512) + whole[half:], zeros
    white = np.full((600, 600), 255)
    white[200:300, 200:300] = np.resize(noise(), (100, 100))
    drawing = jpeg(white, optimize=True)
    [(start, end)] = scans(drawing)
    half = (start + end) // 2
    assert bytes(50) in drawing[start:half]  # here zeros are white blocks
    yield "a drawing, zeros to its end", drawing[:half] + bytes(end - half) + drawing[end:], zeros
    yield "a drawing, a sector of zeros", drawing[: half - 512] + bytes(512) + drawing[half:], zeros
    whole = a_scan_per_colour(picture.astype(np.uint8))
    for number, (start, end) in enumerate(scans(whole)):
        yield f"colour {number} missing", whole[:start] + whole[end:], scan
    for name, whole in {
        "progressive": jpeg(picture, progressive=True),
        "grey, progressive": jpeg(picture[..., 0], progressive=True),
    }.items():
        parts = scans(whole)
        for number, (start, end) in enumerate(parts):
            # Each of Pillow's scans is of a kind that no other scan gives.
            yield f"{name}, scan {number} missing", whole[:start] + whole[end:], scan
            yield f"{name}, end of scan {number} missing", whole[: (start + end) // 2] + whole[end:], missing
        yield f"{name}, first scan alone", whole[: parts[0][1]] + b"\xff\xd9", scan
    for name, whole in {
        "restarts": jpeg(picture, restart_marker_blocks=2),
        "progressive, restarts": jpeg(picture, progressive=True, restart_marker_rows=1),
    }.items():
        second, third, fourth = (whole.index(bytes([0xFF, marker])) for marker in (0xD1, 0xD2, 0xD3))
        yield f"{name}, one missing", whole[:second] + whole[third:], interval
        yield f"{name}, half of one missing", whole[: (third + fourth) // 2] + whole[fourth:], missing
        yield f"{name}, all from the third", whole[:third] + whole[scans(whole)[0][1] :], missing


def _unusable_png() -> Iterator[tuple[str, bytes, str]]:
    one, header, whole = np.zeros((1, 1, 1), int), (2, 1, 8, GREY, 0), png(noise(), 8, RGB)
    flipped = whole[:-14] + bytes([whole[-14] ^ 0x10]) + whole[-13:]
    yield "a wrong bit", flipped, "damaged PNG: wrong checksum in IDAT"
    yield "a filter", png_around(header, zlib.compress(b"\5ab")), "damaged PNG: unknown filter"
    yield "of Apple", png(one, 8, GREY, chunk(b"CgBI", b"")), "damaged PNG: unknown chunk 'CgBI'"
    apart = png(one, 8, GREY, chunk(b"IDAT", b""), chunk(b"tEXt", b""))
    yield "chunks apart", apart, "damaged PNG: chunks out of order"
    yield "an end alone", whole[:8] + chunk(b"IEND", b""), "damaged PNG: chunks out of order"
    yield "a nameless chunk", png(one, 8, GREY, chunk(b"a\0b\0", b"")), "damaged PNG: a chunk without a name"
    yield "no palette", png(one, 8, PALETTE), "damaged PNG: palette of the wrong length"
    clear = png(one, 8, GREY, chunk(b"tRNS", b"\0\0\0"))
    yield "a transparent colour", clear, "damaged PNG: transparent colour of the wrong length"
    yield "3 bits", png_around((2, 1, 3, GREY, 0), b""), "damaged PNG: unknown kind of pixels"
    yield "no width", png_around((0, 1, 8, GREY, 0), zlib.compress(b"\0")), "damaged PNG: 0 x 1 pixels"
    yield "too few pixels", png_around(header, zlib.compress(b"\0a")), "truncated PNG"
    yield "no checksum of its code", png_around(header, zlib.compress(b"\0ab")[:-4]), "truncated PNG"


def _unusable_bmp() -> Iterator[tuple[str, bytes, str]]:
    yield "no width", bmp((0, 1), 24, b""), "damaged BMP: 0 x 1 pixels"
    yield "3 bits", bmp((2, 1), 3, bytes(4)), "unsupported BMP: 3 bits a pixel"
    for compression, bits in ((4, 24), (1, 24), (2, 8), (3, 8)):
        reason = f"unsupported BMP: compression {compression} of {bits} bits a pixel"
        yield f"compression {compression} of {bits}", bmp((2, 1), bits, bytes(8), compression=compression), reason
    masks = struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)
    of_ten = bmp((2, 1), 32, bytes(8), masks=masks, compression=3)
    yield "ten bits a channel", of_ten, "unsupported BMP: unusual masks of its channels"
    stripes = np.arange(HEIGHT)[:, None] % 7 * np.ones((1, WIDTH), int)
    code = run_lengths(stripes, 8)
    for name, zeroed in {
        "zeros to its end": code[:40] + bytes(400),
        "zeros in its middle": code[:40] + bytes(30) + code[70:],
    }.items():
        damaged = bmp(SIZE, 8, zeroed, bytes(1024), compression=1)
        yield name, damaged, "damaged BMP: more rows than the picture has"
    unknown = b"BM" + struct.pack("<IHHII", 99, 0, 0, 50, 20) + bytes(80)
    yield "a header of 20 bytes", unknown, "unsupported BMP: a header of 20 bytes"


REJECTED: dict[str, tuple[bytes, str]] = {
    f"{name}{suffix}": (data, reason)
    for suffix, part in (
        ("", _cut), ("", _other), ("", _too_large), (".jpg", _unusable_jpeg), (".jpg", _damaged_jpeg),
        (".png", _unusable_png), (".bmp", _unusable_bmp),
    )
    for name, data, reason in part()
}  # fmt: skip
