"""One training, one MLflow run, whatever becomes of the server and of the training meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from conftest import Repository, working_folder
from mlflow import MlflowClient
from mlflow_servers import MlflowServer
from portals import ANSWERS, Portal
from storage_servers import S3_KEYS, free_port, s3_server
from trained import weights_of
from waiting import PATIENCE, wait_until

from siamese import cli, config, paths
from siamese.errors import InputError
from siamese.process import Interrupted
from siamese.tracking import forwarder, journal, provenance, recorder, sync, system_metrics
from siamese.tracking.client import TRACKING_URI, connect, tracking_uri, without_credentials
from siamese.tracking.journal import Journal, journals, new_id
from siamese.training.checkpoints import Checkpoints, Origin, TrainingState

KEY = Origin({"catalog": "aa"}, {"train": {"precision": "float32"}})
INPUTS = [f"artifacts/{name}" for name in ("catalog.parquet", "rejected.csv", "pairs.parquet", "images", "transform")]
CHECKPOINT = "training/checkpoint"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this process wait for the server as long as a busy machine takes, and say nothing about it."""
    for name in ("LONGEST_WAIT", "WAIT_WHEN_STOPPED"):
        monkeypatch.setattr(recorder, name, PATIENCE)
    monkeypatch.setattr(forwarder, "_SILENCE", PATIENCE)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server that every test leaves running."""
    made = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def client(mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of the server, which commands use, too."""
    monkeypatch.setenv(TRACKING_URI, mlflow.address)
    return connect()


@pytest.fixture
def folder(workspace: Path, tmp_path: Path) -> Iterator[Path]:
    """A working folder with the inputs of training, in a git repository of one commit."""
    made = tmp_path / "work"
    for name in ("params.yaml", *INPUTS):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).symlink_to(workspace / name)
    repository = Repository(made)
    repository.run("git", "init", "-q")
    repository.run("git", "commit", "-q", "--allow-empty", "-m", "start")
    with working_folder(made):
        yield made


def row(epoch: int) -> dict[str, Any]:
    """An epoch of a training that isn't one: its loss is 1 / epoch, its precision undefined at first."""
    return {"epoch": epoch, "loss": 1 / epoch, "precision": None if epoch == 1 else 0.5, "images_per_second": 10.0}


def trained(
    epochs: Sequence[int],
    *settings: str,
    key: Origin = KEY,
    after: Sequence[int] = (),
    meanwhile: Callable = id,
    elsewhere: provenance.RemoteOrigin | None = None,
) -> recorder.Run:
    """What `siamese train` does around a training of these epochs, which goes on after others; gives its run.json.

    Args:
        meanwhile: called with each epoch's number when the epoch is told.
    """
    values = config.load_params(settings=list(settings))
    with recorder.record_training(values, paths.CATALOG, paths.HISTORY, paths.RUN, elsewhere) as listener:
        listener.begun(key, [row(epoch) for epoch in after])
        for epoch in epochs:
            listener.epoch(row(epoch))
            meanwhile(epoch)
        paths.HISTORY.write_text("epoch,loss\n" + "".join(f"{n},{1 / n}\n" for n in [*after, *epochs]))
    return recorder.Run(**json.loads(paths.RUN.read_text()))


def recorded(client: MlflowClient, run_id: str, metric: str = "loss") -> list[tuple[int, float]]:
    """Every value of a metric that the server has, with its step."""
    return sorted((one.step, one.value) for one in client.get_metric_history(run_id, metric))


def runs_of(client: MlflowClient, training: str) -> list[Any]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`siamese.training` = '{training}'"))


def files_of(client: MlflowClient, run_id: str, folder: str = "") -> list[str]:
    entries = client.list_artifacts(run_id, folder or None)
    return sorted(
        name for entry in entries for name in (files_of(client, run_id, entry.path) if entry.is_dir else [entry.path])
    )


