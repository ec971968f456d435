"""Beam's job server and its pool of workers, each in processes of their own, for tests: pipelines and what they carry
cross sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage_servers import free_port, wait_for
from waiting import PATIENCE

JOB_SERVER = ("apache_beam.runners.portability.local_job_service_main", "--port")
WORKER_POOL = ("apache_beam.runners.worker.worker_pool_main", "--service_port")
# A shell starts what runs in its background deaf to SIGINT, which is inherited.
_HEEDS_SIGINT = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
UMASK = 0o027  # of workers: what they write is known by its mode


class BeamServer:
    """One of the two, on a free port.

    Args:
        program: `JOB_SERVER` or `WORKER_POOL`.
        folder: its working folder; its log, too.
        environment: further environment variables of its process.
    """

    def __init__(self, program: tuple[str, str], folder: Path, **environment: str) -> None:
        module, option = program
        self.port = free_port()
        self.log = folder / f"{module}.log"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the pool starts workers by `python`
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _HEEDS_SIGINT, module, option, str(self.port)],
                cwd=folder,
                env=os.environ | {"PATH": path} | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=UMASK,
            )
        wait_for(self.port, self.process)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def stop(self) -> None:
        """SIGINT: upon which a pool ends its workers."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


@contextmanager
def beam_server(program: tuple[str, str], folder: Path, **environment: str) -> Iterator[BeamServer]:
    """It, until the block ends."""
    folder.mkdir(exist_ok=True)
    server = BeamServer(program, folder, **environment)
    try:
        yield server
    finally:
        server.stop()


def options(jobs: BeamServer, workers: BeamServer, temporary: Path) -> dict[str, Any]:
    """Of `preprocess.runner_options`, for PortableRunner."""
    return {
        "job_endpoint": jobs.address,
        "job_server_timeout": int(PATIENCE),
        "environment_type": "EXTERNAL",
        "environment_config": workers.address,
        "temp_location": str(temporary),
    }
