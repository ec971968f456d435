"""`notify` says how a run ended: in the log, and to a listener where there is one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from siamese import notify
from siamese.errors import InputError

FAILED = {"pipeline": "siamese-1", "state": "FAILED", "error": "step catalog\nfailed"}


class Listener(HTTPServer):
    """Answers with these statuses, one after the other, and keeps what it heard."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.heard = list(statuses), []
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.server.statuses.pop(0))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    opened: list[Listener] = []

    def listen(*statuses: int) -> Listener:
        opened.append(Listener(*statuses))
        monkeypatch.setenv(notify.ADDRESS, f"http://127.0.0.1:{opened[0].server_port}/secret-part")
        return opened[0]

    yield listen
    for one in opened:
        one.shutdown()


def test_without_an_address_it_is_only_logged(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delenv(notify.ADDRESS, raising=False)
    notify.run(FAILED)
    said = capsys.readouterr().err
    assert "pipeline siamese-1 failed: step catalog failed\n" in said and "nobody was told" in said


def test_a_listener_gets_the_sentence_and_its_parts(listening, capsys) -> None:
    listener = listening(204)
    notify.run(FAILED)
    assert listener.heard == [{"text": "pipeline siamese-1 failed: step catalog failed", **FAILED}]
    assert "told 127.0.0.1" in capsys.readouterr().err


def test_a_listener_that_is_busy_is_asked_again(listening) -> None:
    listener = listening(503, 200)
    notify.run(FAILED)
    assert len(listener.heard) == 2


def test_a_refusal_is_one_line_without_the_address_which_is_a_secret(listening) -> None:
    listening(404)
    with pytest.raises(InputError, match=r"127\.0\.0\.1 took no message") as refused:
        notify.run(FAILED)
    assert "\n" not in str(refused.value) and "secret-part" not in str(refused.value)
