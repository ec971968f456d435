"""Step `train`: catalog, pairs and stored pixels in; a trained network, ready to load and to serve, out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import tee
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from siamese import __version__, backend, initial, platt, scores, stored
from siamese.batches import UNKNOWN, Plan, Step, in_batch_plan, listed_plan
from siamese.checkpoints import Checkpoints, Origin, State
from siamese.errors import InputError
from siamese.files import content_digest, digest, existing, refuse_foreign, sha256, whole_file, whole_folder
from siamese.metrics import validation_metrics
from siamese.params import ModelParams, TrainParams
from siamese.progress import say, track
from siamese.remote import Place
from siamese.replicas import start
from siamese.shapes import SIZES
from siamese.signals import Interrupt
from siamese.stored import StoredImages
from siamese.tables import read_table
from siamese.training import Training

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # first, second, label

MODEL_FILES = ("siamese.keras", "servable")


class Listener(Protocol):
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
    images_folder: Place,
    transform_folder: Path,
    model_folder: Path,
    history_file: Path,
    params: TrainParams,
    model: ModelParams,
    checkpoint_folder: Path,
    *,
    resume: Path | None = None,
    listener: Listener | None = None,
    first_weights: Path | None = None,
) -> bool:
    """Trains the network of `model` and writes `model_folder` (`siamese.keras`, `servable/`) and `history_file`.

    The step as DVC and Kubeflow call it. Started again after an interruption, it continues from its own newest
    checkpoint, or from `resume`: a checkpoint, or a folder of one run's checkpoints, which must be this run's.

    With several workers (`train.strategy`), each runs this with the same arguments, and only the chief writes: the
    others need no place for checkpoints, model and history.

    Args:
        first_weights: the `.keras` file that `model.initial_weights` names; None: training begins from nothing.

    Returns:
        Whether this is the worker that wrote them.

    Raises:
        InputError: missing inputs, too little to train on, too little disk, divergence, `resume` can't be taken, or
            another worker is lost.
        siamese.signals.Interrupted: SIGTERM or SIGINT came, here or to another worker; a checkpoint is written.
    """
    existing(catalog_file, "siamese catalog")
    existing(pairs_file, "siamese pairs")
    existing(images_folder, "siamese preprocess")
    existing(transform_folder, "siamese preprocess")
    refuse_foreign(model_folder, MODEL_FILES)
    replicas = start(params.strategy)
    with replicas.together():
        network = model.network
        data = read_data(catalog_file, pairs_file, _images_for(network, images_folder), params)
        precision = backend.resolve_precision(params.precision)
        origin = Origin(
            {
                "catalog": content_digest(catalog_file),
                "pairs": content_digest(pairs_file),
                "images": data.images.digest(),
                "transform": content_digest(transform_folder),
                **({"initial weights": sha256(first_weights)} if first_weights else {}),
            },
            {
                "train": params.model_dump() | {"precision": precision},
                "model": {"network": network, "views": model.views},
                "siamese": __version__,
            },
        )
        if replicas.any(replicas.told_by_chief(origin.key) != origin.key):
            raise InputError("the workers differ in inputs, parameters or precision: give all of them the chief's")
        checkpoints = Checkpoints(checkpoint_folder, origin)
        if resume and replicas.chief:
            checkpoints.begin_at(resume)

        with checkpoints.locked() if replicas.chief else nullcontext():
            training = Training(
                network, precision, transform_folder, params, data.plan(params, 0).steps, replicas, model.views
            )
            if first_weights:
                initial.load_into(training.model, first_weights)
            parameters = training.model.count_params()
            if replicas.chief:
                _check_disk(parameters, checkpoints, model_folder)
            say(
                f"training {network}, {parameters:,} parameters, in {precision}: "
                f"{data.summary()}, {params.epochs} epochs of {training.steps_per_epoch} steps"
            )
            told = listener if replicas.chief else None
            train(training, data, checkpoints, history_file, told)

            training.scoring.set_weights(training.kept_weights())
            if params.loss == "n_pair":
                calibrate(training, data)
            if replicas.chief:
                write_model(training.scoring, training.servable, model_folder)
                if told:
                    told.ended(checkpoints.folder)
                checkpoints.prune()
                say(f"model: {model_folder}, weights of epoch {training.kept_epoch()}")
            replicas.wait()  # so that no worker calls a run successful whose model isn't written
    return replicas.chief


@dataclass(frozen=True)
class Data:
    """What training reads: the images, and in each split which of them are there and which pairs count.

    `codes`: int [training images], identity codes. `train_rows`: int64 [training images], their rows in `images`.
    `turns`: int [training images], by how many quarters of a turn each is rotated.
    `blend`: largest share of another identity's images in those of one, see `blended`.
    `train_pairs`: first and second, int [pairs], positions among the training images, and label, int8 [pairs]; empty
    unless `train.pairing` is listed. `validation_ids` and `validation_pairs`: likewise for the images that the
    validation pairs name.
    """

    images: StoredImages
    codes: np.ndarray
    train_rows: np.ndarray
    turns: np.ndarray
    blend: float
    train_pairs: Pairs
    validation_ids: np.ndarray
    validation_pairs: Pairs

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

    def steps(self, plan: Plan, first: int, seeds: Sequence[int]) -> Iterator[tuple[Step, np.ndarray]]:
        """The steps of an epoch from number `first` on, with the pixels of each: uint8 [images, *image_shape].

        Args:
            seeds: of the epoch; what is drawn for a step depends on these and its number.
        """
        steps, ahead = tee(map(plan.step, range(first, plan.steps)))
        batches = self.images.batches(self.train_rows[step.rows] for step in ahead)
        for number, (step, pixels) in enumerate(zip(steps, batches, strict=True), start=first):
            drawn = np.random.default_rng([*seeds, number])
            yield step, blended(turned(pixels, self.turns[step.rows]), self.codes[step.rows], self.blend, drawn)

    def summary(self) -> str:
        known = self.codes[self.codes != UNKNOWN]
        return f"{len(self.codes)} images of {len(np.unique(known))} identities"


def read_data(catalog_file: Path, pairs_file: Path, images: StoredImages, params: TrainParams) -> Data:
    """The splits `train` and `validation` as arrays.

    Raises:
        InputError: an image has no stored pixels, a pair names an image that the catalog lacks, no two training images
            show the same identity, or there is no pair to validate with.
    """
    catalog = read_table(catalog_file, ["image_id", "identity"], splits=["train"])
    codes = pd.factorize(catalog.identity, sort=True)[0]  # a missing identity gets -1, UNKNOWN
    wanted = ["train", "validation"] if params.pairing == "listed" else ["validation"]
    pairs = read_table(pairs_file, ["anchor_id", "other_id", "label", "split"], splits=wanted)

    def pairs_of(split: str, ids: pd.Index) -> Pairs:
        listed = pairs[pairs.split == split]
        first, second = (ids.get_indexer(pd.Index(listed[end])) for end in ("anchor_id", "other_id"))
        if len(listed) and min(first.min(), second.min()) < 0:
            raise InputError(f"{pairs_file}: names images that {catalog_file} lacks: run `siamese pairs` again")
        return first, second, listed.label.to_numpy()

    validation = pairs[pairs.split == "validation"]
    validation_ids = pd.Index(np.unique(pd.concat([validation.anchor_id, validation.other_id]).to_numpy(object)))
    images.rows_of(validation_ids.tolist())  # a missing image is told now, not after the first epoch
    rows, turns = images.rows_of(catalog.image_id.tolist()), np.zeros(len(codes), np.int8)
    if params.augmentation.rotations:
        codes, rows, turns = with_rotations(codes, rows)
    data = Data(
        images,
        codes,
        rows,
        turns,
        params.augmentation.blend,
        pairs_of("train", pd.Index(catalog.image_id)),
        validation_ids.to_numpy(),
        pairs_of("validation", validation_ids),
    )
    if not len(validation) or not data.plan(params, 0).steps:
        raise InputError(f"{pairs_file}: has no pairs to train or to validate with: see `siamese inspect`")
    return data


def with_rotations(codes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each image four times, turned by 0 to 3 quarters: codes, rows and turns, int [4 * images].

    A turned character is another one, so each turn of an identity has a code of its own; unknown stays unknown.
    """
    turns = np.repeat(np.arange(4, dtype=np.int8), len(codes))
    known = np.tile(codes, 4)
    return np.where(known == UNKNOWN, UNKNOWN, 4 * known + turns), np.tile(rows, 4), turns


