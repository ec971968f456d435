"""Image files before any tensor: which are taken, how large they are, and bytes that TensorFlow decodes rightly.

TensorFlow knows no transparency on white, no CMYK and no orientation, and the first damaged file ends a whole run. So
the catalog calls `check` once an image, which reads it to its last byte; whoever decodes calls `canonical`, which looks
at headers alone where the bytes may pass as they are (10 microseconds), and else decodes by Pillow and writes a PNG.

Headers are read here, not by Pillow, which decodes a PNG to tell its orientation, warns of unusual metadata from any
thread, and guards against large images by a global. Pillow is given only the segments that make up the picture.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from siamese.data.images.bmp import Bmp
from siamese.data.images.jpeg import Jpeg
from siamese.data.images.picture import ImageInfo, Picture, Rejected, reasons
from siamese.data.images.png import Png, png_bytes
from siamese.storage.object_store import AnyPath

__all__ = [
    "LONGEST_SIDE",
    "SUFFIXES",
    "FileInfo",
    "ImageInfo",
    "Rejected",
    "canonical",
    "check",
    "describe",
    "examine",
]

SUFFIXES = ("bmp", "jpeg", "jpg", "png")
LONGEST_SIDE = 1_000_000  # libpng, inside TensorFlow, refuses longer ones
_BYTES_A_PIXEL = 8  # of the widest pixel there is: 16 bits, four channels
_METADATA_BYTES = 2**26

_KINDS: tuple[type[Picture], ...] = (Jpeg, Png, Bmp)
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
_BOX_BRANDS = {  # of box `ftyp` (ISO/IEC 14496-12)
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"heif", b"mif1", b"msf1"), "HEIF"),  # of any coding, which a compatible brand names
}
_BRANDS_READ = 64


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
    return data if picture.plain else png_bytes(np.asarray(picture.decoded()))


def check(data: bytes, max_pixels: int) -> ImageInfo:
    """Reads the whole image, so that a damaged one is found here and not in the middle of a run.

    JPEG is decoded at an eighth of its size, which reads all of its code; PNG is inflated, and its checksums compared.

    Raises:
        Rejected: empty, no image, another format, animated, too large, truncated or damaged.
    """
    picture = _picture(data, max_pixels)
    with reasons(picture.format):
        picture.check()
    return picture.info


def describe(data: bytes) -> ImageInfo:
    """Size and format, from the headers alone.

    Raises:
        Rejected: no image of these formats, or its headers are damaged.
    """
    return _picture(data, None).info


def examine(file: AnyPath, max_pixels: int) -> FileInfo | Rejected:
    """Reads and checks one file: what it is, or (returned, to travel between processes) why it isn't taken."""
    try:
        size = refuse_too_large(file, max_pixels)
        data = file.read_bytes()
        return FileInfo(hashlib.sha256(data).hexdigest(), len(data), check(data, max_pixels))
    except Rejected as reason:
        return reason
    except OSError as error:
        return Rejected(f"can't be read: {error.strerror or error}")
    except MemoryError:
        return Rejected(f"too large for this machine's memory: {size} bytes")


def refuse_too_large(file: AnyPath, max_pixels: int) -> int:
    """The bytes of a file.

    Raises:
        Rejected: they are more than any image of so many pixels needs.
        OSError: it isn't there.
    """
    size = file.stat().st_size
    if size > _BYTES_A_PIXEL * max_pixels + _METADATA_BYTES:
        raise Rejected(f"too large: {size} bytes are more than data.max_pixels, {max_pixels}, can fill")
    return size


def _picture(data: bytes, max_pixels: int | None) -> Picture:
    kind = _kind(data)
    with reasons(kind.format):
        picture = kind.read(data)
    width, height = picture.width, picture.height
    if width < 1 or height < 1:
        raise Rejected(f"damaged {kind.format}: {width} x {height} pixels")
    if max_pixels is not None and width * height > max_pixels:
        raise Rejected(f"too many pixels: {width} x {height} are more than data.max_pixels, {max_pixels}")
    if max(width, height) > LONGEST_SIDE:
        raise Rejected(f"too long: {width} x {height}, a side has at most {LONGEST_SIDE} pixels")
    return picture


def _kind(data: bytes) -> type[Picture]:
    if not data:
        raise Rejected("empty file")
    for kind in _KINDS:
        if data.startswith(kind.signature):
            return kind
    other = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        other = "WEBP"
    if data[4:8] == b"ftyp":
        other = _of_brands(data)
    raise Rejected(f"is {other}, not JPEG, PNG or BMP" if other else "not an image")


def _of_brands(data: bytes) -> str | None:
    """Name the format by the major brand, or by a compatible one if the major brand leaves the coding open."""
    name = _BOX_BRANDS.get(data[8:12])
    if name != "HEIF":
        return name
    end = min(int.from_bytes(data[:4]), len(data), 16 + 4 * _BRANDS_READ)
    compatible = (_BOX_BRANDS.get(data[at : at + 4], name) for at in range(16, end, 4))
    return next((brand for brand in compatible if brand != name), name)
