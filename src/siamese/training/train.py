"""Step `train`: catalog, pairs and stored pixels in; a trained network, ready to load and to serve, out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from siamese import __version__, tf_runtime
from siamese.console import log, track
from siamese.errors import InputError
from siamese.evaluation.metrics.verification import validation_metrics
from siamese.models import trained_on
from siamese.models.trained_on import TrainedOn
from siamese.params import ModelParams, TrainParams
from siamese.process import Interrupt, Interrupted
from siamese.storage.files import atomic_file, atomic_folder, content_digest, digest, require_exists, require_owned
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table
from siamese.training import calibration, initialization
from siamese.training.checkpoints import Checkpoints, Origin, TrainingState, _check_disk
from siamese.training.dataset import TrainingData, images_for, read_data
from siamese.training.distribution import start
from siamese.training.trainer import Trainer

FITTED_TO = 64  # images at most: enough for a mean distance, and a large step's would need gigabytes at once
MODEL_FILES = ("siamese.keras", "servable", trained_on.FILE)
WHEN_SAVED = {"checkpoint_every", "checkpoint_minutes"}  # parameters that weights don't depend on


class TrainingCallbacks(Protocol):
    """Who wants to know how a training goes. With several workers, the chief's alone is told."""

    def begun(self, origin: Origin, history: Sequence[Mapping[str, Any]]) -> None:
        """Training begins, or goes on after the epochs of `history`, a row each."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is measured: its row of the history."""

    def ended(self, checkpoints: Path) -> None:
        """The model is written, and the checkpoints in this folder are about to be removed."""


def run(
    catalog_file: Path,
    pairs_file: Path,
    images_folder: AnyPath,
    transform_folder: Path,
    model_folder: Path,
    history_file: Path,
    params: TrainParams,
    model: ModelParams,
    checkpoint_folder: Path,
    *,
    resume: Path | None = None,
    listener: TrainingCallbacks | None = None,
    first_weights: Path | None = None,
) -> bool:
    """Trains the network of `model` and writes `model_folder` (`siamese.keras`, `servable/`) and `history_file`.

    The step as DVC and Kubeflow call it. Started again after an interruption, it continues from its own newest
    checkpoint, or from `resume`: a checkpoint, or a folder of one run's checkpoints, which must be this run's.

    With several workers (`train.strategy`), each runs this with the same arguments, and only the chief writes: the
    others need no place for checkpoints, model and history.

    Args:
        first_weights: what `model.initial_weights` names, as `siamese.registry.locator.initial_weights` gives it; None:
            training begins from nothing.

    Returns:
        Whether this is the worker that wrote them.

    Raises:
        InputError: missing inputs, too little to train on, too little disk, divergence, `resume` can't be taken,
            `first_weights` have seen what is to be tested, or another worker is lost.
        siamese.process.Interrupted: SIGTERM or SIGINT came, here or to another worker; a checkpoint is written.
    """
    require_exists(catalog_file, "siamese catalog")
    require_exists(pairs_file, "siamese pairs")
    require_exists(images_folder, "siamese preprocess")
    require_exists(transform_folder, "siamese preprocess")
    require_owned(model_folder, MODEL_FILES)
    replicas = start(params.strategy)
    with replicas.reraise_worker_errors():
        network = model.network
        data = read_data(catalog_file, pairs_file, images_for(network, images_folder), params)
        seen = _seen(catalog_file, first_weights)
        if not seen.complete and replicas.chief:
            log(
                "model.initial_weights: it is unknown which images trained that model, so the figures of this one may "
                "be too good, and `siamese promote` refuses it unless promote.allow_unknown_training_data is true"
            )
        precision = tf_runtime.resolve_precision(params.precision)
        origin = Origin(
            {
                "catalog": content_digest(catalog_file),
                "pairs": content_digest(pairs_file),
                "images": data.images.digest(),
                "transform": content_digest(transform_folder),
                **({"initial weights": content_digest(first_weights)} if first_weights else {}),
            },
            {
                "train": params.model_dump(exclude=WHEN_SAVED) | {"precision": precision},
                "model": model.model_dump(exclude={"initial_weights"}),
                "siamese": __version__,
            },
        )
        same = [origin.key, params.model_dump(include=WHEN_SAVED)]  # workers save together
        if replicas.any(replicas.broadcast_object(same) != same):
            raise InputError("the workers differ in inputs, parameters or precision: give all of them the chief's")
        checkpoints = Checkpoints(checkpoint_folder, origin)
        if resume and replicas.chief:
            checkpoints.begin_at(resume)

        with checkpoints.locked() if replicas.chief else nullcontext():
            training = Trainer(
                network, precision, transform_folder, params, data.plan(params, 0).steps, replicas, model.views
            )
            if first_weights:
                initialization.load_into(training.model, first_weights)
            elif model.initial_head == "fitted":
                _, pixels = next(data.steps(data.plan(params, 0), 0, (params.seed, 0)))
                fit_head(training, pixels)
            training.begin_averages()
            parameters = training.model.count_params()
            if replicas.chief:
                _check_disk(parameters, checkpoints, model_folder)
            log(
                f"training {network}, {parameters:,} parameters, in {precision}: "
                f"{data.summary()}, {params.epochs} epochs of {training.steps_per_epoch} steps"
            )
            told = listener if replicas.chief else None
            train(training, data, checkpoints, history_file, told)

            training.scoring.set_weights(training.kept_weights())
            if params.loss == "n_pair":
                calibration.calibrate(training, data)
            if replicas.chief:
                write_model(training.scoring, training.servable, model_folder, seen)
                if told:
                    told.ended(checkpoints.folder)
                checkpoints.prune()
                log(f"model: {model_folder}, weights of epoch {training.kept_epoch()}")
            replicas.wait()  # so that no worker calls a run successful whose model isn't written
    return replicas.chief


