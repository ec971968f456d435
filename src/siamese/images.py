"""Image files before any tensor: which are taken, how large they are, and bytes that TensorFlow decodes rightly.

TensorFlow knows no transparency on white, no CMYK and no orientation, and the first damaged file ends a whole run. So
the catalog calls `check` once an image, which reads it to its last byte; whoever decodes calls `canonical`, which looks
at headers alone where the bytes may pass as they are (10 microseconds), and else decodes by Pillow and writes a PNG.

Headers are read here, not by Pillow, which decodes a PNG to tell its orientation, warns of unusual metadata from any
thread, and guards against large images by a global. Pillow is given only the segments that make up the picture.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from siamese.errors import InputError

SUFFIXES = ("bmp", "jpeg", "jpg", "png")
LONGEST_SIDE = 1_000_000  # libpng, inside TensorFlow, refuses longer ones
_BYTES_A_PIXEL = 8  # of the widest pixel there is: 16 bits, four channels
_METADATA_BYTES = 2**26

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "ICO",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_BOX_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF 2.3, tag Orientation: what was done to the stored rows and columns, and so what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Rejected(InputError):
    """An image that can't be taken. Its text is the reason, `kind` or `kind: detail`, without the file's name."""


@dataclass(frozen=True)
class ImageInfo:
    """What an image is: width and height in pixels as seen upright, and the format of its bytes: JPEG, PNG or BMP."""

    width: int
    height: int
    format: str


@dataclass(frozen=True)
class FileInfo:
    """A file that was read and taken: SHA-256 of its bytes (64 hexadecimal digits), their number, and the image."""

    image_id: str
    bytes: int
    image: ImageInfo


def canonical(data: bytes, max_pixels: int) -> bytes:
    """Bytes that TensorFlow decodes to the picture that a person sees.

    Args:
        data: an image file's bytes. Damage is noticed only where Pillow decodes: `check` what no catalog has seen.
        max_pixels: more are rejected, before anything is decoded.

    Returns:
        `data` itself if it is an upright JPEG or PNG of 8-bit grey or RGB; else an RGB PNG, not compressed, turned
        upright, transparency laid on white, and of 16 bits the upper 8.

    Raises:
        Rejected: no image of these formats, animated, or too large.
    """
    picture = _picture(data, max_pixels)
    return data if picture.plain else _png_bytes(np.asarray(picture.decoded()))


def check(data: bytes, max_pixels: int) -> ImageInfo:
    """Reads the whole image, so that a damaged one is found here and not in the middle of a run.

    JPEG is decoded at an eighth of its size, which reads all of its code; PNG is inflated, and its checksums compared.

    Raises:
        Rejected: empty, no image, another format, animated, too large, truncated or damaged.
    """
    picture = _picture(data, max_pixels)
    with _reasons(picture.format):
        picture.check()
    return picture.info


def describe(data: bytes) -> ImageInfo:
    """Size and format, from the headers alone.

    Raises:
        Rejected: no image of these formats, or its headers are damaged.
    """
    return _picture(data, None).info


def examine(file: Path, max_pixels: int) -> FileInfo | Rejected:
    """Reads and checks one file: what it is, or (returned, to travel between processes) why it isn't taken."""
    try:
        size = file.stat().st_size
        if size > _BYTES_A_PIXEL * max_pixels + _METADATA_BYTES:
            return Rejected(f"too large: {size} bytes are more than data.max_pixels, {max_pixels}, can fill")
        data = file.read_bytes()
        return FileInfo(hashlib.sha256(data).hexdigest(), len(data), check(data, max_pixels))
    except Rejected as reason:
        return reason
    except OSError as error:
        return Rejected(f"can't be read: {error.strerror or error}")
    except MemoryError:
        return Rejected(f"too large for this machine's memory: {size} bytes")


@dataclass(frozen=True)
class _Picture(ABC):
    """An image file's bytes and what its headers say. Width and height are as stored."""

    data: bytes
    width: int
    height: int
    format: ClassVar[str]
    orientation: int = 1  # EXIF's

    @property
    def info(self) -> ImageInfo:
        turned = self.orientation >= 5
        return ImageInfo(*(self.height, self.width) if turned else (self.width, self.height), format=self.format)

    @property
    @abstractmethod
    def plain(self) -> bool:
        """Whether TensorFlow decodes it rightly as it is."""

    @abstractmethod
    def check(self) -> None:
        """Raises `Rejected`, or whatever Pillow and zlib raise, unless the image is whole."""

    @abstractmethod
    def pixels(self) -> Image.Image:
        """The pixels as stored, in mode RGB. Raises what Pillow raises."""

    def decoded(self) -> Image.Image:
        """The picture upright, in mode RGB."""
        with _reasons(self.format):
            image = self.pixels()
            return image.transpose(_UPRIGHT[self.orientation]) if self.orientation > 1 else image


