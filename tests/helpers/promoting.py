"""Promotions that meet, are killed or held up: a program for `test_promotion_races.py`.

`python promoting.py race NAME COUNT`: COUNT processes promote version 2 of NAME over version 1 at the same moment.
`python promoting.py kill WORK NAME REQUESTS`, `python promoting.py stop WORK NAME REQUESTS`: WORK is promote or
rollback. On NAME-0, NAME-1 and so on, a process does it and kills or stops itself before its first, second, … request
to the server, of those that the regular expression REQUESTS finds in "METHOD path", until one comes to its end. Then
another one does the work; one that was stopped goes on thereafter. Each is a forked child of this process. The other
one's clock leaps forward where it would sleep, which spares waiting for leases.

Prints lines of JSON.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import requests

from siamese.process import exit_code_of
from siamese.registry import lock, promote
from siamese.registry.client import CHALLENGER, CHAMPION, PREVIOUS, Registry
from siamese.tracking.client import connect

LEAP = 20.0  # seconds


class Leaping:
    """A clock that stands still, except that it leaps forward where somebody would sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _: float) -> None:
        self.now += LEAP


@dataclass
class Child:
    """A forked process, what it said, and the request before which it stopped or died."""

    process: int
    reading: int

    def goes_on(self) -> None:
        os.kill(self.process, signal.SIGCONT)

    def said(self) -> list[str]:
        with os.fdopen(self.reading) as lines:
            return lines.read().splitlines()

    def waits(self) -> int:
        """Its status once it has stopped or ended."""
        return os.waitpid(self.process, os.WUNTRACED)[1]


def child(work: Callable[[], None], hook: Callable[[], None] = lambda: None) -> Child:
    """Does work in a child, as the command line does; its exit code is the command's."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(writing, 2)
        hook()
        os._exit(exit_code_of(work))
    os.close(writing)
    return Child(process, reading)


def before_request(number: int, wanted: str, deed: signal.Signals) -> Callable[[], None]:
    """Has a process send itself a signal before its request of that number among the wanted ones, and say which."""

    def hook() -> None:
        numbers, send = count(), requests.Session.send

        def counted(session: Any, request: Any, **options: Any) -> Any:
            what = f"{request.method} {request.path_url.partition('?')[0].rpartition('/2.0/mlflow/')[2]}"
            if re.search(wanted, what) and next(numbers) == number:
                os.write(2, f"{what}\n".encode())
                os.kill(os.getpid(), deed)
            return send(session, request, **options)

        requests.Session.send = counted

    return hook


def two_versions(name: str, work: str) -> Registry:
    """Version 1 is champion and 2 the challenger; to be rolled back, 2 is champion in place of 1."""
    registry = Registry(name)
    for _ in range(2):
        registry.add(SOURCE, RUN, {})
    registry.point(CHALLENGER, 2)
    registry.point(CHAMPION, 1)
    if work == "rollback":
        promote.move(registry, registry.version(2), registry.version(1), "test")
    return registry


def work_of(registry: Registry, work: str) -> Callable[[], None]:
    """What `siamese promote` does once the gate has accepted, or `siamese rollback`; reads what is there first."""
    if work == "rollback":
        return lambda: print_nothing(promote.rollback(registry, "test"))
    challenger, champion = registry.alias(CHALLENGER), registry.alias(CHAMPION)
    return lambda: promote.move(registry, challenger, champion, "test")


def told(**found: Any) -> None:
    print(json.dumps(found), flush=True)  # or a child would say again what its parent has not got rid of


def print_nothing(_: Any) -> None:
    """The exit code of a command that returns nothing is 0."""


def state(registry: Registry) -> dict[str, Any]:
    aliases = {alias: one.number for one in registry.versions() for alias in one.aliases}
    locks = [one.name for one in registry.client.search_registered_models(f"name LIKE '{registry.name}.promoting%'")]
    replaces = {one.number: one.tags.get(promote.REPLACES) for one in registry.versions()}
    return {
        "champion": aliases.get(CHAMPION),
        "previous": aliases.get(PREVIOUS),
        "replaces": replaces.get(aliases.get(CHAMPION)),
        "locks": locks,
    }


def race(name: str, processes: str) -> None:
    registry = two_versions(name, "promote")
    begin, go = os.pipe()
    work = work_of(registry, "promote")

    def at_once() -> None:
        os.close(go)
        os.read(begin, 1)  # ends for all of them when the parent closes its end
        work()

    children = [child(at_once) for _ in range(int(processes))]
    os.close(go)
    codes = [os.waitstatus_to_exitcode(one.waits()) for one in children]
    told(codes=codes, said=[one.said() for one in children], **state(registry))


def kill(work: str, name: str, wanted: str) -> None:
    for number in count():
        registry = two_versions(f"{name}-{number}", work)
        killed = child(work_of(registry, work), before_request(number, wanted, signal.SIGKILL))
        died = os.WIFSIGNALED(killed.waits())
        left = state(registry)
        after = None
        if left["champion"] != {"promote": 2, "rollback": 1}[work]:
            lock.time = Leaping()
            work_of(registry, work)()
            after = state(registry)
        told(died=died, said=killed.said(), left=left, after=after)
        if not died:
            return


def stop(work: str, name: str, wanted: str) -> None:
    """The other one promotes and, for all to see who writes last, takes it back."""
    for number in count():
        registry = two_versions(f"{name}-{number}", work)
        held_up = child(work_of(registry, work), before_request(number, wanted, signal.SIGSTOP))
        status = held_up.waits()
        stopped = os.WIFSTOPPED(status)
        had = state(registry)
        if stopped:
            lock.time = Leaping()
            if had["champion"] == 1:
                work_of(registry, work)()
            promote.rollback(registry, "test")
            held_up.goes_on()
            status = held_up.waits()
        code = os.waitstatus_to_exitcode(status)
        told(stopped=stopped, code=code, had=had, said=held_up.said(), **state(registry))
        if not stopped:
            return


if __name__ == "__main__":
    client = connect()
    started = client.create_run(client.create_experiment(f"{sys.argv[1]} {time.time_ns()}"))
    SOURCE, RUN = f"{started.info.artifact_uri}/model", started.info.run_id
    {"race": race, "kill": kill, "stop": stop}[sys.argv[1]](*sys.argv[2:])