def train(
    training: Trainer,
    data: TrainingData,
    checkpoints: Checkpoints,
    history_file: Path,
    listener: TrainingCallbacks | None = None,
) -> None:
    """Runs the epochs that are left, from the newest checkpoint on; `history_file` grows with each."""
    if _restore(training, checkpoints):
        log(f"continuing after epoch {training.state.epoch}, step {training.state.step}")
        _write_history(history_file, training)
    params, state = training.params, training.state
    if listener:
        listener.begun(checkpoints.origin, state.history)
    saving = Saving(training, checkpoints)
    with Interrupt() as interrupt:

        def check() -> None:
            # One exchange between the workers for both questions, as it comes with every step.
            stop, due = training.replicas.any_of(interrupt.number is not None, saving.is_due())
            if stop or due:
                saving.save()
            if stop:
                raise Interrupted(interrupt.number or signal.SIGTERM)

        while not _done(state, params):
            began = time.monotonic()
            images = train_epoch(training, data, check)
            sync_weights(training)
            validate(training, data, images / (time.monotonic() - began), check)
            _write_history(history_file, training)
            if listener:
                listener.epoch(state.history[-1])
            if state.epoch % params.checkpoint_every == 0 or _done(state, params):
                saving.save()


class Saving:
    """Writes the checkpoints of a training. The chief's clock decides when one is due, for all workers."""

    def __init__(self, training: Trainer, checkpoints: Checkpoints) -> None:
        self._training, self._checkpoints = training, checkpoints
        self._note()

    def is_due(self) -> bool:
        """Return whether this is the chief and `train.checkpoint_minutes` of work aren't saved yet."""
        minutes = self._training.params.checkpoint_minutes
        if not minutes or not self._training.replicas.chief or self._position() == self._saved:
            return False
        return time.monotonic() - self._ended >= 60 * minutes

    def save(self) -> None:
        """Write a checkpoint; return when every worker has called this."""
        training, state = self._training, self._training.state
        if training.replicas.chief:
            last_is_best = state.best_epoch == state.epoch and state.step == 0
            best = None if last_is_best else training.best_weights
            self._checkpoints.save(state, training.variables(), best)
        training.replicas.wait()
        self._note()

    def _note(self) -> None:
        # From the end of the writing: however long that takes, training goes on for as long as it should.
        self._saved, self._ended = self._position(), time.monotonic()

    def _position(self) -> tuple[int, int]:
        return self._training.state.epoch, self._training.state.step


