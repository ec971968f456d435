"""Which images a model has seen, kept beside it: none of them may test it, or it would win by memory.

`trained_on.npz` in a model's folder holds two sorted arrays, uint64: `train` and `validation`, each image's id as the
first eight bytes of its SHA-256. A model that was trained on from another one has seen what that one had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from siamese.errors import InputError, reason_of

if TYPE_CHECKING:
    import pandas as pd  # serving has none

FILE = "trained_on.npz"


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """Images, uint64 [images] each, sorted: those that trained a model, and those that chose its epoch."""

    train: np.ndarray
    validation: np.ndarray

    def and_before(self, earlier: TrainedOn | None) -> TrainedOn:
        """What a model has seen that began with the weights of one that had seen `earlier`."""
        if earlier is None:
            return self
        return TrainedOn(np.union1d(self.train, earlier.train), np.union1d(self.validation, earlier.validation))

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


def of_catalog(catalog: pd.DataFrame) -> TrainedOn:
    """What a training by this catalog, columns image_id and split, sees."""
    return TrainedOn(*(np.unique(_short(catalog.image_id[catalog.split == of])) for of in ("train", "validation")))


def write(model_folder: Path, seen: TrainedOn) -> None:
    """Adds the file to a model's folder that is being written."""
    np.savez(model_folder / FILE, train=seen.train, validation=seen.validation)


def read(model_folder: Path) -> TrainedOn | None:
    """What the model in a folder has seen; None where nobody noted it.

    Raises:
        InputError: the file is damaged.
    """
    file = model_folder / FILE
    try:
        with np.load(file) as held:
            return TrainedOn(held["train"], held["validation"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, RuntimeError) as error:
        again = "run `siamese train` again, or remove a fetched version's folder"
        raise InputError(f"{file}: damaged ({reason_of(error)}): {again}") from error


def require_unseen(model_folder: Path, catalog: pd.DataFrame, catalog_file: Path) -> None:
    """Nothing where a catalog's test and validation images can tell how good the model is.

    Args:
        catalog: columns image_id and split, of `catalog_file`.

    Raises:
        InputError: the model has seen some of them, by another catalog.
    """
    seen = read(model_folder)
    count = seen.among(catalog) if seen else 0
    if count:
        raise InputError(
            f"{model_folder}: was trained with other splits: {count} test or validation images of {catalog_file} are "
            "known to it, and no figure would be honest: run `siamese train` again"
        )


def _short(image_ids: Iterable[str]) -> np.ndarray:
    ids = [int.from_bytes(hashlib.sha256(one.encode()).digest()[:8], "little") for one in image_ids]
    return np.array(ids, np.uint64)
