"""Augmentation: off by default, within its limits, a function of its seed."""

import numpy as np
import pytest

from siamese import tf_runtime

tf = tf_runtime.import_tensorflow()
from siamese.params import AugmentationParams  # noqa: E402
from siamese.training.augmentation import augmentation  # noqa: E402

OFF = {"affine": 0.0, "elastic": 0.0, "flip": False, "rotations": False, "blend": 0.0, "brightness": 0.0, "blur": 0.0}
SEED = np.array([1, 2], np.int32)


def images(count: int = 8) -> np.ndarray:
    """Each image is dark on its left half, bright on its right."""
    return np.broadcast_to(
        np.where(np.arange(100) < 50, 60, 180).astype(np.uint8)[:, None], (count, 100, 100, 3)
    ).copy()


def augmented(pixels: np.ndarray, seed: np.ndarray = SEED, share: slice = slice(None), **on: object) -> np.ndarray:
    positions = np.arange(len(pixels), dtype=np.int32)[share]
    augment = augmentation(AugmentationParams(**(OFF | on)))
    return augment(tf.constant(pixels[share]), tf.constant(positions), len(pixels), tf.constant(seed)).numpy()


def test_all_off_changes_nothing() -> None:
    np.testing.assert_array_equal(augmented(images()), images())


@pytest.mark.parametrize("on", [{"affine": 0.3}, {"elastic": 0.05}, {"flip": True}, {"brightness": 0.2}, {"blur": 2.0}])
def test_each_changes_some_images_and_keeps_shape_and_type(on: dict) -> None:
    changed = augmented(images(), **on)
    assert changed.shape == (8, 100, 100, 3) and changed.dtype == np.uint8
    assert (changed != images()).any(axis=(1, 2, 3)).sum() >= 2
    np.testing.assert_array_equal(changed, augmented(images(), **on))
    assert (changed != augmented(images(), np.array([1, 3], np.int32), **on)).any()


@pytest.mark.parametrize("on", [{"affine": 0.3}, {"elastic": 0.05}, {"flip": True}, {"brightness": 0.2}, {"blur": 2.0}])
def test_a_share_of_a_step_is_drawn_as_it_is_within_the_whole(on: dict) -> None:
    share = slice(3, 6)
    np.testing.assert_array_equal(augmented(images(), share=share, **on), augmented(images(), **on)[share])


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    """Of 200 images 100 are expected; 65 to 135 is five standard deviations."""
    flipped = augmented(images(200), flip=True)
    mirrored = (flipped == images(200)[:, :, ::-1]).all(axis=(1, 2, 3))
    unchanged = (flipped == images(200)).all(axis=(1, 2, 3))
    assert (mirrored ^ unchanged).all()
    assert 65 <= mirrored.sum() <= 135


def test_brightness_moves_all_pixels_of_an_image_alike_and_within_its_limit() -> None:
    change = augmented(images(), brightness=0.2).astype(int) - images()
    assert (change.max(axis=(1, 2, 3)) == change.min(axis=(1, 2, 3))).all()
    assert np.abs(change).max() <= 51  # 0.2 of 255


def test_blur_softens_the_edge_and_keeps_flat_parts() -> None:
    blurred = augmented(images(), blur=2.0)
    assert (blurred[:, :, :35] == 60).all() and (blurred[:, :, 65:] == 180).all()
    assert (np.diff(blurred[..., 0].astype(int), axis=2).max(axis=(1, 2)) < 120).sum() >= 6


def test_an_affine_change_keeps_the_picture_in_view() -> None:
    moved = augmented(images(), affine=0.1)
    assert set(np.unique(moved[:, 50, 20])) == {60} and set(np.unique(moved[:, 50, 80])) == {180}


def test_an_elastic_change_moves_pixels_smoothly_and_as_far_as_asked() -> None:
    """A ramp's value is its place: what a pixel shows beyond its own value is how far it was moved, in columns.

    At the 4x4 points of the field the displacement is uniform with a deviation of 0.03 x 100 = 3 columns; between them
    interpolation averages it, and bicubic weights (1.125 at most in sum of absolute values, squared for two axes)
    may carry it over the largest drawn, sqrt(3) x 3.
    """
    ramp = np.broadcast_to((2 * np.arange(100)).astype(np.uint8)[:, None], (200, 100, 100, 3))
    moved = augmented(ramp, elastic=0.03)[..., 0] / 2 - np.arange(100)
    inside = moved[:, 10:-10, 10:-10]  # nearer to the edge, what lies outside is replaced by the edge
    assert np.abs(inside).max() <= np.sqrt(3) * 3 * 1.3 + 0.5
    at_points = inside[:, 3::25, 3::25]  # rows and columns 13, 38, 63, 88: half a pixel from the grid's points
    assert np.sqrt((at_points**2).mean()) == pytest.approx(3, rel=0.1)
    assert np.abs(np.diff(inside, axis=1)).max() <= 1.5  # from one row to the next: no pixel is torn from its neighbour


def test_an_elastic_change_leaves_a_flat_picture_as_it_is() -> None:
    flat = np.full((4, 100, 100, 3), 77, np.uint8)
    np.testing.assert_array_equal(augmented(flat, elastic=0.1), flat)