def fit_head(training: Trainer, pixels: np.ndarray) -> None:
    """Gives the last layer the weights of `initial.fitted_head`, on all workers the chief's.

    Args:
        pixels: uint8 [images, *image_shape], those of the first step.

    Raises:
        InputError: they can't be told apart.
    """
    some = pixels[:: -(-len(pixels) // FITTED_TO)]
    embeddings = training.replicas.broadcast(training.embedded_as_in_a_step(some))
    training.model.get_layer("dense_1").set_weights(initialization.fitted_head(embeddings))


def train_epoch(training: Trainer, data: TrainingData, after_step: Callable[[], None]) -> int:
    """The steps of one epoch that are left; gives the number of images they held.

    Raises:
        InputError: the loss isn't a number any more.
    """
    params, state = training.params, training.state
    plan = data.plan(params, state.epoch)
    images = 0
    first, label = state.step, f"epoch {state.epoch + 1}"
    steps = data.steps(plan, first, (params.seed, state.epoch))
    for number, (step, pixels) in enumerate(track(steps, label, plan.steps - first), first):
        if len(step.rows) < training.replicas.fewest_images:
            raise InputError(
                f"train: a step of {len(step.rows)} images is too small for {training.replicas.count} devices: "
                f"raise train.batch (now {params.batch}), or use fewer devices"
            )
        seed = np.array([params.seed % 2**31, state.epoch * plan.steps + number], np.int32)
        loss = float(training.step(pixels, step.first, step.second, step.labels, seed))
        if not np.isfinite(loss):
            raise _diverged(params, f"the loss is {loss} at epoch {state.epoch + 1}, step {number + 1}")
        images += len(step.rows)
        state.step = number + 1
        state.loss_sum += loss
        after_step()
    return images


def sync_weights(training: Trainer) -> None:
    """Gives all workers the chief's weights where theirs aren't equal to the bit: machines of different kinds may
    compute another last digit of what each computes for itself."""
    replicas = training.replicas
    if replicas.workers == 1:
        return
    own = digest(array.tobytes() for array in training.variables())
    if replicas.any(replicas.broadcast_object(own) != own):
        log("the workers' weights differ in their last digits: all take the chief's")
        chiefs = [replicas.broadcast(array) for array in training.variables()]
        training.restore(training.state, chiefs, training.best_weights)


def validate(training: Trainer, data: TrainingData, images_per_second: float, check: Callable[[], None]) -> None:
    """Closes an epoch: measures on the validation pairs, adds to the history, remembers the best weights.

    Args:
        check: called before each batch of images.

    Raises:
        InputError: a score isn't a number any more.
    """
    state = training.state
    learning_rate = float(np.asarray(training.optimizer.learning_rate))
    loss = state.loss_sum / state.step
    training.scoring.set_weights(training.measured_weights())
    measured = training.replicas.broadcast_object(_measured(training, data, check))
    if not measured:
        raise _diverged(training.params, f"scores are no numbers after epoch {state.epoch + 1}")
    state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
    row = {"epoch": state.epoch, "loss": loss} | measured
    row |= {"learning_rate": learning_rate, "images_per_second": round(images_per_second, 1)}
    state.history.append(row)
    # Few validation pairs give few distinct EERs: of equal ones the AUC decides, then the cross-entropy.
    quality = [-measured["eer"], measured["auc"], -measured["cross_entropy"]]
    if not state.best_quality or quality > state.best_quality:
        state.best_quality, state.best_epoch = quality, state.epoch
        training.best_weights = training.scoring.get_weights()
    figures = "  ".join(f"{name} {_figure(measured[name])}" for name in ("precision", "accuracy", "auc", "eer"))
    log(f"epoch {state.epoch}/{training.params.epochs}  loss {loss:.4f}  {figures}  {images_per_second:.0f} images/s")


def write_model(model: Any, servable: Any, folder: Path, seen: TrainedOn) -> None:
    """Writes `siamese.keras`, `servable/` and what the model has seen into `folder`, whole."""
    from siamese.models import network
    from siamese.models.servable import export

    with atomic_folder(folder, MODEL_FILES) as beside:
        network.save(model, beside / "siamese.keras")
        export(servable, beside / "servable")
        trained_on.write(beside, seen)


def _seen(catalog_file: Path, first_weights: Path | None) -> TrainedOn:
    """What the model will have seen, the one that it begins with included.

    Raises:
        InputError: that one has seen what is to test this one.
    """
    catalog = read_table(catalog_file, ["image_id", "split"])
    seen = trained_on.of_catalog(catalog)
    if first_weights is None:
        return seen
    earlier = trained_on.read(first_weights.parent)
    known = earlier.among(catalog)
    if known:
        raise InputError(
            f"model.initial_weights: that model was trained on {known} images that test or validate by {catalog_file}, "
            "and no figure would be honest: give it that model's splits, or leave model.initial_weights empty"
        )
    return seen.and_before(earlier)


def _measured(training: Trainer, data: TrainingData, check: Callable[[], None]) -> dict[str, float] | None:
    found = calibration.validation_scores(training, data, check)
    if found is None or not np.isfinite(found).all():
        return None
    return validation_metrics(data.validation_pairs[2], found)


def _restore(training: Trainer, checkpoints: Checkpoints) -> bool:
    """Takes up the chief's newest checkpoint, if there is one."""
    replicas = training.replicas
    found = checkpoints.newest(training.shapes()) if replicas.chief else None
    state = replicas.broadcast_object(asdict(found[0]) if found else None)
    if state is None:
        return False
    _, last, best = found or (None, training.variables(), None)
    training.restore(TrainingState(**state), [replicas.broadcast(array) for array in last], best)
    return True


def _done(state: TrainingState, params: TrainParams) -> bool:
    out_of_patience = bool(params.early_stopping) and state.epoch - state.best_epoch >= params.early_stopping
    return state.epoch >= params.epochs or out_of_patience


def _write_history(history_file: Path, training: Trainer) -> None:
    if training.replicas.chief:
        with atomic_file(history_file) as beside:
            pd.DataFrame(training.state.history).to_csv(beside, index=False)


def _diverged(params: TrainParams, what: str) -> InputError:
    rate = params.optimizer.learning_rate
    return InputError(
        f"train: {what}: lower train.optimizer.learning_rate (now {rate}) or set train.precision to float32"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
