"""Step `train`: catalog, pairs and stored pixels in; a trained network, ready to load and to serve, out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from siamese import __version__, backend, scores
from siamese.batches import UNKNOWN, Plan, in_batch_plan, listed_plan
from siamese.checkpoints import Checkpoints, State, key_of
from siamese.errors import InputError
from siamese.files import existing, whole_file, whole_folder
from siamese.metrics import validation_metrics
from siamese.params import TrainParams
from siamese.progress import say, track
from siamese.signals import Interrupt
from siamese.stored import StoredImages
from siamese.verifier import Verifier


def run(
    catalog_file: Path,
    pairs_file: Path,
    images_folder: Path,
    transform_folder: Path,
    model_folder: Path,
    history_file: Path,
    params: TrainParams,
    network: str,
    checkpoint_folder: Path,
) -> None:
    """Trains `network` and writes `model_folder` (`siamese.keras`, `servable/`) and `history_file`.

    The step as DVC and Kubeflow call it. Started again after an interruption, it continues from its own newest
    checkpoint.

    Raises:
        InputError: missing inputs, too little to train on, too little disk, or divergence.
        siamese.signals.Interrupted: SIGTERM or SIGINT came; a checkpoint is written.
    """
    made_by = {
        catalog_file: "catalog",
        pairs_file: "pairs",
        images_folder: "preprocess",
        transform_folder: "preprocess",
    }
    inputs = [existing(file, f"siamese {step}") for file, step in made_by.items()]
    data = read_data(catalog_file, pairs_file, StoredImages(images_folder))
    precision = backend.resolve_precision(params.precision)
    settings = params.model_dump() | {"precision": precision, "network": network, "version": __version__}
    checkpoints = Checkpoints(checkpoint_folder, key_of(inputs, settings))

    training = Training(network, precision, transform_folder, params, steps_per_epoch=data.plan(params, 0).steps)
    _check_disk(training.model.count_params(), checkpoint_folder, model_folder)
    say(
        f"training {network}, {training.model.count_params():,} parameters, in {precision}: "
        f"{data.summary()}, {params.epochs} epochs of {training.steps_per_epoch} steps"
    )
    train(training, data, checkpoints, history_file)

    training.scoring.set_weights(training.kept_weights())
    write_model(training.scoring, training.servable, model_folder)
    checkpoints.prune()
    say(f"model: {model_folder}, weights of epoch {training.kept_epoch()}")


@dataclass(frozen=True)
class Data:
    """What training reads: the images, and in each split which of them are there and which pairs count.

    `codes`: int [training images], identity codes. `train_ids`: their image ids. `train_pairs`: first and second,
    int [pairs], positions among the training images, and label, int8 [pairs]. `validation_ids` and `validation_pairs`:
    likewise for the validation images.
    """

    images: StoredImages
    codes: np.ndarray
    train_ids: np.ndarray
    train_pairs: tuple[np.ndarray, np.ndarray, np.ndarray]
    validation_ids: np.ndarray
    validation_pairs: tuple[np.ndarray, np.ndarray, np.ndarray]

    def plan(self, params: TrainParams, epoch: int) -> Plan:
        """The steps of an epoch, by the pairing asked for."""
        if params.pairing == "listed":
            return listed_plan(*self.train_pairs, batch=params.batch, seed=params.seed, epoch=epoch)
        return in_batch_plan(
            self.codes,
            batch=params.batch,
            images_per_identity=params.images_per_identity,
            seed=params.seed,
            epoch=epoch,
        )

    def summary(self) -> str:
        known = self.codes[self.codes != UNKNOWN]
        return f"{len(self.codes)} images of {len(np.unique(known))} identities"


def read_data(catalog_file: Path, pairs_file: Path, images: StoredImages) -> Data:
    """The splits `train` and `validation` as arrays.

    Raises:
        InputError: no two training images show the same identity, or there is no pair to validate with.
    """
    catalog = pd.read_parquet(catalog_file, columns=["image_id", "identity", "split"])
    pairs = pd.read_parquet(pairs_file)

    def of_split(split: str) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        rows = catalog[catalog.split == split]
        codes = pd.factorize(rows.identity, sort=True)[0]  # a missing identity gets -1, UNKNOWN
        place = pd.Index(rows.image_id)
        listed = pairs[pairs.split == split]
        first, second = place.get_indexer(listed.anchor_id), place.get_indexer(listed.other_id)
        if len(listed) and min(first.min(), second.min()) < 0:
            raise InputError(f"{pairs_file}: names images that {catalog_file} lacks: run `siamese pairs` again")
        return codes, rows.image_id.to_numpy(), (first, second, listed.label.to_numpy())

    codes, train_ids, train_pairs = of_split("train")
    _, validation_ids, validation_pairs = of_split("validation")
    if not len(train_pairs[2]) or not len(validation_pairs[2]):
        raise InputError(f"{pairs_file}: has no pairs to train or to validate with: see `siamese inspect`")
    return Data(images, codes, train_ids, train_pairs, validation_ids, validation_pairs)


class Training:
    """Network, optimizer and state of one run, and the compiled step."""

    def __init__(
        self, network: str, precision: str, transform_folder: Path, params: TrainParams, steps_per_epoch: int
    ) -> None:
        tf = backend.tensorflow()

        from siamese import loss
        from siamese.augment import augmentation
        from siamese.network import build, parts
        from siamese.optimizer import optimizer
        from siamese.servable import Servable
        from siamese.transform import Transform

        self.params = params
        self.steps_per_epoch = steps_per_epoch
        self.state = State()
        self.best_weights: list[np.ndarray] | None = None
        transform = Transform.load(transform_folder)
        self.model = model = build(network, precision=precision, seed=params.seed)
        self.scoring = build(network)  # the same network in float32: what validation scores with, and what is saved
        self.servable = Servable(self.scoring, transform)
        self.verifier = Verifier(self.servable)
        self.optimizer = adam = optimizer(params, precision, steps_per_epoch)
        adam.build(model.trainable_variables)
        embedding, distance, head = parts(model)
        augment = augmentation(params.augmentation)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, *model.input_shape[0][1:]], tf.uint8),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.float32),
                tf.TensorSpec([2], tf.int32),
            ]
        )
        def step(pixels: Any, first: Any, second: Any, labels: Any, seed: Any) -> Any:
            images = transform.image(augment(pixels, seed))
            with tf.GradientTape() as tape:
                embeddings = embedding(images, training=True)
                logits = loss.pair_logits(embeddings, first, second, distance, head)
                value = loss.balanced_cross_entropy(labels, logits)
                scaled = adam.scale_loss(value)
            adam.apply(tape.gradient(scaled, model.trainable_variables), model.trainable_variables)
            return value

        self.step: Callable[..., Any] = step

    def variables(self) -> list[np.ndarray]:
        """Weights and optimizer variables, as a checkpoint holds them."""
        return [np.asarray(variable) for variable in (*self.model.variables, *self.optimizer.variables)]

    def restore(self, state: State, last: list[np.ndarray], best: list[np.ndarray] | None) -> None:
        """Takes up where a checkpoint left off."""
        for variable, value in zip((*self.model.variables, *self.optimizer.variables), last, strict=True):
            variable.assign(value)
        self.state = state
        self.best_weights = self.model.get_weights() if best is None and state.best_epoch else best

    def kept_weights(self) -> list[np.ndarray]:
        """The weights that `train.keep` asks for."""
        if self.params.keep == "best" and self.best_weights is not None:
            return self.best_weights
        return self.model.get_weights()

    def kept_epoch(self) -> int:
        """The epoch that `kept_weights` are from."""
        return self.state.best_epoch if self.params.keep == "best" else self.state.epoch


def train(training: Training, data: Data, checkpoints: Checkpoints, history_file: Path) -> None:
    """Runs the epochs that are left, from the newest checkpoint on; `history_file` grows with each."""
    found = checkpoints.newest()
    if found:
        training.restore(*found)
        say(f"continuing after epoch {training.state.epoch}, step {training.state.step}")
    params, state = training.params, training.state
    with Interrupt() as interrupt:
        while state.epoch < params.epochs and not _out_of_patience(state, params):
            began = time.monotonic()
            images = train_epoch(training, data, lambda: interrupt.check(lambda: _save(training, checkpoints)))
            seconds = time.monotonic() - began
            validate(training, data, images / seconds)
            with whole_file(history_file) as beside:
                pd.DataFrame(state.history).to_csv(beside, index=False)
            if state.epoch % params.checkpoint_every == 0 and state.epoch < params.epochs:
                _save(training, checkpoints)


def train_epoch(training: Training, data: Data, after_step: Callable[[], None]) -> int:
    """The steps of one epoch that are left; gives the number of images they held.

    Raises:
        InputError: the loss isn't a number any more.
    """
    params, state = training.params, training.state
    plan = data.plan(params, state.epoch)
    images = 0
    for number in track(range(state.step, plan.steps), f"epoch {state.epoch + 1}"):
        step = plan.step(number)
        pixels = data.images.pixels(data.train_ids[step.rows].tolist())
        seed = np.array([params.seed % 2**31, state.epoch * plan.steps + number], np.int32)
        loss = float(training.step(pixels, step.first, step.second, step.labels, seed))
        if not np.isfinite(loss):
            raise InputError(
                f"train: the loss is {loss} at epoch {state.epoch + 1}, step {number + 1}: lower train.optimizer."
                f"learning_rate (now {params.optimizer.learning_rate}) or set train.precision to float32"
            )
        images += len(step.rows)
        state.step = number + 1
        state.loss_sum += loss
        after_step()
    return images


def validate(training: Training, data: Data, images_per_second: float) -> None:
    """Closes an epoch: measures on the validation pairs, adds to the history, remembers the best weights."""
    state = training.state
    learning_rate = float(training.optimizer.learning_rate)
    loss = state.loss_sum / state.step
    for scoring, trained in zip(training.scoring.variables, training.model.variables, strict=True):
        scoring.assign(trained.value)
    measured = validation_metrics(data.validation_pairs[2], validation_scores(training, data))
    state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
    row = {"epoch": state.epoch, "loss": loss} | measured
    row |= {"learning_rate": learning_rate, "images_per_second": round(images_per_second, 1)}
    state.history.append(row)
    # Few validation pairs give few distinct EERs: the AUC decides between epochs of one EER.
    quality = [-measured["eer"], measured["auc"]]
    if not state.best_quality or quality > state.best_quality:
        state.best_quality, state.best_epoch = quality, state.epoch
        training.best_weights = training.scoring.get_weights()
    figures = "  ".join(f"{name} {_figure(measured[name])}" for name in ("precision", "accuracy", "auc", "eer"))
    say(f"epoch {state.epoch}/{training.params.epochs}  loss {loss:.4f}  {figures}  {images_per_second:.0f} images/s")


def validation_scores(training: Training, data: Data) -> np.ndarray:
    """The scores of the validation pairs, float32 [pairs], as the servable model gives them."""
    embedded = scores.embed(training.verifier, data.images, data.validation_ids)
    place = embedded.rows(pd.Series(data.validation_ids))
    first, second, _ = data.validation_pairs
    return scores.score(training.verifier, embedded, place[first], place[second])


def write_model(model: Any, servable: Any, folder: Path) -> None:
    """Writes `siamese.keras` and `servable/` into `folder`, whole."""
    from siamese.servable import export

    with whole_folder(folder) as beside:
        model.save(beside / "siamese.keras")
        export(servable, beside / "servable")


def _save(training: Training, checkpoints: Checkpoints) -> None:
    state = training.state
    last_is_best = state.best_epoch == state.epoch and state.step == 0
    checkpoints.save(state, training.variables(), None if last_is_best else training.best_weights)


def _out_of_patience(state: State, params: TrainParams) -> bool:
    return bool(params.early_stopping) and state.epoch - state.best_epoch >= params.early_stopping


def _check_disk(parameters: int, checkpoint_folder: Path, model_folder: Path) -> None:
    # Weights take 4 bytes each. A checkpoint holds them with Adam's two moments and the best ones, 16 bytes; two are
    # kept while a third is written. The model folder holds the weights twice, and is written beside an older one.
    for folder, name, need in (
        (checkpoint_folder, "checkpoints", 3 * 16 * parameters),
        (model_folder, "the model", 2 * 8 * parameters),
    ):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        say(f"disk: {name} may take {need / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free")
        if need > free:
            raise InputError(
                f"{folder}: {name} may take {need / 1e9:.1f} GB, only {free / 1e9:.1f} GB are free: make room first"
            )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
