"""A look at the pixels of every image, as the network sees them: 100 x 100, in grey."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from siamese import likeness, pool, quality
from siamese.images import canonical
from siamese.progress import track
from siamese.remote import Place
from siamese.shapes import IMAGE_SHAPE

LEAST_SIZE = (2 * IMAGE_SHAPE[1], 2 * IMAGE_SHAPE[0])  # width and height that a JPEG is decoded at, or more
FILES_WORTH_A_PROCESS = 1000  # a process costs a second to start
BYTES_WORTH_A_PROCESS = 25_000_000


@dataclass(frozen=True, eq=False)
class Look:
    """What is kept of one image.

    Attributes:
        hash, picture: what `likeness` compares: 64 bits, uint8 [48, 48].
        brightness, contrast, sharpness: as `quality` defines them.
    """

    hash: int
    picture: np.ndarray
    brightness: float
    contrast: float
    sharpness: float


@dataclass(frozen=True, eq=False)
class Looks:
    """What is kept of many images, 2.4 kB each.

    Attributes:
        rows: int [seen], which of the files could be decoded, rising. All others have that length.
        hashes: uint64.
        pictures: uint8 [seen, 48, 48].
        brightness, contrast, sharpness: float32.
    """

    rows: np.ndarray
    hashes: np.ndarray
    pictures: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray


def look_at(files: Sequence[Place], bytes: int, max_pixels: int) -> Looks:
    """Decodes every file once, in several processes where that is worth while.

    Args:
        files: image files.
        bytes: their sizes together.
        max_pixels: of one image.
    """
    processes = max(len(files) // FILES_WORTH_A_PROCESS, bytes // BYTES_WORTH_A_PROCESS)
    looks = pool.mapped(partial(look, max_pixels=max_pixels), files, processes)
    pictures = np.empty((len(files), likeness.PICTURE_SIDE, likeness.PICTURE_SIDE), np.uint8)
    rows: list[int] = []
    hashes: list[int] = []
    numbers: list[tuple[float, float, float]] = []
    for row, found in enumerate(track(looks, "looking at images", total=len(files))):
        if found is not None:
            pictures[len(rows)] = found.picture
            rows.append(row)
            hashes.append(found.hash)
            numbers.append((found.brightness, found.contrast, found.sharpness))
    brightness, contrast, sharpness = np.array(numbers, np.float32).reshape(-1, 3).T
    seen = pictures[: len(rows)]
    return Looks(np.array(rows, np.int64), np.array(hashes, np.uint64), seen, brightness, contrast, sharpness)


def look(file: Place, max_pixels: int) -> Look | None:
    """Reads and decodes one image; None where that fails: it was damaged or taken away since the catalog read it."""
    image = opened(file, max_pixels, LEAST_SIZE)
    if image is None:
        return None
    grey = in_grey(image)
    return Look(
        likeness.perceptual_hash(grey),
        likeness.small_picture(grey),
        quality.brightness(grey),
        quality.contrast(grey),
        quality.sharpness(grey),
    )


def in_grey(image: Image.Image) -> np.ndarray:
    """What is looked at: uint8 [100, 100]."""
    return np.asarray(image.convert("L").resize((IMAGE_SHAPE[1], IMAGE_SHAPE[0]), Image.Resampling.BILINEAR))


def opened(file: Place, max_pixels: int, least: tuple[int, int]) -> Image.Image | None:
    """The picture as a person sees it, in grey or RGB; None where it can't be decoded.

    Args:
        file: an image file.
        max_pixels: a larger one is left alone.
        least: width and height; a JPEG of twice as much or more is decoded at a half, a quarter or an eighth.
    """
    try:
        return decoded(canonical(file.read_bytes(), max_pixels), least)
    except Exception:  # Pillow raises a dozen kinds
        return None


def decoded(data: bytes, least: tuple[int, int]) -> Image.Image:
    """The same from bytes, as `canonical` gives them. Raises what Pillow raises."""
    with warnings.catch_warnings(action="ignore"):  # of odd metadata, which nobody looks at here
        kind = PngImageFile if data.startswith(b"\x89PNG") else JpegImageFile
        image: Image.Image = kind(BytesIO(data))
        image.draft(None, least)
        image.load()
        return image
