"""What the routes ask: images embedded in batches with those of other requests, compared, and logged. Knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from siamese.data.images.formats import Rejected, canonical, check
from siamese.models.verify import Verification
from siamese.monitoring.prediction_log import Prediction, PredictionLog, Statistics, statistics_of
from siamese.params import ServeParams
from siamese.serving.batcher import Batcher, together
from siamese.serving.http_errors import HttpError
from siamese.serving.loaded_model import LoadedModel
from siamese.serving.metrics import Metrics
from siamese.storage.parallel import available

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image: its pixels, uint8 [100, 100, 3], and where predictions are logged, what the log says of it."""

    pixels: np.ndarray
    statistics: Statistics | None


class Service:
    """A model at work. `model` is None until it's loaded."""

    def __init__(self, limits: ServeParams, max_pixels: int, metrics: Metrics, log: PredictionLog | None) -> None:
        self.limits = limits
        self.model: LoadedModel | None = None
        self._max_pixels = max_pixels
        self._log = log
        self._workers = ThreadPoolExecutor(available(), "worker")
        self._batcher = Batcher(self._embed, limits.batch, limits.wait_ms / 1000, limits.queue, metrics.batch_embedded)
        metrics.watch_queue(lambda: self._batcher.held)

    def loaded(self) -> LoadedModel:
        """The model.

        Raises:
            Refused: it's still being loaded.
        """
        if self.model is None:
            raise HttpError(503, "loading", "the model is being loaded: ask again in some seconds", retry_after=1)
        return self.model

    def places(self) -> AbstractContextManager[Callable[[int], None]]:
        """Gives a function that takes places in the queue for so many images, until the block ends; it raises
        `siamese.serving.batcher.Full`."""
        return self._batcher.places()

    async def run(self) -> None:
        """Does what is asked, until cancelled."""
        try:
            await self._batcher.run()
        finally:
            self._workers.shutdown(wait=False, cancel_futures=True)

    def in_thread(self, function: Callable[..., Result], *arguments: object) -> asyncio.Future[Result]:
        """Calls a function outside of the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    async def decoded(self, images: Mapping[str, Sequence[bytes]]) -> list[Decoded]:
        """Decodes image files' bytes to 30 kB each: what waits in the queue is small, however large they were.

        Args:
            images: a name, for what is said of them, and one image or several.

        Raises:
            Refused: one can't be taken.
        """
        named = {
            name if len(group) == 1 else f"{name}[{number}]": data
            for name, group in images.items()
            for number, data in enumerate(group)
        }
        return await together(self.in_thread(self._decode, name, data) for name, data in named.items())

    async def verify(self, request_id: str, images: Sequence[Decoded]) -> Verification:
        """Compares two images, and logs the answer."""
        model = self.loaded()
        embeddings = await self.embed(images)
        found = (await self.in_thread(model.verifier.score, embeddings[:1], embeddings[1:]))[0]
        verdict = Verification(bool(found >= np.float32(model.threshold)), float(found), model.threshold)
        if self._log:
            seen = [image.statistics for image in images if image.statistics]
            said = verdict.score, verdict.threshold, verdict.same
            self._log.add(Prediction(time.time(), request_id, str(model), *said, *seen))
        return verdict

    async def embed(self, images: Sequence[Decoded]) -> np.ndarray:
        """Embeddings, float32 [images, units]."""
        return await self._batcher.embed(np.stack([image.pixels for image in images]))

    def _decode(self, name: str, data: bytes) -> Decoded:
        try:
            info = check(data, self._max_pixels)
            encoded = canonical(data, self._max_pixels)
        except Rejected as reason:
            raise HttpError(400, str(reason).partition(":")[0], f"{name}: {reason}") from None
        pixels = self._pixels(name, info.format, encoded)
        return Decoded(pixels, statistics_of(info, pixels) if self._log else None)

    def _pixels(self, name: str, format: str, encoded: bytes) -> np.ndarray:
        from tensorflow.errors import InvalidArgumentError

        try:
            return self.loaded().verifier.pixels([encoded])[0]
        except InvalidArgumentError:  # what `check` let pass, and TensorFlow doesn't
            raise HttpError(400, f"damaged {format}", f"{name}: damaged {format}: can't be decoded") from None

    def _embed(self, pixels: np.ndarray) -> np.ndarray:
        return self.loaded().verifier.embed(pixels)
