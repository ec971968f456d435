"""What training reads of the splits `train` and `validation`: images, identities, pairs; and the steps made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import numpy as np
import pandas as pd

from siamese.errors import InputError
from siamese.params import SIZES, TrainParams
from siamese.preprocessing import pixel_store
from siamese.preprocessing.pixel_store import StoredImages
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table
from siamese.training.identity_augmentation import blended, turned, with_rotations
from siamese.training.sampler import UNKNOWN, StepPlan, TrainingPlan, in_batch_plan, listed_plan

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # first, second, label


@dataclass(frozen=True)
class TrainingData:
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

    def plan(self, params: TrainParams, epoch: int) -> TrainingPlan:
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

    def steps(self, plan: TrainingPlan, first: int, seeds: Sequence[int]) -> Iterator[tuple[StepPlan, np.ndarray]]:
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


def read_data(catalog_file: Path, pairs_file: Path, images: StoredImages, params: TrainParams) -> TrainingData:
    """The splits `train` and `validation` as arrays.

    Raises:
        InputError: an image has no stored pixels, a pair names an image that the catalog lacks in its split, no two
            training images show the same identity, or there is no pair to validate with.
    """
    both = read_table(catalog_file, ["image_id", "identity", "split"], splits=["train", "validation"])
    if not both.image_id.is_unique:
        raise InputError(f"{catalog_file}: lists an image twice: run `siamese catalog` again")
    catalog = both[both.split == "train"].reset_index(drop=True)
    codes = pd.factorize(catalog.identity, sort=True)[0]  # a missing identity gets -1, UNKNOWN
    wanted = ["train", "validation"] if params.pairing == "listed" else ["validation"]
    pairs = read_table(pairs_file, ["anchor_id", "other_id", "label", "split"], splits=wanted)

    def pairs_of(split: str, ids: pd.Index) -> Pairs:
        listed = pairs[pairs.split == split]
        labels = listed.label
        if not labels.isin([0, 1]).all():
            raise InputError(f"{pairs_file}: has labels that are neither 0 nor 1: run `siamese pairs` again")
        first, second = (ids.get_indexer(pd.Index(listed[end])) for end in ("anchor_id", "other_id"))
        if len(listed) and min(first.min(), second.min()) < 0:
            raise InputError(
                f"{pairs_file}: names images that {catalog_file} lacks in split {split}: run `siamese pairs` again"
            )
        return first, second, labels.to_numpy()

    validation = pairs[pairs.split == "validation"]
    named = pd.concat([validation.anchor_id, validation.other_id])
    if not named.isin(both.image_id[both.split == "validation"]).all():
        raise InputError(
            f"{pairs_file}: names images that {catalog_file} lacks in split validation: run `siamese pairs` again"
        )
    validation_ids = pd.Index(np.unique(named.to_numpy(object)))
    images.rows_of(validation_ids.tolist())  # a missing image is told now, not after the first epoch
    rows, turns = images.rows_of(catalog.image_id.tolist()), np.zeros(len(codes), np.int8)
    if params.augmentation.rotations:
        codes, rows, turns = with_rotations(codes, rows)
    data = TrainingData(
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


def images_for(network: str, images_folder: AnyPath) -> StoredImages:
    """Stored pixels of the size that a network sees.

    Raises:
        InputError: they are of another, or can't be read.
    """
    images = pixel_store.open_store(images_folder)
    if images.image_shape != SIZES[network].image:
        here, seen = ("x".join(map(str, shape)) for shape in (images.image_shape, SIZES[network].image))
        raise InputError(
            f"{images_folder}: holds images of {here}, model.network {network} sees {seen}: "
            "run `siamese preprocess` again"
        )
    return images
