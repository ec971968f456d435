"""MLflow servers in processes of their own, for tests: runs and models cross a socket, and a server can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from storage_servers import free_port, wait_for
from waiting import PATIENCE

_SPARING = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class MlflowServer:
    """`mlflow server` of the loopback interface, its records in SQLite and its artifacts beside, all in `folder`.

    The port stays the same from one `start` to the next, and so do the records. A new folder costs seconds, in which
    MLflow makes its tables.

    Args:
        folder: where everything is kept, the log too (`server.log`); made if it isn't there.
        options: further options of `mlflow server`.
        environment: further environment variables of its process.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        self._environment |= _SPARING | environment
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        database = f"sqlite:///{self.folder / 'mlflow.db'}?timeout={PATIENCE:.0f}"  # for the lock of another thread
        command += ["--workers", "1", "--backend-store-uri", database]
        if "--default-artifact-root" not in self._options:
            command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("a") as log:
            # A process group of its own: `mlflow server` has a child that does the work.
            self._process = subprocess.Popen(
                [*command, *self._options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self.folder,
                start_new_session=True,
            )
        wait_for(self.port, self._process)

    def kill(self) -> None:
        """Ends it at once, as a lost machine would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def mlflow_server(folder: Path, options: Sequence[str] = (), **environment: str) -> Iterator[str]:
    """The address of an `MlflowServer`, until the block ends."""
    server = MlflowServer(folder, options, **environment)
    try:
        server.start()
        yield server.address
    finally:
        server.kill()
