"""Batches: every image or pair once an epoch, identities kept together, the order a function of seed and epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese import batches
from siamese.batches import UNKNOWN


def steps_of(plan: batches.Plan) -> list[batches.Step]:
    return [plan.step(number) for number in range(plan.steps)]


def rows_of(plan: batches.Plan) -> list[list[int]]:
    return [step.rows.tolist() for step in steps_of(plan)]


def in_batch(codes: list[int], epoch: int = 0, seed: int = 0, batch: int = 8) -> batches.Plan:
    return batches.in_batch_plan(np.array(codes), batch=batch, images_per_identity=2, seed=seed, epoch=epoch)


@given(st.lists(st.integers(0, 6), min_size=8, max_size=60), st.integers(0, 3))
def test_every_known_image_comes_once_an_epoch_in_steps_of_nearly_one_size(codes: list[int], epoch: int) -> None:
    rows = rows_of(in_batch(codes, epoch))
    assert sorted(row for step in rows for row in step) == list(range(len(codes)))
    sizes = [len(step) for step in rows]
    assert len(rows) == -(-len(codes) // 8)
    assert max(sizes) <= 8 and max(sizes) - min(sizes) <= 1


def test_images_of_one_identity_are_kept_together() -> None:
    """8 identities of 4 images in groups of 2, batches of 8: each batch holds 4 groups, so at least 4 positive
    pairs."""
    for step in steps_of(in_batch(np.repeat(np.arange(8), 4).tolist())):
        assert step.labels.sum() >= 4


def test_images_of_unknown_identity_take_half_of_each_batch_and_all_get_their_turn() -> None:
    """4 targets make one step of 4 targets and 4 others; 12 others are seen in three epochs."""
    codes = [0] * 4 + [UNKNOWN] * 12
    seen: set[int] = set()
    for epoch in range(3):
        ((*rows,),) = rows_of(in_batch(codes, epoch))
        assert sorted(rows)[:4] == [0, 1, 2, 3]
        seen |= set(rows[4:])
    assert seen == set(range(4, 16))


def test_pairs_of_a_batch_by_hand() -> None:
    """Images a, a, unknown, unknown: a-a is positive, a-unknown negative (4 of them), unknown-unknown has no label."""
    first, second, labels = batches.labelled_pairs(np.array([3, 3, UNKNOWN, UNKNOWN]))
    assert list(zip(first, second, labels, strict=True)) == [(0, 1, 1), (0, 2, 0), (0, 3, 0), (1, 2, 0), (1, 3, 0)]


def test_listed_pairs_come_once_an_epoch_and_each_image_once_a_step() -> None:
    first, second, labels = np.array([0, 0, 1, 2]), np.array([1, 2, 2, 3]), np.array([1, 0, 0, 1])
    plan = batches.listed_plan(first, second, labels, batch=8, seed=0, epoch=0)
    (step,) = steps_of(plan)
    assert step.rows.tolist() == [0, 1, 2, 3]
    pairs = zip(step.rows[step.first], step.rows[step.second], step.labels, strict=True)
    assert sorted(pairs) == [(0, 1, 1), (0, 2, 0), (1, 2, 0), (2, 3, 1)]


def test_listed_pairs_are_cut_into_steps_of_half_a_batch_at_most() -> None:
    """5 pairs, 2 a step: 3 steps of 2, 2 and 1."""
    first, second, labels = np.arange(0, 10, 2), np.arange(1, 10, 2), np.ones(5)
    plan = batches.listed_plan(first, second, labels, batch=4, seed=0, epoch=0)
    assert [len(step.labels) for step in steps_of(plan)] == [2, 2, 1]
    assert sorted(row for rows in rows_of(plan) for row in rows) == list(range(10))


@pytest.mark.parametrize("codes", [[0, 0, 1, 1, 2, 2, 3, 3] * 4, [0] * 10 + [UNKNOWN] * 30])
def test_the_order_depends_on_seed_and_epoch_alone(codes: list[int]) -> None:
    assert rows_of(in_batch(codes, 1, 5)) == rows_of(in_batch(codes, 1, 5))
    assert rows_of(in_batch(codes, 1, 5)) != rows_of(in_batch(codes, 2, 5))
    assert rows_of(in_batch(codes, 1, 5)) != rows_of(in_batch(codes, 1, 6))
