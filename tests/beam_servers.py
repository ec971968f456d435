"""Beam's job server and its pool of workers, each in processes of their own, for tests: pipelines and what they carry
cross sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage_servers import free_port, wait_for

UMASK = 0o027  # of the pool and its workers: what they write is known by its mode


class BeamServers:
    """A job server, and a pool that starts workers for it; both of the loopback interface, their logs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.job_port, self._pool_port = free_port(), free_port()
        self.folder = folder
        self._environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        runners = "apache_beam.runners"
        self.job_server = self._start(f"{runners}.portability.local_job_service_main", "--port", str(self.job_port))
        self._pool = self._start(f"{runners}.worker.worker_pool_main", "--service_port", str(self._pool_port))
        for port, process in ((self.job_port, self.job_server), (self._pool_port, self._pool)):
            wait_for(port, process, deadline=time.monotonic() + 120)

    def options(self) -> dict[str, Any]:
        """Of `preprocess.runner_options`."""
        return {
            "job_endpoint": f"localhost:{self.job_port}",
            "environment_type": "EXTERNAL",
            "environment_config": f"localhost:{self._pool_port}",
            "temp_location": str(self.folder / "temporary"),
        }

    def stop(self) -> None:
        self.job_server.kill()
        self._pool.send_signal(signal.SIGINT)  # upon which it ends its workers, too
        for process in (self.job_server, self._pool):
            process.wait()

    def _start(self, module: str, *options: str) -> subprocess.Popen:
        with (self.folder / f"{module}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *options],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=UMASK,
            )


@contextmanager
def beam_servers(folder: Path) -> Iterator[BeamServers]:
    """Both, until the block ends."""
    servers = BeamServers(folder)
    try:
        yield servers
    finally:
        servers.stop()
