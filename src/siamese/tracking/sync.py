"""What is on disk and not yet on the server: `siamese sync`, and the run that a trained model belongs to."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.console import log
from siamese.errors import InputError
from siamese.params import Params
from siamese.storage.files import require_exists
from siamese.tracking import journal, provenance, recorder
from siamese.tracking.client import Unreachable, connect, reraise_unreachable, tracking_uri, without_credentials
from siamese.tracking.dvc_stage import params_used
from siamese.tracking.forwarder import find_run, send
from siamese.tracking.journal import Journal, Sent

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Synced:
    """What `sync` did with a training: the name of its run, the id on the server, the number of records sent."""

    name: str
    run_id: str | None
    records: int


def sync() -> list[Synced]:
    """Sends what is left of each journal to the server, but for trainings that go on at this moment.

    A training that was killed is KILLED from now on, if it ran on this machine. Of another machine's it is not known:
    not every file system that machines share knows the locks of all of them.

    Raises:
        InputError: the server can't be used.
    """
    uri = tracking_uri()
    done = []
    client, failed = None, None
    for kept in journal.journals():
        holding = kept.held()
        if holding is None:
            continue  # that process sends its own
        with holding:
            if not _note_end(kept):
                host = kept.machine().get("host", "another machine")
                log(f"sync: run {kept.beginning()['name']} goes on, or was killed, on {host}; run `siamese sync` there")
            if kept.begun() and kept.left(without_credentials(uri)):
                client = client or connect(uri)
                try:
                    run_id, records = send(kept, client, uri)
                    done.append(Synced(kept.beginning()["name"], run_id, records))
                except Unreachable:
                    raise
                except InputError as error:  # this training's own: the others' records can be sent
                    failed = error
    if failed:
        raise failed
    return done


def ensure_run(run_file: Path, history_file: Path, catalog_file: Path, params: Params) -> str:
    """The id of the run of the training that `run_file` names, on the server as it is now.

    What is left of its journal is sent. Where the journal lies on another machine, the run is found by its tag; where
    there is none, as of a training that wasn't tracked, one is made from the history and the catalog.

    Raises:
        InputError: no `run_file`, or the server can't be used.
    """
    training = _training_of(run_file)
    uri = tracking_uri()
    client = connect(uri)
    kept = Journal.of(training)
    if not kept.begun():
        with reraise_unreachable():
            run_id = find_run(client, training, _experiments(client))
        if run_id:
            return run_id
        record_afterwards(kept, history_file, catalog_file, params)
    run_id, _ = send(kept, client, uri)
    if run_id is None or not _there(client, run_id):
        kept.mark(without_credentials(uri), Sent())
        run_id, _ = send(kept, client, uri)
    if run_id is None:
        raise InputError(f"{kept.folder}: holds no record of the training: remove the folder, and run this again")
    return run_id


def record_afterwards(kept: Journal, history_file: Path, catalog_file: Path, params: Params) -> None:
    """Writes the journal of a training that left none: parameters as dvc.lock or `params` has them, code as it is now.

    Raises:
        InputError: what the training read or wrote is missing.
    """
    import pandas as pd

    require_exists(catalog_file, "siamese catalog")
    require_exists(history_file, "siamese train")
    ended = int(history_file.stat().st_mtime * 1000)
    params = params_used(params, [history_file, catalog_file])
    known = provenance.tags(params.data.path, catalog_file) | {provenance.RECORDED: "after training"}
    recorder.add_beginning(kept, params, known, key=None, time=ended)
    recorder.add_files(kept, params, catalog_file)
    rows = pd.read_csv(history_file).to_dict("records")
    recorder.add_epochs(kept, [{str(name): None if pd.isna(row[name]) else row[name] for name in row} for row in rows])
    kept.keep(history_file, "training/history.csv")
    kept.add("status", value=journal.FINISHED, time=ended)


def _note_end(kept: Journal) -> bool:
    """Note the end of a training that was killed and couldn't say so itself, and that no process has now.

    Returns:
        False if it ran on another machine, where it may go on.
    """
    if kept.begun() and kept.status() == journal.RUNNING:
        last, here = kept.machine(), journal.this_machine()
        # The lock, which is free, is proof for processes of this boot. Those of this machine's earlier boots are gone.
        same_boot = here["boot"] != "" and here["boot"] == last.get("boot")
        if not same_boot and here["host"] != last.get("host"):
            return False
        kept.mend()
        kept.add("status", value=journal.KILLED, time=kept.read()[-1][1]["time"])
    return True


def _training_of(run_file: Path) -> str:
    require_exists(run_file, "siamese train")
    with suppress(OSError, ValueError, KeyError, TypeError):
        content: Any = json.loads(run_file.read_text(encoding="utf-8"))
        return str(content["training"])
    raise InputError(f"{run_file} names no training: run `siamese train` again, or name another file")


def _experiments(client: MlflowClient) -> list[str]:
    found: list[str] = []
    page = None
    while page != "":
        answer = client.search_experiments(max_results=1000, page_token=page)
        found += [experiment.experiment_id for experiment in answer]
        page = answer.token or ""
    return found


def _there(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    with reraise_unreachable():
        try:
            return client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
