"""From a journal to MLflow: each record by the call that logs it, none lost, none twice."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from siamese.console import log
from siamese.errors import InputError, summarise_exception
from siamese.paths import CHECKPOINT
from siamese.process import Interrupt
from siamese.storage.files import hard_link_or_copy
from siamese.tracking import system_metrics
from siamese.tracking.client import (
    Unreachable,
    connect,
    in_turn,
    is_local,
    project,
    refuse_another_service,
    reraise_unreachable,
    uploading,
    without_credentials,
)
from siamese.tracking.journal import KILLED, RUNNING, Journal, Sent
from siamese.tracking.nested_runs import PARENT, nest, parent_run
from siamese.tracking.provenance import STEP

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAINING_TAG = "siamese.training"
CHECKPOINTS_TAG = "siamese.checkpoints"

_BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # entries that MLflow takes in one call

Record = Mapping[str, Any]


def send(
    journal: Journal, client: MlflowClient, uri: str, stopped: Callable[[], bool] = lambda: False
) -> tuple[str | None, int]:
    """Sends what the server doesn't have yet.

    Sent again, a metric is the same metric, a file the same file, and the run is found by its tag: what was under way
    when server or sender died does no harm.

    Args:
        journal: of the training.
        client: of the server.
        uri: of the server.
        stopped: whether to stop before the next call.

    Returns:
        The run's id there, and the number of records sent.

    Raises:
        InputError: the server, or the place of checkpoints, can't be used; what was sent before is noted.
    """
    server, count = without_credentials(uri), 0
    with journal.sending():
        sent = journal.sent(server)
        for records, position in _in_batches(journal.read(sent.position)):
            if stopped():
                break
            with _reached():
                run_id = sent.run_id or find_or_create_run(journal, client, uri)
                _log(journal, client, run_id, records)
            refuse_another_service(client)  # which may have taken the records for success
            sent = Sent(run_id, position)
            journal.mark(server, sent)
            count += len(records)
    return sent.run_id, count


def find_run(client: MlflowClient, training: str, experiments: Iterable[str]) -> str | None:
    """The id of a training's run, among those of some experiments, named by their ids."""
    found = client.search_runs(list(experiments), f"tags.`{TRAINING_TAG}` = '{training}'", max_results=1)
    return found[0].info.run_id if found else None


def find_or_create_run(journal: Journal, client: MlflowClient, uri: str) -> str:
    """The id of the run of a journal's training; it has its tags from the beginning.

    Raises:
        InputError: the experiment was deleted.
    """
    begun = journal.beginning()
    experiment = _experiment(client, begun["experiment"], uri)
    run_id = find_run(client, journal.training, [experiment])
    if run_id is None:
        _end_earlier_attempts(client, experiment, begun)
        tags = begun["tags"] | {TRAINING_TAG: journal.training}
        if begun["sweep"]:
            with in_turn("sweeps"):
                tags[PARENT] = parent_run(client, experiment, begun["sweep"], begun["time"])
        made = client.create_run(experiment, start_time=begun["time"], run_name=begun["name"], tags=tags)
        run_id = made.info.run_id
    return run_id


def _end_earlier_attempts(client: MlflowClient, experiment: str, begun: Record) -> None:
    """End the runs that killed attempts of the same pipeline step left RUNNING: none is alive when the next begins."""
    step = begun["tags"].get(STEP)
    if step:
        left = client.search_runs([experiment], f'tags.`{STEP}` = "{step}" AND attributes.status = "{RUNNING}"')
        for run in left:
            client.set_terminated(run.info.run_id, KILLED, begun["time"])


@contextmanager
def _reached() -> Iterator[None]:
    """As `reached`; object stores have errors of their own, which are turned into a line, too."""
    try:
        with reraise_unreachable():
            yield
    except InputError:
        raise
    except Exception as error:
        raise Unreachable(without_credentials(summarise_exception(error))) from error


