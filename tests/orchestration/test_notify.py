"""`notify` says how a run ended: in the log, and to a listener where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from listening import Listener
from waiting import PATIENCE

from siamese.errors import InputError
from siamese.orchestration import notify

FAILED = notify.Ending("siamese-1", "4f1c", "FAILED", "step catalog\nfailed")


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Listener]]:
    """Begins to listen, with these answers, where `notify` is told to post."""
    monkeypatch.setattr(notify, "SECONDS", PATIENCE)
    with ExitStack() as opened:

        def listen(*statuses: int) -> Listener:
            listener = opened.enter_context(Listener(*statuses))
            monkeypatch.setenv(notify.ADDRESS, listener.address)
            return listener

        yield listen


def test_without_an_address_it_is_only_logged(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delenv(notify.ADDRESS, raising=False)
    notify.run(FAILED)
    said = capsys.readouterr().err
    assert "run siamese-1 failed: step catalog failed\n" in said and "no notification sent" in said


def test_a_listener_gets_the_sentence_and_its_parts(listening, capsys) -> None:
    listener = listening(204)
    notify.run(FAILED)
    parts = {"run": "siamese-1", "run_id": "4f1c", "state": "FAILED", "error": "step catalog\nfailed"}
    assert listener.heard == [{"text": "run siamese-1 failed: step catalog failed", **parts}]
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
