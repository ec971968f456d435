"""Work in several processes: in order, and finished by one where the others end."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from siamese.storage import parallel

FILES = [Path(str(number)) for number in range(200)]


def name_and_process(file: Path) -> tuple[str, int]:
    return file.name, os.getpid()


def dies_in_a_pool(file: Path) -> str:
    if multiprocessing.parent_process() is not None and file.name == "130":
        os._exit(1)
    return file.name


def test_two_processes_answer_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "available", lambda: 2)
    names, processes = zip(*parallel.parallel_map(name_and_process, FILES, processes=5), strict=True)
    assert list(names) == [file.name for file in FILES]
    assert os.getpid() not in processes and len(set(processes)) <= 2


def test_little_work_starts_no_process() -> None:
    for processes in (0, 1):
        assert {process for _, process in parallel.parallel_map(name_and_process, FILES, processes)} == {os.getpid()}


def test_goes_on_where_the_processes_die(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As when memory runs out: none is left out, none comes twice."""
    monkeypatch.setattr(parallel, "available", lambda: 2)
    assert list(parallel.parallel_map(dies_in_a_pool, FILES, processes=2)) == [file.name for file in FILES]
    assert "the pool of processes ended" in capsys.readouterr().err
