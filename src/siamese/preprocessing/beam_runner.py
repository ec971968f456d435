"""Where `preprocess` runs: Beam's runner, its options, what its workers reach, and what went wrong there."""

from __future__ import annotations

import difflib
import logging
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from siamese.console import log
from siamese.errors import InputError, as_input_error, summarise_exception
from siamese.params import PreprocessParams
from siamese.storage.object_store import AnyPath, as_path

LOCAL = "DirectRunner"
REQUIRED_OPTIONS: dict[str, dict[str, str]] = {
    LOCAL: {},
    "PortableRunner": {
        "job_endpoint": "the address of Beam's job server, host:port",
        "environment_type": "how workers are started: EXTERNAL, DOCKER, PROCESS or LOOPBACK",
    },
    "DataflowRunner": {"project": "the Google Cloud project", "region": "where to run"},
    "FlinkRunner": {"flink_master": "the address of the cluster"},
    "SparkRunner": {"spark_master_url": "the address of the cluster"},
}
_EVERYWHERE = {"temp_location": "a folder that its workers reach"}  # but here
_ANSWERS_WITHIN = 60  # seconds, unless the option job_server_timeout says otherwise
_A_WEEK = 7 * 24 * 3600
_SUBMITTER = "apache_beam.runners.dataflow.internal.apiclient"
_INSTALLED = ("siamese", "tensorflow", "tensorflow_transform", "tfx_bsl", "PIL", "google_crc32c")  # where workers run


def pipeline_options(params: PreprocessParams) -> Any:
    """Beam's options for `preprocess.runner` and `preprocess.runner_options`: apache_beam's PipelineOptions.

    Raises:
        InputError: an option that Beam doesn't know, a value of a wrong type, or no word of where a cluster is.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

    known: set[str] = set()
    PipelineOptions([]).get_all_options(add_extra_args_fn=lambda parser: known.update(parser._option_string_actions))
    options = params.runner_options
    for name in options:
        if f"--{name}" not in known:
            nearest = [f"; nearest: {flag[2:]}" for flag in difflib.get_close_matches(f"--{name}", known, n=1)]
            raise InputError(f"preprocess.runner_options: Beam has no option {name}{''.join(nearest)}")
    required = REQUIRED_OPTIONS[params.runner] | ({} if params.runner == LOCAL else _EVERYWHERE)
    for name, meaning in required.items():
        if name not in options:
            raise InputError(f"preprocess.runner {params.runner} needs preprocess.runner_options.{name}: {meaning}")
    said = StringIO()
    try:
        with redirect_stderr(said):
            parsed = PipelineOptions.from_dictionary(dict(options))
            parsed.get_all_options()
    except SystemExit:
        raise InputError(f"preprocess.runner_options: {said.getvalue().strip().splitlines()[-1]}") from None
    # Beam would end a job that takes longer than this, where the server knows the job by one name from the beginning.
    parsed.view_as(PortableOptions).job_server_timeout = _A_WEEK
    return parsed


def check(params: PreprocessParams, *folders: AnyPath) -> None:
    """Finds out early what would end the job late.

    Raises:
        InputError: workers can't reach a folder, or no job server answers.
    """
    if params.runner == "DataflowRunner":
        for folder in folders:
            if isinstance(folder, Path) and not folder.absolute().is_relative_to("/gcs"):
                raise InputError(
                    f"{folder}: DataflowRunner's workers can't reach it: use folders in a bucket, mounted under /gcs"
                )
    endpoint = params.runner_options.get("job_endpoint")
    if endpoint not in (None, "embed"):
        _expect_answer(str(endpoint), float(str(params.runner_options.get("job_server_timeout", _ANSWERS_WITHIN))))


def runner(params: PreprocessParams) -> Any:
    """What apache_beam's Pipeline takes as its runner."""
    if params.runner != LOCAL:
        return params.runner
    # Beam's own DirectRunner looks for Prism, a program in another language, and would download it.
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    return FnApiRunner()


