"""The MLflow server, or file, that keeps runs and models: where it is, and what is said when it can't be reached."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from siamese.errors import InputError
from siamese.paths import TRACKING
from siamese.storage.files import atomic_file, only_one

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_URI = "MLFLOW_TRACKING_URI"
LOCAL = "mlflow.db"
_FILE = "sqlite:///"

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_QUICK = {  # MLflow's own wait minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    _TIMEOUT: "30",
}
_LONGEST_UPLOAD = 600  # seconds from the last byte to the answer
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_NO_EXPERIMENT = "siamese: no experiment has this name"
_NOT_JSON = "not in a valid JSON format"  # in MLflow's message
_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "ENDPOINT_NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED")


def project() -> Path:
    """The project's folder, absolute.

    DVC runs queued experiments in copies of the project below .dvc/tmp, which are deleted: what is to stay is kept in
    the project itself.
    """
    here = Path.cwd()
    copy = re.match(r"(.+?)/\.dvc/tmp/exps/", f"{here.as_posix()}/")
    return Path(copy[1]) if copy else here


def tracking_uri() -> str:
    """Where runs and models are kept: MLFLOW_TRACKING_URI, or mlflow.db in the project's folder."""
    return os.environ.get(TRACKING_URI) or f"sqlite:///{project()}/{LOCAL}"


@contextmanager
def use_tracking_uri(uri: str) -> Iterator[None]:
    """Inside, runs and models are kept at this address; "": as outside."""
    before = os.environ.get(TRACKING_URI)
    try:
        if uri:
            os.environ[TRACKING_URI] = uri
        yield
    finally:
        os.environ.pop(TRACKING_URI, None)
        if before is not None:
            os.environ[TRACKING_URI] = before


def without_credentials(uri: str) -> str:
    """The address as messages and files may have it: without user and password, a file of the project relative."""
    return re.sub(r"(?<=://)[^/@]+@", "", uri).replace(f"sqlite:///{project()}/", "sqlite:///")


def connect(uri: str | None = None) -> MlflowClient:
    """A client of the tracking server. A server is asked whether it is one; a file is made if it isn't there.

    Args:
        uri: None: what `tracking_uri` gives.

    Raises:
        InputError: MLFLOW_TRACKING_URI is an address that MLflow doesn't know, or a file that can't be made, or the
            server is away or something else.
    """
    for name, value in (_QUICK | _QUIET).items():
        os.environ.setdefault(name, value)
    uri = uri or tracking_uri()
    if re.fullmatch(r"sqlite:/*(:memory:)?", uri):
        raise InputError(f"{TRACKING_URI}={uri}: names no file, and nothing would be kept: write sqlite:///FILE")
    with reraise_unreachable(), _alone(uri):
        import mlflow

        for name in ("mlflow", "alembic", "urllib3"):  # what they would say, `reached` says in a line
            logging.getLogger(name).setLevel(logging.ERROR)
        file = file_of(uri)
        if file and not file.exists():
            with atomic_file(file) as beside:  # killed half-way, MLflow would leave tables that it can't use again
                mlflow.MlflowClient(f"{_FILE}{beside}", f"{_FILE}{beside}")
        given = os.environ.get(TRACKING_URI)
        mlflow.set_tracking_uri(uri)  # what artifacts are looked up by
        mlflow.set_registry_uri(uri)
        if given is None:
            os.environ.pop(TRACKING_URI, None)  # set by MLflow; the next call may be made in another folder
        client = mlflow.MlflowClient(uri, uri)
    refuse_another_service(client)
    return client


def refuse_another_service(client: MlflowClient) -> None:
    """Ask for an experiment that doesn't exist. To MLflow's client, an empty answer 200 to any call is a success.

    Raises:
        InputError: the server is away, refuses, or is no MLflow server.
    """
    if urlsplit(client.tracking_uri).scheme not in ("http", "https"):
        return
    with reraise_unreachable():
        if client.get_experiment_by_name(_NO_EXPERIMENT) is not None:
            raise AnotherService("an empty answer, or another service's")


@contextmanager
def reraise_unreachable() -> Iterator[None]:
    """Turns the failure to reach the server, or to be let in, into one line.

    Raises:
        InputError: the server is away, refuses, or fails.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if _NOT_JSON in str(error):
            raise AnotherService("a page instead of JSON") from error
        if error.error_code not in _AWAY and not isinstance(error.__cause__, OSError):
            raise InputError(f"{without_credentials(tracking_uri())}: {_first_line(error)}") from error
        raise Unreachable(_first_line(error)) from error
    except InputError:
        raise
    except (OSError, ImportError, ValueError) as error:  # a driver that isn't installed; an address that is none
        raise Unreachable(_first_line(error)) from error
    except Exception as error:
        if type(error).__module__.startswith("sqlalchemy."):  # the file is no database
            raise Unreachable(_first_line(error)) from error
        if type(error).__module__.startswith("google.protobuf."):
            raise AnotherService("JSON of another service") from error
        raise


class Unreachable(InputError):
    """The tracking server is away, or doesn't let this user in."""

    def __init__(self, reason: str) -> None:
        server = without_credentials(tracking_uri())
        super().__init__(f"tracking server {server} can't be used ({reason}): see that it runs, or set {TRACKING_URI}")


class AnotherService(Unreachable):
    """What answers at the address isn't an MLflow server: a login page, a proxy, a server of another kind."""

    def __init__(self, answer: str) -> None:
        InputError.__init__(
            self,
            f"{TRACKING_URI} {without_credentials(tracking_uri())}: answers, but not as an MLflow server ({answer}); "
            "check the address, and whether a proxy or a login page answers in its place",
        )


@contextmanager
def uploading() -> Iterator[None]:
    """Wait longer for answers inside: a server passes a large file on to its store before it answers."""
    before = os.environ.get(_TIMEOUT)
    os.environ[_TIMEOUT] = str(max(int(before or 0), _LONGEST_UPLOAD))
    try:
        yield
    finally:
        os.environ.pop(_TIMEOUT)
        if before is not None:
            os.environ[_TIMEOUT] = before


def is_local(uri: str) -> bool:
    """Whether this is a file of this machine, not a server."""
    return urlsplit(uri).scheme in ("", "file", "sqlite")


def in_turn(name: str) -> AbstractContextManager[None]:
    """No two processes of this project are in blocks of the same name at once."""
    return only_one(project() / TRACKING / f"{name}.lock")


def _alone(uri: str) -> AbstractContextManager[None]:
    # MLflow changes the tables of an older version's file step by step: a second process would meet half of them.
    return in_turn("database") if uri.startswith("sqlite:") else nullcontext()


def file_of(uri: str) -> Path | None:
    """The database of this machine that an address means; None for a server."""
    return Path(urlsplit(uri).path[1:]) if uri.startswith(_FILE) else None


def _first_line(error: Exception) -> str:
    text = " ".join((str(error).strip() or type(error).__name__).split())
    return without_credentials(text if len(text) <= 200 else f"{text[:197]}...")
