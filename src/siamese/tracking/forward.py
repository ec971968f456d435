"""From a journal to MLflow: each record by the call that logs it, none lost, none twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from siamese.errors import InputError, reason_of
from siamese.tracking.facts import STEP
from siamese.tracking.journal import CHECKPOINT, KILLED, RUNNING, Journal, Sent, link
from siamese.tracking.server import (
    Unreachable,
    in_turn,
    is_local,
    project,
    reached,
    refuse_another_service,
    shown,
    uploading,
)
from siamese.tracking.sweeps import PARENT, nest, parent_run

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
    server, count = shown(uri), 0
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
        with reached():
            yield
    except InputError:
        raise
    except Exception as error:
        raise Unreachable(shown(reason_of(error))) from error


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
                f"{shown(place)}: the checkpoint can't be sent there ({shown(reason_of(error))}): "
                "see to tracking.checkpoints, the bucket and the credentials"
            ) from error
        client.set_tag(run_id, CHECKPOINTS_TAG, shown(place))
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
        link(str(file), str(target / file.name))


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
            f"tracking: experiment {json.dumps(name)} was deleted from {shown(uri)}: restore it there "
            "(`mlflow experiments restore`), or choose another with tracking.experiment"
        )
    return found.experiment_id