def _in_batches(records: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[list[Record], int]]:
    """Neighbouring records of metrics together, as many as go into one call, all others alone; each with the position
    behind it."""
    for metrics, neighbours in groupby(records, lambda one: one[1]["kind"] == "metrics"):
        batch: list[Record] = []
        size = last = 0
        for position, record in neighbours:
            if batch and (not metrics or size + len(record["values"]) > _BATCH["metrics"]):
                yield batch, last
                batch, size = [], 0
            batch.append(record)
            size += len(record["values"]) if metrics else 1
            last = position
        yield batch, last


def _log(journal: Journal, client: MlflowClient, run_id: str, records: list[Record]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    first = records[0]
    match first["kind"]:
        case "metrics":
            metrics = [
                Metric(name, value, record["time"], record["step"])
                for record in records
                for name, value in record["values"].items()
                if value is not None  # not defined for this epoch
            ]
            client.log_batch(run_id, metrics=metrics)
        case "params":
            for params in _parts(first["values"], _BATCH["params"]):
                client.log_batch(run_id, params=[Param(name, value) for name, value in params])
        case "tags":
            for tags in _parts(first["values"], _BATCH["tags"]):
                client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags])
        case "status":
            _set_status(client, run_id, first["value"], first["time"])
        case "parent":
            nest(client, run_id, first["run"], in_sweep=bool(journal.beginning()["sweep"]))
        case "data":
            _log_data(client, run_id, first)
        case "artifact":
            file = journal.files / first["file"]
            if file.exists():  # removed since by someone: the rest is worth having all the same
                client.log_artifact(run_id, str(file), str(Path(first["file"]).parent))
        case "checkpoint":
            if (journal.files / CHECKPOINT).exists():
                _log_checkpoint(journal, client, run_id, first["destination"])
                journal.drop_checkpoint()


def _parts(values: Mapping[str, str], size: int) -> Iterator[list[tuple[str, str]]]:
    rest = iter(values.items())
    while part := list(islice(rest, size)):
        yield part


def _set_status(client: MlflowClient, run_id: str, status: str, time: int) -> None:
    if status == RUNNING:
        client.update_run(run_id, status)
    else:
        client.set_terminated(run_id, status, time)


def _log_data(client: MlflowClient, run_id: str, record: Record) -> None:
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    source = CodeDatasetSource(record["source"])  # MLflow knows no source of DVC's
    dataset = Dataset(record["name"], record["digest"], source._get_source_type(), source.to_json())
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])


def _log_checkpoint(journal: Journal, client: MlflowClient, run_id: str, destination: str) -> None:
    """To the run's artifacts, or to a folder of its own below a URI.

    MLflow sends straight to the object store where the run's artifacts are in one, and through the server where the
    server keeps them (`mlflow-artifacts:/`). With a URI as destination, the server never sees the files.
    """
    folder = journal.files / CHECKPOINT
    if destination != "run":
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = f"{destination.rstrip('/')}/{journal.training}"
        store: Any = get_artifact_repository(place)
        try:
            store.log_artifacts(str(folder))
        except Exception as error:  # each store has errors of its own
            raise InputError(
                f"{without_credentials(place)}: the checkpoint can't be sent there "
                f"({without_credentials(summarise_exception(error))}): "
                "see to tracking.checkpoints, the bucket and the credentials"
            ) from error
        client.set_tag(run_id, CHECKPOINTS_TAG, without_credentials(place))
        return
    artifacts = client.get_run(run_id).info.artifact_uri
    if is_local(artifacts):
        _link_files(folder, Path(unquote(urlsplit(artifacts).path)) / CHECKPOINT)
    else:
        with uploading():
            client.log_artifacts(run_id, str(folder), str(CHECKPOINT))


