"""Work on many files in several processes, in order; on objects of a store by threads, which mostly wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from siamese.console import log
from siamese.storage.object_store import AnyPath, RemotePath, overlapped

Result = TypeVar("Result")

_FILES_A_TASK = 64


def parallel_map(function: Callable[[AnyPath], Result], files: Sequence[AnyPath], processes: int) -> Iterator[Result]:
    """`function` of each file, in order.

    Args:
        function: one that travels between processes, as its results do.
        files: what it is given, one at a time.
        processes: no more than this machine lends are started; with fewer than two, this process does the work.
    """
    if files and isinstance(files[0], RemotePath):
        yield from overlapped(function, files)
        return
    done = 0
    processes = min(processes, available())
    if processes > 1:
        # Spawned, not forked: the caller may hold threads and TensorFlow.
        try:
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                for result in pool.map(function, files, chunksize=_FILES_A_TASK):
                    yield result
                    done += 1
        except BrokenProcessPool:
            log("the pool of processes ended, going on with one")
    yield from map(function, islice(files, done, None))


def available() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
