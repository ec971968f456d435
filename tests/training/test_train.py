"""Training: a step learns, an interrupted run ends as the undisturbed one, the best epoch is kept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import working_folder
from signalled import AT_A_STEP
from trained import INPUTS, weights_of

from siamese import cli, config, params
from siamese.errors import InputError
from siamese.models.trained_on import FILE
from siamese.models.verifier import Verifier, read_image
from siamese.preprocessing.pixel_store import StoredImages
from siamese.process import Interrupted
from siamese.training import checkpoints, distribution, train
from siamese.training.checkpoints import Checkpoints, Origin, TrainingState
from siamese.training.dataset import TrainingData, read_data
from siamese.training.trainer import Trainer

RUN = Origin({}, {})


@pytest.fixture(scope="module")
def data(workspace: Path) -> TrainingData:
    with working_folder(workspace):
        return read_data(INPUTS[0], INPUTS[1], StoredImages(INPUTS[2]), train_params())


def train_params(*settings: str) -> params.TrainParams:
    small = ["train.batch=8", "train.precision=float32", "train.epochs=2", "train.checkpoint_minutes=0"]
    return config.load_params(config.packaged_file(), [*small, *settings]).train


def training(workspace: Path, data: TrainingData, values: params.TrainParams, precision: str = "float32") -> Trainer:
    steps = data.plan(values, 0).steps
    return Trainer("specification", precision, workspace / INPUTS[3], values, steps, distribution.start("one"))


def test_the_run_leaves_model_and_history_and_no_checkpoints(workspace: Path) -> None:
    history = pd.read_csv(workspace / "artifacts/history.csv")
    assert history.columns.tolist() == [
        "epoch", "loss", "precision", "accuracy", "auc", "eer", "cross_entropy", "learning_rate", "images_per_second"
    ]  # fmt: skip
    assert history.epoch.tolist() == [1, 2]
    assert (history.learning_rate.round(10) == 1e-4).all()
    assert {path.name for path in (workspace / "artifacts/model").iterdir()} == {"siamese.keras", "servable", FILE}
    assert [path for path in workspace.glob(".siamese/checkpoints/*") if path.is_dir()] == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_repeating_one_step_lowers_its_loss_in_every_precision(
    workspace: Path, data: TrainingData, precision: str
) -> None:
    values = train_params("train.optimizer.learning_rate=0.001")
    run = training(workspace, data, values, precision)
    step = data.plan(values, 0).step(0)
    pixels = data.images.rows(data.train_rows[step.rows])
    seed = np.zeros(2, np.int32)
    losses = [float(run.step(pixels, step.first, step.second, step.labels, seed)) for _ in range(6)]
    assert losses[0] == pytest.approx(np.log(2), rel=0.2)  # an untrained network knows nothing
    assert losses[-1] < losses[0] - 0.02


def test_listed_pairs_train_too(workspace: Path, tmp_path) -> None:
    """7 identities of 4 images have 42 positive pairs, and as many negative ones: 21 steps of 4 pairs."""
    values = train_params("train.pairing=listed", "train.epochs=1")
    data = read_data(workspace / INPUTS[0], workspace / INPUTS[1], StoredImages(workspace / INPUTS[2]), values)
    run = training(workspace, data, values)
    assert run.steps_per_epoch == 21
    train.train(run, data, Checkpoints(tmp_path, RUN), tmp_path / "history.csv")
    assert np.isfinite(pd.read_csv(tmp_path / "history.csv").loss).all()


def test_divergence_stops_with_advice(workspace: Path, data: TrainingData, tmp_path) -> None:
    run = training(workspace, data, train_params("train.optimizer.learning_rate=1e38"))
    with pytest.raises(InputError, match=r"lower train\.optimizer\.learning_rate"):
        train.train(run, data, Checkpoints(tmp_path, RUN), tmp_path / "history.csv")


def test_the_best_epoch_is_the_one_of_the_lowest_eer_then_the_highest_auc(
    workspace: Path, data: TrainingData, monkeypatch
) -> None:
    """EER 0.4, 0.2, 0.2 with a better AUC, the same with less cross-entropy, 0.3: the fourth epoch is the best."""
    measured = iter([(0.4, 0.6, 0.5), (0.2, 0.8, 0.3), (0.2, 0.9, 0.4), (0.2, 0.9, 0.35), (0.3, 0.95, 0.1)])

    def figures(*_: object) -> dict[str, float]:
        eer, auc, cross_entropy = next(measured)
        return {"precision": 0.5, "accuracy": 0.5, "auc": auc, "eer": eer, "cross_entropy": cross_entropy}

    monkeypatch.setattr(train, "validation_metrics", figures)
    run = training(workspace, data, train_params("train.early_stopping=2"))
    bias = run.model.get_layer("dense_1").bias
    for epoch in range(1, 6):
        bias.assign([float(epoch)])
        run.state.step = 1
        train.validate(run, data, 1.0, lambda: None)
    assert run.kept_epoch() == 4
    assert run.kept_weights()[-1].tolist() == [4.0]


@pytest.mark.parametrize(("patience", "epoch", "stops"), [(0, 49, False), (0, 50, True), (3, 12, False), (3, 13, True)])
def test_training_stops_after_as_many_epochs_without_a_better_one(patience: int, epoch: int, stops: bool) -> None:
    """Of 50 epochs, where the 10th was the best."""
    state = TrainingState(epoch=epoch, best_epoch=10)
    assert train._done(state, train_params(f"train.early_stopping={patience}", "train.epochs=50")) is stops


def test_checkpoints_are_written_every_so_many_epochs_and_at_the_end(
    workspace: Path, data: TrainingData, monkeypatch, tmp_path
) -> None:
    """Of 5 epochs, every 2nd: after 2, 4 and 5."""
    values = train_params("train.epochs=5", "train.checkpoint_every=2")
    run = training(workspace, data, values)
    saved = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, state, last, best: saved.append((state.epoch, state.step)))
    monkeypatch.setattr(train, "train_epoch", lambda run, data, check: setattr(run.state, "step", 1) or 1)
    train.train(run, data, Checkpoints(tmp_path, RUN), tmp_path / "history.csv")
    assert saved == [(2, 0), (4, 0), (5, 0)]


def test_checkpoints_are_written_within_an_epoch_when_the_minutes_have_passed(
    workspace: Path, data: TrainingData, monkeypatch, tmp_path
) -> None:
    """Of one epoch of 4 steps. Nothing is written twice: the validation that follows changes no weight."""
    run = training(workspace, data, train_params())
    saved = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, state, last, best: saved.append((state.epoch, state.step)))

    def saved_with(minutes: float) -> list[tuple[int, int]]:
        run.params, run.state = train_params("train.epochs=1", f"train.checkpoint_minutes={minutes}"), TrainingState()
        saved.clear()
        train.train(run, data, Checkpoints(tmp_path, RUN), tmp_path / "history.csv")
        return [*saved]

    assert saved_with(0) == [(1, 0)]
    assert saved_with(1e9) == [(1, 0)]
    assert saved_with(1e-9) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]


def test_a_signal_during_validation_is_heard(workspace: Path, data: TrainingData) -> None:
    run = training(workspace, data, train_params())
    run.state.step = 1

    def check() -> None:
        raise Interrupted(signal.SIGTERM)

    with pytest.raises(Interrupted):
        train.validate(run, data, 1.0, check)
    assert (run.state.epoch, run.state.step) == (0, 1)


def test_weights_that_are_no_numbers_stop_with_advice(workspace: Path, data: TrainingData) -> None:
    run = training(workspace, data, train_params())
    run.state.step = 1
    run.model.get_layer("dense_1").bias.assign([float("nan")])
    with pytest.raises(InputError, match=r"lower train\.optimizer\.learning_rate"):
        train.validate(run, data, 1.0, lambda: None)


def test_a_second_process_of_the_same_run_is_refused(tmp_path) -> None:
    with Checkpoints(tmp_path, RUN).locked():
        refused = pytest.raises(InputError, match=f"process {os.getpid()} is training the same")
        with refused, Checkpoints(tmp_path, RUN).locked():
            pass
        with Checkpoints(tmp_path, Origin({}, {"seed": 1})).locked():
            pass
    with Checkpoints(tmp_path, RUN).locked():
        pass


def test_too_little_disk_is_told_before_training(workspace: Path, monkeypatch, tmp_path) -> None:
    class Usage:
        free = 10**9

    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(InputError, match=r"may take 1\.9 GB, only 1\.0 GB are free"):
        checkpoints._check_disk(38_964_545, Checkpoints(tmp_path / "checkpoints", RUN), tmp_path / "model")


@pytest.mark.slow
def test_a_run_stopped_by_sigterm_ends_as_the_run_left_alone(workspace: Path, tmp_path) -> None:
    """Stopped after its first epoch, in the middle of the second; started again: weights and history equal to the
    bit."""
    for name in ("params.yaml", *map(str, INPUTS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(workspace / name)
    in_epoch_2 = 6  # of 4 steps
    program = [sys.executable, "-c", f"{AT_A_STEP}from siamese import cli; cli.main()", str(int(signal.SIGTERM))]
    stopped = subprocess.run(
        [*program, str(in_epoch_2), "train"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False
    )
    assert stopped.returncode == 128 + signal.SIGTERM
    assert any(line.startswith("epoch 1/2") for line in stopped.stderr.splitlines())
    assert stopped.stderr.splitlines()[-1].endswith("stopped by SIGTERM: run the same command again to continue")
    assert not (tmp_path / "artifacts/model").exists()
    (checkpoint,) = tmp_path.glob(".siamese/checkpoints/*/epoch-*")
    assert checkpoint.name.startswith("epoch-0001-step-")

    again = subprocess.run([*program, "0", "train"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "continuing after epoch 1, step" in again.stderr
    assert not list(tmp_path.glob(".siamese/checkpoints/*/"))
    for left_alone, resumed in zip(
        weights_of(workspace / "artifacts/model"), weights_of(tmp_path / "artifacts/model"), strict=True
    ):
        np.testing.assert_array_equal(left_alone, resumed)
    histories = [pd.read_csv(folder / "artifacts/history.csv") for folder in (workspace, tmp_path)]
    pd.testing.assert_frame_equal(*(history.drop(columns="images_per_second") for history in histories))


def test_the_servable_gives_the_same_score_from_bytes_as_the_network_from_stored_pixels(workspace: Path) -> None:
    catalog = pd.read_parquet(workspace / INPUTS[0])
    ids = catalog.image_id.iloc[[0, -1]].tolist()
    files = [workspace / "data/sample" / path for path in catalog.path.iloc[[0, -1]]]
    verifier = Verifier.load(workspace / "artifacts/model")
    stored = verifier.embed(StoredImages(workspace / INPUTS[2]).pixels(ids))
    encoded = verifier.embed_encoded([read_image(file, 10**8) for file in files])
    np.testing.assert_array_equal(stored, encoded)


def test_the_servable_loads_where_only_tensorflow_is(workspace: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('keras', 'tf_keras', 'tensorflow_transform', 'apache_beam', 'siamese'):\n"
        "    sys.modules[name] = None\n"
        "import tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "png = tf.io.encode_png(tf.zeros([7, 9, 3], tf.uint8)).numpy()\n"
        "score = model.signatures['score'](anchor=tf.constant([png]), other=tf.constant([png]))['score']\n"
        "embedding = model.signatures['embed'](image=tf.constant([png]))['embedding']\n"
        "print(score.shape, embedding.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(workspace / "artifacts/model/servable")],
        capture_output=True, text=True, check=True, env=os.environ | {"KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    assert done.stdout.strip() == "(1,) (1, 4096)"


@pytest.mark.parametrize(
    ("missing", "command"), [("catalog.parquet", "siamese catalog"), ("images", "siamese preprocess")]
)
def test_a_missing_input_says_which_command_makes_it(
    workspace: Path, tmp_path, capsys, missing: str, command: str
) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "params.yaml").symlink_to(workspace / "params.yaml")
    for file in INPUTS:
        if file.name != missing:
            (tmp_path / file).symlink_to(workspace / file)
    with working_folder(tmp_path):
        assert cli.run(["train"]) == 2
    assert f"artifacts/{missing} is missing: run `{command}` first" in capsys.readouterr().err


def test_a_model_folder_that_holds_what_is_not_ours_is_refused_before_training(
    workspace: Path, tmp_path, capsys
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with working_folder(workspace):
        assert cli.run(["train", "--model", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "holds notes.txt, which this step doesn't write: name another folder" in told
    assert "training" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
