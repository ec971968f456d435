"""An image file as its headers describe it, and what its formats share: reasons, orientation, transparency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from PIL import Image

from siamese.errors import InputError

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


def exif_orientation(tiff: bytes) -> int:
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


def on_white(image: Image.Image) -> Image.Image:
    """The image in mode RGB, its transparency laid on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = Image.new("RGB", seen.size, "white")
    white.paste(seen.convert("RGB"), mask=seen.getchannel("A"))
    return white
