"""The batcher alone, in an event loop of its own: who is embedded with whom, who leaves, and what a failure costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from waiting import PATIENCE

from siamese.serving.batcher import Batcher, Full

NO_WAIT, LONG = 0.0, 10 * PATIENCE  # seconds; nothing here takes the second: a full batch doesn't wait


class Model:
    """Embeds [n, 1] as its double, remembers what it was given, and works only while `allowed`."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.allowed = threading.Event()
        self.allowed.set()
        self.began = threading.Event()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(pixels[:, 0].tolist())
        self.began.set()
        assert self.allowed.wait(PATIENCE)
        if (pixels < 0).any():
            raise ValueError("the model failed")
        return 2 * pixels


def images(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def with_batcher(
    test: Callable[[Batcher, Model], Coroutine[Any, Any, None]], batch: int = 4, wait: float = NO_WAIT, queue: int = 100
) -> list[int]:
    """Runs the test beside a running batcher; gives the sizes of the batches that were embedded."""
    sizes: list[int] = []

    async def main() -> None:
        model = Model()
        batcher = Batcher(model, batch, wait, queue, sizes.append)
        running = asyncio.create_task(batcher.run())
        try:
            await asyncio.wait_for(test(batcher, model), PATIENCE)
        finally:
            model.allowed.set()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(main())
    return sizes


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_each_request_gets_its_own_images_back_in_order() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        answers = await asyncio.gather(*(batcher.embed(images(n, n + 0.5)) for n in range(10)))
        for n, embedded in enumerate(answers):
            assert embedded.tolist() == [[2 * n], [2 * n + 1]]

    with_batcher(test, batch=3)


def test_images_of_several_requests_are_embedded_together_and_a_full_batch_does_not_wait() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        await asyncio.gather(*(batcher.embed(images(n)) for n in range(8)))
        assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]

    assert with_batcher(test, batch=4, wait=LONG) == [4, 4]


def test_a_request_of_more_images_than_a_batch_is_split() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        assert (await batcher.embed(images(1, 2, 3, 4, 5)))[:, 0].tolist() == [2, 4, 6, 8, 10]

    assert with_batcher(test, batch=2) == [2, 2, 1]


def test_an_image_alone_is_embedded_after_the_wait() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await batcher.embed(images(1))
        assert loop.time() - began >= 0.05  # not before; how long after is the machine's affair

    with_batcher(test, wait=0.05)


def test_what_came_while_the_model_worked_is_embedded_together_next_without_a_wait() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.allowed.clear()
        first = asyncio.create_task(batcher.embed(images(0)))
        await until(model.began.is_set)
        others = [asyncio.create_task(batcher.embed(images(n))) for n in (1, 2, 3)]
        model.allowed.set()
        await asyncio.gather(first, *others)
        assert model.batches == [[0], [1, 2, 3]]

    with_batcher(test)


def test_a_request_that_gives_up_leaves_the_queue() -> None:
    """The model never sees its image, and the others don't wait for it."""

    async def test(batcher: Batcher, model: Model) -> None:
        model.allowed.clear()
        first = asyncio.create_task(batcher.embed(images(0)))
        await until(model.began.is_set)
        gone, stays = (asyncio.create_task(batcher.embed(images(n))) for n in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        model.allowed.set()
        assert (await stays).tolist() == [[4]]
        await first
        assert model.batches == [[0], [2]]

    with_batcher(test)


def test_who_comes_after_one_that_gave_up_still_waits_for_others() -> None:
    """The first comes at 0 and leaves; the second comes at 0.1 and waits until 0.5 (0.4 of its own), not until 0.4."""

    async def test(batcher: Batcher, model: Model) -> None:
        loop = asyncio.get_running_loop()
        gone = asyncio.create_task(batcher.embed(images(1)))
        await asyncio.sleep(0.1)
        gone.cancel()
        began = loop.time()
        await batcher.embed(images(2))
        assert loop.time() - began >= 0.4

    with_batcher(test, wait=0.4)


def test_a_request_that_gives_up_while_it_is_embedded_harms_nobody() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.allowed.clear()
        gone, stays = (asyncio.create_task(batcher.embed(images(n))) for n in (1, 2))
        await until(model.began.is_set)
        gone.cancel()
        model.allowed.set()
        assert (await stays).tolist() == [[4]]
        assert (await batcher.embed(images(3, 4, 5, 6))).tolist() == [[6], [8], [10], [12]]
        assert model.batches[0] == [1, 2]

    with_batcher(test, batch=2, wait=LONG)


def test_when_all_have_given_up_the_next_one_is_served() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        gone = asyncio.create_task(batcher.embed(images(1)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert (await batcher.embed(images(2, 3))).tolist() == [[4], [6]]
        assert model.batches == [[2, 3]]

    with_batcher(test, batch=2, wait=LONG)


def test_a_failure_of_the_model_reaches_those_of_its_batch_alone() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        answers = await asyncio.gather(*(batcher.embed(images(n)) for n in (1, -2, 3, 4)), return_exceptions=True)
        assert [str(answer) for answer in answers[:2]] == ["the model failed"] * 2
        assert [answer.tolist() for answer in answers[2:]] == [[[6]], [[8]]]

    assert with_batcher(test, batch=2, wait=LONG) == [2]


def test_places_are_taken_and_given_back_whatever_happens() -> None:
    batcher = Batcher(Model(), batch=4, wait=NO_WAIT, queue=5)
    with batcher.places() as take:
        take(2)
        take(1)
        assert batcher.held == 3
        with pytest.raises(Full), batcher.places() as other:
            other(1)
            assert batcher.held == 4
            other(2)
        assert batcher.held == 3
        with batcher.places() as other:
            other(2)
            assert batcher.held == 5
    assert batcher.held == 0
