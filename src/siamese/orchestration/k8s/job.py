"""What workers train: inputs, order and outputs in one folder that all of them share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siamese.errors import InputError, as_input_error
from siamese.storage.files import copy_atomically, digest, write_json
from siamese.training.train import MODEL_FILES

ORDER = "order.json"
NAME_DIGITS = 16


@dataclass(frozen=True)
class JobSpec:
    """A training as its workers are told of it.

    Attributes:
        sections: of params.yaml, those that it was given.
        data: which data the catalog lists, as its artifact's metadata say.
        tracking_uri: of the MLflow server; "": the environment says it.
        checkpoints: folder or URI that outlives the job; "": the shared folder's own.
    """

    sections: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, str]
    tracking_uri: str
    checkpoints: str

    def name(self, step: str) -> str:
        """Of the job: always the same for this order within this step of this run, so that a retry finds it.

        Args:
            step: what names the step's execution alone, such as the URI of an output.
        """
        content = json.dumps(asdict(self), sort_keys=True)
        return f"siamese-train-{digest([step.encode(), content.encode()])[:NAME_DIGITS]}"


@dataclass(frozen=True)
class Shared:
    """The shared folder of one job."""

    folder: Path

    @property
    def inputs(self) -> tuple[Path, Path, Path, Path]:
        """Catalog, pairs, stored pixels and transform."""
        place = self.folder / "inputs"
        return place / "catalog.parquet", place / "pairs.parquet", place / "images", place / "transform"

    @property
    def model(self) -> Path:
        return self.folder / "outputs/model"

    @property
    def history(self) -> Path:
        return self.folder / "outputs/history.csv"

    @property
    def run(self) -> Path:
        return self.folder / "outputs/run.json"

    def lay(self, inputs: Iterable[Path], order: JobSpec) -> None:
        """Copies the inputs and writes the order, last of all; where it stands already, nothing is left to do.

        Raises:
            InputError: the folder can't be written.
        """
        if (self.folder / ORDER).exists():
            return
        with as_input_error(f"{self.folder}: can't hold what workers train from: see to the volume and its room"):
            for source, target in zip(inputs, self.inputs, strict=True):
                copy_atomically(source, target)
            write_json(self.folder / ORDER, asdict(order))

    def order(self) -> JobSpec:
        """The order that was laid there.

        Raises:
            InputError: there is none, or it can't be read.
        """
        file = self.folder / ORDER
        try:
            return JobSpec(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:150]
            raise InputError(f"{file}: no order to train by ({reason}): is the shared volume there?") from None

    def hand_on(self, model: Path, history: Path, run: Path) -> None:
        """Copies the outputs to where they are wanted.

        Raises:
            InputError: the workers ended and left no model; or no room.
        """
        if not self.model.is_dir():
            raise InputError(f"{self.model} is missing though all workers ended well: do they share the volume?")
        for source, target in ((self.model, model), (self.history, history), (self.run, run)):
            copy_atomically(source, target, MODEL_FILES)

    def remove(self) -> None:
        """Removes the folder; what can't be removed stays."""
        shutil.rmtree(self.folder, ignore_errors=True)
