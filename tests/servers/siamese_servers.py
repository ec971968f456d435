"""`siamese serve` in a process of its own, for tests."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from drawn import encoded, picture
from waiting import PATIENCE, wait_until

_READY = re.compile(r"^serving \S+ version \S+ at (http://127\.0\.0\.1:\d+)\n", re.MULTILINE)
# `siamese` whose model doesn't begin to embed as long as a file is there. Meanwhile it writes to another file how many
# images wait for the model.
_HELD_BY_A_FILE = """
import sys, time
from pathlib import Path
from siamese import cli
from siamese.models.verifier import Verifier
from siamese.serving.batcher import Batcher
closed, waiting = map(Path, (sys.argv.pop(1), sys.argv.pop(1)))
begin, embed, batchers = Batcher.__init__, Verifier.embed, []
def begin_and_note(batcher, *given):
    batchers.append(batcher)
    begin(batcher, *given)
def embed_when_open(*given):
    while closed.exists():
        waiting.write_text(str(len(batchers[0]._waiting)))
        time.sleep(0.01)
    return embed(*given)
Batcher.__init__, Verifier.embed = begin_and_note, embed_when_open
cli.main()
"""


class SiameseServer:
    """A server on a free port of the loopback interface.

    Args:
        folder: the working folder.
        said: a file for its standard error.
        options: of `siamese serve`.
    """

    def __init__(self, folder: Path, said: Path, *options: str) -> None:
        self._said = said
        self._closed, self._waiting = (said.with_name(f"{said.name}-{name}") for name in ("closed", "waiting"))
        program = [sys.executable, "-c", _HELD_BY_A_FILE, str(self._closed), str(self._waiting)]
        with said.open("w") as output:
            self.process = subprocess.Popen([*program, "serve", "--port", "0", *options], cwd=folder, stderr=output)

    def said(self) -> str:
        """What it has written to standard error."""
        return self._said.read_text()

    def address(self) -> str:
        """Where it answers, as the line says that it writes when it's ready; waits for that line."""
        wait_until(lambda: _READY.search(self.said()) or self.process.poll() is not None)
        found = _READY.search(self.said())
        assert found, self.said()
        return found[1]

    @contextmanager
    def busy(self, client: httpx.Client) -> Iterator[list[int]]:
        """While open, the model works on an image that `client` has sent, and whatever else comes waits for it.

        Gives the statuses of the answers to that image, which is sent again if the server gives it up too early.
        """
        statuses: list[int] = []

        def occupy() -> None:
            while self._closed.exists() and not self._waiting.exists():
                statuses.append(client.post("/embed", files={"images": encoded(picture(0))}).status_code)

        self._closed.touch()
        with ThreadPoolExecutor(1) as another:
            try:
                occupied = another.submit(occupy)
                wait_until(self._waiting.exists)
                yield statuses
            finally:
                self._closed.unlink()
        occupied.result()
        self._waiting.unlink()

    def waiting(self) -> int:
        """How many images wait for the busy model; -1 while the number is being written."""
        return int(self._waiting.read_text() or -1)

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


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


def metric(client: httpx.Client, name: str) -> float:
    """A figure of /metrics by its name and labels, as they stand there; 0 where it isn't there yet."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return float(lines.get(name, 0))
