"""A model that a reference was resolved to: its folder or .keras file, and the threshold that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from siamese import paths
from siamese.console import log
from siamese.errors import InputError
from siamese.models import foreign_models
from siamese.models.artifacts import threshold_of, weights_digest, weights_of
from siamese.storage.files import sha256

if TYPE_CHECKING:
    from siamese.models.verifier import Verifier

KERAS = ".keras"


@dataclass(frozen=True)
class ResolvedModel:
    """A model found.

    Attributes:
        place: its folder with `servable/`, or the .keras file that `Model.save_compiled_model` wrote.
        threshold_file: where its threshold stands; None: it has none.
    """

    place: Path
    threshold_file: Path | None

    def threshold(self, own: float | None) -> float:
        """`own` where given, else the model's.

        Raises:
            InputError: it has none, or another model's.
        """
        if own is None and self.threshold_file is None:
            raise InputError(f"{self.place} carries no threshold: give one, as --threshold 0.5, or --threshold-file")
        file = self.threshold_file or paths.THRESHOLD
        found = threshold_of(file, own)
        # The digest is of the SavedModel's weights: a .keras file of the same ones has other bytes.
        of = weights_of(file) if own is None and not self.place.is_file() else None
        if of is None and own is None:
            log(f"{file}: it is unknown whether this is the threshold of {self.place}: --threshold SCORE gives another")
        if of is not None and of != self.weights():
            raise InputError(
                f"{file}: is the threshold of another model than {self.place}: run `siamese evaluate` again, or give "
                "--threshold SCORE"
            )
        return found

    def weights(self) -> str:
        """A digest of its weights, 64 hexadecimal digits: what tells embeddings of one model from another's.

        Raises:
            InputError: there is no model.
        """
        if self.place.is_file():
            return sha256(self.place)
        if not (self.place / "servable").exists():
            raise foreign_models.no_model(self.place)
        return weights_digest(self.place)

    def load(self) -> Verifier:
        """The model, ready to compare images.

        Raises:
            InputError: it is missing or damaged.
        """
        from siamese.models.verifier import Verifier

        return load_saved(self.place)[1] if self.place.suffix == KERAS else Verifier.load(self.place)


def saved_file(path: Path) -> Path:
    """The file that `Model.save_compiled_model` wrote: `path`, or in a folder the one of its name, or the only one.

    Raises:
        InputError: there is none, or it's a model of `siamese train`.
    """
    there = sorted(path.glob(f"*{KERAS}"))
    of_its_name = path / f"{path.resolve().name}{KERAS}"
    file = of_its_name if of_its_name in there else there[0] if len(there) == 1 else path
    foreign_models.refuse(file)
    if not file.is_file():
        found = f"{len(there)} models are here" if there else "no trained model here"
        raise InputError(f"{path}: {found}: name a file that save_compiled_model wrote, such as trained/trained.keras")
    if (file.parent / "servable").exists():
        raise InputError(
            f"{file}: is a model of `siamese train`: use `siamese verify`, or siamese.models.verifier.Verifier"
        )
    return file


def load_saved(file: Path) -> tuple[Any, Verifier]:
    """The Keras model that `Model.save_compiled_model` wrote, and the same ready to compare images.

    Raises:
        InputError: it is damaged, or something else.
    """
    from siamese.tf_runtime import import_tensorflow

    import_tensorflow()
    from siamese.models import network
    from siamese.models.servable import Servable
    from siamese.models.verifier import Verifier
    from siamese.preprocessing.transform import Transform

    try:
        model = network.load(file)
        height, width, channels = network.parts(model)[0].input_shape[1:]
        servable = Servable(model, Transform.unstandardised((height, width, channels)))
    except (OSError, ValueError, TypeError, KeyError, BadZipFile) as error:
        raise InputError(f"{file}: damaged, or not a model that save_compiled_model wrote: name another") from error
    return model, Verifier(servable)
