"""One training, one MLflow run: what `siamese train` opens around the step, which knows nothing of it.

Everything goes to the journal first, and a thread forwards it. So a server that is slow, away, or lost in the middle
neither slows nor stops training: one line says so, and `siamese sync` sends the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siamese import paths
from siamese.config import to_yaml
from siamese.console import log
from siamese.params import Params
from siamese.process import Interrupted
from siamese.storage.files import write_json
from siamese.tracking import forwarder, journal, provenance
from siamese.tracking.client import tracking_uri, without_credentials
from siamese.tracking.forwarder import Forwarder
from siamese.tracking.journal import Journal
from siamese.tracking.nested_runs import name_in_sweep, orchestrators_run, sweep
from siamese.tracking.provenance import RemoteOrigin
from siamese.training.checkpoints import Origin, newest_first

LONGEST_WAIT = 60.0  # seconds after training in which the server may take nothing of what isn't sent yet
WAIT_WHEN_STOPPED = 5.0  # after an interruption or a failure
SLOWEST = 2e6  # bytes a second: a checkpoint that is to be sent prolongs the wait by as much


@dataclass(frozen=True)
class Run:
    """What run.json says of a training.

    Attributes:
        training: its id, which its run has as the tag siamese.training.
        run_id: the run's id; None where the server was away, or nothing was tracked.
        tracking_uri: of the server, without credentials; None where nothing was tracked.
        experiment: MLflow's experiment.
        weights: digest of the model's weights; None: it wasn't written here.
    """

    training: str
    run_id: str | None
    tracking_uri: str | None
    experiment: str
    weights: str | None


@contextmanager
def record_training(
    params: Params, catalog_file: Path, history_file: Path, run_file: Path, elsewhere: RemoteOrigin | None = None
) -> Iterator[Recorder]:
    """A training that is recorded: gives the listener for `siamese.training.train.run`, and writes `run_file` at the
    end.

    The run's status is FINISHED when the block ends well and FAILED when it raises; KILLED when a signal ends it. A
    training killed, interrupted or failed and then started again continues its run, which is RUNNING again meanwhile.
    """
    recorder = Recorder(params, catalog_file, history_file, elsewhere)
    try:
        yield recorder
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt | SystemExit)
        recorder.close(journal.KILLED if stopped else journal.FAILED)
        raise
    if recorder.began:
        write_json(run_file, asdict(recorder.run()))  # before the wait, which may be cut short
        recorder.close(journal.FINISHED)
        if recorder.run().run_id:
            write_json(run_file, asdict(recorder.run()))


class Recorder:
    """A listener of `siamese.training.train.run`. What goes wrong here is told in one line, and training goes on."""

    def __init__(
        self, params: Params, catalog_file: Path, history_file: Path, elsewhere: RemoteOrigin | None = None
    ) -> None:
        self.began = False
        self.weights: str | None = None  # digest, once the model is written
        self._params, self._elsewhere = params, elsewhere
        self._catalog_file, self._history_file = catalog_file, history_file
        self._uri = tracking_uri()
        self._training = ""
        self._journal: Journal | None = None
        self._forwarder: Forwarder | None = None
        self._open = ExitStack()
        self._told = False

    def begun(self, origin: Origin, history: Sequence[Mapping[str, Any]]) -> None:
        """Training begins, or goes on after the epochs of `history`."""
        self.began = True
        self._training = journal.new_id()
        if self._params.tracking.enabled:
            self._guarded(lambda: self._begin(origin, history), "training goes on without a record")

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is measured: a row of the history."""
        self._guarded(lambda: self._add_epochs([row]))

    def ended(self, checkpoints: Path) -> None:
        """The model is written, and the checkpoints in this folder are about to be removed."""
        kept, there = self._journal, newest_first(checkpoints)
        if kept and there and self._params.tracking.checkpoints != "none":
            self._guarded(lambda: kept.keep_checkpoint(there[0]))

    def close(self, status: str) -> None:
        """Adds the status, and waits for what isn't sent yet, as long as the server takes it."""
        if self._journal:
            self._guarded(lambda: self._add_end(status))
            if self._forwarder:
                self._forwarder.close(self._longest_wait(status))
        self._open.close()

    def run(self) -> Run:
        """What is known now."""
        experiment = self._params.tracking.experiment
        if not self._journal:
            return Run(self._training, None, None, experiment, self.weights)
        server = without_credentials(self._uri)
        return Run(self._journal.training, self._journal.sent(server).run_id, server, experiment, self.weights)

    def _begin(self, origin: Origin, history: Sequence[Mapping[str, Any]]) -> None:
        known = provenance.tags(self._params.data.path, self._catalog_file, self._elsewhere)
        environment = provenance.environment(str(origin.settings["train"]["precision"]))
        found = journal.unfinished(origin.key)
        if found:
            kept, holding = found
        else:
            kept = Journal.of(self._training)
            holding = kept.held() or ExitStack()  # nobody else knows its name
        self._open.push(holding)
        try:
            if found:
                kept.mend()
                kept.add("status", value=journal.RUNNING, machine=journal.this_machine())
                if others := continued(kept, known):
                    kept.add("tags", values=others)
            else:
                sections = self._elsewhere.sections if self._elsewhere else provenance.TRAINED_WITH
                add_beginning(kept, self._params, known, origin.key, sections)
            if parent := orchestrators_run():
                kept.add("parent", run=parent)
            add_files(kept, self._params, self._catalog_file)
            kept.keep_text(as_json(environment), "training/environment.json")
            add_epochs(kept, history)
        except OSError:
            if not found:
                kept.remove()  # half a beginning would pass for a whole one
            raise
        self._journal = kept
        log(f"tracking: run {kept.beginning()['name']} in {without_credentials(self._uri)}")
        self._forwarder = Forwarder(kept, self._uri, self._warn)

    def _add_epochs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._journal:
            add_epochs(self._journal, rows)
            self._wake()

    def _wake(self) -> None:
        if self._forwarder:
            self._forwarder.wake()

    def _add_end(self, status: str) -> None:
        if not self._journal:
            return
        if status == journal.FINISHED:
            self._journal.keep(self._history_file, "training/history.csv")
        self._journal.add("status", value=status)
        # Last: where checkpoints can't be sent, all the rest is.
        if status == journal.FINISHED and self._journal.checkpoint_size():
            self._journal.add("checkpoint", destination=self._params.tracking.checkpoints)

    def _longest_wait(self, status: str) -> float:
        if status != journal.FINISHED or not self._journal:
            return WAIT_WHEN_STOPPED
        return LONGEST_WAIT + self._journal.checkpoint_size() / SLOWEST

    def _warn(self, reason: str, consequence: str = f"training goes on, {forwarder._KEPT}") -> None:
        if not self._told:
            self._told = True
            log(f"tracking: {reason}; {consequence}")

    def _guarded(self, work: Callable[[], Any], consequence: str = f"training goes on, {forwarder._KEPT}") -> None:
        try:
            work()
        except Exception as error:
            if os.environ.get("SIAMESE_TRACEBACK"):
                raise
            self._warn(forwarder._in_words(error), consequence)


