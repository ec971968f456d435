"""Weights to start from: those of a model that was trained before (`model.initial_weights`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from siamese.errors import InputError


def load_into(model: Any, file: Path) -> None:
    """Gives `model` the weights of a saved one.

    Raises:
        InputError: it is damaged, or its arrays have other shapes.
    """
    import keras

    try:
        weights = keras.saving.load_model(file, compile=False).get_weights()
    except (OSError, ValueError, TypeError, KeyError, BadZipFile) as error:
        raise InputError(f"model.initial_weights {file}: damaged, or not a Keras model: name another") from error
    own = [variable.shape for variable in model.weights]
    if [array.shape for array in weights] != own:
        differing = next(
            (pair for pair in zip([array.shape for array in weights], own, strict=False) if pair[0] != pair[1]), None
        )
        why = (
            f"{len(weights)} arrays instead of {len(own)}"
            if differing is None
            else f"{differing[0]} instead of {differing[1]}"
        )
        raise InputError(f"model.initial_weights {file}: is of another network ({why}): set model.network to its own")
    model.set_weights(weights)