def turned(pixels: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Images rotated by so many quarters of a turn, counterclockwise: uint8 [images, side, side, channels]."""
    if turns.any():
        pixels = pixels.copy()
        for quarters in range(1, 4):
            chosen = turns == quarters
            pixels[chosen] = np.rot90(pixels[chosen], quarters, axes=(1, 2))
    return pixels


def blended(pixels: np.ndarray, codes: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """A step's images with new identities, each between two of the step's: what sets people apart is learned from more
    people than there are. (Zhang et al. 2018, mixup, blends any two images, and their labels.)

    Each identity has another as its partner and a share, drawn uniformly up to `most`; into each of its images goes one
    of the partner's, by that share. Images of unknown identity stay as they are.

    Args:
        pixels: uint8 [images, *image_shape].
        codes: int [images], identities.
        most: largest share; 0: none is blended.

    Returns:
        uint8 [images, *image_shape].
    """
    identities, own = np.unique(codes, return_inverse=True)
    known = np.flatnonzero(identities != UNKNOWN)
    if not most or len(known) < 2:
        return pixels
    partners, shares = np.arange(len(identities)), np.zeros(len(identities))
    partners[known] = np.roll(known, rng.integers(1, len(known)))
    shares[known] = rng.uniform(0, most, len(known))
    members = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own))[:-1])
    found = np.arange(len(codes))
    for identity, partner in enumerate(partners):
        mine, theirs = members[identity], rng.permutation(members[partner])
        found[mine] = np.resize(theirs, len(mine)) if partner != identity else mine
    share = shares[own][:, None, None, None]
    return np.rint((1 - share) * pixels + share * pixels[found]).astype(np.uint8)


def train(
    training: Training, data: Data, checkpoints: Checkpoints, history_file: Path, listener: Listener | None = None
) -> None:
    """Runs the epochs that are left, from the newest checkpoint on; `history_file` grows with each."""
    if _restore(training, checkpoints):
        say(f"continuing after epoch {training.state.epoch}, step {training.state.step}")
        _write_history(history_file, training)
    params, state = training.params, training.state
    if listener:
        listener.begun(checkpoints.origin, state.history)
    with Interrupt() as interrupt:

        def check() -> None:
            interrupt.check(lambda: _save(training, checkpoints), training.replicas.any)

        while not _done(state, params):
            began = time.monotonic()
            images = train_epoch(training, data, check)
            agree(training)
            validate(training, data, images / (time.monotonic() - began), check)
            _write_history(history_file, training)
            if listener:
                listener.epoch(state.history[-1])
            if state.epoch % params.checkpoint_every == 0 or _done(state, params):
                _save(training, checkpoints)


def train_epoch(training: Training, data: Data, after_step: Callable[[], None]) -> int:
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


def agree(training: Training) -> None:
    """Gives all workers the chief's weights where theirs aren't equal to the bit: machines of different kinds may
    compute another last digit of what each computes for itself."""
    replicas = training.replicas
    if replicas.workers == 1:
        return
    own = digest(array.tobytes() for array in training.variables())
    if replicas.any(replicas.told_by_chief(own) != own):
        say("the workers' weights differ in their last digits: all take the chief's")
        chiefs = [replicas.from_chief(array) for array in training.variables()]
        training.restore(training.state, chiefs, training.best_weights)


def validate(training: Training, data: Data, images_per_second: float, check: Callable[[], None]) -> None:
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
    measured = training.replicas.told_by_chief(_measured(training, data, check))
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
    say(f"epoch {state.epoch}/{training.params.epochs}  loss {loss:.4f}  {figures}  {images_per_second:.0f} images/s")


def validation_scores(training: Training, data: Data, check: Callable[[], None]) -> np.ndarray | None:
    """The scores of the validation pairs, float32 [pairs], as the servable model gives them.

    Every worker embeds a share of the images; the chief alone scores, and the others get None.
    """
    replicas = training.replicas

    def embed(part: slice) -> np.ndarray:
        check()
        ids = data.validation_ids[part]
        embeddings = np.zeros((len(ids), training.units), np.float32)
        own = slice(replicas.worker, None, replicas.workers)
        if len(ids[own]):
            embeddings[own] = training.verifier.embed(data.images.pixels(ids[own].tolist()))
        return replicas.sum(embeddings)

    embeddings = scores.in_batches(embed, len(data.validation_ids))
    if not replicas.chief:
        return None
    first, second, _ = data.validation_pairs
    return scores.score(training.verifier, scores.Embedded(pd.Index(data.validation_ids), embeddings), first, second)


def calibrate(training: Training, data: Data) -> None:
    """Changes weights and bias of the last layer so that scores on validation pairs read as probabilities, in the
    order that they have."""
    found = validation_scores(training, data, lambda: None)
    labels = data.validation_pairs[2]
    if found is None or len(np.unique(labels)) < 2:  # the chief's are the ones that are written
        return
    slope, intercept = platt.line(labels, platt.logits_of(found))
    head = training.scoring.get_layer("dense_1")
    kernel, bias = head.get_weights()
    head.set_weights([slope * kernel, slope * bias + np.float32(intercept)])


def write_model(model: Any, servable: Any, folder: Path) -> None:
    """Writes `siamese.keras` and `servable/` into `folder`, whole."""
    from siamese.servable import export

    with whole_folder(folder, MODEL_FILES) as beside:
        model.save(beside / "siamese.keras")
        export(servable, beside / "servable")


def _images_for(network: str, images_folder: Place) -> StoredImages:
    images = stored.opened(images_folder)
    if images.image_shape != SIZES[network].image:
        here, seen = ("x".join(map(str, shape)) for shape in (images.image_shape, SIZES[network].image))
        raise InputError(
            f"{images_folder}: holds images of {here}, model.network {network} sees {seen}: "
            "run `siamese preprocess` again"
        )
    return images


def _measured(training: Training, data: Data, check: Callable[[], None]) -> dict[str, float] | None:
    found = validation_scores(training, data, check)
    if found is None or not np.isfinite(found).all():
        return None
    return validation_metrics(data.validation_pairs[2], found)


def _save(training: Training, checkpoints: Checkpoints) -> None:
    state = training.state
    if training.replicas.chief:
        last_is_best = state.best_epoch == state.epoch and state.step == 0
        checkpoints.save(state, training.variables(), None if last_is_best else training.best_weights)
    training.replicas.wait()


def _restore(training: Training, checkpoints: Checkpoints) -> bool:
    """Takes up the chief's newest checkpoint, if there is one."""
    replicas = training.replicas
    found = checkpoints.newest(training.shapes()) if replicas.chief else None
    state = replicas.told_by_chief(asdict(found[0]) if found else None)
    if state is None:
        return False
    _, last, best = found or (None, training.variables(), None)
    training.restore(State(**state), [replicas.from_chief(array) for array in last], best)
    return True


def _done(state: State, params: TrainParams) -> bool:
    out_of_patience = bool(params.early_stopping) and state.epoch - state.best_epoch >= params.early_stopping
    return state.epoch >= params.epochs or out_of_patience


def _write_history(history_file: Path, training: Training) -> None:
    if training.replicas.chief:
        with whole_file(history_file) as beside:
            pd.DataFrame(training.state.history).to_csv(beside, index=False)


def _diverged(params: TrainParams, what: str) -> InputError:
    rate = params.optimizer.learning_rate
    return InputError(
        f"train: {what}: lower train.optimizer.learning_rate (now {rate}) or set train.precision to float32"
    )


def _check_disk(parameters: int, checkpoints: Checkpoints, model_folder: Path) -> None:
    # Weights take 4 bytes each. A checkpoint holds them with Adam's two moments and the best ones, 16 bytes; two are
    # kept while a third is written. The model folder holds the weights twice.
    for folder, name, need in (
        (checkpoints.folder.parent, "checkpoints", 3 * 16 * parameters - checkpoints.size()),
        (model_folder, "the model", 8 * parameters),
    ):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        say(f"disk: {name} may take {need / 1e9:.1f} GB more in {folder}, {free / 1e9:.1f} GB are free")
        if need > free:
            raise InputError(
                f"{folder}: {name} may take {need / 1e9:.1f} GB, only {free / 1e9:.1f} GB are free: make room"
            )
    others, taken = checkpoints.of_other_runs()
    if others:
        say(f"disk: {others} other runs left {taken / 1e9:.1f} GB of checkpoints there: delete what you don't need")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