def _picture(data: bytes, max_pixels: int | None) -> _Picture:
    kind = _kind(data)
    with _reasons(kind.format):
        picture = kind.read(data)
    width, height = picture.width, picture.height
    if width < 1 or height < 1:
        raise Rejected(f"damaged {kind.format}: {width} x {height} pixels")
    if max_pixels is not None and width * height > max_pixels:
        raise Rejected(f"too many pixels: {width} x {height} are more than data.max_pixels, {max_pixels}")
    if max(width, height) > LONGEST_SIDE:
        raise Rejected(f"too long: {width} x {height}, a side has at most {LONGEST_SIDE} pixels")
    return picture


def _kind(data: bytes) -> type[_Jpeg | _Png | _Bmp]:
    if not data:
        raise Rejected("empty file")
    if data.startswith(b"\xff\xd8\xff"):
        return _Jpeg
    if data.startswith(_PNG_SIGNATURE):
        return _Png
    if data.startswith(b"BM"):
        return _Bmp
    other = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        other = "WEBP"
    if data[4:8] == b"ftyp":
        other = _BOX_BRANDS.get(data[8:12])
    raise Rejected(f"is {other}, not JPEG, PNG or BMP" if other else "not an image")


@contextmanager
def _reasons(format: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a reason: a damaged file makes Pillow raise a dozen kinds of error."""
    try:
        yield
    except Rejected:
        raise
    except MemoryError:
        raise Rejected(f"too large for this machine's memory: lower data.max_pixels ({format})") from None
    except Exception as error:
        said = " ".join(str(error).split())
        raise Rejected(f"truncated {format}" if "truncated" in said.lower() else f"damaged {format}: {said}") from None


def _png_bytes(pixels: np.ndarray) -> bytes:
    """uint8 [height, width, 3] as PNG without compression: written some ten times as fast as by Pillow."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, 0: none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, _Png.RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _orientation(tiff: bytes) -> int:
    """The tag Orientation of EXIF's first directory (TIFF 6.0, section 2): 1 to 8; 1 where it is missing or damaged."""
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(tiff[:2])
    if order is None:
        return 1
    first = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[first : first + 2], order)
    for at in range(first + 2, min(first + 2 + 12 * entries, len(tiff) - 11), 12):
        if int.from_bytes(tiff[at : at + 2], order) == _ORIENTATION_TAG:
            is_long = int.from_bytes(tiff[at + 2 : at + 4], order) == 4
            orientation = int.from_bytes(tiff[at + 8 : at + (12 if is_long else 10)], order)
            return orientation if orientation in _UPRIGHT else 1
    return 1


@dataclass(frozen=True)
class _Jpeg(_Picture):
    """JPEG (ITU T.81): segments up to the first scan."""

    format: ClassVar[str] = "JPEG"
    components: int = 0
    adobe: bool = False
    header: bytes = b""  # the segments before the first scan that say something about the pixels
    first_scan: int = 0  # where its header starts

    @classmethod
    def read(cls, data: bytes) -> _Jpeg:
        frame: tuple[int, int, int] | None = None
        orientation, adobe, first_scan = 1, False, 0
        kept = [data[:2]]
        for marker, start, end in _segments(data):
            if marker == _START_OF_SCAN:
                first_scan = start
                break
            body = data[start + 4 : end]
            if marker in _NOT_HUFFMAN_DCT:
                raise Rejected(f"unsupported JPEG: {_NOT_HUFFMAN_DCT[marker]}")
            if marker in (0xC0, 0xC1, 0xC2):
                depth, height, width, components = struct.unpack_from(">BHHB", body)
                if depth != 8:
                    raise Rejected(f"unsupported JPEG: {depth} bits a sample")
                if components not in (1, 3, 4):
                    raise Rejected(f"unsupported JPEG: {components} colour components")
                frame = width, height, components
            if marker == 0xE1 and body.startswith(b"Exif\0\0") and orientation == 1:
                orientation = _orientation(body[6:])
            adobe |= marker == 0xEE and body.startswith(b"Adobe")
            if not 0xE1 <= marker <= 0xED and marker not in (0xEF, 0xFE):
                kept.append(data[start:end])
        if frame is None or not first_scan:
            raise Rejected("damaged JPEG: no image data")
        width, height, components = frame
        return cls(data, width, height, orientation, components, adobe, b"".join(kept), first_scan)

    @property
    def plain(self) -> bool:
        return self.components in (1, 3) and self.orientation == 1

    def check(self) -> None:
        for _ in _segments(self.data):
            pass  # Pillow does without what follows the last pixel, up to the end marker; TensorFlow doesn't
        image = self._opened()
        image.draft(None, (1, 1))
        image.load()

    def pixels(self) -> Image.Image:
        image: Image.Image = self._opened()
        if self.components == 4 and not self.adobe:
            image = ImageChops.invert(image)  # Pillow takes all CMYK as Adobe's, which stores it inverted
        return image.convert("RGB")

    def _opened(self) -> JpegImageFile:
        image = JpegImageFile(BytesIO(self.header + self.data[self.first_scan :]))
        if image.size != (self.width, self.height):
            raise Rejected("damaged JPEG: two sizes")
        return image


