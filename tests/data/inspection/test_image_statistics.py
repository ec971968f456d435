"""Brightness, contrast, sharpness, and what stands out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from siamese.data.inspection import image_statistics


def test_brightness_and_contrast_by_hand() -> None:
    """Of 0, 0, 100, 100: mean 50, deviation 50."""
    grey = np.array([[0, 100], [100, 0]], np.uint8)
    assert (image_statistics.brightness(grey), image_statistics.contrast(grey)) == (50, 50)


def test_sharpness_is_the_laplacians_variance_over_the_pixels() -> None:
    """Against the sum of a pixel's four neighbours, less four times itself, written out."""
    grey = np.random.default_rng(0).integers(0, 256, (7, 9))
    laplacian = [
        grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
        for y in range(1, 6)
        for x in range(1, 8)
    ]
    assert image_statistics.sharpness(grey.astype(np.uint8)) == pytest.approx(
        np.var(laplacian) / np.var(grey), rel=1e-5
    )


def test_white_noise_has_a_sharpness_of_twenty_whatever_its_strength() -> None:
    """1 + 1 + 1 + 1 + 16 times its variance."""
    noise = np.random.default_rng(0).normal(128, 1, (1000, 1000))
    assert image_statistics.sharpness(noise) == pytest.approx(20, rel=0.01)
    assert image_statistics.sharpness(10 * noise) == pytest.approx(20, rel=0.01)


def test_blur_lowers_sharpness_and_no_contrast_has_none() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8))
    sharpness = [
        image_statistics.sharpness(np.asarray(noise.filter(ImageFilter.GaussianBlur(radius)))) for radius in range(4)
    ]
    assert sharpness == sorted(sharpness, reverse=True)
    assert image_statistics.sharpness(np.full((100, 100), 255, np.uint8)) == 0


def test_robust_z_by_hand() -> None:
    """Median 3; distances 2, 1, 0, 1, 97, their median 1; 0.6745 x 97 / 1 = 65.4."""
    z = image_statistics.robust_z(np.array([1.0, 2, 3, 4, 100]))
    assert z == pytest.approx([-1.349, -0.6745, 0, 0.6745, 65.4265])


def test_robust_z_where_most_values_are_equal() -> None:
    """The mean distance, 10 / 5 = 2, times 1.2533; 10 / 2.5066 = 3.99."""
    assert image_statistics.robust_z(np.array([5.0, 5, 5, 5, 15])) == pytest.approx([0, 0, 0, 0, 3.9895], rel=1e-4)


def test_robust_z_where_nothing_is_apart() -> None:
    assert image_statistics.robust_z(np.array([5.0, 5, 5])).tolist() == [0, 0, 0]
    assert image_statistics.robust_z(np.array([])).tolist() == []
