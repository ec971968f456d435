"""Which images a model has seen, kept beside it: none of them may test it, or it would win by memory.

`trained_on.npz` in a model's folder holds two sorted arrays, uint64: `train` and `validation`, each image's id as the
first eight bytes of its SHA-256. A model that was trained on from another one has seen what that one had. `complete`, a
bool, is false if that is not known of the other model. A file of an older version lacks it, and counts as complete.

A model without the file, or whose list is incomplete, is measured all the same. Its figures come with the sentence
`doubt`, in metrics.json as `trained_on: unknown`, and `siamese promote` refuses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from siamese.console import log
from siamese.errors import InputError, summarise_exception

if TYPE_CHECKING:
    import pandas as pd  # serving has none

FILE = "trained_on.npz"
KEY, NOT_KNOWN = "trained_on", "unknown"  # in metrics.json


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """Images, uint64 [images] each, sorted: those that trained a model, and those that chose its epoch.

    `complete`: whether the model is known to have seen no others.
    """

    train: np.ndarray
    validation: np.ndarray
    complete: bool = True

    def and_before(self, earlier: TrainedOn) -> TrainedOn:
        """What a model has seen that began with the weights of one that had seen `earlier`."""
        train, validation = np.union1d(self.train, earlier.train), np.union1d(self.validation, earlier.validation)
        return TrainedOn(train, validation, self.complete and earlier.complete)

    def in_metrics(self) -> dict[str, str]:
        """The entry of metrics.json: empty if the list is complete."""
        return {} if self.complete else {KEY: NOT_KNOWN}

    def among(self, catalog: pd.DataFrame) -> int:
        """How many images of a catalog, columns image_id and split, this forbids: test images that were seen at all,
        and validation images that were trained on."""
        test, validation = (catalog.image_id[catalog.split == split] for split in ("test", "validation"))
        return int(self.saw(test).sum() + self.learned_from(validation).sum())

    def saw(self, image_ids: Iterable[str]) -> np.ndarray:
        """Which images trained the model or chose its epoch: bool [images]."""
        return np.isin(_short(image_ids), np.union1d(self.train, self.validation))

    def learned_from(self, image_ids: Iterable[str]) -> np.ndarray:
        """Which images trained the model: bool [images]."""
        return np.isin(_short(image_ids), self.train)


UNKNOWN = TrainedOn(np.empty(0, np.uint64), np.empty(0, np.uint64), complete=False)


def doubt(who: str = "this model") -> str:
    """What to say beside the figures of a model whose list is incomplete."""
    return f"it is unknown whether {who} was trained on the images that measure it, so its figures may be too good"


def is_doubtful(metrics: Mapping[str, Any]) -> bool:
    """Whether an evaluation, the content of metrics.json, was of a model whose list is incomplete."""
    return metrics.get(KEY) == NOT_KNOWN


def of_catalog(catalog: pd.DataFrame) -> TrainedOn:
    """What a training by this catalog, columns image_id and split, sees."""
    train, validation = (np.unique(_short(catalog.image_id[catalog.split == of])) for of in ("train", "validation"))
    return TrainedOn(train, validation)


def write(model_folder: Path, seen: TrainedOn) -> None:
    """Adds the file to a model's folder that is being written."""
    np.savez(model_folder / FILE, train=seen.train, validation=seen.validation, complete=seen.complete)


def read(model_folder: Path) -> TrainedOn:
    """What the model in a folder has seen: `UNKNOWN` if the folder has no such file.

    Raises:
        InputError: the file is damaged.
    """
    file = model_folder / FILE
    try:
        with np.load(file) as held:
            return TrainedOn(held["train"], held["validation"], "complete" not in held or bool(held["complete"]))
    except (FileNotFoundError, NotADirectoryError):
        return UNKNOWN
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, RuntimeError) as error:
        again = "run `siamese train` again, or remove a fetched version's folder"
        raise InputError(f"{file}: damaged ({summarise_exception(error)}): {again}") from error


def require_unseen(model_folder: Path, catalog: pd.DataFrame, catalog_file: Path) -> TrainedOn:
    """What the model has seen, which is none of a catalog's test and validation images as far as it is known.

    Args:
        catalog: columns image_id and split, of `catalog_file`.

    Raises:
        InputError: the model has seen some of them, by another catalog.
    """
    seen = read(model_folder)
    count = seen.among(catalog)
    if count:
        raise InputError(
            f"{model_folder}: was trained with other splits: {count} test or validation images of {catalog_file} are "
            "known to it, and no figure would be honest: run `siamese train` again"
        )
    return seen


def say_if_seen(seen: TrainedOn, image_ids: Iterable[str], named: Path) -> None:
    """Says that the images of a list trained a model, or that this is unknown. `named`: the list."""
    known = int(seen.learned_from(image_ids).sum())
    if known:
        log(f"{named}: {known} of its images trained the model, which tells them apart better than new ones")
    if not seen.complete:
        log(f"{named}: {doubt()}")


def _short(image_ids: Iterable[str]) -> np.ndarray:
    ids = [int.from_bytes(hashlib.sha256(one.encode()).digest()[:8], "little") for one in image_ids]
    return np.array(ids, np.uint64)


def seen_units(catalog: pd.DataFrame, seen: TrainedOn, by_identity: bool) -> pd.Index:
    """The identities of which a model saw an image; in role folders, where identities are unknown, the images.

    Args:
        catalog: as it is now: image_id, identity.
        seen: what the model saw.
        by_identity: whether all identities are known.
    """
    import pandas as pd

    rows = catalog[seen.saw(catalog.image_id)]
    return pd.Index(rows.identity.unique() if by_identity else rows.image_id)


def without(test: pd.DataFrame, units: pd.Index, by_identity: bool) -> np.ndarray:
    """Which pairs have nothing of these identities, or images: bool [pairs].

    Args:
        test: anchor_id, other_id, anchor_identity, other_identity.
        units: from `seen_units`.
        by_identity: as there.
    """
    kind = "identity" if by_identity else "id"
    return ~(test[f"anchor_{kind}"].isin(units) | test[f"other_{kind}"].isin(units)).to_numpy()
