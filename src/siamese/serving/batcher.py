"""Images of several requests, embedded together: one thread runs the model, and takes what waits each time it's free.

An image waits for others until the batch is full or a set time has passed, and not at all beyond that: while the model
works, the next batch gathers by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np


class Full(Exception):
    """More images than may wait at a time."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: np.ndarray
    since: float
    embedding: asyncio.Future[np.ndarray]


class Batcher:
    """Belongs to one event loop, in which all but the model runs."""

    def __init__(
        self,
        embed: Callable[[np.ndarray], np.ndarray],
        batch: int,
        wait: float,
        queue: int,
        embedded: Callable[[int], None] = lambda images: None,
    ) -> None:
        """
        Args:
            embed: [images, ...] to embeddings, [images, values]; called in a thread of its own, never twice at a time.
            batch: most images it's given at once.
            wait: longest that an image waits for others while the model is free, in seconds.
            queue: most images that have a place at a time.
            embedded: told the size of each batch that was embedded.
        """
        self._embed = embed
        self._batch = batch
        self._wait = wait
        self._queue = queue
        self._embedded = embedded
        self._held = 0
        self._waiting: dict[_Waiting, None] = {}  # in order of arrival; a dict, so that whoever gives up can leave
        self._came = asyncio.Event()
        self._model = ThreadPoolExecutor(1, "model")

    @property
    def held(self) -> int:
        """Images that have a place now."""
        return self._held

    @contextmanager
    def places(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes places for so many images, until the block ends.

        Raises:
            Full: (from that function) there aren't as many.
        """
        mine = 0

        def take(images: int) -> None:
            nonlocal mine
            if self._held + images > self._queue:
                raise Full
            self._held += images
            mine += images

        try:
            yield take
        finally:
            self._held -= mine

    async def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Embeddings, [images, values], of pixels, [images, ...], in batches with whatever else comes.

        Cancelled, its images leave the queue. Raises what the model raised.
        """
        loop = asyncio.get_running_loop()
        mine = [_Waiting(one, loop.time(), loop.create_future()) for one in pixels]
        self._waiting.update(dict.fromkeys(mine))
        self._came.set()
        try:
            return np.stack(await together(one.embedding for one in mine))
        finally:
            for one in mine:
                self._waiting.pop(one, None)

    async def run(self) -> None:
        """Embeds what comes, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._next()
                try:
                    pixels = np.stack([one.pixels for one in batch])
                    embeddings = await loop.run_in_executor(self._model, self._embed, pixels)
                    self._embedded(len(batch))
                except Exception as error:
                    for one in batch:
                        if not one.embedding.done():
                            one.embedding.set_exception(error)
                else:
                    for one, embedding in zip(batch, embeddings, strict=True):
                        if not one.embedding.done():
                            one.embedding.set_result(embedding)
        finally:
            self._model.shutdown(wait=False, cancel_futures=True)

    async def _next(self) -> list[_Waiting]:
        """The images that come next, at least one, no longer in the queue."""
        loop = asyncio.get_running_loop()
        while True:
            oldest = next(iter(self._waiting), None)
            until = None if oldest is None else oldest.since + self._wait
            if len(self._waiting) >= self._batch or (until is not None and loop.time() >= until):
                batch = list(islice(self._waiting, self._batch))
                for one in batch:
                    del self._waiting[one]
                return batch
            self._came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._came.wait()


async def together(all_of: Iterable[Awaitable[Any]]) -> list[Any]:
    """Their results, in order; when one fails, or this is cancelled, the others are cancelled."""
    futures = [asyncio.ensure_future(one) for one in all_of]
    try:
        return await asyncio.gather(*futures)
    finally:
        for future in futures:
            future.cancel()
