"""Vertex AI for tests: takes what google-cloud-aiplatform sends, and reads it by Google's and kfp's models."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

PARENT = r"/v1/(projects/[^/]+/locations/[^/]+)"
STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 409: "ALREADY_EXISTS"}


@dataclass
class VertexServer:
    """What came in.

    Attributes:
        jobs, schedules: as Google's types, by their names.
        specs: the jobs' pipelines as JSON, by the jobs' names.
        refusing: status and text that answers everything; None: what fits.
        authorizations: who asked.
    """

    jobs: dict[str, Any] = field(default_factory=dict)
    schedules: dict[str, Any] = field(default_factory=dict)
    specs: dict[str, dict] = field(default_factory=dict)
    refusing: tuple[int, str] | None = None
    authorizations: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], content: Any) -> tuple[int, Any]:
        """Status and JSON."""
        from google.cloud import aiplatform_v1

        if self.refusing is not None:
            return error(*self.refusing)
        found = re.fullmatch(f"{PARENT}/(pipelineJobs|schedules)", path)
        if found is None:
            return error(404, path)
        parent, kind = found.groups()
        if method == "GET":
            wanted = re.fullmatch(r'display_name="(.*)"', query["filter"])
            assert wanted is not None
            listed = [one for one in self.schedules.values() if one.display_name == wanted[1]]
            return 200, {"schedules": [{"name": one.name, "displayName": one.display_name} for one in listed]}
        if kind == "schedules":
            made = read(aiplatform_v1.Schedule(), content)
            made.name = f"{parent}/schedules/{len(self.schedules) + 1}"
            self.specs[made.name] = checked(content["createPipelineJobRequest"]["pipelineJob"])
            self.schedules[made.name] = made
            return 200, {"name": made.name}
        name = f"{parent}/pipelineJobs/{query['pipelineJobId']}"
        if name in self.jobs:
            return error(409, f"PipelineJob {name} already exists")
        self.jobs[name] = read(aiplatform_v1.PipelineJob(), content)
        self.specs[name] = checked(content)
        return 200, {"name": name}


def read(message: Any, content: dict) -> Any:
    """`content` as one of Google's types, which know no other fields."""
    json_format.ParseDict(content, type(message).pb(message))
    return message


def checked(job: dict) -> dict:
    """The pipeline, by kfp's own specification; the arguments have inputs."""
    spec = job["pipelineSpec"]
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert set(job["runtimeConfig"]["parameterValues"]) <= set(spec["root"]["inputDefinitions"]["parameters"])
    return spec


def error(status: int, message: str) -> tuple[int, dict]:
    return status, {"error": {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN")}}


@contextmanager
def vertex_server() -> Iterator[VertexServer]:
    """A server on the loopback interface until the block ends."""
    state = VertexServer()

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            where = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(where.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.authorizations.append(self.headers.get("Authorization", ""))
            status, content = state.answer(self.command, where.path, query, json.loads(body) if body else None)
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def service_account(file: Path) -> Path:
    """A key file, with which Google's library logs in on its own, by a signature."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    who = {"type": "service_account", "client_email": "ci@demo.iam.gserviceaccount.com", "private_key_id": "1"}
    file.write_text(json.dumps(who | {"private_key": text, "token_uri": "http://127.0.0.1:1/never-asked"}))
    return file
