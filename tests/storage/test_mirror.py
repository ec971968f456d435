"""Working files outlive the container that wrote them: a training that is begun anew elsewhere goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import pytest
from conftest import working_folder
from signalled import AT_A_STEP
from storage_servers import S3_KEYS, s3_server
from trained import weights_of

from siamese.errors import InputError
from siamese.storage.mirror import Mirror, working_files

CHECKPOINT = ".siamese/checkpoints/key/epoch-0001-step-000000"
INPUTS = [f"artifacts/{name}" for name in ("catalog.parquet", "pairs.parquet", "images", "transform")]

TRAIN = """
import sys
from pathlib import Path
from siamese import paths
from siamese.config import load_params
from siamese.storage.mirror import working_files
from siamese.tracking.recorder import record_training
from siamese.training import train

workspace, outputs, place = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
given = load_params(workspace / "params.yaml", ["train.checkpoint_every=1"])
inputs = [workspace / "artifacts" / name for name in ("catalog.parquet", "pairs.parquet", "images", "transform")]
written = outputs / "model", outputs / "history.csv"
with working_files(place), record_training(given, inputs[0], written[1], outputs / "run.json") as listener:
    train.run(*inputs, *written, given.train, given.model, paths.CHECKPOINTS, listener=listener)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder in a bucket of a real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3_KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="kept")
        yield "s3://kept/outliving"


def keys() -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="kept", Prefix="outliving/")
    return {found["Key"].removeprefix("outliving/") for found in listed.get("Contents", [])}


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_without_a_place_the_working_folder_stays(tmp_path: Path) -> None:
    with working_folder(tmp_path), working_files(""):
        assert Path.cwd() == tmp_path


def test_a_folder_is_made_and_worked_in(tmp_path: Path) -> None:
    with working_files(str(tmp_path / "volume/run")):
        assert Path.cwd() == tmp_path / "volume/run"
    assert Path.cwd() != tmp_path / "volume/run"


def test_what_one_container_wrote_the_next_one_finds(bucket: str, tmp_path: Path) -> None:
    with working_files(bucket):
        write(Path.cwd(), f"{CHECKPOINT}/last.npz", "weights")
        write(Path.cwd(), f"{CHECKPOINT}/state.json", "{}")
        write(Path.cwd(), ".siamese/tracking/one/journal.jsonl", "{}\n")
        write(Path.cwd(), "elsewhere.txt", "not kept")
    with working_files(bucket):
        assert Path(f"{CHECKPOINT}/last.npz").read_text() == "weights"
        assert Path(".siamese/tracking/one/journal.jsonl").exists() and not Path("elsewhere.txt").exists()
        Path(f"{CHECKPOINT}/last.npz").unlink()
    assert keys() == {f"{CHECKPOINT}/state.json", ".siamese/tracking/one/journal.jsonl"}


def test_what_is_being_written_is_not_sent_and_state_comes_last(bucket: str, tmp_path: Path) -> None:
    """A checkpoint is written beside its place, in a folder whose name begins with a dot."""
    sent: list[str] = []

    class Told(Mirror):
        def _store(self):
            store, root = super()._store()
            put = store.put_file
            store.put_file = lambda file, name: (sent.append(name.removeprefix(f"{root}/")), put(file, name))[1]
            return store, root

    for name in ("state.json", "last.npz", "best.npz"):
        write(tmp_path, f"{CHECKPOINT}/{name}", name)
        write(tmp_path, f".siamese/checkpoints/key/.epoch-0002-step-000000.unfinished-1/{name}", name)
    write(tmp_path, ".siamese/tracking/one/files/training/checkpoint/last.npz", "half a gigabyte")
    copy = Told(tmp_path, f"{bucket}/last")
    copy.send()
    assert set(sent) == {f"{CHECKPOINT}/{name}" for name in ("state.json", "last.npz", "best.npz")}
    assert sent[-1] == f"{CHECKPOINT}/state.json"
    copy.send()
    assert len(sent) == 3  # nothing is sent twice


def test_a_checkpoint_that_is_replaced_while_it_is_sent_arrives_whole(bucket: str, tmp_path: Path) -> None:
    """On a slow line. A later one, which is complete by then, is sent next, and the first is removed."""
    folder = tmp_path / ".siamese/checkpoints/key"
    arrived: list[set[str]] = []

    class Slow(Mirror):
        def _store(self):
            store, root = super()._store()
            put = store.put_file

            def put_file(file: str, name: str) -> None:
                shutil.rmtree(folder / "epoch-0001-step-000000", ignore_errors=True)
                write(folder, "epoch-0002-step-000000/state.json", "2")
                put(file, name)

            store.put_file = put_file
            return store, root

    copy = Slow(tmp_path, f"{bucket}/slow")
    for name in ("last.npz", "state.json"):
        write(folder, f"epoch-0001-step-000000/{name}", "1")
    for _ in range(2):
        copy.send()
        arrived.append(
            {key.removeprefix("slow/.siamese/checkpoints/key/") for key in keys() if key.startswith("slow/")}
        )
    assert arrived == [
        {"epoch-0001-step-000000/last.npz", "epoch-0001-step-000000/state.json"},
        {"epoch-0002-step-000000/state.json"},
    ]
    assert {path.name for path in tmp_path.iterdir()} == {".siamese"}


def test_a_store_cannot_lead_out_of_the_working_folder(bucket: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket="kept", Key="evil/../../out.txt", Body=b"out")
    (tmp_path / "a/b/working").mkdir(parents=True)
    with pytest.raises(InputError, match="no file can have this name"):
        Mirror(tmp_path / "a/b/working", "s3://kept/evil").fetch()
    assert not list(tmp_path.rglob("out.txt"))


def test_a_place_that_can_not_be_reached_is_told_in_a_line(tmp_path: Path, bucket: str) -> None:
    with (
        pytest.raises(InputError, match="s3://nowhere/x: can't hold checkpoints") as refused,
        working_files("s3://nowhere/x"),
    ):
        pass
    assert "\n" not in str(refused.value)


@pytest.mark.slow  # half a gigabyte to and fro
def test_a_training_that_is_preempted_goes_on_in_another_container(
    bucket: str, workspace: Path, tmp_path: Path
) -> None:
    """Two processes that share nothing but the bucket end as one that was left alone, to the bit."""
    place = f"{bucket}/training"

    def train(number: int, ended_at: int) -> tuple[int, str, Path]:
        outputs = tmp_path / str(number)
        outputs.mkdir()
        signalled = [AT_A_STEP + TRAIN, str(int(signal.SIGTERM)), str(ended_at)]
        command = [sys.executable, "-c", *signalled, str(workspace), str(outputs), place]
        environment = os.environ | {"TMPDIR": str(outputs)}
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stderr, outputs

    code, said, outputs = train(1, ended_at=6)  # in the second epoch, of 4 steps
    assert any(line.startswith("epoch 1/2") for line in said.splitlines())
    assert code != 0 and not (outputs / "model").exists()

    code, said, outputs = train(2, ended_at=0)
    assert code == 0, said
    assert "continu" in said
    for ours, theirs in zip(weights_of(outputs / "model"), weights_of(workspace / "artifacts/model"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    epochs = pd.read_csv(outputs / "history.csv").epoch.tolist()
    assert epochs == [1, 2]
    assert not [key for key in keys() if key.startswith("training/.siamese/checkpoints") and "epoch" in key]
