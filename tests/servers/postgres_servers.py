"""PostgreSQL from Debian's packages in processes of their own, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from storage_servers import free_port, serving

USER = "postgres"  # PostgreSQL doesn't run as root


def lacking() -> str | None:
    """Why no server can be started here; None where it can."""
    if _programs() is None:
        return "PostgreSQL isn't installed (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL doesn't run as root, and there is no runuser to become another user"
    return None


@contextmanager
def postgres_server(password: str, user: str, log: Path) -> Iterator[int]:
    """The port of a new server of the loopback interface, until the block ends.

    Args:
        user, password: of its superuser; nobody gets in without.
    """
    programs, port = _programs(), free_port()
    assert programs
    with TemporaryDirectory(prefix="postgres-", dir="/tmp") as place:  # pytest's own folders are closed to other users
        data, secret = Path(place, "data"), Path(place, "password")
        secret.write_text(password)
        if os.geteuid() == 0:
            for path in (place, secret):
                shutil.chown(path, USER)
        options = ["--username", user, "--pwfile", secret, "--auth", "scram-sha-256", "--encoding", "UTF8"]
        subprocess.run(
            [*_as_user(), programs / "initdb", "-D", data, *options, "--no-sync"], check=True, capture_output=True
        )
        settings = ["-p", port, "-h", "127.0.0.1", "-k", place, "-F"]
        with serving([*_as_user(), str(programs / "postgres"), "-D", str(data), *map(str, settings)], port, log):
            yield port


def _programs() -> Path | None:
    """The folder of the newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _as_user() -> list[str]:
    return ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
