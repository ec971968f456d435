"""Image files written by Pillow, or byte by byte where it can't write them, and the pictures in them.

By the formats' specifications (PNG: W3C, third edition; BMP: BITMAPINFOHEADER; EXIF 2.3 in TIFF 6.0; JPEG: ITU T.81),
sharing nothing with the library.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import groupby

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # PNG's colour types
WIDTH, HEIGHT = 29, 23  # odd, so that rows and blocks end before their last byte is full


def smooth(width: int = WIDTH, height: int = HEIGHT, blue: int = 90) -> np.ndarray:
    """uint8 [height, width, 3]: a picture for JPEG, different in each corner."""
    y, x = np.mgrid[:height, :width]
    channels = 20 + x * 200 // max(width - 1, 1), 20 + y * 200 // max(height - 1, 1), np.full_like(x, blue)
    return np.stack(channels, axis=-1).astype(np.uint8)


def noise(levels: int = 256, channels: int = 3, seed: int = 0) -> np.ndarray:
    """int [23, 29, channels] below `levels`: a picture of which no pixel is like another."""
    return np.random.default_rng(seed).integers(levels, size=(HEIGHT, WIDTH, channels))


def three(grey: np.ndarray) -> np.ndarray:
    """[height, width, 1] to uint8 [height, width, 3]."""
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


def on_white(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3]: v·a + 255·(1 − a), rounded, for levels and opacities a of 0 to 255."""
    mixed = np.rint((colour * opacity + 255 * (255 - opacity)) / 255)
    return np.broadcast_to(mixed, (*colour.shape[:2], 3)).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, format: str, **options: object) -> bytes:
    """Written by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.astype(np.uint8))
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def packed(samples: np.ndarray, depth: int) -> Iterator[bytes]:
    """The rows of [height, width, channels], `depth` bits a sample, the last byte filled up with zeros."""
    for row in samples:
        if depth == 16:
            yield row.astype(">u2").tobytes()
        else:
            bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
            yield np.packbits(bits.reshape(-1)).tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_around(header: tuple[int, ...], code: bytes, *extra: bytes) -> bytes:
    """A PNG of these numbers (width, height, depth, colour, interlace) around any compressed code."""
    width, height, depth, colour, interlace = header
    first = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"".join([b"\x89PNG\r\n\x1a\n", first, *extra, chunk(b"IDAT", code), chunk(b"IEND", b"")])


def png(samples: np.ndarray, depth: int, colour: int, *extra: bytes, interlaced: bool = False) -> bytes:
    """A PNG of [height, width, channels]; `extra` chunks stand before the pixels; all five filters take turns."""
    height, width, channels = samples.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    code = b""
    for y, x, down, across in passes:
        part = samples[y::down, x::across]
        if part.size:
            code += b"".join(_filtered(list(packed(part, depth)), max(depth * channels // 8, 1)))
    return png_around((width, height, depth, colour, int(interlaced)), zlib.compress(code), *extra)


def _filtered(rows: list[bytes], pixel: int) -> Iterator[bytes]:
    above = np.zeros(len(rows[0]) + pixel, int)
    for number, row in enumerate(rows):
        here = np.concatenate([np.zeros(pixel, int), np.frombuffer(row, np.uint8)])
        left, up, corner = here[:-pixel], above[pixel:], above[:-pixel]
        near = left + up - corner
        distances = np.abs(near - [left, up, corner])
        paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
        guess = [0, left, up, (left + up) // 2, paeth][number % 5]
        yield bytes([number % 5]) + ((here[pixel:] - guess) % 256).astype(np.uint8).tobytes()
        above = here


def exif(orientation: int, order: str = ">") -> bytes:
    """TIFF with one directory of two entries, the second of them Orientation."""
    mark = b"MM" if order == ">" else b"II"
    make = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\0")
    turned = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}HIH", 42, 8, 2) + make + turned + bytes(4)


def xmp(orientation: int, as_element: bool = False) -> bytes:
    """XML, the orientation in an attribute or in an element."""
    attribute, element = (f' tiff:Orientation="{orientation}"', f"<tiff:Orientation>{orientation}</tiff:Orientation>")
    inner = f">{element}<" if as_element else f"{attribute}><"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description{inner}/rdf:Description></x:xmpmeta>'.encode()


def raw_profile(content: bytes) -> bytes:
    """A profile as ImageMagick writes it into a PNG's text: its kind, its length, and hexadecimal digits in lines."""
    digits = content.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return "\n".join(["", "exif", f"{len(content):8}", *lines, ""]).encode()


def compressed_text(keyword: bytes, text: bytes) -> bytes:
    """A chunk zTXt."""
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


def international_text(keyword: bytes, text: bytes, compressed: bool = False) -> bytes:
    """A chunk iTXt, in no language."""
    return chunk(b"iTXt", keyword + bytes([0, compressed, 0, 0, 0]) + (zlib.compress(text) if compressed else text))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """The JPEG with one more segment, the first of all."""
    return jpeg[:2] + segment(marker, body) + jpeg[2:]


def with_exif(jpeg: bytes, tiff: bytes) -> bytes:
    return with_segment(jpeg, 0xE1, b"Exif\0\0" + tiff)


