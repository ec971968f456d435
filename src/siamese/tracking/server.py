"""The MLflow server, or file, that keeps runs and models: where it is, and what is said when it can't be reached."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from siamese.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_URI = "MLFLOW_TRACKING_URI"
LOCAL = "mlflow.db"

_QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}  # MLflow's own wait minutes
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "ENDPOINT_NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED")


def tracking_uri() -> str:
    """Where runs and models are kept: MLFLOW_TRACKING_URI, or mlflow.db in the project's folder.

    DVC runs queued experiments in copies of the project below .dvc/tmp, which are deleted: their runs are kept with the
    others, in the project itself.
    """
    given = os.environ.get(TRACKING_URI)
    if given:
        return given
    here = Path.cwd()
    copy = re.match(r"(.+?)/\.dvc/tmp/exps/", f"{here.as_posix()}/")
    return f"sqlite:///{copy[1]}/{LOCAL}" if copy else f"sqlite:///{LOCAL}"


def shown(uri: str) -> str:
    """The address without user and password, as messages and files may have it."""
    return re.sub(r"(?<=://)[^/@]+@", "", uri)


def connect() -> MlflowClient:
    """A client of the tracking server. It isn't asked anything yet.

    Raises:
        InputError: MLFLOW_TRACKING_URI is an address that MLflow doesn't know.
    """
    for name, value in (_QUICK | _QUIET).items():
        os.environ.setdefault(name, value)
    uri = tracking_uri()
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with reached():
        mlflow.set_tracking_uri(uri)  # what artifacts are looked up by
        mlflow.set_registry_uri(uri)
        return mlflow.MlflowClient(uri, uri)


@contextmanager
def reached() -> Iterator[None]:
    """Turns the failure to reach the server, or to be let in, into one line.

    Raises:
        InputError: the server is away, refuses, or fails.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in _AWAY and not isinstance(error.__cause__, OSError):
            raise InputError(f"{shown(tracking_uri())}: {_first_line(error)}") from error
        raise Unreachable(_first_line(error)) from error
    except OSError as error:
        raise Unreachable(_first_line(error)) from error


class Unreachable(InputError):
    """The tracking server is away, or doesn't let this user in."""

    def __init__(self, reason: str) -> None:
        server = shown(tracking_uri())
        super().__init__(f"tracking server {server} can't be used ({reason}): see that it runs, or set {TRACKING_URI}")


def is_local(uri: str) -> bool:
    """Whether this is a file of this machine, not a server."""
    return urlsplit(uri).scheme in ("", "file", "sqlite")


def _first_line(error: Exception) -> str:
    text = " ".join((str(error).strip() or type(error).__name__).split())
    return shown(text if len(text) <= 200 else f"{text[:197]}...")
