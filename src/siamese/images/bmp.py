"""BMP: as Pillow reads it, save for palettes that it misreads and fourth bytes that are filling."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar, Self

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from siamese.images.picture import Picture, Rejected, on_white


@dataclass(frozen=True)
class Bmp(Picture):
    """BMP, as Pillow reads it."""

    format: ClassVar[str] = "BMP"
    signature: ClassVar[bytes] = b"BM"

    @classmethod
    def read(cls, data: bytes) -> Self:
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
        return on_white(image)


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
