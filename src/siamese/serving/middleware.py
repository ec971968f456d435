"""What is the same for every request: its id, its figures, its line in the access log, and an end without traceback."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Container
from datetime import UTC, datetime

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siamese.console import log
from siamese.serving.metrics import Metrics

WENT_AWAY = 499  # as nginx has it: the client didn't wait for the answer
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestMiddleware:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Container[str], access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        identity = _request_id(Headers(scope=scope).get("x-request-id", ""))
        scope.setdefault("state", {})["id"] = identity
        status = WENT_AWAY

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            pass
        except Exception as error:
            log(f"siamese: request {identity} failed: {type(error).__name__}: {' '.join(str(error).split())}")
            if status != WENT_AWAY:
                raise  # half an answer is out: the connection has to end
            sentence = f"something failed here: the server's log has request {identity}"
            await JSONResponse({"error": sentence}, 500)(scope, receive, answer)
        finally:
            self._count(scope, identity, status, time.perf_counter() - began)

    def _count(self, scope: Scope, identity: str, status: int, seconds: float) -> None:
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._access_log:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = {"time": now, "id": identity, "method": scope["method"], "path": scope["path"][:200]}
            log(json.dumps(line | {"status": status, "seconds": round(seconds, 4)}))


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
