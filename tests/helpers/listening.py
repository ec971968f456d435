"""Servers of the loopback interface for tests, in threads of this process; the first is who listens to `notify`."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer(ThreadingHTTPServer):
    """On a free port, from the beginning of a `with` block to its end."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class QuietHandler(BaseHTTPRequestHandler):
    """Answers without a word on standard error."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Listener(LoopbackServer):
    """Answers with these statuses, one after the other, then with 204; keeps what it heard."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.heard: list[dict[str, Any]] = []
        super().__init__(_Answer)

    @property
    def address(self) -> str:
        return f"{super().address}/secret-part"


class _Answer(QuietHandler):
    server: Listener

    def do_POST(self) -> None:
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("content-length", "0")
        self.end_headers()
