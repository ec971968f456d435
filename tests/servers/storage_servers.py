"""Object stores in processes of their own, for tests: what `dvc push` sends crosses a socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import PATIENCE, wait_until

S3_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """The address of a server of S3 without a bucket, until the block ends."""
    port = free_port()
    with serving([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, log) as address:
        try:
            yield address
        finally:
            if "s3fs" in sys.modules:  # whose clients outlive this server, and would be taken for the next one's
                sys.modules["s3fs"].S3FileSystem.clear_instance_cache()


@contextmanager
def gcs_server(log: Path, bucket: str) -> Iterator[str]:
    """The address of a server of Google Cloud Storage with one empty bucket, until the block ends."""
    port = free_port()
    program = "from gcp_storage_emulator.__main__ import main; main()"
    options = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", f"--default-bucket={bucket}"]
    with serving([sys.executable, "-c", program, *options], port, log) as address:
        yield address


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Runs a server of the loopback interface; the block begins when its port answers."""
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | S3_KEYS)
        try:
            wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def wait_for(port: int, server: subprocess.Popen) -> None:
    """Returns once the port answers; fails when the server has ended."""

    def answers() -> bool:
        assert server.poll() is None, "the server ended: its log is beside"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except OSError:
            return False
        return True

    wait_until(answers)
