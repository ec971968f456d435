"""An image file as its headers describe it, and what its formats share: reasons, orientation, transparency."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from PIL import Image

from siamese.errors import InputError

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_BYTES_OF_INTEGER = {3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4}  # TIFF's types: SHORT, LONG, and those with a sign
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
class Picture(ABC):
    """An image file's bytes and what its headers say. Width and height are as stored."""

    data: bytes
    width: int
    height: int
    format: ClassVar[str]
    signature: ClassVar[bytes]  # how its files begin
    orientation: int = 1  # EXIF's

    @classmethod
    @abstractmethod
    def read(cls, data: bytes) -> Self:
        """Reads the headers. Raises `Rejected`, or whatever struct and Pillow raise, where they are damaged."""

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
        with reasons(self.format):
            image = self.pixels()
            return image.transpose(_UPRIGHT[self.orientation]) if self.orientation > 1 else image


@contextmanager
def reasons(format: str) -> Iterator[None]:
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


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """Return the orientation that Pillow's `exif_transpose` would undo, 1 to 8: EXIF's, or XMP's if EXIF has none.

    Args:
        exif: TIFF, with any number of prefixes `Exif`; b"" if there is none.
        xmp: XML; b"" if there is none.

    Returns:
        1 if the orientation is missing, damaged or unknown.
    """
    orientation = _exif_orientation(exif)
    if orientation is None and (stored := _XMP_ORIENTATION.search(xmp)):
        orientation = int(stored[1])
    return orientation if orientation in _UPRIGHT else 1


def _exif_orientation(tiff: bytes) -> int | None:
    """Return the tag Orientation of EXIF's first directory (TIFF 6.0, section 2), the last one if it is repeated."""
    while tiff.startswith(EXIF_PREFIX):
        tiff = tiff[len(EXIF_PREFIX) :]
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(tiff[:2])
    if order is None:
        return None
    orientation: int | None = None
    first = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[first : first + 2], order)
    for at in range(first + 2, min(first + 2 + 12 * entries, len(tiff) - 11), 12):
        if int.from_bytes(tiff[at : at + 2], order) == _ORIENTATION_TAG:
            size = _BYTES_OF_INTEGER.get(int.from_bytes(tiff[at + 2 : at + 4], order), 0)
            count = int.from_bytes(tiff[at + 4 : at + 8], order)
            place = at + 8 if count * size <= 4 else int.from_bytes(tiff[at + 8 : at + 12], order)
            orientation = int.from_bytes(tiff[place : place + size], order)
    return orientation


def on_white(image: Image.Image) -> Image.Image:
    """The image in mode RGB, its transparency laid on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = Image.new("RGB", seen.size, "white")
    white.paste(seen.convert("RGB"), mask=seen.getchannel("A"))
    return white