def scans(jpeg: bytes) -> list[tuple[int, int]]:
    """Where each scan's header starts, and where its code ends."""
    found, at = [], 2
    while jpeg[at + 1] != 0xD9:
        start, is_scan = at, jpeg[at + 1] == 0xDA
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        while jpeg[at] != 0xFF or jpeg[at + 1] in (0, *range(0xD0, 0xD8)):
            at += 1
        if is_scan:
            found.append((start, at))
    return found


def halved(jpeg: bytes) -> bytes:
    """The JPEG without the second half of its last scan's code, and with its end."""
    start, end = scans(jpeg)[-1]
    return jpeg[: (start + end) // 2] + jpeg[end:]


def a_scan_per_colour(pixels: np.ndarray) -> bytes:
    """A sequential JPEG of three scans: each is the code of a grey JPEG."""
    planes = [encoded(plane, "JPEG", quality=95) for plane in Image.fromarray(pixels).convert("YCbCr").split()]
    frame = struct.pack(">BHHB", 8, *pixels.shape[:2], 3) + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    before, behind = planes[0].split(segment(0xC0, planes[0][planes[0].index(b"\xff\xc0") + 4 :][:9]), 1)
    made = before + segment(0xC0, frame) + behind[: behind.index(b"\xff\xda")]
    for number, plane in enumerate(planes, 1):
        [(start, end)] = scans(plane)
        made += segment(0xDA, bytes([1, number, 0, 0, 63, 0])) + plane[start + 10 : end]
    return made + b"\xff\xd9"


def resampled(jpeg: bytes, size: tuple[int, int], sampling: int) -> bytes:
    """A colour JPEG whose header tells another size and another sampling of luminance, of as many blocks in all."""
    at = jpeg.index(b"\xff\xc0\0\x11\x08") + 5
    return jpeg[:at] + struct.pack(">HH", *reversed(size)) + jpeg[at + 4 : at + 6] + bytes([sampling]) + jpeg[at + 7 :]


def bmp(
    size: tuple[int, int],
    bits: int,
    code: bytes,
    palette: bytes = b"",
    *,
    compression: int = 0,
    used: int = 0,
    masks: bytes = b"",
    gap: bytes = b"",
) -> bytes:
    """A BMP around any code; `masks` lengthen the header of 40 bytes where they are four, and follow it otherwise."""
    longer = len(masks) if len(masks) >= 16 else 0
    header = struct.pack("<IiiHHIIiiII", 40 + longer, *size, 1, bits, compression, len(code), 0, 0, used, 0) + masks
    start = 14 + len(header) + len(palette) + len(gap)
    return b"BM" + struct.pack("<IHHI", start + len(code), 0, 0, start) + header + palette + gap + code


def os2_bmp(size: tuple[int, int], bits: int, code: bytes, palette: bytes = b"") -> bytes:
    """A BMP of OS/2's first version: a header of 12 bytes, three bytes a colour."""
    header = struct.pack("<IHHHH", 12, *size, 1, bits)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(code), 0, 0, start) + header + palette + code


def bmp_rows(samples: np.ndarray, bits: int) -> bytes:
    """[height, width, channels] from the bottom row, each filled up to four bytes; channels in the file's order."""
    depth = bits // samples.shape[2]
    return b"".join(row + bytes(-len(row) % 4) for row in packed(samples[::-1], depth))


def bmp_palette(colours: np.ndarray) -> bytes:
    """[colours, 3] as blue, green, red and nothing."""
    return b"".join(bytes([blue, green, red, 0]) for red, green, blue in colours.tolist())


def little_endian(values: np.ndarray) -> np.ndarray:
    """Numbers of 16 bits, [height, width], as two bytes, the lower first: [height, width, 2]."""
    return np.stack([values & 255, values >> 8], axis=-1)


def run_lengths(indices: np.ndarray, bits: int) -> bytes:
    """Compressed by RLE8 or RLE4, from the bottom row: runs of three and more as such, the rest in absolute mode."""
    code = b""
    for row in indices[::-1].tolist():
        literal: list[int] = []
        for value, run in groupby(row):
            length = len(list(run))
            if length < 3:
                literal += [value] * length
            else:
                code += _literal(literal, bits) + bytes([length, value if bits == 8 else value * 17])
                literal = []
        code += _literal(literal, bits) + b"\0\0"
    return code + b"\0\1"


def _literal(values: list[int], bits: int) -> bytes:
    if len(values) < 3:
        return b"".join(bytes([1, value if bits == 8 else value << 4]) for value in values)
    [row] = packed(np.array(values).reshape(1, -1, 1), bits)
    return bytes([0, len(values)]) + row + bytes(-len(row) % 2)


def jpeg_frame(marker: int, depth: int = 8, width: int = 8, height: int = 8, components: int = 3) -> bytes:
    """A JPEG of nothing but a frame header and a scan header."""
    frame = segment(marker, struct.pack(">BHHB", depth, height, width, components) + b"\1\x11\0" * components)
    return b"\xff\xd8" + frame + segment(0xDA, b"\0\0") + b"\xff\xd9"


def animation(format: str) -> bytes:
    """Two frames."""
    first, second = Image.fromarray(smooth()), Image.fromarray(smooth(blue=0))
    return encoded(first, format, save_all=True, append_images=[second])
