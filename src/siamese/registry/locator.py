"""Resolve a model reference: a folder, a registry URI, or a .keras file of the original interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siamese import paths
from siamese.errors import InputError
from siamese.models import foreign_models, resolved_model
from siamese.models.resolved_model import KERAS, ResolvedModel
from siamese.registry import client

if TYPE_CHECKING:
    pass


def resolve_model(reference: str | Path, threshold_file: Path | None = None) -> ResolvedModel:
    """The model that `reference` names.

    A version of the registry comes with its threshold and is fetched once, into `.siamese/models`. Any other folder may
    hold a `threshold.json`; else the threshold is that of `siamese evaluate`.

    Args:
        reference: the folder that step `train` wrote; `models:/NAME/VERSION` or `models:/NAME@ALIAS`; or what the
            original's interface saved, `trained` or `trained/trained.keras`.
        threshold_file: to be used instead of the model's own.

    Raises:
        InputError: the registry can't be reached, or has no such version.
    """
    if str(reference).startswith(client.SCHEME):
        versions, version = client.resolve(str(reference))
        place = versions.fetch(version, paths.MODELS)
        return ResolvedModel(place, threshold_file or place / paths.THRESHOLD.name)
    place = Path(reference)
    if place.suffix == KERAS and (place.parent / "servable").exists():
        place = place.parent
    if not (place / "servable").exists() and (place.suffix == KERAS or any(place.glob(f"*{KERAS}"))):
        return ResolvedModel(resolved_model.saved_file(place), threshold_file)
    if not (place / "servable").exists():
        foreign_models.refuse(place)
    own = place / paths.THRESHOLD.name
    return ResolvedModel(place, threshold_file or (own if own.exists() else paths.THRESHOLD))


def initial_weights(reference: str) -> Path | None:
    """The `.keras` file of the model that `model.initial_weights` names, or its SavedModel; None where it names none.

    Args:
        reference: a model folder, a `.keras` file, models:/NAME/VERSION, or "".

    Raises:
        InputError: there is none.
    """
    if not reference:
        return None
    place = resolve_model(reference).place
    there = [place, *(place / name for name in ("siamese.keras", "servable/saved_model.pb"))]  # a version has the last
    file = next((file for file in there if file.is_file()), None)
    if file is None:
        raise InputError(
            f"model.initial_weights {reference}: no model there: name a model folder, a .keras file, or "
            "models:/NAME/VERSION"
        )
    return file.parent if file.suffix == ".pb" else file
