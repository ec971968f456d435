"""`siamese serve` in a process of its own, for tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_READY = re.compile(r"^serving \S+ version \S+ at (http://127\.0\.0\.1:\d+)\n", re.MULTILINE)
SECONDS = 120  # until something that should happen counts as not happening


class SiameseServer:
    """A server on a free port of the loopback interface.

    Args:
        folder: the working folder.
        said: a file for its standard error.
        options: of `siamese serve`.
    """

    def __init__(self, folder: Path, said: Path, *options: str) -> None:
        self._said = said
        program = str(Path(sys.executable).parent / "siamese")
        with said.open("w") as output:
            self.process = subprocess.Popen([program, "serve", "--port", "0", *options], cwd=folder, stderr=output)

    def said(self) -> str:
        """What it has written to standard error."""
        return self._said.read_text()

    def address(self) -> str:
        """Where it answers, as the line says that it writes when it's ready; waits for that line."""
        wait_until(lambda: _READY.search(self.said()) or self.process.poll() is not None)
        found = _READY.search(self.said())
        assert found, self.said()
        return found[1]

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def siamese_server(folder: Path, said: Path, *options: str) -> Iterator[SiameseServer]:
    """A server until the block ends, which has then ended by itself and without a traceback."""
    server = SiameseServer(folder, said, *options)
    try:
        yield server
        assert server.process.poll() is not None or server.stop() == 0
        assert "Traceback" not in server.said()
    finally:
        server.process.kill()
        server.process.wait()


def wait_until(true: object) -> None:
    """Returns when `true()` is true; fails after `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.02)


def metric(client: httpx.Client, name: str) -> float:
    """A figure of /metrics by its name and labels, as they stand there; 0 where it isn't there yet."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return float(lines.get(name, 0))
