"""Which regions a score hangs on: found where a stand-in looks, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from siamese.evaluation.model_report import occlusion
from siamese.models.scoring import IMAGES_AT_ONCE

SIDE = 80  # squares are 10 pixels wide, 5 apart


class Corner:
    """Embeds an image as the mean of its upper left 10 x 10 pixels, from 0 to 1. Notes how many images are asked for
    at once."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.uint8
        self.asked.append(len(pixels))
        return pixels[:, :10, :10].mean(axis=(1, 2, 3), dtype=np.float64)[:, None].astype(np.float32) / 255

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return 1 - np.abs(anchors - others)[:, 0]


class FirstCorner(Corner):
    """Looks at the first image alone."""

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return anchors[:, 0]


def cornered(corner: int, rest: int) -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), rest, np.uint8)
    image[:10, :10] = corner
    return image


def test_squares_cover_every_pixel_half_a_side_apart() -> None:
    """100 / 8 = 12: at 0, 6, …, 84, and at 100 - 12 = 88; 48 / 8 = 6: at 0, 3, …, 42, which is the last one."""
    side, corners = occlusion.squares(100, 48)
    assert side == 6
    assert sorted({int(left) for _, left in corners}) == list(range(0, 43, 3))
    side, corners = occlusion.squares(100, 100)
    assert side == 12 and len(corners) == 16 * 16
    assert sorted({int(top) for top, _ in corners}) == [*range(0, 85, 6), 88]
    covered = np.zeros((100, 100), bool)
    for top, left in corners:
        covered[top : top + side, left : left + side] = True
    assert covered.all()


def test_the_smallest_images_have_squares_too() -> None:
    side, corners = occlusion.squares(5, 3)
    assert side == 1 and len(corners) == 15


def test_a_hidden_square_has_the_mean_colour_and_the_rest_stays() -> None:
    """4 pixels (0, 0, 90), 12 of (40, 0, 10): the mean is (30, 0, 30)."""
    image = np.tile(np.array([40, 0, 10], np.uint8), (4, 4, 1))
    image[0] = (0, 0, 90)
    before = image.copy()
    made = occlusion.hidden(image, np.array([2, 1]), 2)
    assert (made[2:4, 1:3] == (30, 0, 30)).all()
    made[2:4, 1:3] = image[2:4, 1:3]
    assert (made == before).all() and (image == before).all()


def test_the_map_is_where_the_model_looks_and_nowhere_else() -> None:
    """White corner, black rest: the mean is 255 x 100 / 6400 = 3.98, so 4. Hidden as a whole, the corner falls by
    251 / 255; squares at 0 and 5 overlap it, by all of 100 pixels, half of them or a quarter; those at 10 don't. So
    rows and columns below 15 change, those from 15 on don't. The pixel (0, 0) lies in the square (0, 0) alone; (14, 14)
    lies in (5, 5), (5, 10), (10, 5) and (10, 10), of which the first overlaps 25 pixels."""
    image = cornered(255, 0)
    (score,), ((first, second),) = occlusion.changes(Corner(), np.stack([[image, image]]))
    fall = 251 / 255
    assert score == 1
    assert (first[:15, :15] < 0).all()
    assert (first[15:] == 0).all() and (first[:, 15:] == 0).all()
    assert first[0, 0] == pytest.approx(-fall, abs=1e-6)
    assert first[14, 14] == pytest.approx(-fall / 4 / 4, abs=1e-6)
    np.testing.assert_array_equal(first, second)


def test_what_speaks_for_different_identities_is_above_0() -> None:
    """A black corner is (0 x 100 + 200 x 6300) / 6400 = 196.9, so 197, once hidden. Beside one of 200, the score rises
    from 1 - 200 / 255 by 197 / 255. Hiding the other's corner, as grey as its mean, changes nothing."""
    (score,), ((first, second),) = occlusion.changes(Corner(), np.stack([[cornered(0, 200), cornered(200, 200)]]))
    assert score == pytest.approx(1 - 200 / 255, abs=1e-6)
    assert first[0, 0] == pytest.approx(197 / 255, abs=1e-6) and first.min() == 0
    assert (second == 0).all()


def test_each_image_keeps_its_place_in_the_pair() -> None:
    image = cornered(255, 0)
    _, ((first, second),) = occlusion.changes(FirstCorner(), np.stack([[image, image]]))
    assert first[0, 0] < 0 and (second == 0).all()


def test_many_pairs_are_embedded_in_batches_and_not_mixed_up() -> None:
    """80 pixels give 15 x 15 squares, so two pairs are 4 x (1 + 225) images."""
    pairs = np.stack([[cornered(255, 0), cornered(255, 0)], [cornered(0, 200), cornered(200, 200)]])
    scorer = Corner()
    scores, maps = occlusion.changes(scorer, pairs)
    assert sum(scorer.asked) == 4 * 226 and max(scorer.asked) <= IMAGES_AT_ONCE
    for number, pair in enumerate(pairs):
        (score,), (alone,) = occlusion.changes(Corner(), pair[None])
        assert scores[number] == score
        np.testing.assert_array_equal(maps[number], alone)
