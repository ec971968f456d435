"""Views of an image: itself first, the others moved as their names say; a servable averages their embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from siamese.models import network, servable, test_time_augmentation
from siamese.models.artifacts import weights_digest
from siamese.preprocessing.transform import Transform

RNG = np.random.default_rng(0)
SIDE = 50
IMAGES = RNG.random((3, SIDE, SIDE, 1), np.float32)


def seen(name: str, number: int) -> np.ndarray:
    return test_time_augmentation.embed_views(
        tf.constant(IMAGES), tf.constant(test_time_augmentation.transforms(name, SIDE, SIDE)[number])
    ).numpy()


@pytest.mark.parametrize(("name", "count"), [("one", 1), ("mirrored", 2), ("moved", 9)])
def test_the_first_view_is_the_image_itself_and_no_two_are_alike(name: str, count: int) -> None:
    rows = test_time_augmentation.transforms(name, SIDE, SIDE)
    assert len(np.unique(rows, axis=0)) == len(rows) == count
    assert (seen(name, 0) == IMAGES).all()


def test_the_mirror_image_is_exact() -> None:
    assert (seen("mirrored", 1) == IMAGES[:, :, ::-1]).all()


def test_shifted_views_lie_4_percent_of_the_side_away_and_repeat_the_edge() -> None:
    # 4 % of 50 are 2 pixels. In the order of views: turned, scaled, then shifted across and down, - before +.
    np.testing.assert_allclose(seen("moved", 5)[:, :, 2:], IMAGES[:, :, :-2], atol=1e-5)
    np.testing.assert_allclose(seen("moved", 6)[:, :, :-2], IMAGES[:, :, 2:], atol=1e-5)
    np.testing.assert_allclose(seen("moved", 7)[:, 2:], IMAGES[:, :-2], atol=1e-5)
    np.testing.assert_allclose(seen("moved", 8)[:, :-2], IMAGES[:, 2:], atol=1e-5)
    np.testing.assert_allclose(seen("moved", 6)[:, :, -2:], np.repeat(IMAGES[:, :, -1:], 2, axis=2), atol=1e-5)


def test_turned_and_scaled_views_keep_the_middle() -> None:
    odd = RNG.random((1, 51, 51, 1), np.float32)
    for row in test_time_augmentation.transforms("moved", 51, 51)[1:5]:
        moved = test_time_augmentation.embed_views(tf.constant(odd), tf.constant(row)).numpy()
        np.testing.assert_allclose(moved[0, 25, 25], odd[0, 25, 25], atol=1e-4)
        assert abs(moved - odd).max() > 0.1


@pytest.fixture(scope="module")
def model() -> object:
    return network.build("convolutional", seed=0)


@pytest.fixture(scope="module")
def transform() -> Transform:
    return Transform.unstandardised((48, 48, 1))


def test_an_embedding_is_the_mean_over_the_views(model: object, transform: Transform) -> None:
    alone, mirrored = servable.Servable(model, transform), servable.Servable(model, transform, "mirrored")
    pixels = RNG.integers(256, size=(4, 48, 48, 1), dtype=np.uint8)
    each = [alone.embed_pixels(one).numpy() for one in (pixels, pixels[:, :, ::-1])]
    assert abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(mirrored.embed_pixels(pixels).numpy(), (each[0] + each[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(
        mirrored.embed_pixels(pixels).numpy(), mirrored.embed_pixels(pixels[:, :, ::-1]).numpy(), atol=1e-6
    )


def test_models_that_differ_in_their_views_have_different_digests(
    model: object, transform: Transform, tmp_path: Path
) -> None:
    for name in ("one", "mirrored", "moved"):
        servable.export(servable.Servable(model, transform, name), tmp_path / name / "servable")
    assert len({weights_digest(tmp_path / name) for name in ("one", "mirrored", "moved")}) == 3


def test_the_exported_model_averages_too(model: object, transform: Transform, tmp_path: Path) -> None:
    made = servable.Servable(model, transform, "moved")
    servable.export(made, tmp_path / "servable")
    pixels = RNG.integers(256, size=(2, 48, 48, 1), dtype=np.uint8)
    loaded = tf.saved_model.load(str(tmp_path / "servable"))
    np.testing.assert_allclose(loaded.embed_pixels(pixels).numpy(), made.embed_pixels(pixels).numpy(), atol=1e-6)
