"""The original's `Model`: build, train, evaluate, save, load and predict, each a call into the library."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from model.data import Data
from siamese import config
from siamese.errors import InputError
from siamese.models import resolved_model
from siamese.params import TrainParams
from siamese.registry import locator
from siamese.storage.files import atomic_file

if TYPE_CHECKING:
    from siamese.evaluation.measurement import Evaluation
    from siamese.models.verifier import Verifier

TRAINED = Path("trained")


class Model:
    """A Siamese network over `data`: build it, train it, then evaluate, save or use it."""

    def __init__(self, *, data: Data | None = None) -> None:
        """A model without network yet; initializes `data` if that hasn't been done.

        Raises:
            InputError: as `Data.initialize`.
        """
        if data is not None and not data.initialized:
            data.initialize()
        self.data = data
        self.params = data.params if data else config.load_params()
        self.compiled_model: Any = None
        self._verifier: Verifier | None = None
        self._file = TRAINED  # that the trained network is from

    @classmethod
    def from_trained(cls, compiled_model_path: str | os.PathLike[str]) -> Self:
        """The model that `save_compiled_model` wrote: its file, or the folder `trained`.

        Raises:
            InputError: there is none, or it can't be loaded.
        """
        file = resolved_model.saved_file(Path(compiled_model_path))
        model = cls()
        model.compiled_model, model._verifier = resolved_model.load_saved(file)
        model._file = file
        return model

    def build_model(self) -> None:
        """Builds the network with fresh weights, those that `train` starts from."""
        from siamese.tf_runtime import import_tensorflow

        import_tensorflow()
        from siamese.models.network import build

        self.compiled_model, self._verifier = build(self.params.model.network, seed=self.params.train.seed), None

    def train(self, *, EPOCHS: int = 50) -> None:
        """Trains as the step `train` does; after an interruption, the same script run again continues.

        Raises:
            InputError: no network or no data yet, or it is trained already; and as `siamese.training.train.run`.
        """
        from siamese.training import train as step

        self._network_for("train")
        if self._verifier:
            raise InputError("train: this model is trained already: call build_model() to begin anew")
        if not self.data:
            raise InputError("train: no data: make the model with Model(data=Data('folder'))")
        chosen = config.parse_section(TrainParams, self.params.train.model_dump() | {"epochs": EPOCHS})
        data, model_folder = self.data, self.data.folder / "model"
        wrote = step.run(
            data.catalog_file,
            data.pairs_file,
            data.images_folder,
            data.transform_folder,
            model_folder,
            data.folder / "history.csv",
            chosen,
            self.params.model,
            data.folder / "checkpoints",
            first_weights=locator.initial_weights(self.params.model.initial_weights),
        )
        if wrote:  # of several workers, the chief alone has the model
            self._file = model_folder / "siamese.keras"
            self.compiled_model, self._verifier = resolved_model.load_saved(self._file)

    def evaluate(self, data: Data | None = None) -> float | None:
        """Measures on the test split, at the threshold chosen on the validation split; prints and gives the precision.

        Args:
            data: None: what the model was made with, else `Data()`.

        Returns:
            TP / (TP + FP); None where no pair was judged the same.

        Raises:
            InputError: not trained yet, or as `Data.initialize`.
        """
        judged = self._measured("evaluate", data).model
        precision, reach = judged.values["precision"], judged.intervals["precision"]
        value = judged.undefined["precision"] if precision is None else f"{precision:.3f}"
        interval = f" (95 %: {reach[0]:.3f} to {reach[1]:.3f})" if reach else ""
        pairs = f"{len(judged.scores)} test pairs, threshold {judged.threshold.threshold:.3f}"
        print(f"precision: {value}{interval}, {pairs}")
        return precision

    def save_compiled_model(self, *, filename: str) -> Path:
        """Writes `trained/<filename>.keras` in the working folder, replacing an older one, and gives its path.

        Raises:
            InputError: not trained yet, `filename` isn't a plain name, or the file can't be written.
        """
        self._trained_for("save_compiled_model")
        name = filename.removesuffix(".keras")
        if name in ("", ".", "..") or Path(name).name != name:
            raise InputError(f"save_compiled_model: {filename!r} is no plain file name: give one such as 'trained'")
        from siamese.models import network

        file = TRAINED / f"{name}.keras"
        with atomic_file(file) as beside, TemporaryDirectory(dir=file.parent, prefix=".") as scratch:
            saved = Path(scratch) / file.name  # Keras wants the suffix
            network.save(self.compiled_model, saved)
            saved.replace(beside)
        return file

    def summary(self) -> None:
        """Prints the layer table.

        Raises:
            InputError: no network yet.
        """
        from siamese.models.summary import table_of, to_text

        print(to_text(table_of(self._network_for("summary"), self.params.model.network)))

    def predict(self, anchor: Any | EllipsisType = ..., other: Any = None) -> np.ndarray:
        """Scores of pairs of images, similarities in [0, 1]: float32 [pairs, 1].

        Args:
            anchor, other: an image or a batch each, as `siamese.models.scoring.images_of` takes them: a path or
                several; [100, 100, 3] or [pairs, 100, 100, 3], uint8, which is scaled, or floats, which are in [0, 1]
                already. Without `other`, `anchor` is a list or tuple of the two. Literally `...`, as the original's
                README has
                it: the test pairs of the data, as for `evaluate`.

        Raises:
            InputError: not trained yet, no such images, or not as many of both.
        """
        from siamese.models import scoring

        if anchor is ...:
            return self._measured("predict").model.scores[:, np.newaxis]
        verifier = self._trained_for("predict")
        if other is None:
            if not isinstance(anchor, list | tuple) or len(anchor) != 2:
                raise InputError("predict: give two images, or two batches of them: predict(anchors, others)")
            anchor, other = anchor
        return scoring.score_images(verifier, anchor, other, self.params.data.max_pixels)[:, np.newaxis]

    def _measured(self, what: str, data: Data | None = None) -> Evaluation:
        from siamese.evaluation.evaluate import measure
        from siamese.preprocessing.pixel_store import StoredImages

        verifier = self._trained_for(what)
        if data is None:
            data = self.data = self.data or Data()
        if not data.initialized:
            data.initialize()
        images = StoredImages(data.images_folder)
        return measure(data.catalog_file, data.pairs_file, images, verifier, self.params.evaluate, self._file)

    def _network_for(self, what: str) -> Any:
        if self.compiled_model is None:
            raise InputError(f"{what}: no network yet: call build_model() first, or Model.from_trained(path)")
        return self.compiled_model

    def _trained_for(self, what: str) -> Verifier:
        if self._verifier is None:
            raise InputError(f"{what}: not trained yet: call build_model() and train(), or Model.from_trained(path)")
        return self._verifier