_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # not a stuffed or filling byte, nor a restart within a scan
_NOT_HUFFMAN_DCT = {
    **dict.fromkeys((0xC3, 0xC7), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xDE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "arithmetic-coded"),
}


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker code, start (of its 0xFF) and end of each segment up to the end of the image, skipping the scans' code."""
    at = 2
    while found := _MARKER.search(data, at):
        start, marker = found.start(), data[found.start() + 1]
        if marker == _END_OF_IMAGE:
            return
        length = int.from_bytes(data[start + 2 : start + 4])
        at = start + 2 + length
        if start + 4 > len(data) or at > len(data):
            break
        if length < 2 or marker == _START_OF_IMAGE:
            raise Rejected("damaged JPEG: a segment without content")
        yield marker, start, at
    raise Rejected("truncated JPEG")


@dataclass(frozen=True)
class _Png(_Picture):
    """PNG (W3C, third edition): all chunks, without their content."""

    GREY: ClassVar[int] = 0
    RGB: ClassVar[int] = 2
    PALETTE: ClassVar[int] = 3
    CHANNELS: ClassVar[dict[int, int]] = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    DEPTHS: ClassVar[dict[int, tuple[int, ...]]] = {
        0: (1, 2, 4, 8, 16),
        2: (8, 16),
        3: (1, 2, 4, 8),
        4: (8, 16),
        6: (8, 16),
    }

    format: ClassVar[str] = "PNG"
    depth: int = 0
    colour: int = 0
    interlaced: bool = False
    transparent: bytes = b""  # tRNS
    chunks: tuple[tuple[bytes, int, int], ...] = ()  # name, start (of the length) and end (behind the checksum)

    @classmethod
    def read(cls, data: bytes) -> _Png:
        chunks = tuple(_chunks(data))
        bodies = {name: data[start + 8 : end - 4] for name, start, end in chunks if name != b"IDAT"}
        width, height, depth, colour, method, filters, interlace = struct.unpack(">IIBBBBB", bodies[b"IHDR"])
        if depth not in cls.DEPTHS.get(colour, ()) or method or filters or interlace > 1:
            raise Rejected("damaged PNG: unknown kind of pixels")
        frames = int.from_bytes(bodies.get(b"acTL", b"")[:4])
        if frames > 1:
            raise Rejected(f"animated PNG: {frames} frames")
        transparent = bodies.get(b"tRNS", b"") if colour in (cls.GREY, cls.RGB, cls.PALETTE) else b""
        if colour != cls.PALETTE and len(transparent) not in (0, 2 * cls.CHANNELS[colour]):
            raise Rejected("damaged PNG: transparent colour of the wrong length")
        palette = bodies.get(b"PLTE", b"")
        if (colour == cls.PALETTE and not palette) or len(palette) % 3 or len(palette) > 3 * 256:
            raise Rejected("damaged PNG: palette of the wrong length")
        orientation = _orientation(bodies.get(b"eXIf", b""))
        return cls(data, width, height, orientation, depth, colour, bool(interlace), transparent, chunks)

    @property
    def plain(self) -> bool:
        opaque = self.colour in (self.GREY, self.RGB) and not self.transparent
        return opaque and self.depth == 8 and self.orientation == 1

    def check(self) -> None:
        for name, start, end in self.chunks:
            checksum = zlib.crc32(memoryview(self.data)[start + 4 : end - 4])
            if checksum != int.from_bytes(self.data[end - 4 : end]):
                raise Rejected(f"damaged PNG: wrong checksum in {name.decode('latin-1')}")
        lines = self._lines()
        wanted = sum(count * length for count, length in lines)
        got = self._inflated(wanted)
        if len(got) < wanted:
            raise Rejected("truncated PNG")
        at = 0
        for count, length in lines:
            filters = np.frombuffer(got, np.uint8, count * length, at)[::length]
            if filters.size and filters.max() > 4:
                raise Rejected("damaged PNG: unknown filter")
            at += count * length

    def pixels(self) -> Image.Image:
        image: Image.Image = PngImageFile(BytesIO(self._needed()))
        image.load()
        if image.mode == "I;16":
            high = (np.asarray(image) >> 8).astype(np.uint8)
            if not self.transparent:
                return Image.fromarray(high).convert("RGB")
            opaque = np.asarray(image) != int.from_bytes(self.transparent)
            return _on_white(Image.merge("LA", [Image.fromarray(high), Image.fromarray(opaque.astype(np.uint8) * 255)]))
        if self.transparent and self.colour != self.PALETTE:
            # Pillow compares the colour as the file says it with pixels that it has already brought to 8 bits.
            levels = np.frombuffer(self.transparent, ">u2").astype(int)
            levels = levels >> 8 if self.depth == 16 else levels * 255 // (2**self.depth - 1)
            image.info["transparency"] = tuple(levels.tolist()) if self.colour == self.RGB else int(levels[0])
        return _on_white(image)

    def _needed(self) -> bytes:
        """The file without the chunks that say nothing about the pixels, or that make Pillow look for an animation."""
        names = [b"IHDR", b"PLTE", b"IDAT", b"IEND"] + [b"tRNS"] * bool(self.transparent)
        return _PNG_SIGNATURE + b"".join(self.data[start:end] for name, start, end in self.chunks if name in names)

    def _lines(self) -> list[tuple[int, int]]:
        """Number of lines and bytes a line, its filter included, of each pass (PNG, section 8: seven if interlaced)."""
        bits = self.depth * self.CHANNELS[self.colour]
        passes = [(0, 0, 1, 1)]
        if self.interlaced:
            passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        sizes = [(-(-(self.width - x) // dx), -(-(self.height - y) // dy)) for x, y, dx, dy in passes]
        return [(height, 1 + (width * bits + 7) // 8) for width, height in sizes if width > 0 and height > 0]

    def _inflated(self, wanted: int) -> bytes:
        """The wanted bytes of pixel data or a few more; the compressed stream is followed to its end and checksum."""
        inflate = zlib.decompressobj()
        got: list[bytes] = []
        size = 0
        for name, start, end in self.chunks:
            code = self.data[start + 8 : end - 4] if name == b"IDAT" else b""
            while code and not inflate.eof:
                block = inflate.decompress(code, max(wanted + 1 - size, 2**16))
                if size < wanted:
                    got.append(block)
                    size += len(block)
                code = inflate.unconsumed_tail
        if not inflate.eof:
            raise Rejected("truncated PNG")
        return b"".join(got)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start (of the length) and end (behind the checksum) of each chunk, IHDR to IEND."""
    at, seen, last = len(_PNG_SIGNATURE), set[bytes](), b""
    while last != b"IEND":
        if at + 12 > len(data):
            raise Rejected("truncated PNG")
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4])
        critical = not name[0] & 0x20
        once = name in (b"IHDR", b"PLTE") or (name == b"IDAT" and last != b"IDAT")
        if (last == b"") != (name == b"IHDR") or (once and name in seen) or (name == b"IEND" and b"IDAT" not in seen):
            raise Rejected("damaged PNG: chunks out of order")
        if not name.isalpha():
            raise Rejected("damaged PNG: a chunk without a name")
        if critical and name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise Rejected(f"damaged PNG: unknown chunk {name.decode('latin-1')!r}")
        if end > len(data):
            raise Rejected("truncated PNG")
        yield name, at, end
        seen.add(name)
        at, last = end, name


@dataclass(frozen=True)
class _Bmp(_Picture):
    """BMP, as Pillow reads it."""

    format: ClassVar[str] = "BMP"

    @classmethod
    def read(cls, data: bytes) -> _Bmp:
        return cls(data, *_opened_bmp(data).size)

    @property
    def plain(self) -> bool:
        return False

    def check(self) -> None:
        _opened_bmp(self.data).load()

    def pixels(self) -> Image.Image:
        image: Image.Image = _opened_bmp(self.data)
        if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
            image = image.convert("RGB")  # a fourth byte that is 0 everywhere is filling, not transparency
        return _on_white(image)


def _opened_bmp(data: bytes) -> BmpImageFile:
    image = BmpImageFile(BytesIO(data))
    if _misread(image, data):
        # A palette of black and white alone makes Pillow expect one bit a pixel, whatever the header says. It looks at
        # more colours, and knows better, where the header leaves their number (bytes 46 to 49) open.
        image = BmpImageFile(BytesIO(data[:46] + bytes(4) + data[50:]))
        if _misread(image, data):
            raise Rejected("unusual BMP: a palette that Pillow misreads")
    return image


def _misread(image: BmpImageFile, data: bytes) -> bool:
    has_depth, depth = int.from_bytes(data[14:18], "little") >= 40, int.from_bytes(data[28:30], "little")
    return has_depth and image.mode in ("1", "L") and depth != {"1": 1, "L": 8}[image.mode]


def _on_white(image: Image.Image) -> Image.Image:
    """The image in mode RGB, its transparency laid on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = Image.new("RGB", seen.size, "white")
    white.paste(seen.convert("RGB"), mask=seen.getchannel("A"))
    return white
