"""The process behind `siamese serve`: listens at once, loads the model meanwhile, and finishes its work when told."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from siamese.console import log as say
from siamese.errors import InputError
from siamese.monitoring.prediction_log import PredictionLog
from siamese.params import ServeParams
from siamese.process import handle_signals
from siamese.serving import loaded_model
from siamese.serving.app import application
from siamese.serving.metrics import Metrics
from siamese.serving.service import Service

_SECONDS_TO_WRITE = 5.0  # of what the log still holds at the end


def run(
    reference: str,
    threshold_file: Path | None,
    own_threshold: float | None,
    host: str,
    port: int,
    log_file: Path | None,
    access_log: bool,
    limits: ServeParams,
    max_pixels: int,
) -> None:
    """Serves until SIGTERM or SIGINT; requests under way are answered first, a second signal ends at once.

    Args:
        reference, threshold_file, own_threshold: as in `siamese.serving.loaded_model.load`.
        host, port: where to listen; port 0: one that is free.
        log_file: predictions are appended to it; None: they aren't logged.
        access_log: whether each request is a line on standard error.
        limits: of requests.
        max_pixels: an image of more is refused.

    Raises:
        InputError: the place to listen, the log, the model, its threshold or the registry can't be used.
    """
    figures = Metrics()
    log = PredictionLog(log_file, figures.dropped.inc) if log_file else None
    service = Service(limits, max_pixels, figures, log)
    server = _Server(
        uvicorn.Config(
            application(service, figures, access_log),
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http="h11",
            ws="none",
            loop="asyncio",
            timeout_keep_alive=75,  # longer than the proxies and clients that reuse connections
            timeout_graceful_shutdown=math.ceil(limits.seconds) + 1,
        )
    )
    with _listening(host, port) as socket_:
        address = _address_of(socket_)

        def load() -> None:
            service.model = loaded = loaded_model.load(reference, threshold_file, own_threshold)
            figures.model.labels(str(loaded)).set(1)
            say(f"serving {loaded.name} version {loaded.version} at {address}")

        loading = _Loading(load, server.stop)
        try:
            loading.start()
            server.run(sockets=[socket_])
        finally:
            if log:
                log.close(_SECONDS_TO_WRITE)
    if loading.error:
        raise loading.error
    if loading.is_alive():
        # Python would wait for this thread, or end it within TensorFlow, which then aborts. Files that it writes are
        # written beside their place.
        os._exit(0)


class _Loading(threading.Thread):
    """Loads the model in the background; `error` is why it couldn't."""

    def __init__(self, load: Callable[[], None], on_error: Callable[[], None]) -> None:
        super().__init__(name="loading", daemon=True)
        self.error: Exception | None = None
        self._load = load
        self._on_error = on_error

    def run(self) -> None:
        try:
            self._load()
        except Exception as error:
            self.error = error
            self._on_error()


class _Server(uvicorn.Server):
    """uvicorn's, but that a signal is the usual way to end, not a failure."""

    def stop(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with handle_signals(self.handle_exit, signal.SIGTERM, signal.SIGINT):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
        # Connections inherit it. Without it the body of an answer waits for the client to confirm its head: 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise InputError(
            f"{host}, port {port}: can't listen there ({reason}): choose another --host or --port"
        ) from None


def _address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
