"""A server that stands in front of another one and can answer in its place, as a login page or a proxy does."""

from __future__ import annotations

import http.client

from listening import LoopbackServer, QuietHandler

ANSWERS = {  # status, headers, body
    "empty": (200, {}, b""),
    "page": (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html>\n<title>Sign in</title>\n"),
    "redirect": (302, {"Location": "/login"}, b""),
    "object": (200, {"Content-Type": "application/json"}, b'{"status": "ok"}'),
    "list": (200, {"Content-Type": "application/json"}, b"[]"),
    "other_types": (200, {"Content-Type": "application/json"}, b'{"experiment": "x"}'),
}


class Portal(LoopbackServer):
    """Forwards requests to `port` of this machine, unless `answer` names one of ANSWERS."""

    def __init__(self, port: int | None = None, answer: str | None = None) -> None:
        self.port, self.answer = port, answer
        self.answered = 0  # requests, by itself
        super().__init__(_Handler)


class _Handler(QuietHandler):
    server: Portal

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.answer is not None:
            self.server.answered += 1
            status, headers, content = ANSWERS["page" if self.path == "/login" else self.server.answer]
        else:
            upstream = http.client.HTTPConnection("127.0.0.1", self.server.port)
            upstream.request(self.command, self.path, body, {**self.headers, "Host": f"127.0.0.1:{self.server.port}"})
            answer = upstream.getresponse()
            status, content = answer.status, answer.read()
            headers = {"Content-Type": answer.headers.get("Content-Type", "")}
            upstream.close()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any