def reachable_from_workers(folder: AnyPath, params: PreprocessParams) -> AnyPath:
    """A folder as workers reach it: what Vertex AI and Kubeflow mount under /gcs lies in a bucket, for workers
    elsewhere."""
    if not isinstance(folder, Path):
        return folder
    path = folder.absolute()
    return path if params.runner == LOCAL else as_path(re.sub("^/gcs/", "gs://", path.as_posix()))


@contextmanager
def scratch(params: PreprocessParams) -> Iterator[str]:
    """A new folder that workers reach, which is gone in the end.

    Raises:
        InputError: none can be made there.
    """
    if params.runner == LOCAL:
        with tempfile.TemporaryDirectory() as here:
            yield here
        return
    from apache_beam.io.filesystems import FileSystems

    location = str(params.runner_options["temp_location"])
    folder = f"{location.rstrip('/')}/siamese-{uuid.uuid4().hex}"
    with as_input_error(f"preprocess.runner_options.temp_location {location}: can't be written to, name another"):
        FileSystems.mkdirs(folder)
    try:
        yield folder
    finally:
        with suppress(Exception):  # a worker that isn't told yet may write there still
            if FileSystems.get_scheme(folder):
                FileSystems.delete([f"{folder}/"])
            else:
                shutil.rmtree(folder)  # Beam's local file system deletes no folder


def finish(pipeline: Any) -> None:
    """Runs an apache_beam Pipeline to its end; whoever interrupts this ends the job, too, wherever it runs."""
    result = pipeline.run()
    try:
        result.wait_until_finish()
    except BaseException:
        with suppress(Exception):
            result.cancel()
        raise


@contextmanager
def reraise_runner_errors(params: PreprocessParams) -> Iterator[None]:
    """Turns what Beam raises, a worker's traceback as one text, into the error that happened there; says nothing else.

    Raises:
        InputError: a worker raised one, can't import what it needs, or is lost; an option isn't allowed.
    """
    try:
        with _quiet():
            yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        said = re.search(r"InputError: (.+?)(?: \[while running|$)", text, re.MULTILINE)
        if said:
            raise InputError(said[1]) from None
        if "validations errors" in text:
            raise InputError(f"preprocess.runner_options: {' '.join(str(error).split())}") from None
        lacking = re.search(r"ModuleNotFoundError: No module named '(\w+)", text)
        if params.runner != LOCAL and lacking and lacking[1] in _INSTALLED:
            raise InputError(
                f"preprocess.runner {params.runner}: {lacking[1]} isn't installed where its workers run: "
                "let them run the training image"
            ) from None
        if _is_lost(error):
            raise InputError(
                f"preprocess.runner {params.runner}: the job server was lost ({summarise_exception(error)}): "
                "start it and run the step again"
            ) from None
        raise


def _expect_answer(endpoint: str, seconds: float) -> None:
    import grpc

    with closing(grpc.insecure_channel(endpoint)) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            raise InputError(
                f"preprocess.runner_options.job_endpoint {endpoint}: no job server answered in {seconds:g} s: "
                "start it, or name another"
            ) from None


def _is_lost(error: Exception) -> bool:
    import grpc

    return isinstance(error, grpc.RpcError)


@contextmanager
def _quiet() -> Iterator[None]:
    """Beam and TensorFlow Transform warn of what is no concern here, and log errors that they raise too. What is said
    still: where to watch a job of Dataflow."""
    loggers = [logging.getLogger(name) for name in ("apache_beam", "absl", "tensorflow", "root", _SUBMITTER)]
    levels, handlers = [logger.level for logger in loggers], logging.getLogger().handlers[:]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    loggers[-1].setLevel(logging.INFO)
    loggers[-1].addHandler(watching := _WhereToWatch())
    said_of_threads = threading.excepthook
    threading.excepthook = lambda died: _is_reader(died.thread) or said_of_threads(died)
    try:
        yield
    finally:
        threading.excepthook = said_of_threads
        loggers[-1].removeHandler(watching)
        logging.getLogger().handlers[:] = handlers  # Beam adds one
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_reader(thread: threading.Thread | None) -> bool:
    """Whether it is the thread of PortableRunner that fails together with the job server, which is raised anyway."""
    return thread is not None and thread.name == "wait_until_finish_read"


class _WhereToWatch(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "https://console." in record.getMessage():
            log(record.getMessage())
