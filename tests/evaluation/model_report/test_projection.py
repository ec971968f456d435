"""Points on a plane: distances are kept where two dimensions suffice, and the loss is told where they don't."""

from __future__ import annotations

import numpy as np
import pytest

from siamese.evaluation.model_report.embedding_map import nearest_is_own, onto_plane


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=2)


def test_a_flat_figure_in_many_dimensions_is_shown_as_it_is() -> None:
    """A rectangle of 6 x 2 around its middle: variances 9 and 1, so 90 % and 10 %. The side of more variance lies
    along the first axis, and the dimension that makes an axis points its way."""
    points = np.zeros((4, 7))
    points[:, 5] = [-3, -3, 3, 3]
    points[:, 2] = [-1, 1, -1, 1]
    plane = onto_plane(points + 100)
    assert plane.shares == pytest.approx((0.9, 0.1))
    np.testing.assert_allclose(plane.points, [[-3, -1], [-3, 1], [3, -1], [3, 1]], atol=1e-9)


def test_two_clusters_are_apart_and_the_first_axis_tells_them() -> None:
    rng = np.random.default_rng(0)
    middle = np.repeat([[0.0], [8.0]], 10, axis=0) * np.eye(1, 50, 7)
    plane = onto_plane(middle + rng.normal(0, 0.3, (20, 50)))
    one, other = plane.points[:10, 0], plane.points[10:, 0]
    assert one.max() < other.min()
    assert other.mean() - one.mean() == pytest.approx(8, abs=0.3)
    assert 0.7 < plane.shares[0] < 1 and plane.shares[1] < 0.1


def test_no_distance_grows_and_the_shares_are_of_the_sum_of_squares() -> None:
    points = np.random.default_rng(1).normal(size=(12, 30))
    plane = onto_plane(points)
    assert (distances(plane.points) <= distances(points) + 1e-9).all()
    kept = (plane.points**2).sum() / ((points - points.mean(axis=0)) ** 2).sum()
    assert sum(plane.shares) == pytest.approx(kept)


@pytest.mark.parametrize("points", [np.ones((1, 4)), np.ones((5, 4)), np.full((3, 1), 2.0)])
def test_points_that_do_not_vary_lie_in_the_middle(points: np.ndarray) -> None:
    plane = onto_plane(points)
    assert plane.shares == (0, 0)
    assert (plane.points == 0).all() and plane.points.shape == (len(points), 2)


def test_one_dimension_fills_one_axis() -> None:
    plane = onto_plane(np.array([[2.0], [4.0], [9.0]]))
    np.testing.assert_allclose(plane.points, [[-3, 0], [-1, 0], [4, 0]], atol=1e-12)
    assert plane.shares == (1, 0)


@pytest.mark.parametrize(
    ("places", "owners", "share"),
    [
        ([0, 1, 10, 11], [0, 0, 1, 1], 1),
        ([0, 4, 3, 7], [0, 0, 1, 1], 0),  # 0 -> 3, 4 -> 3, 3 -> 4, 7 -> 4
        ([0, 1, 2, 50], [0, 0, -1, -1], 1),  # 1 is as near to 0 as to 2: the first counts; owners -1 aren't asked
        ([0, 5, 6], [0, 0, 1], 0.5),  # 0 -> 5, 5 -> 6; 6 is alone of its owner
        ([0, 5], [0, 1], None),
        ([0, 5], [-1, -1], None),
    ],
)
def test_how_often_the_nearest_is_of_the_same_owner(places: list, owners: list, share: float | None) -> None:
    assert nearest_is_own(np.array(places, float)[:, None], np.array(owners)) == share
