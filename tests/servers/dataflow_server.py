"""Somebody who takes in what Beam sends to Dataflow, and says at once that the job is done."""

from __future__ import annotations

import json
from typing import Any

from listening import LoopbackServer, QuietHandler


class DataflowServer(LoopbackServer):
    """Keeps the requests: method and path, and the job."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        super().__init__(_Answer)

    @property
    def address(self) -> str:
        return f"http://localhost:{self.server_port}"  # with 127.0.0.1 the client fails


class _Answer(QuietHandler):
    server: DataflowServer

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((f"POST {self.path.partition('?')[0]}", job))
        answer = json.dumps({"id": "job-1", "name": job["name"], "currentState": "JOB_STATE_DONE"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
