"""`python -m pipelines …` for tests: as a process, or within this one, where many runs would cost too long."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]
FOREIGN = ("KFP_", "KF_PIPELINES_", "KUBERNETES_", "VERTEX_", "GOOGLE_", "SIAMESE_", "MLFLOW_", "SSL_", "REQUESTS_")
GIVEN = {
    "SIAMESE_REPOSITORY": "https://git.example.com/siamese.git",
    "KUBECONFIG": os.devnull,  # nobody's cluster
    "COLUMNS": "200",
}


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, what it printed, and what it said besides."""

    exit_code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The last line that was said."""
        return self.err.strip().splitlines()[-1]


def process(*arguments: str, **environment: str) -> Done:
    """The command as users start it."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=ROOT, env=environment_of(**environment)
    )
    return Done(done.returncode, done.stdout, done.stderr)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", *arguments]


def here(*arguments: str, **environment: str) -> Done:
    """The same without a process of its own."""
    from pipelines.__main__ import app
    from siamese.process import exit_code_of

    out, err = io.StringIO(), io.StringIO()
    with only(environment), redirect_stdout(out), redirect_stderr(err):
        code = exit_code_of(lambda: app(args=list(arguments), prog_name="pipelines", standalone_mode=False))
    return Done(code, out.getvalue(), err.getvalue())


def environment_of(**given: str) -> dict[str, str]:
    """This process's environment without anybody's servers, and what is given."""
    rest = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return rest | GIVEN | given


@contextmanager
def only(given: dict[str, str]) -> Iterator[None]:
    with mock.patch.dict(os.environ, environment_of(**given), clear=True):
        yield
