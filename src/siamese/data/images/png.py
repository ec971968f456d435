"""PNG: its chunks and their checksums, its pixels of every depth, and pixels written as PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar, Self

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from siamese.data.images.picture import Picture, Rejected, on_white, orientation_of

_METADATA = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
_LONGEST_TEXT = 2**20  # bytes, as in Pillow: a small file may hold gigabytes of text


@dataclass(frozen=True)
class Png(Picture):
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
    signature: ClassVar[bytes] = b"\x89PNG\r\n\x1a\n"
    depth: int = 0
    colour: int = 0
    interlaced: bool = False
    transparent: bytes = b""  # tRNS
    chunks: tuple[tuple[bytes, int, int], ...] = ()  # name, start (of the length) and end (behind the checksum)

    @classmethod
    def read(cls, data: bytes) -> Self:
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
        orientation = orientation_of(*_exif_and_xmp(data, chunks)) if bodies.keys() & _METADATA else 1
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
        if self.depth == 16 and self.colour in (self.GREY, self.RGB):
            return self._of_16_bits()
        image = self._decoded()
        if self.transparent and self.colour != self.PALETTE:
            # Pillow compares the colour as the file says it with pixels that it has already brought to 8 bits.
            most = 2**self.depth - 1
            levels = (np.frombuffer(self.transparent, ">u2").astype(int) & most) * 255 // most
            image.info["transparency"] = tuple(levels.tolist()) if self.colour == self.RGB else int(levels[0])
        return on_white(image)

    def _of_16_bits(self) -> Image.Image:
        """Grey or RGB: the upper 8 bits, and white where all 16 are those of the transparent colour."""
        decoded = np.asarray(self._decoded())
        upper = (decoded >> 8).astype(np.uint8) if self.colour == self.GREY else decoded
        shown = Image.fromarray(upper).convert("RGB")
        if self.transparent:
            levels = decoded
            if self.colour == self.RGB:
                levels = upper.astype(np.uint16) << 8 | np.asarray(self._decoded("RGB;16L"))
            clear = levels.reshape(self.height, self.width, -1) == np.frombuffer(self.transparent, ">u2")
            shown.paste((255, 255, 255), mask=Image.fromarray(clear.all(axis=2)))
        return shown

    def _decoded(self, raw_mode: str | None = None) -> PngImageFile:
        """By Pillow. Of RGB of 16 bits it keeps the upper 8; in raw mode RGB;16L, for the other order, the lower."""
        image = PngImageFile(BytesIO(self._needed()))
        if raw_mode:
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        return image

    def _needed(self) -> bytes:
        """The file without the chunks that say nothing about the pixels, or that make Pillow look for an animation."""
        names = [b"IHDR", b"PLTE", b"IDAT", b"IEND"] + [b"tRNS"] * bool(self.transparent)
        return self.signature + b"".join(self.data[start:end] for name, start, end in self.chunks if name in names)

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
    at, seen, last = len(Png.signature), set[bytes](), b""
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


def _exif_and_xmp(data: bytes, chunks: Iterable[tuple[bytes, int, int]]) -> tuple[bytes, bytes]:
    """EXIF's TIFF and XMP's XML, as Pillow finds them; b"" for what is missing. Of several, the last one counts."""
    exif: bytes | None = None
    texts: dict[bytes, tuple[bytes, bytes]] = {}
    for name, start, end in chunks:
        body = data[start + 8 : end - 4] if name in _METADATA else b""
        if name == b"eXIf":
            exif = body
        elif name in _METADATA:
            keyword, _, value = body.partition(b"\0")
            texts[keyword] = name, value
            if (name, keyword) == (b"tEXt", b"exif"):
                exif = value
    if exif is None and b"Raw profile type exif" in texts:  # by ImageMagick: a title, a number, then hexadecimal digits
        lines = _text(*texts[b"Raw profile type exif"]).decode("latin-1").split("\n")
        with suppress(ValueError):
            exif = bytes.fromhex("".join(lines[3:]))
    return exif or b"", _text(*texts.get(b"XML:com.adobe.xmp", (b"tEXt", b"")))


def _text(name: bytes, value: bytes) -> bytes:
    """What follows the keyword of tEXt, zTXt or iTXt, without compression; b"" if it is damaged or more than 1 MiB."""
    if name == b"tEXt":
        return value
    if name == b"zTXt":
        is_compressed, method, text = True, value[:1], value[1:]
    else:  # two numbers, a language, the keyword in that language, the text
        is_compressed, method, text = value[:1] != b"\0", value[1:2], value[2:].split(b"\0", 2)[-1]
    if not is_compressed:
        return text
    inflate = zlib.decompressobj()
    with suppress(zlib.error):
        text = inflate.decompress(text, _LONGEST_TEXT) if method == b"\0" else b""
        return b"" if inflate.unconsumed_tail else text
    return b""


def png_bytes(pixels: np.ndarray) -> bytes:
    """uint8 [height, width, 3] as PNG without compression: written some ten times as fast as by Pillow."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, 0: none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, Png.RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return Png.signature + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