def _link_files(source: Path, target: Path) -> None:
    """Half a gigabyte on the same disk needs no second copy."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        (target / file.name).unlink(missing_ok=True)
        hard_link_or_copy(str(file), str(target / file.name))


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    """The id of the experiment, made if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # For files, MLflow would take a folder of where it happens to run.
        place = project() / "mlruns" / re.sub(r"[^\w.-]", "_", name) if is_local(uri) else None
        try:
            return client.create_experiment(name, artifact_location=place.as_uri() if place else None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise InputError(
            f"tracking: experiment {json.dumps(name)} was deleted from {without_credentials(uri)}: restore it there "
            "(`mlflow experiments restore`), or choose another with tracking.experiment"
        )
    return found.experiment_id


_PAUSES = (1.0, 5.0, 15.0, 60.0)  # seconds between attempts to reach a server that is away
_SILENCE = 5.0  # seconds of waiting at the end after which a person is told why
_KEPT = "its record is kept, and `siamese sync` sends it"


class Forwarder:
    """The threads beside training: one sends the journal to the server, one samples how busy the machine is."""

    def __init__(self, kept: Journal, uri: str, warn: Callable[..., None]) -> None:
        self._journal, self._uri, self._warn = kept, uri, warn
        self._collectors: list[Any] = []
        self._something, self._closing, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        self._failures = 0  # since it was last reached
        self._progress = time.monotonic()  # when the server took something last
        self._watching = threading.Thread(target=self._watch, name="machine", daemon=True)
        self._sending = threading.Thread(target=self._send, name="tracking", daemon=True)
        self._sending.start()

    def wake(self) -> None:
        """There is something to send."""
        self._something.set()

    def close(self, longest: float) -> None:
        """Waits until everything is sent, the server turns out to be away, or it took nothing for so many seconds.

        SIGTERM and Ctrl-C end the wait: what is left stays in the journal.
        """
        self._closing.set()
        self._something.set()
        began = time.monotonic()
        told = False
        with Interrupt() as interrupt:
            while self._sending.is_alive() and not interrupt.number:
                if time.monotonic() - max(began, self._progress) >= longest:
                    break
                self._sending.join(0.1)
                if not told and not self._failures and time.monotonic() - began > _SILENCE:
                    told = True
                    log(f"tracking: sending the rest to {without_credentials(self._uri)}")
        if self._sending.is_alive():
            self._abandoned.set()
            self._warn(f"{without_credentials(self._uri)} has not taken everything yet", _KEPT)

    def _watch(self) -> None:
        def record(number: int, values: Mapping[str, float]) -> None:
            with suppress(OSError):  # the next sample may fit
                self._journal.add("metrics", step=number, values=values)
                self._something.set()

        with suppress(Exception):  # a record without these figures is better than none
            first = max(self._journal.steps(f"{system_metrics.PREFIX}cpu_utilization_percentage"), default=-1) + 1
            system_metrics.watch(self._collectors, record, first, self._closing)

    def _send(self) -> None:
        # MLflow takes seconds to import, and two threads that do so at once find each other's halves.
        with suppress(Exception):  # what ails MLflow is told below
            self._collectors = system_metrics.collectors()
        self._watching.start()
        while not self._abandoned.is_set():
            self._something.clear()  # before the next line: `close` sets the two in the other order
            last = self._closing.is_set()
            if last:
                self._watching.join()  # its last sample is to be sent, too
            try:
                self._attempt()
                self._failures = 0
            except Exception as error:
                self._failures += 1
                self._warn(_in_words(error), _KEPT if last else f"training goes on, {_KEPT}")
            if last:
                return
            if self._failures:
                self._closing.wait(_PAUSES[min(self._failures, len(_PAUSES)) - 1])
            else:
                self._something.wait()

    def _attempt(self) -> None:

        send(self._journal, connect(self._uri), self._uri, self._stopped)

    def _stopped(self) -> bool:
        """Asked before each call: the server has taken what came before."""
        self._progress = time.monotonic()
        return self._abandoned.is_set()


def _in_words(error: Exception) -> str:
    told = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())