def add_beginning(
    kept: Journal,
    params: Params,
    known: Mapping[str, str],
    key: str | None,
    sections: Collection[str] = provenance.TRAINED_WITH,
    **when: int,
) -> None:
    """Adds what a run begins with: its name, tags, parameters and data.

    Args:
        kept: the journal.
        params: all of them.
        known: tags.
        key: the checkpoints' key, by which the same training is found again; None where it can't be continued.
        sections: of the parameters, those that are recorded.
        when: `time`, where it isn't now.

    Raises:
        OSError: it can't be written.
    """
    kept.add(
        "run",
        key=key,
        name=name_in_sweep() or kept.training,
        experiment=params.tracking.experiment,
        sweep=sweep(),
        tags=dict(known),
        machine=journal.this_machine(),
        **when,
    )
    kept.add("params", values=provenance.flat_params(params, sections))
    source = {name: value for name, value in known.items() if name.startswith(("siamese.git.", "siamese.data."))}
    kept.add("data", name=known["siamese.data.path"], digest=known["siamese.data.hash"], source=source)


def add_files(kept: Journal, params: Params, catalog_file: Path) -> None:
    """Adds the files that a training reads, as they are now.

    Raises:
        OSError: one can't be copied.
    """
    kept.keep_text(to_yaml(params), "training/params.yaml")
    kept.keep(catalog_file, f"data/{paths.CATALOG.name}")
    rejected_file = catalog_file.with_name(paths.REJECTED.name)
    for file, name in (
        (rejected_file, f"data/{rejected_file.name}"),
        (provenance.LOCK, f"training/{provenance.LOCK.name}"),
    ):
        if file.is_file():
            kept.keep(file, name)


def add_epochs(kept: Journal, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows of the history. An epoch that is recorded already, and was trained again after a kill, counts once.

    Raises:
        OSError: it can't be written.
    """
    there = kept.steps("loss")
    for row in rows:
        if row["epoch"] not in there:
            kept.add("metrics", step=row["epoch"], values={name: row[name] for name in row if name != "epoch"})


def continued(kept: Journal, known: Mapping[str, str]) -> dict[str, str]:
    """Tags of a training that goes on: its own stay; what is otherwise now is told beside them."""
    begun = kept.beginning()["tags"]
    return {
        name.replace("siamese.", "siamese.continued.", 1): value
        for name, value in known.items()
        if name.startswith("siamese.") and begun.get(name) != value
    }


def as_json(content: Mapping[str, Any]) -> str:
    """As a file of its own has it."""
    return json.dumps(content, indent=2) + "\n"
