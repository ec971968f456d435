"""Per-image statistics: size of the file's picture, brightness, contrast and sharpness at 100 x 100 in greyscale."""

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

from siamese.console import track
from siamese.data.images.formats import canonical
from siamese.data.inspection import near_duplicates
from siamese.params import IMAGE_SHAPE
from siamese.storage import parallel
from siamese.storage.object_store import AnyPath

OUTLYING = 3.5  # robust z from which a value stands out, as Iglewicz and Hoaglin recommend
BLANK = 2.0  # grey levels of contrast below which a picture shows next to nothing


def grey(pixels: np.ndarray) -> np.ndarray:
    """The luminance of a picture as the network sees it: uint8 [height, width, 3 or 1] to uint8 [height, width]."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else np.asarray(Image.fromarray(pixels).convert("L"))


def brightness(grey: np.ndarray) -> float:
    """Mean luminance, from 0 (black) to 255 (white)."""
    return float(grey.mean())


def contrast(grey: np.ndarray) -> float:
    """Standard deviation of the luminance, in grey levels."""
    return float(grey.std())


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian over the variance of the luminance; pictures must have one size to be compared.

    The first as by Pech-Pacheco and others ("Diatom autofocusing in brightfield microscopy: a comparative study",
    2000), with the kernel 0 1 0, 1 -4 1, 0 1 0. Alone, it follows contrast and the amount of ink: of Omniglot's 19,280
    characters it calls 545 blurry, divided 211; of faces blurred by 1 pixel it finds 31 % (ORL), divided 81 %. White
    noise has 20 whatever its strength, a picture without contrast 0.

    Args:
        grey: [height, width], at least 3 x 3.
    """
    grey = grey.astype(np.float32)
    across, down = grey[1:-1, :-2] + grey[1:-1, 2:], grey[:-2, 1:-1] + grey[2:, 1:-1]
    variance = grey.var()
    return float((across + down - 4 * grey[1:-1, 1:-1]).var() / variance) if variance > 0 else 0.0


def robust_z(values: np.ndarray) -> np.ndarray:
    """Distance from the median in robust standard deviations, for each value; 0 for all where that has no meaning.

    0.6745 (x - median) / MAD, as in Iglewicz and Hoaglin, "How to detect and handle outliers", 1993.
    """
    spread = robust_spread(values)
    return np.asarray((values - np.median(values)) / spread if spread else np.zeros(len(values)))


def robust_spread(values: np.ndarray) -> float:
    """MAD / 0.6745, the median absolute deviation on the scale of a standard deviation.

    Where more than half of the values are equal, MAD is 0: the mean absolute deviation times 1.2533 takes its place.
    Where all are equal, or there is none, the result is 0.
    """
    if not len(values):
        return 0.0
    apart = np.abs(values - np.median(values))
    return float(np.median(apart) / 0.6745 or 1.2533 * np.mean(apart))


LEAST_SIZE = (2 * IMAGE_SHAPE[1], 2 * IMAGE_SHAPE[0])  # width and height that a JPEG is decoded at, or more
FILES_WORTH_A_PROCESS = 1000  # a process costs a second to start
BYTES_WORTH_A_PROCESS = 25_000_000


@dataclass(frozen=True, eq=False)
class ImageStats:
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
class ImageStatsTable:
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


def measure_images(files: Sequence[AnyPath], bytes: int, max_pixels: int) -> ImageStatsTable:
    """Decodes every file once, in several processes where that is worth while.

    Args:
        files: image files.
        bytes: their sizes together.
        max_pixels: of one image.
    """
    processes = max(len(files) // FILES_WORTH_A_PROCESS, bytes // BYTES_WORTH_A_PROCESS)
    looks = parallel.parallel_map(partial(measure_image, max_pixels=max_pixels), files, processes)
    pictures = np.empty((len(files), near_duplicates.PICTURE_SIDE, near_duplicates.PICTURE_SIDE), np.uint8)
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
    return ImageStatsTable(np.array(rows, np.int64), np.array(hashes, np.uint64), seen, brightness, contrast, sharpness)


def measure_image(file: AnyPath, max_pixels: int) -> ImageStats | None:
    """Reads and decodes one image; None where that fails: it was damaged or taken away since the catalog read it."""
    image = opened(file, max_pixels, LEAST_SIZE)
    if image is None:
        return None
    grey = to_grey(image)
    return ImageStats(
        near_duplicates.perceptual_hash(grey),
        near_duplicates.small_picture(grey),
        brightness(grey),
        contrast(grey),
        sharpness(grey),
    )


def to_grey(image: Image.Image) -> np.ndarray:
    """What is looked at: uint8 [100, 100]."""
    return np.asarray(image.convert("L").resize((IMAGE_SHAPE[1], IMAGE_SHAPE[0]), Image.Resampling.BILINEAR))


def opened(file: AnyPath, max_pixels: int, least: tuple[int, int]) -> Image.Image | None:
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
    with warnings.catch_warnings(action="ignore"):  # odd metadata does not matter here
        kind = PngImageFile if data.startswith(b"\x89PNG") else JpegImageFile
        image: Image.Image = kind(BytesIO(data))
        image.draft(None, least)
        image.load()
        return image
