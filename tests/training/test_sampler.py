"""Batches: every image or pair once an epoch, identities kept together, the order a function of seed and epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.training import sampler
from siamese.training.sampler import UNKNOWN


def steps_of(plan: sampler.TrainingPlan) -> list[sampler.StepPlan]:
    return [plan.step(number) for number in range(plan.steps)]


def rows_of(plan: sampler.TrainingPlan) -> list[list[int]]:
    return [step.rows.tolist() for step in steps_of(plan)]


def in_batch(codes: list[int], epoch: int = 0, seed: int = 0, batch: int = 8) -> sampler.TrainingPlan:
    return sampler.in_batch_plan(np.array(codes), batch=batch, images_per_identity=2, seed=seed, epoch=epoch)


@given(st.lists(st.integers(0, 6), min_size=8, max_size=60), st.integers(0, 3))
def test_every_image_with_a_partner_comes_once_an_epoch_in_steps_of_nearly_one_size(
    codes: list[int], epoch: int
) -> None:
    rows = rows_of(in_batch(codes, epoch))
    seen = sorted(row for step in rows for row in step)
    with_partner = {row for row, code in enumerate(codes) if codes.count(code) > 1}
    assert len(seen) == len(set(seen)) and with_partner <= set(seen)
    sizes = [len(step) for step in rows]
    if sizes:
        assert max(sizes) <= 8 and max(sizes) - min(sizes) <= 2


def test_the_last_step_is_not_a_small_one() -> None:
    """365 images of 73 identities in steps of 32 at most: 12 steps of 30 or 31."""
    plan = sampler.in_batch_plan(np.arange(365) // 5, batch=32, images_per_identity=4, seed=0, epoch=0)
    assert sorted({len(step.rows) for step in steps_of(plan)}) == [30, 31] and plan.steps == 12


def test_each_step_has_both_classes_even_of_two_identities() -> None:
    """2 identities of 40 images, 2 at a time, in steps of 8: an identity's groups are spread, so both are in each."""
    for epoch in range(5):
        for step in steps_of(in_batch([0] * 40 + [1] * 40, epoch)):
            assert 0 < step.labels.sum() < len(step.labels)


def test_images_without_a_partner_are_negatives_of_half_a_step_at_most() -> None:
    """4 pairs of images and 100 images that are the only ones of their identity: 8 and 8, in 3 steps of 5 or 6."""
    codes = [0, 0, 1, 1, 2, 2, 3, 3, *range(4, 104)]
    rows = rows_of(in_batch(codes))
    assert len(rows) == 3
    assert sorted(row for step in rows for row in step if row < 8) == list(range(8))
    assert all(2 <= sum(row >= 8 for row in step) <= 3 for step in rows)


def test_images_of_one_identity_are_kept_together() -> None:
    """8 identities of 4 images in groups of 2, batches of 8: each batch holds 4 groups, so at least 4 positive
    pairs."""
    for step in steps_of(in_batch(np.repeat(np.arange(8), 4).tolist())):
        assert step.labels.sum() >= 4


def test_images_of_unknown_identity_all_get_their_turn() -> None:
    """4 targets take 4 of the 12 others along in each epoch: all others are seen in three."""
    codes = [0] * 4 + [UNKNOWN] * 12
    seen: set[int] = set()
    for epoch in range(3):
        rows = [row for step in rows_of(in_batch(codes, epoch)) for row in step]
        assert sorted(rows)[:4] == [0, 1, 2, 3] and len(rows) == 8
        seen |= set(rows)
    assert seen == set(range(16))


def test_few_images_with_a_partner_make_one_step_that_others_fill() -> None:
    """2 targets and 20 others, batches of 8: one step of 2 and 5, the others working through in four epochs."""
    codes = [0] * 2 + [UNKNOWN] * 20
    plans = [rows_of(in_batch(codes, epoch)) for epoch in range(4)]
    assert [[len(rows) for rows in plan] for plan in plans] == [[7]] * 4
    assert {row for plan in plans for rows in plan for row in rows} == set(range(22))


def test_pairs_of_a_batch_by_hand() -> None:
    """Images a, a, unknown, unknown: a-a is positive, a-unknown negative (4 of them), unknown-unknown has no label."""
    first, second, labels = sampler.labelled_pairs(np.array([3, 3, UNKNOWN, UNKNOWN]))
    assert list(zip(first, second, labels, strict=True)) == [(0, 1, 1), (0, 2, 0), (0, 3, 0), (1, 2, 0), (1, 3, 0)]


def test_listed_pairs_come_once_an_epoch_and_each_image_once_a_step() -> None:
    first, second, labels = np.array([0, 0, 1, 2]), np.array([1, 2, 2, 3]), np.array([1, 0, 0, 1])
    plan = sampler.listed_plan(first, second, labels, batch=8, seed=0, epoch=0)
    (step,) = steps_of(plan)
    assert step.rows.tolist() == [0, 1, 2, 3]
    pairs = zip(step.rows[step.first], step.rows[step.second], step.labels, strict=True)
    assert sorted(pairs) == [(0, 1, 1), (0, 2, 0), (1, 2, 0), (2, 3, 1)]


def test_listed_pairs_are_cut_into_steps_of_half_a_batch_at_most() -> None:
    """5 pairs, 2 a step: 3 steps of 1, 2 and 2."""
    first, second, labels = np.arange(0, 10, 2), np.arange(1, 10, 2), np.ones(5)
    plan = sampler.listed_plan(first, second, labels, batch=4, seed=0, epoch=0)
    assert [len(step.labels) for step in steps_of(plan)] == [1, 2, 2]
    assert sorted(row for rows in rows_of(plan) for row in rows) == list(range(10))


@pytest.mark.parametrize("codes", [[0, 0, 1, 1, 2, 2, 3, 3] * 4, [0] * 10 + [UNKNOWN] * 30])
def test_the_order_depends_on_seed_and_epoch_alone(codes: list[int]) -> None:
    assert rows_of(in_batch(codes, 1, 5)) == rows_of(in_batch(codes, 1, 5))
    assert rows_of(in_batch(codes, 1, 5)) != rows_of(in_batch(codes, 2, 5))
    assert rows_of(in_batch(codes, 1, 5)) != rows_of(in_batch(codes, 1, 6))
