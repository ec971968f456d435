"""BMP: palettes and run lengths are read here, since Pillow misreads some of both; from 16 bits on, Pillow reads."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar, Self

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from siamese.data.images.picture import Picture, Rejected, on_white

_OS2_HEADER = 12
_SPARE = 4  # bytes that may fill up code that has no mark of its end
_HEADERS = (_OS2_HEADER, 40, 52, 56, 64, 108, 124)
_NONE, _RLE8, _RLE4, _BITFIELDS = range(4)  # compression
_COMPRESSIONS = {1: (_NONE,), 2: (_NONE,), 4: (_NONE, _RLE4), 8: (_NONE, _RLE8), 24: (_NONE,)}
_COMPRESSIONS |= dict.fromkeys((16, 32), (_NONE, _BITFIELDS))


@dataclass(frozen=True)
class Bmp(Picture):
    """BMP of the headers of Windows and of OS/2's first version."""

    format: ClassVar[str] = "BMP"
    signature: ClassVar[bytes] = b"BM"
    bits: int = 0
    compression: int = _NONE
    from_top: bool = False
    palette: bytes = b""  # up to 8 bits: blue, green, red and nothing of each colour; of OS/2 without the nothing
    start: int = 0  # of the pixels

    @classmethod
    def read(cls, data: bytes) -> Self:
        start, header = struct.unpack_from("<II", data.ljust(18, b"\0"), 10)
        if len(data) < 18 or len(data) < 14 + header:
            raise Rejected("truncated BMP")
        if header not in _HEADERS:
            raise Rejected(f"unsupported BMP: a header of {header} bytes")
        if header == _OS2_HEADER:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
            compression, colours = _NONE, 0
        else:
            width, height, _, bits, compression, _, _, _, colours = struct.unpack_from("<iiHHIIiiI", data, 18)
        if bits not in _COMPRESSIONS:
            raise Rejected(f"unsupported BMP: {bits} bits a pixel")
        if compression not in _COMPRESSIONS[bits]:
            raise Rejected(f"unsupported BMP: compression {compression} of {bits} bits a pixel")
        palette = b""
        if bits <= 8:
            before, of_colour = 14 + header, 3 if header == _OS2_HEADER else 4
            behind = before + of_colour * (colours or 2**bits)
            start = start if start > before else behind  # some programs leave the place of the pixels out
            palette = data[before : min(start, behind)]
        return cls(
            data,
            width,
            abs(height),
            bits=bits,
            compression=compression,
            from_top=height < 0,
            palette=palette,
            start=start,
        )

    @property
    def plain(self) -> bool:
        return False

    def check(self) -> None:
        if self.bits > 8:
            self._opened().load()
        else:
            self._indices()

    def pixels(self) -> Image.Image:
        if self.bits > 8:
            image: Image.Image = self._opened()
            if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
                image = image.convert("RGB")  # a fourth byte that is 0 everywhere is filling, not transparency
            return on_white(image)
        of_colour = 3 if self.data[14] == _OS2_HEADER else 4
        known = np.frombuffer(self.palette, np.uint8, len(self.palette) // of_colour * of_colour)
        colours = np.zeros((2**self.bits, 3), np.uint8)  # those that the palette lacks are black
        known = known.reshape(-1, of_colour)[: len(colours), 2::-1]
        colours[: len(known)] = known
        indices = self._indices()
        return Image.fromarray(colours[indices if self.from_top else indices[::-1]])

    def _opened(self) -> BmpImageFile:
        try:
            return BmpImageFile(BytesIO(self.data))
        except OSError as error:
            if "bitfields" in str(error):
                raise Rejected("unsupported BMP: unusual masks of its channels") from None
            raise

    def _indices(self) -> np.ndarray:
        """The colour of each pixel, uint8 [height, width], rows as stored. Raises `Rejected` where some are missing."""
        if self.compression == _NONE:
            return self._unpacked()
        indices = _from_run_lengths(self.data[self.start :], self.width, self.height, self.bits)
        return np.frombuffer(indices, np.uint8).reshape(self.height, self.width)

    def _unpacked(self) -> np.ndarray:
        """Of rows filled up to four bytes, the last of which may lack its filling."""
        used, stride = -(-self.width * self.bits // 8), -(-self.width * self.bits // 32) * 4
        code = self.data[self.start : self.start + self.height * stride]
        if len(code) < (self.height - 1) * stride + used:
            raise Rejected("truncated BMP")
        rows = np.frombuffer(code.ljust(self.height * stride, b"\0"), np.uint8).reshape(self.height, stride)
        if self.bits == 8:
            return rows[:, : self.width]
        shifts = np.arange(8 - self.bits, -1, -self.bits, dtype=np.uint8)
        indices = rows[:, :used, None] >> shifts & np.uint8(2**self.bits - 1)
        return indices.reshape(self.height, -1)[:, : self.width]


def _from_run_lengths(code: bytes, width: int, height: int, bits: int) -> bytearray:
    """RLE8 or RLE4 to `height` rows of `width` bytes; what is jumped over has colour 0, what exceeds a row is dropped.

    Raises:
        Rejected: the code ends before the last pixel and before the mark of the end, or goes on behind the last row.
            Zeros in place of code are ends of rows.
    """
    indices = bytearray(width * height)
    at = x = y = 0
    while y < height:
        if at + 2 > len(code):
            if y == height - 1 and x >= width:
                break
            raise Rejected("truncated BMP")
        count, value = code[at], code[at + 1]
        at += 2
        if count:
            run = bytes([value]) if bits == 8 else bytes([value >> 4, value & 15])
            pixels = (run * count)[:count]
        elif value == 0:  # end of the row
            x, y = 0, y + 1
            continue
        elif value == 1:  # end of the image
            break
        elif value == 2:  # a jump to the right and up
            right, up = code[at : at + 2].ljust(2, b"\0")
            at, x, y = at + 2, x + right, y + up
            continue
        else:  # so many pixels as they are, filled up to two bytes
            size = -(-value * bits // 8)
            stored = code[at : at + size]
            if len(stored) < size:
                raise Rejected("truncated BMP")
            pixels = stored if bits == 8 else bytes(half for two in stored for half in (two >> 4, two & 15))[:value]
            at += size + size % 2
        pixels = pixels[: max(width - x, 0)]
        indices[y * width + x : y * width + x + len(pixels)] = pixels
        x += len(pixels)
    if y >= height and len(code) >= at + _SPARE and code[at : at + 2] != b"\0\1":
        raise Rejected("damaged BMP: more rows than the picture has")
    return indices