def of_tracking(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracking:")]


# A training of the network, on a server


@pytest.fixture(scope="module")
def orchestrators(mlflow: MlflowServer) -> str:
    """The run that an orchestrator made for a training, in an experiment of its own."""
    its_client = MlflowClient(mlflow.address)
    return its_client.create_run(its_client.create_experiment("KFP-Default"), run_name="train").info.run_id


@pytest.fixture(scope="module")
def training(
    mlflow: MlflowServer, orchestrators: str, workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A folder, a git repository of one commit, in which `siamese train` has run; and what it said."""
    made = tmp_path_factory.mktemp("training")
    for name in ("params.yaml", *INPUTS):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).symlink_to(workspace / name)
    (made / ".gitignore").write_text("artifacts\n.siamese\n")
    repository = Repository(made)
    repository.run("git", "init", "-q")
    repository.commit()
    repository.run("git", "remote", "add", "origin", "https://someone:secret@git.example/us/project.git")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("siamese"),
            "train",
            "-S",
            "tracking.checkpoints=run",
            "-S",
            "train.checkpoint_every=1",
        ],
        cwd=made,
        env=os.environ
        | {"MLFLOW_TRACKING_URI": mlflow.address.replace("//", "//someone:secret@"), "MLFLOW_RUN_ID": orchestrators},
        capture_output=True,
        text=True,
        check=True,
    )
    return made, done.stderr.splitlines()


def run_json(folder: Path) -> dict[str, str]:
    return json.loads((folder / paths.RUN).read_text())


def test_a_training_is_a_run_named_in_run_json(
    training: tuple[Path, list[str]], mlflow: MlflowServer, client: MlflowClient
) -> None:
    folder, said = training
    named = run_json(folder)
    run = client.get_run(named["run_id"])
    assert run.data.tags["siamese.training"] == named["training"]
    assert named["tracking_uri"] == mlflow.address and named["experiment"] == "siamese"
    assert client.get_experiment(run.info.experiment_id).name == "siamese"
    assert run.info.status == "FINISHED" and run.info.end_time > run.info.start_time
    slow = f"tracking: sending the rest to {mlflow.address}"  # said where the last records take more than 5 s
    assert [line for line in said if ("tracking" in line or "mlflow" in line.lower()) and line != slow] == [
        f"tracking: run {run.info.run_name} in {mlflow.address}"
    ]


def test_the_run_has_every_parameter_up_to_training_by_its_dotted_key(
    training: tuple[Path, list[str]], client: MlflowClient, small_params: str
) -> None:
    def leaves(values: dict[str, Any], before: str = "") -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat |= leaves(value, f"{before}{name}.") if isinstance(value, dict) and value else {before + name: value}
        return flat

    logged = client.get_run(run_json(training[0])["run_id"]).data.params
    later = {"evaluate", "registry", "promote", "serve", "identify", "drift"}  # which training doesn't read
    expected = leaves({name: values for name, values in yaml.safe_load(small_params).items() if name not in later})
    assert set(logged) == set(expected)
    assert logged["train.epochs"] == "2" and logged["train.optimizer.learning_rate"] == "0.0001"
    assert logged["tracking.checkpoints"] == "run" and logged["preprocess.runner_options"] == "{}"
    assert logged["train.checkpoint_every"] == "1"  # as set for this command


def test_the_run_has_every_column_of_the_history_by_epoch(
    training: tuple[Path, list[str]], client: MlflowClient
) -> None:
    history = pd.read_csv(training[0] / paths.HISTORY)
    run_id = run_json(training[0])["run_id"]
    assert "images_per_second" in history and len(history.columns) == 9
    for column in history.columns.drop("epoch"):
        defined = history[["epoch", column]].dropna()
        assert recorded(client, run_id, column) == list(defined.itertuples(index=False, name=None)), column


def test_the_run_has_mlflows_system_metrics(training: tuple[Path, list[str]], client: MlflowClient) -> None:
    run_id = run_json(training[0])["run_id"]
    for metric in ("cpu_utilization_percentage", "system_memory_usage_megabytes", "disk_available_megabytes"):
        samples = recorded(client, run_id, f"system/{metric}")
        assert samples and [step for step, _ in samples] == list(range(len(samples))), metric
    assert all(0 <= value <= 100 for _, value in recorded(client, run_id, "system/system_memory_usage_percentage"))


def test_the_run_tells_code_and_data(training: tuple[Path, list[str]], client: MlflowClient) -> None:
    """Outside of DVC, the data's digest is one of the catalog, and says so."""
    folder, _ = training
    run = client.get_run(run_json(folder)["run_id"])
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "data/sample" and data.dataset.digest.startswith("catalog:")
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    tags = run.data.tags
    head = Repository(folder).run("git", "rev-parse", "HEAD").strip()
    assert tags["siamese.git.commit"] == tags["mlflow.source.git.commit"] == head
    assert tags["siamese.git.dirty"] == "false"
    assert tags["siamese.git.remote"] == "https://git.example/us/project.git"
    assert tags["siamese.data.path"] == "data/sample" and tags["siamese.data.hash"] == data.dataset.digest
    assert "secret" not in json.dumps(run.to_dictionary()) + (folder / paths.RUN).read_text()


def test_the_runs_files_are_those_that_the_training_read_and_wrote(
    training: tuple[Path, list[str]], client: MlflowClient, tmp_path: Path
) -> None:
    folder, _ = training
    run_id = run_json(folder)["run_id"]
    assert set(files_of(client, run_id)) - {"training/checkpoint/best.npz"} == {
        "data/catalog.parquet",
        "data/rejected.csv",
        "training/checkpoint/last.npz",
        "training/checkpoint/state.json",
        "training/environment.json",
        "training/history.csv",
        "training/params.yaml",
    }
    got = Path(client.download_artifacts(run_id, "training", str(tmp_path)))
    assert (got / "history.csv").read_bytes() == (folder / paths.HISTORY).read_bytes()
    effective = config.load_params(folder / "params.yaml", ["tracking.checkpoints=run", "train.checkpoint_every=1"])
    assert config.load_params(got / "params.yaml") == effective
    environment = json.loads((got / "environment.json").read_text())
    assert environment["packages"]["tensorflow"] == environment["tensorflow"]["version"]
    assert environment["tensorflow"]["precision"] == "float32"
    assert environment["hardware"]["threads"] == os.cpu_count() and environment["hardware"]["cpu"]


def test_the_runs_checkpoint_holds_the_models_weights(
    training: tuple[Path, list[str]], client: MlflowClient, tmp_path: Path
) -> None:
    folder, _ = training
    got = Path(client.download_artifacts(run_json(folder)["run_id"], CHECKPOINT, str(tmp_path)))
    with np.load(got / ("best.npz" if (got / "best.npz").exists() else "last.npz")) as arrays:
        for number, weight in enumerate(weights_of(folder / paths.MODEL)):
            np.testing.assert_array_equal(arrays[f"arr_{number}"], weight)
    assert not list((folder / ".siamese").rglob("*.npz"))  # sent, hence no longer kept here


def test_the_run_of_a_repro_has_dvcs_hash_of_the_data(repository: Repository) -> None:
    """Against data/dvc.lock, where DVC itself notes the sample's hash. dvc.lock, new by then, doesn't make it dirty."""
    with working_folder(repository.folder):
        client = connect()
        run = client.get_run(run_json(repository.folder)["run_id"])
    (made,) = yaml.safe_load((repository.folder / "data/dvc.lock").read_text())["stages"]["sample"]["outs"]
    assert run.inputs.dataset_inputs[0].dataset.digest == run.data.tags["siamese.data.hash"] == made["md5"]
    assert made["md5"].endswith(".dir")
    first = repository.run("git", "rev-list", "--max-parents=0", "HEAD").strip()
    assert (run.data.tags["siamese.git.commit"], run.data.tags["siamese.git.dirty"]) == (first, "false")
    assert re.fullmatch("[0-9a-f]{64}", run.data.tags["siamese.dvc_lock"])
    assert (repository.folder / "mlflow.db").exists()


# The server away


def test_a_server_lost_in_the_middle_gets_the_rest_later(
    mlflow: MlflowServer, client: MlflowClient, folder: Path, capsys
) -> None:
    """Killed after the first of three epochs. Afterwards every epoch is there once."""

    def lose_the_server(epoch: int) -> None:
        if epoch == 1:
            (kept,) = journals()
            wait_until(lambda: kept.sent(mlflow.address).run_id and recorded(client, kept.sent(mlflow.address).run_id))
            mlflow.kill()

    named = trained([1, 2, 3], meanwhile=lose_the_server)
    began, warning = of_tracking(capsys)
    assert mlflow.address in began and "can't be used" in warning and "siamese sync" in warning
    assert cli.run(["sync"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert mlflow.address in line and "can't be used" in line

    mlflow.start()
    assert cli.run(["sync"]) == 0
    assert "records to" in capsys.readouterr().out
    (run,) = runs_of(client, named.training)
    assert run.info.run_id == named.run_id and run.info.status == "FINISHED"
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert recorded(client, named.run_id, "precision") == [(2, 0.5), (3, 0.5)]
    assert "training/history.csv" in files_of(client, named.run_id)
    assert cli.run(["sync"]) == 0
    assert capsys.readouterr().out == f"sync: nothing is left to send to {mlflow.address}\n"


def test_a_server_that_is_away_from_the_start_changes_nothing_but_a_line(
    mlflow: MlflowServer, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The record goes whole to the server that there is later, here at another address."""
    away = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv(TRACKING_URI, away)
    named = trained([1, 2])
    assert (named.run_id, named.tracking_uri) == (None, away)
    assert [away in line for line in of_tracking(capsys)] == [True, True]

    monkeypatch.setenv(TRACKING_URI, mlflow.address)
    client = connect()
    assert cli.run(["sync", "--json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)["runs"]
    (run,) = runs_of(client, named.training)
    assert sent["run_id"] == run.info.run_id and run.info.status == "FINISHED"
    assert recorded(client, run.info.run_id) == [(1, 1.0), (2, 0.5)]
    assert run.data.params["train.epochs"] == "2"


def test_a_server_that_does_not_answer_holds_nothing_up(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It takes every connection and says nothing. All epochs pass while it does; it closes before training ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv(TRACKING_URI, f"http://127.0.0.1:{listening.getsockname()[1]}")
        taken: list[socket.socket] = []

        def then(epoch: int) -> None:
            if epoch == 1:
                taken.append(listening.accept()[0])  # the forwarder asks, and waits for an answer
            elif epoch == 3:
                listening.close()
                taken.pop().close()

        named = trained([1, 2, 3], meanwhile=then)
    assert named.run_id is None
    (kept,) = journals()
    assert kept.steps("loss") == {1, 2, 3} and kept.status() == "FINISHED"
    assert len(of_tracking(capsys)) == 2


def test_a_slow_server_is_waited_for_as_long_as_it_takes_something(
    client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """By the clock of the recorder, each of some ten calls takes 40 s. All of them come after the end of training."""
    now, ended = [0.0], threading.Event()
    log, close = forwarder._log, forwarder.Forwarder.close

    def slowly(*given: Any) -> None:
        assert ended.wait(PATIENCE)
        log(*given)
        now[0] += 40

    monkeypatch.setattr(recorder, "LONGEST_WAIT", 60.0)
    monkeypatch.setattr(forwarder, "_SILENCE", 5.0)
    monkeypatch.setattr(forwarder, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(forwarder, "_log", slowly)
    monkeypatch.setattr(forwarder.Forwarder, "close", lambda *given: (ended.set(), close(*given)))
    named = trained([1, 2])
    assert now[0] > 5 * 60
    assert client.get_run(named.run_id).info.status == "FINISHED"
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 0.5)]
    began, rest = of_tracking(capsys)
    assert client.get_run(named.run_id).info.run_name in began
    assert rest == f"tracking: sending the rest to {os.environ[TRACKING_URI]}"


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_address_that_answers_but_not_as_mlflow_is_named(
    answer: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The training goes on, and all of its records stay in the journal."""
    with Portal(answer=answer) as portal:
        monkeypatch.setenv(TRACKING_URI, portal.address)
        named = trained([1, 2])
        _, warning = of_tracking(capsys)
        said = f"MLFLOW_TRACKING_URI {portal.address}: answers, but not as an MLflow server ("
        assert warning.startswith(f"tracking: {said}") and "check the address" in warning
        (kept,) = journals()
        assert named.run_id is None and kept.sent(portal.address).position == 0
        for command in (["sync"], ["models"]):
            assert cli.run(command) == 2
            assert capsys.readouterr().err.startswith(f"siamese: {said}")


@pytest.mark.parametrize("answer", ["empty", "object"])
def test_what_another_service_answered_for_is_sent_later(
    answer: str, mlflow: MlflowServer, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """From the first epoch on, something else answers in the server's place, which MLflow's client takes for success.
    Afterwards every epoch is there once."""
    with Portal(mlflow.port) as portal:
        monkeypatch.setenv(TRACKING_URI, portal.address)
        client = connect()

        def replace_the_server(epoch: int) -> None:
            if epoch == 1:
                (kept,) = journals()
                wait_until(lambda: (run := kept.sent(portal.address).run_id) and recorded(client, run))
                portal.answer = answer
            wait_until(lambda: portal.answer is None or portal.answered >= epoch)

        named = trained([1, 2, 3], meanwhile=replace_the_server)
        portal.answer = None
        assert cli.run(["sync"]) == 0
        (run,) = runs_of(client, named.training)
        assert run.info.status == "FINISHED"
        assert recorded(client, run.info.run_id) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
        assert "training/history.csv" in files_of(client, run.info.run_id)


def test_waiting_for_a_slow_server_at_the_end_can_be_cut_short(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Ctrl-C ends the wait, not the training, which is done: its outputs are whole."""
    before = signal.getsignal(signal.SIGINT)

    def press_when_waiting() -> None:
        wait_until(lambda: signal.getsignal(signal.SIGINT) is not before)
        os.kill(os.getpid(), signal.SIGINT)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv(TRACKING_URI, f"http://127.0.0.1:{listening.getsockname()[1]}")
        pressing = threading.Thread(target=press_when_waiting)
        pressing.start()
        named = trained([1])
        pressing.join()
        listening.close()
    assert named.run_id is None and paths.RUN.exists()
    assert "siamese sync" in of_tracking(capsys)[-1]


def test_what_is_sent_twice_is_there_once(client: MlflowClient, folder: Path, capsys) -> None:
    """As when the sender died after sending and before noting it."""
    named = trained([1, 2])
    (kept,) = journals()
    (kept.folder / "sent.json").unlink()
    before = client.get_run(named.run_id).to_dictionary()
    assert cli.run(["sync"]) == 0
    (run,) = runs_of(client, named.training)
    assert run.to_dictionary() == before
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 0.5)]


# Interrupted and continued


def test_a_training_that_goes_on_continues_its_run(client: MlflowClient, folder: Path, capsys) -> None:
    """Interrupted in the third epoch, with a checkpoint after the first: the second is trained, and told, again."""

    def interrupt(epoch: int) -> None:
        if epoch == 2:
            raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        trained([1, 2], meanwhile=interrupt)
    (kept,) = journals()
    (run,) = runs_of(client, kept.training)
    assert run.info.status == "KILLED" and not paths.RUN.exists()

    statuses = []
    named = trained(
        [2, 3],
        after=[1],
        meanwhile=lambda epoch: (
            epoch == 3 and statuses.append(wait_until(lambda: client.get_run(run.info.run_id).info.status == "RUNNING"))
        ),
    )
    assert (named.training, named.run_id) == (kept.training, run.info.run_id)
    assert statuses and client.get_run(named.run_id).info.status == "FINISHED"
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    samples = [step for step, _ in recorded(client, named.run_id, "system/cpu_utilization_percentage")]
    assert samples == list(range(len(samples)))


def test_a_training_that_is_continued_from_a_checkpoint_alone_has_all_epochs(
    client: MlflowClient, folder: Path
) -> None:
    named = trained([3], after=[1, 2])
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_other_trainings_and_finished_ones_are_runs_of_their_own(client: MlflowClient, folder: Path) -> None:
    other = Origin({"catalog": "bb"}, {"train": {"precision": "float32"}})
    runs = [trained([1]), trained([1]), trained([1], key=other)]
    assert len({run.run_id for run in runs}) == len({run.training for run in runs}) == 3


def test_a_training_that_another_process_does_at_this_moment_is_not_continued(
    client: MlflowClient, folder: Path
) -> None:
    """Two queued experiments may be the same one; each has its run, and `siamese sync` leaves both to themselves."""
    begun = trained_until_killed(1)
    (first,) = journals()
    with first.held():
        assert trained([1]).training != begun
        before = first.read()
        assert cli.run(["sync"]) == 0
        assert first.read() == before


def trained_until_killed(*epochs: int) -> str:
    """The journal as a process leaves it that is killed after these epochs; gives the training."""
    values = config.load_params()
    kept = Journal.of(new_id())
    recorder.add_beginning(kept, values, provenance.tags(values.data.path, paths.CATALOG), KEY.key)
    recorder.add_files(kept, values, paths.CATALOG)
    recorder.add_epochs(kept, [row(epoch) for epoch in epochs])
    with (kept.folder / "journal.jsonl").open("a") as journal:
        journal.write('{"kind": "metrics", "time": 17')
    return kept.training


def test_a_killed_training_is_killed_on_the_server_after_a_sync_and_goes_on(client: MlflowClient, folder: Path) -> None:
    """SIGKILL leaves no time to say so, and half a record."""
    training = trained_until_killed(1)
    assert cli.run(["sync"]) == 0
    (run,) = runs_of(client, training)
    assert run.info.status == "KILLED" and recorded(client, run.info.run_id) == [(1, 1.0)]
    named = trained([2], after=[1])
    assert named.run_id == run.info.run_id and client.get_run(named.run_id).info.status == "FINISHED"
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize(
    ("host", "boot", "status"),
    [
        (platform.node(), "an earlier one", "KILLED"),  # this machine has been restarted
        ("another-container", journal.this_machine()["boot"], "KILLED"),  # on this machine: its locks count here
        ("another-machine", "its own", "RUNNING"),
        ("another-machine", "", "RUNNING"),
    ],
)
def test_a_sync_ends_only_trainings_of_this_machine(
    client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys, host: str, boot: str, status: str
) -> None:
    """Where machines share a file system without locks, a training that goes on elsewhere looks like a killed one."""
    with monkeypatch.context() as there:
        there.setattr(journal, "this_machine", lambda: {"host": host, "boot": boot})
        training = trained_until_killed(1)
    assert cli.run(["sync"]) == 0
    (run,) = runs_of(client, training)
    assert run.info.status == status and recorded(client, run.info.run_id) == [(1, 1.0)]
    said = f"sync: run {run.info.run_name} goes on, or was killed, on {host}; run `siamese sync` there\n"
    assert capsys.readouterr().err == (said if status == "RUNNING" else "")


def test_a_training_goes_on_from_an_older_copy_of_its_journal(client: MlflowClient, folder: Path) -> None:
    """As from a store to which working files are copied every few seconds: the last record was sent, but not copied."""
    training = trained_until_killed(1)
    assert cli.run(["sync"]) == 0
    file = Journal.of(training).folder / "journal.jsonl"
    *earlier, last = file.read_text().splitlines(keepends=True)
    assert json.loads(last)["value"] == "KILLED"
    file.write_text("".join(earlier))
    named = trained([2], after=[1])
    assert named.training == training and client.get_run(named.run_id).info.status == "FINISHED"
    assert recorded(client, named.run_id) == [(1, 1.0), (2, 0.5)]


# A training in a pod, which goes on until it is killed.
IN_A_POD = """
from pathlib import Path
from siamese.config import load_params
from siamese.orchestration import container
values = load_params(settings=["train.epochs=100000"]).model_dump()
sections = {name: values[name] for name in ("catalog", "pairs", "preprocess", "model", "train", "tracking")}
inputs = [Path("artifacts", name) for name in ("catalog.parquet", "pairs.parquet", "images", "transform")]
outputs = [Path("outputs", name) for name in ("model", "history.csv", "run.json")]
container.run(*inputs, *outputs, sections, {"path": "data"}, "", "", "s3://a/train/model")
"""


@pytest.fixture(scope="module")
def killed(mlflow: MlflowServer, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a training whose process got SIGKILL once its run was on the server; and the run's id."""
    made = tmp_path_factory.mktemp("pod")
    for name in ("params.yaml", *INPUTS):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).symlink_to(workspace / name)
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_POD], cwd=made, env=os.environ | {TRACKING_URI: mlflow.address}
    ) as pod:
        try:

            def run_id() -> str | None:
                assert pod.poll() is None
                with working_folder(made):
                    return next((kept.sent(mlflow.address).run_id for kept in journals()), None)

            found = wait_until(run_id)
        finally:
            pod.kill()
    assert MlflowClient(mlflow.address).get_run(found).info.status == "RUNNING"
    return made, found


def test_the_run_of_a_killed_pod_is_killed_when_the_next_attempt_begins(
    killed: tuple[Path, str], client: MlflowClient, folder: Path
) -> None:
    """The next pod has an empty disk, and begins a run of its own."""
    _, first = killed
    client.update_run(first, "RUNNING")  # as the kill left it, whichever test comes first
    experiment = client.get_run(first).info.experiment_id
    of_another_step = client.create_run(experiment, tags={"siamese.step": "s3://another/train/model"}).info.run_id
    for step in ("s3://a/train/model", "s3://third/train/model"):
        second = trained([1], elsewhere=provenance.RemoteOrigin({"path": "data"}, provenance.TRAINED_WITH, step))
        assert second.run_id != first
        statuses = [client.get_run(run).info.status for run in (first, of_another_step, second.run_id)]
        assert statuses == ["KILLED", "RUNNING", "FINISHED"]


def test_the_run_of_a_killed_process_is_killed_after_a_sync(killed: tuple[Path, str], client: MlflowClient) -> None:
    folder, run_id = killed
    client.update_run(run_id, "RUNNING")
    with working_folder(folder):
        assert cli.run(["sync"]) == 0
        assert client.get_run(run_id).info.status == "KILLED"


def test_a_failed_training_has_failed_on_the_server(client: MlflowClient, folder: Path) -> None:
    def diverge(_: int) -> None:
        raise InputError("the loss is nan")

    with pytest.raises(InputError, match="the loss is nan"):
        trained([1], meanwhile=diverge)
    (kept,) = journals()
    (run,) = runs_of(client, kept.training)
    assert run.info.status == "FAILED" and not paths.RUN.exists()


def test_other_code_of_a_continued_training_is_told_beside(client: MlflowClient, folder: Path) -> None:
    """A commit between the two parts: the run's tag stays the first part's."""
    repository = Repository(folder)
    first = repository.run("git", "rev-parse", "HEAD").strip()
    trained_until_killed(1)
    repository.run("git", "commit", "-q", "--allow-empty", "-m", "other")
    tags = client.get_run(trained([2], after=[1]).run_id).data.tags
    second = repository.run("git", "rev-parse", "HEAD").strip()
    assert (tags["siamese.git.commit"], tags["siamese.continued.git.commit"]) == (first, second)


# The journal


def test_a_record_that_does_not_fit_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    """The file may grow by 40 bytes in a process of its own: a record of 30 fits, one of 3000 doesn't."""
    program = f"""
import resource, signal
from pathlib import Path
from siamese.tracking.journal import Journal
kept = Journal(Path({str(tmp_path / "one")!r}))
kept.add("tags", values={{}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = (kept.folder / "journal.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
try:
    kept.add("tags", values={{"long": "x" * 3000}})
except OSError:
    kept.add("tags", values={{"a": "b"}})
"""
    # Coverage, which starts with every process, could not write its own file either.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert [content["values"] for _, content in Journal(tmp_path / "one").read()] == [{}, {"a": "b"}]


def test_a_training_goes_on_where_no_record_can_be_written(client: MlflowClient, folder: Path, capsys) -> None:
    """A file lies where the journals' folder was to be."""
    (folder / ".siamese").mkdir()
    (folder / ".siamese/tracking").write_text("")
    named = trained([1, 2])
    assert named.run_id is None and named.training
    (line,) = of_tracking(capsys)
    assert line.endswith("; training goes on without a record")


def test_records_of_several_threads_are_whole_lines(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "one")
    threads = [
        threading.Thread(target=lambda: [kept.add("metrics", step=n, values={"x": "y" * 9000}) for n in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept.read()) == 200


# System metrics

NVML = """
class NVMLError(Exception): pass
class Memory: used, total = 2_000_000_000, 8_000_000_000
class Rates: gpu = 75
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetUtilizationRates(handle): return Rates
def nvmlDeviceGetPowerUsage(handle): raise NVMLError("not supported")
"""
WATCH = """
import json, threading
from siamese.tracking import system_metrics
ended = threading.Event()
ended.set()
system_metrics.watch(system_metrics.collectors(), lambda number, values: print(json.dumps([number, values])), 7, ended)
"""


def test_the_machine_is_watched_at_the_beginning_and_at_the_end() -> None:
    """Training ends while the first sample is taken."""
    ended, numbers = threading.Event(), []
    system_metrics.watch([], lambda number, _: (numbers.append(number), ended.set()), 7, ended)
    assert numbers == [7, 8]


def test_a_gpu_is_watched_where_its_library_is(tmp_path: Path) -> None:
    """There is none here: a library of the same calls stands for it, whose GPU can't tell its power."""
    (tmp_path / "pynvml.py").write_text(NVML)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WATCH], env=environment, capture_output=True, text=True, check=True)
    number, values = json.loads(done.stdout)
    assert number == 7 and values["system/gpu_0_utilization_percentage"] == 75
    assert values["system/gpu_0_memory_usage_percentage"] == 25
    assert values["system/gpu_0_memory_usage_megabytes"] == 2000 and "system/cpu_utilization_percentage" in values


# Sweeps


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"SIAMESE_SWEEP": "rates"}, "rates"),
        ({"DVC_EXP_BASELINE_REV": "0123456789abcdef", "DVC_EXP_NAME": "bold-name"}, "experiments on 0123456"),
        ({"DVC_EXP_BASELINE_REV": "0123456789abcdef", "SIAMESE_SWEEP": "rates"}, "rates"),
    ],
)
def test_trainings_of_a_sweep_are_nested_under_one_run(
    client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str | None
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    runs = [client.get_run(trained([1], f"tracking.experiment={folder.parent.name}").run_id) for _ in range(2)]
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    if name is None:
        assert parents == {None}
    else:
        (parent,) = parents
        assert client.get_run(parent).info.run_name == name
        assert len(client.search_runs([runs[0].info.experiment_id])) == 3
    assert runs[0].info.run_name == environment.get("DVC_EXP_NAME", runs[0].data.tags["siamese.training"])


# Under the run that an orchestrator made


def test_a_training_is_nested_under_the_orchestrators_run_and_logs_nothing_to_it(
    training: tuple[Path, list[str]], orchestrators: str, client: MlflowClient
) -> None:
    """Kubeflow Pipelines names it in MLFLOW_RUN_ID, by which MLflow's own functions would go on with it."""
    own = client.get_run(run_json(training[0])["run_id"])
    parent = client.get_run(orchestrators)
    assert own.data.tags["mlflow.parentRunId"] == orchestrators
    assert parent.data.tags["siamese.run"] == own.info.run_id
    assert parent.info.status == "RUNNING"  # Kubeflow Pipelines ends it
    assert (parent.data.metrics, parent.data.params, files_of(client, orchestrators)) == ({}, {}, [])
    assert {name for name in parent.data.tags if name.startswith("siamese.")} == {"siamese.run"}


@pytest.fixture
def parents(client: MlflowClient) -> list[str]:
    """Two runs of an orchestrator."""
    found = client.get_experiment_by_name("orchestrator")
    experiment = found.experiment_id if found else client.create_experiment("orchestrator")
    return [client.create_run(experiment).info.run_id for _ in range(2)]


def children(client: MlflowClient, parent: str) -> list[str]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    return [run.info.run_id for run in client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent}'")]


def test_a_training_that_goes_on_is_nested_under_the_run_of_who_went_on(
    client: MlflowClient, folder: Path, parents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second pipeline run takes up the checkpoints of a first one: one run, which both name."""
    monkeypatch.setenv("MLFLOW_RUN_ID", parents[0])
    with pytest.raises(InputError, match="no room"):
        trained([1], meanwhile=fail)
    (kept,) = journals()
    (run,) = runs_of(client, kept.training)
    assert children(client, parents[0]) == [run.info.run_id]
    monkeypatch.setenv("MLFLOW_RUN_ID", parents[1])
    named = trained([2], after=[1])
    assert named.run_id == run.info.run_id
    assert [children(client, parent) for parent in parents] == [[], [named.run_id]]
    assert [client.get_run(parent).data.tags["siamese.run"] for parent in parents] == [named.run_id] * 2


def fail(_: int) -> None:
    raise InputError("no room")


def test_the_orchestrators_run_names_the_last_attempt(
    client: MlflowClient, folder: Path, parents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retried pod has the same MLFLOW_RUN_ID and an empty disk."""
    monkeypatch.setenv("MLFLOW_RUN_ID", parents[0])
    runs = [trained([1]).run_id for _ in range(2)]
    assert sorted(children(client, parents[0])) == sorted(runs)
    assert client.get_run(parents[0]).data.tags["siamese.run"] == runs[1]


@pytest.mark.parametrize("why", ["another server's", "deleted"])
def test_a_run_that_this_server_does_not_have_is_one_line(
    client: MlflowClient, folder: Path, parents: list[str], monkeypatch: pytest.MonkeyPatch, capsys, why: str
) -> None:
    parent = "0" * 32 if why == "another server's" else parents[0]
    client.delete_run(parents[0])
    monkeypatch.setenv("MLFLOW_RUN_ID", parent)
    run = client.get_run(trained([1]).run_id)
    assert run.info.status == "FINISHED" and "mlflow.parentRunId" not in run.data.tags
    assert recorded(client, run.info.run_id) == [(1, 1.0)]
    _, said = of_tracking(capsys)
    assert said == (
        f"tracking: MLFLOW_RUN_ID {parent}: not a run of {os.environ[TRACKING_URI]}, or not one to write to; "
        "the training's run is not nested"
    )


def test_a_training_of_a_sweep_stays_nested_under_the_sweep(
    client: MlflowClient, folder: Path, parents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAMESE_SWEEP", "rates of an orchestrator")
    monkeypatch.setenv("MLFLOW_RUN_ID", parents[0])
    run = client.get_run(trained([1]).run_id)
    sweep = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert sweep.info.run_name == "rates of an orchestrator"
    assert client.get_run(parents[0]).data.tags["siamese.run"] == run.info.run_id


SENDER = """
import sys
from siamese.tracking.forwarder import send
from siamese.tracking.journal import Journal
from siamese.tracking.client import connect, tracking_uri
client = connect()
print("ready", flush=True)
sys.stdin.readline()
send(Journal.of(sys.argv[1]), client, tracking_uri())
"""


def test_a_sweep_that_begins_with_two_trainings_at_once_has_one_parent(
    client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAMESE_SWEEP", "at once")
    trainings = [trained_until_killed(1) for _ in range(2)]
    senders = [
        subprocess.Popen([sys.executable, "-c", SENDER, training], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for training in trainings
    ]
    for sender in senders:
        assert sender.stdout.readline() == b"ready\n"
    for sender in senders:
        sender.stdin.write(b"\n")
        sender.stdin.flush()
    assert [sender.communicate() and sender.returncode for sender in senders] == [0, 0]
    runs = [run for training in trainings for run in runs_of(client, training)]
    assert len(runs) == 2 and len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 1


def test_killed_while_the_database_is_made_nothing_is_left_of_it(tmp_path: Path) -> None:
    """MLflow makes its first tables, then the others step by step, and can't use a file that has but some of them."""
    program = "from siamese.tracking.client import connect; connect().search_experiments()"
    between = "import alembic.command, os; alembic.command.upgrade = lambda *_: os.kill(os.getpid(), 9); "
    with working_folder(tmp_path):
        assert subprocess.run([sys.executable, "-c", between + program], check=False).returncode == -signal.SIGKILL
        assert [file.stat().st_size > 0 for file in tmp_path.glob("*mlflow.db*")] == [True]
        assert not (tmp_path / "mlflow.db").exists()
        subprocess.run([sys.executable, "-c", program], check=True)
    assert [file.name for file in tmp_path.glob("*mlflow.db*")] == ["mlflow.db"]


def test_experiments_in_copies_are_recorded_in_the_project(tmp_path: Path) -> None:
    copy = tmp_path / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    with working_folder(copy):
        assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
        assert without_credentials(tracking_uri()) == "sqlite:///mlflow.db"
        assert Journal.of("one").folder == tmp_path / ".siamese/tracking/one"


# Checkpoints in an object store


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


def test_checkpoints_go_straight_to_an_object_store(
    s3: str, mlflow: MlflowServer, client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The bucket is made only after training: all but the checkpoint arrives before, the checkpoint by a sync."""
    for key, value in (S3_KEYS | {"MLFLOW_S3_ENDPOINT_URL": s3, "AWS_MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(key, value)
    weights = [np.arange(6, dtype=np.float32)]
    named = checkpointed("s3://ours/checkpoints", weights)
    run = client.get_run(named.run_id)
    assert run.info.status == "FINISHED" and "siamese.checkpoints" not in run.data.tags
    assert "s3://ours/checkpoints" in of_tracking(capsys)[-1]
    assert cli.run(["sync"]) == 2

    bucket = boto3.resource("s3", endpoint_url=s3).Bucket("ours")
    bucket.create()
    assert cli.run(["sync"]) == 0
    place = f"checkpoints/{named.training}"
    assert client.get_run(named.run_id).data.tags["siamese.checkpoints"] == f"s3://ours/{place}"
    assert [one.key for one in bucket.objects.all()] == [f"{place}/last.npz", f"{place}/state.json"]
    assert not any("checkpoint" in name for name in files_of(client, named.run_id))
    assert not list(mlflow.folder.rglob("last.npz")) or "training" in str(next(mlflow.folder.rglob("last.npz")))
    got = folder / "got"
    got.mkdir()
    for name in ("last.npz", "state.json"):
        bucket.download_file(f"{place}/{name}", str(got / name))
    assert_resumable(got, weights)


def checkpointed(destination: str, weights: list[np.ndarray]) -> recorder.Run:
    """A training of one epoch that ends with a checkpoint."""
    values = config.load_params(settings=[f"tracking.checkpoints={destination}"])
    checkpoints = Checkpoints(paths.CHECKPOINTS, KEY)
    with recorder.record_training(values, paths.CATALOG, paths.HISTORY, paths.RUN) as listener:
        listener.begun(KEY, [])
        listener.epoch(row(1))
        checkpoints.save(TrainingState(1, history=[row(1)]), weights, None)
        listener.ended(checkpoints.folder)
        checkpoints.prune()
        paths.HISTORY.write_text("epoch,loss\n1,1.0\n")
    return recorder.Run(**json.loads(paths.RUN.read_text()))


def assert_resumable(place: Path, weights: list[np.ndarray]) -> None:
    checkpoints = Checkpoints(Path("elsewhere"), KEY)
    checkpoints.begin_at(place)
    state, last, _ = checkpoints.newest({"last": [array.shape for array in weights]})
    assert state.epoch == 1
    np.testing.assert_array_equal(last[0], weights[0])


def test_a_server_may_take_minutes_for_the_answer_to_a_checkpoint(
    client: MlflowClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does while it passes the file on to its own store. All other answers must come within half a minute."""
    asked: list[tuple[str, float]] = []
    request = requests.Session.request

    def noted(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        asked.append((url, options["timeout"]))
        return request(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", noted)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    checkpointed("run", [np.arange(6, dtype=np.float32)])
    assert {longest for url, longest in asked if url.endswith(("last.npz", "state.json"))} == {600}
    assert {longest for url, longest in asked if "checkpoint" not in url} == {30}
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "30"


@pytest.mark.parametrize("destination", ["run", "none"])
def test_checkpoints_are_artifacts_of_the_run_or_not_kept(
    folder: Path, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In mlflow.db and mlruns of the folder itself, as it is where no server is named."""
    monkeypatch.delenv(TRACKING_URI, raising=False)
    weights = [np.arange(6, dtype=np.float32)]
    named = checkpointed(destination, weights)
    assert named.tracking_uri == "sqlite:///mlflow.db"
    got = connect().list_artifacts(named.run_id, CHECKPOINT)
    assert [Path(one.path).name for one in got] == (["last.npz", "state.json"] if destination == "run" else [])
    if destination == "run":
        assert_resumable(Path("mlruns/siamese") / named.run_id / "artifacts" / CHECKPOINT, weights)


# The run that a model belongs to


def ensured(*settings: str) -> str:
    return sync.ensure_run(paths.RUN, paths.HISTORY, paths.CATALOG, config.load_params(settings=list(settings)))


def test_a_trainings_run_is_found_again(client: MlflowClient, folder: Path) -> None:
    named = trained([1])
    assert ensured() == ensured() == named.run_id


def test_a_training_whose_server_was_away_is_sent_first(
    mlflow: MlflowServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACKING_URI, f"http://127.0.0.1:{free_port()}")
    named = trained([1])
    monkeypatch.setenv(TRACKING_URI, mlflow.address)
    run_id = ensured()
    (run,) = runs_of(connect(), named.training)
    assert run.info.run_id == run_id and recorded(connect(), run_id) == [(1, 1.0)]


def test_a_training_of_another_machine_is_found_by_its_tag(client: MlflowClient, folder: Path) -> None:
    """DVC brought run.json; the journal is where it was trained."""
    named = trained([1])
    shutil.rmtree(".siamese")
    assert ensured() == named.run_id and not journals()  # no second record of it is made here


def test_a_training_that_was_not_tracked_gets_a_run(client: MlflowClient, folder: Path) -> None:
    named = trained([1, 2], "tracking.enabled=false")
    assert (named.run_id, named.tracking_uri) == (None, None) and not journals()
    run_id = ensured()
    assert ensured() == run_id
    (run,) = runs_of(client, named.training)
    assert run.info.run_id == run_id and run.info.status == "FINISHED"
    assert recorded(client, run_id) == [(1, 1.0), (2, 0.5)]
    assert run.data.tags["siamese.recorded"] == "after training"
    assert "data/catalog.parquet" in files_of(client, run_id)
    assert json.loads(paths.RUN.read_text())["run_id"] is None  # an output of DVC's, left as it is


def test_a_training_that_was_not_tracked_is_recorded_with_the_parameters_of_dvc_lock(
    client: MlflowClient, folder: Path
) -> None:
    """params.yaml, edited since, has 0 for both seeds."""
    named = trained([1], "tracking.enabled=false")
    catalog, history = (
        {"path": str(file), "md5": hashlib.md5(file.read_bytes()).hexdigest()}
        for file in (paths.CATALOG, paths.HISTORY)
    )
    values = config.load_params().model_dump()
    sections = {name: {**values[name], "seed": 7} for name in ("catalog", "train")}
    stages = {
        "train": {"deps": [catalog], "params": {"params.yaml": {"train": sections["train"]}}, "outs": [history]},
        "catalog": {"params": {"params.yaml": {"catalog": sections["catalog"]}}, "outs": [catalog]},
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    ensured()
    (run,) = runs_of(client, named.training)
    assert (run.data.params["train.seed"], run.data.params["catalog.seed"]) == ("7", "7")


def test_a_run_that_was_deleted_is_made_again(client: MlflowClient, folder: Path) -> None:
    named = trained([1])
    client.delete_run(named.run_id)
    again = ensured()
    assert again != named.run_id and recorded(client, again) == [(1, 1.0)]


def test_no_run_json_is_one_line(client: MlflowClient, folder: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json is missing: run `siamese train`"):
        ensured()
    paths.RUN.write_text("{}")
    with pytest.raises(InputError, match=r"run\.json names no training"):
        ensured()


def test_a_deleted_experiment_is_told(client: MlflowClient, folder: Path, capsys) -> None:
    name = f"tracking.experiment={folder.parent.name}"
    named = trained([1], name)
    client.delete_experiment(client.get_run(named.run_id).info.experiment_id)
    trained([1], name)
    assert "was deleted" in of_tracking(capsys)[-1]


# What code and data are


def test_the_data_is_what_dvc_knows_to_be_this_catalogs(tmp_path: Path) -> None:
    """By hand: files of DVC's form. First nothing, then a `.dvc` file of the folder as it is, then of another one,
    then a dvc.lock that knows the very catalog."""
    catalog = tmp_path / "catalog.parquet"
    catalog.write_bytes(b"hello\n")
    (tmp_path / "data/faces/a").mkdir(parents=True)
    (tmp_path / "data/faces/a/1.png").write_bytes(b"12345")
    with working_folder(tmp_path):

        def digest(path: str = "data/faces") -> str:
            return provenance.data_digest(path, catalog).value

        own = digest()
        assert own.startswith("catalog:") and len(own) == 36
        pointer = {"outs": [{"md5": f"{'a' * 32}.dir", "size": 5, "nfiles": 1, "hash": "md5", "path": "faces"}]}
        (tmp_path / "data/faces.dvc").write_text(yaml.safe_dump(pointer))
        assert digest() == digest(str(tmp_path / "data/faces")) == digest("data/faces/") == f"{'a' * 32}.dir"
        (tmp_path / "data/faces/a/2.png").write_bytes(b"1")
        assert digest() == own
        stage = {
            "deps": [
                {"path": "data/faces", "md5": f"{'b' * 32}.dir"},
                {"path": "src/siamese/data/catalog.py", "md5": "c"},
            ],
            "outs": [{"path": "artifacts/catalog.parquet", "md5": "b1946ac92492d2347c6235b4d2611184"}],  # of hello\n
        }
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"catalog": stage}}))
        assert digest() == f"{'b' * 32}.dir"
        catalog.write_bytes(b"another catalog\n")
        assert digest().startswith("catalog:") and digest() != own


@pytest.mark.parametrize(
    ("change", "dirty"),
    [
        (lambda folder: None, "false"),
        (lambda folder: (folder / "code.py").write_text("2"), "true"),
        (lambda folder: (folder / "new.py").write_text("3"), "true"),
        (lambda folder: (folder / "ignored.log").write_text("4"), "false"),
        (lambda folder: (folder / "dvc.lock").write_text("5"), "false"),
        (lambda folder: (folder / "data/dvc.lock").write_text("6"), "false"),
        (lambda folder: (folder / "metrics.json").write_text("7"), "false"),
    ],
)
def test_dirty_is_all_but_what_the_pipeline_itself_writes(tmp_path: Path, change: Callable, dirty: str) -> None:
    (tmp_path / "data").mkdir()
    for name in ("code.py", "dvc.lock", "metrics.json", "data/dvc.lock"):
        (tmp_path / name).write_text("1")
    (tmp_path / ".gitignore").write_text("*.log\n")
    repository = Repository(tmp_path)
    repository.run("git", "init", "-q")
    repository.commit()
    change(tmp_path)
    with working_folder(tmp_path):
        assert provenance.git_tags()["siamese.git.dirty"] == dirty


@pytest.mark.parametrize(("built_from", "dirty"), [("c" * 40, "false"), ("c" * 40 + "-dirty", "true")])
def test_in_a_container_the_code_is_what_its_image_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built_from: str, dirty: str
) -> None:
    monkeypatch.setenv(provenance.IMAGE_COMMIT, built_from)
    with working_folder(tmp_path):
        told = provenance.git_tags()
    assert (told["siamese.git.commit"], told["siamese.git.dirty"]) == ("c" * 40, dirty)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://me:secret@host:5000/a", "https://host:5000/a"),
        ("https://token@host/a", "https://host/a"),
        ("git@host:us/project.git", "git@host:us/project.git"),
        ("sqlite:////elsewhere/mlflow.db", "sqlite:////elsewhere/mlflow.db"),
    ],
)
def test_what_is_shown_of_an_address_holds_no_credentials(uri: str, expected: str) -> None:
    assert without_credentials(uri) == expected


def test_the_report_shows_the_sections_that_figures_depend_on(workspace: Path) -> None:
    text = (workspace / paths.REPORT).read_text()
    assert "train.epochs" in text
    assert not re.search(r"(tracking|registry|promote|serve|drift)\.\w+", text)
