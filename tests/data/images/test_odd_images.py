"""Every kind of image, as the pipeline decodes it: the picture that was written, and the one that Pillow shows."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
import pytest
import tensorflow as tf
from odd_images import CORPUS, MAX_PIXELS, MISREAD_BY_PILLOW, seen_by_pillow
from PIL import Image

from siamese.data.images import formats
from siamese.data.images.formats import ImageInfo
from siamese.preprocessing import transform

FORMATS = {b"\x89PN": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP"}


@cache
def decoded(path: str) -> np.ndarray:
    """int [height, width, 3], as the pipeline decodes it."""
    canonical = formats.canonical(CORPUS[path].data, MAX_PIXELS)
    return transform._full_size(tf.constant(canonical)).numpy().astype(int)


def test_the_corpus_is_large_and_no_file_is_in_it_twice() -> None:
    assert len({odd.data for odd in CORPUS.values()}) == len(CORPUS) > 130
    assert set(CORPUS) > set(MISREAD_BY_PILLOW)


@pytest.mark.parametrize("path", [path for path, odd in CORPUS.items() if odd.shows is not None])
def test_is_the_picture_that_was_written(path: str) -> None:
    odd = CORPUS[path]
    assert odd.shows is not None
    np.testing.assert_allclose(decoded(path), odd.shows, rtol=0, atol=odd.within)


@pytest.mark.parametrize("path", [path for path in CORPUS if path not in MISREAD_BY_PILLOW])
def test_is_what_pillow_shows(path: str) -> None:
    """To the grey level; JPEG, which two builds of a decoder may round differently, to one."""
    odd = CORPUS[path]
    tolerance = 1 if odd.plain and odd.within else 0
    np.testing.assert_allclose(decoded(path), seen_by_pillow(odd.data), rtol=0, atol=tolerance)


@pytest.mark.parametrize("path", CORPUS)
def test_is_taken_with_its_upright_size_and_true_format(path: str) -> None:
    odd = CORPUS[path]
    height, width, _ = decoded(path).shape
    [format] = [name for magic, name in FORMATS.items() if odd.data.startswith(magic)]
    assert formats.check(odd.data, MAX_PIXELS) == formats.describe(odd.data) == ImageInfo(width, height, format)


@pytest.mark.parametrize("path", CORPUS)
def test_passes_as_it_is_or_becomes_an_rgb_png_that_does(path: str) -> None:
    odd = CORPUS[path]
    canonical = formats.canonical(odd.data, MAX_PIXELS)
    assert (canonical is odd.data) == odd.plain
    assert formats.canonical(canonical, MAX_PIXELS) is canonical
    if not odd.plain:
        with Image.open(BytesIO(canonical)) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
