"""The transform graph: decoding and antialiased resizing, X/255, and a load that needs TensorFlow alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from siamese.errors import InputError
from siamese.params import IMAGE_SHAPE, PreprocessParams
from siamese.preprocessing import preprocess, transform

RNG = np.random.default_rng(0)


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def resized(pixels: np.ndarray, crop: float = 1) -> np.ndarray:
    return transform._decode(tf.constant(png(pixels)), crop, IMAGE_SHAPE).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What step `preprocess` writes to `transform/` for a catalog of one image."""
    place = tmp_path_factory.mktemp("transform")
    data = png(RNG.integers(256, size=(50, 70, 3), dtype=np.uint8))
    (place / "one.png").write_bytes(data)
    row = {"image_id": hashlib.sha256(data).hexdigest(), "path": "one.png", "split": "train", "width": 70, "height": 50}
    pd.DataFrame([row]).to_parquet(place / "catalog.parquet")
    params = PreprocessParams(crop=1, standardise=False, images_per_shard=1, runner="DirectRunner", runner_options={})
    preprocess.run(
        place, place / "catalog.parquet", place / "images", place / "transform", params, "specification", 10**6
    )
    return place / "transform"


@pytest.fixture(scope="module")
def loaded(folder: Path) -> transform.Transform:
    return transform.Transform.load(folder)


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (100, 100), (333, 77)])
def test_an_image_of_one_colour_keeps_it_at_any_size(size: tuple[int, int]) -> None:
    colour = np.array([7, 200, 255], np.uint8)
    assert (resized(np.broadcast_to(colour, (*size, 3)).copy()) == colour).all()


def test_an_image_of_the_right_size_is_not_touched() -> None:
    pixels = RNG.integers(256, size=IMAGE_SHAPE, dtype=np.uint8)
    assert (resized(pixels) == pixels).all()


def test_cropping_keeps_the_middle_of_either_side() -> None:
    pixels = RNG.integers(256, size=(200, 125, 3), dtype=np.uint8)
    # Half of 200 is 100, from row 50 on; 0.8 of 125 is 100, from column 12 on (25 are left over).
    assert (resized(pixels[:, 12:112], 0.5) == resized(np.ascontiguousarray(pixels[50:150, 37:87]), 1)).all()
    assert (resized(pixels[50:150], 0.8) == resized(np.ascontiguousarray(pixels[60:140, 12:112]), 1)).all()


def test_cropping_leaves_a_pixel_at_least() -> None:
    assert (resized(np.full((1, 3, 3), 9, np.uint8), 0.1) == 9).all()


def test_grey_becomes_three_equal_channels() -> None:
    grey = RNG.integers(256, size=IMAGE_SHAPE[:2], dtype=np.uint8)
    assert (resized(grey) == grey[:, :, None]).all()


def test_downscaling_averages_what_sampling_would_miss() -> None:
    """Every fourth column is white, 400 columns to 100.

    Output column i is centred between columns 4i+1 and 4i+2, and weighs those at distance 0.5, 1.5, 2.5, 3.5 by 0.875,
    0.625, 0.375, 0.125 (a triangle of half-width 4), in all 4. White columns lie at distances 1.5 and 2.5:
    (0.625 + 0.375) / 4 of 255 is 63.75. Sampling the two nearest columns would find black alone.
    """
    lines = np.zeros((400, 400, 3), np.uint8)
    lines[:, ::4] = 255
    assert (resized(lines)[:, 1:-1] == 64).all()


def test_a_fine_checkerboard_becomes_even_grey() -> None:
    """Of 5 x 5 squares a pixel, half are white: 127.5, up to what a triangle sees beyond its middle."""
    board = np.indices((500, 500)).sum(axis=0) % 2 * np.uint8(255)
    grey = resized(board.astype(np.uint8))[1:-1, 1:-1].astype(int)
    assert abs(grey - 127.5).max() <= 1.5


def test_image_is_exactly_x_over_255(loaded: transform.Transform) -> None:
    pixels = np.resize(np.arange(256, dtype=np.uint8), (2, *IMAGE_SHAPE))
    image = loaded.image(pixels).numpy()
    assert image.dtype == np.float32
    assert np.array_equal(image, pixels.astype(np.float32) / np.float32(255))


def test_pixels_are_those_of_each_encoded_image_in_order(loaded: transform.Transform) -> None:
    images = [RNG.integers(256, size=(40 + n, 200, 3), dtype=np.uint8) for n in range(20)]
    assert np.array_equal(loaded.pixels([png(one) for one in images]), [resized(one) for one in images])


def test_no_images_give_no_pixels(loaded: transform.Transform) -> None:
    assert loaded.image(loaded.pixels(tf.zeros([0], tf.string))).shape == (0, *IMAGE_SHAPE)


def test_image_of_stored_pixels_decodes_nothing(loaded: transform.Transform) -> None:
    """The graph is cut at its pixels: what lies before is gone, not merely unused."""
    kinds = {node.op for node in loaded.image.get_concrete_function().graph.as_graph_def().node}
    assert kinds == {"Placeholder", "Cast", "Const", "DivNoNan", "EnsureShape", "Identity"}


def test_exported_functions_need_neither_tensorflow_transform_nor_beam_nor_keras_2(
    loaded: transform.Transform, tmp_path: Path
) -> None:
    """A fresh process in which they can't be imported computes the same numbers from a module that calls both."""

    class Both(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transform = loaded

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def image(self, encoded: tf.Tensor) -> tf.Tensor:
            return self.transform.image(self.transform.pixels(encoded))

    encoded = [png(RNG.integers(256, size=(150, 90, 3), dtype=np.uint8)) for _ in range(3)]
    both = Both()
    tf.saved_model.save(both, str(tmp_path / "exported"))
    for number, one in enumerate(encoded):
        (tmp_path / f"{number}.png").write_bytes(one)
    (tmp_path / "load.py").write_text(
        "import sys\n"
        "for name in ('tensorflow_transform', 'apache_beam', 'tf_keras', 'tfx_bsl'): sys.modules[name] = None\n"
        "import numpy as np, tensorflow as tf\n"
        "encoded = [open(f'{n}.png', 'rb').read() for n in range(3)]\n"
        "np.save('image.npy', tf.saved_model.load('exported').image(encoded).numpy())\n"
    )
    subprocess.run([sys.executable, "load.py"], cwd=tmp_path, check=True, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "image.npy"), both.image(encoded))


def test_a_folder_without_a_transform_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{tmp_path} holds no transform: run `siamese preprocess`"):
        transform.Transform.load(tmp_path)


@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {"quality": 60}), ("JPEG", {"progressive": True}), ("PNG", {})]
)
def test_decodes_to_the_pixels_that_pillow_decodes(format: str, options: dict) -> None:
    """At 100 x 100 nothing is resized: a smooth picture with a sharp edge, within 1 grey level."""
    down, across = np.mgrid[0:100, 0:100]
    picture = np.stack([across * 2, down * 2, 255 * (across > down)], axis=-1).astype(np.uint8)
    encoded = BytesIO()
    Image.fromarray(picture).save(encoded, format, **options)
    expected = np.asarray(Image.open(encoded).convert("RGB"))
    found = transform._decode(tf.constant(encoded.getvalue()), 1, IMAGE_SHAPE).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1
