"""Programs that do a piece of work in turn: each in a process of its own, warmed up, timed where the work is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Side:
    """A process that works when it's told to."""

    def __init__(self, module: str, *arguments: object, python: str = sys.executable, folder: Path = ROOT) -> None:
        """Starts `python -m module arguments`, which calls `answer`, and waits until it's warm."""
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._process = subprocess.Popen(
            [python, "-m", module, *map(str, arguments)],
            cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._name = " ".join((module, *map(str, arguments)))
        self.said = self._answer()

    def run(self) -> dict[str, Any]:
        """What the work said of itself, and its `seconds`."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} ended with {self._process.wait()}: see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def answer(work: Callable[[], Mapping[str, Any] | None]) -> None:
    """In the process of a side: does the work once to warm up, then each time that it's asked to.

    Args:
        work: gives what it has to say of itself, such as how much it did; `seconds`, where it times itself.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for turn, _ in enumerate(_turns()):
        began = time.perf_counter()
        said = work() or {}
        took = time.perf_counter() - began
        out.write(json.dumps({"seconds": took} | dict(said) if turn else {}) + "\n")
        out.flush()


def alternate(sides: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Each side's runs, all in turn, every other round in reverse order: a busy minute of the machine meets all."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            runs[name].append(sides[name]())
            print(f"{name}: {runs[name][-1]}", file=sys.stderr)
    return runs


@contextmanager
def working(processes: Mapping[str, Side]) -> Iterator[Mapping[str, Callable[[], dict[str, Any]]]]:
    """What each of these processes does when it's told to; they end with the block."""
    try:
        yield {name: process.run for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.close()


def command(arguments: Sequence[str], folder: Path, exit_codes: Sequence[int] = (0,)) -> Callable[[], dict[str, Any]]:
    """A command as a side: from start to end."""

    def run() -> dict[str, Any]:
        began = time.perf_counter()
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        if done.returncode not in exit_codes:
            raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return {"seconds": took}

    return run


def _turns() -> Iterator[str]:
    yield ""
    yield from sys.stdin
