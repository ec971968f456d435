"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = tuple(2**power for power in range(11))


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "siamese_requests", "Requests; status 499: the client went away", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "siamese_request_seconds",
            "From a request's head to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batches = Histogram("siamese_batch_images", "Images embedded together", buckets=_IMAGES, registry=registry)
        self.images = Counter("siamese_images_embedded", "Images embedded", registry=registry)
        self.rejections = Counter("siamese_rejections", "Requests refused, by reason", ["reason"], registry=registry)
        self.dropped = Counter(
            "siamese_predictions_dropped", "Lines that the log of predictions lost", registry=registry
        )
        self.model = Gauge("siamese_model", "1 for the model that is served", ["model"], registry=registry)
        self._queue = Gauge(
            "siamese_queue_images", "Images that are decoded, wait or are embedded now", registry=registry
        )

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Has the queue's length asked for each time it is read."""
        self._queue.set_function(length)

    def batch_embedded(self, images: int) -> None:
        """Counts a batch."""
        self.batches.observe(images)
        self.images.inc(images)

    def text(self) -> bytes:
        """All figures, in Prometheus's text format."""
        return generate_latest(self._registry)
