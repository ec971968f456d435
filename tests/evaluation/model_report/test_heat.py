"""Maps over pictures: blue below 0, orange above, the picture itself where nothing changes."""

from __future__ import annotations

import numpy as np

from siamese.evaluation.model_report import occlusion


def test_colours_are_mixed_in_by_how_far_values_are_from_0() -> None:
    """Over black, 0.8 of blue #0b62c4 = (11, 98, 196) is (8.8, 78.4, 156.8), and 0.4 of orange #c8500a = (200, 80, 10)
    is (80, 32, 4). Beyond `full` the colour gets no denser."""
    black = np.zeros((1, 5, 1), np.uint8)
    made = occlusion.overlay(black, np.array([[-0.5, 0.25, 0.0, -9.0, 0.5]]), full=0.5)
    assert made[0].tolist() == [[9, 78, 157], [80, 32, 4], [0, 0, 0], [9, 78, 157], [160, 64, 8]]
    assert made.dtype == np.uint8


def test_where_nothing_changes_the_picture_is_left_in_grey() -> None:
    """The mean of (30, 60, 90) is 60."""
    picture = np.tile(np.array([30, 60, 90], np.uint8), (2, 2, 1))
    assert (occlusion.overlay(picture, np.zeros((2, 2)), full=1) == 60).all()
