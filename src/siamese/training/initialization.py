"""Weights to start from: those of a model that was trained before (`model.initial_weights`), or a last layer that makes
sense from the first step on (`model.initial_head`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from siamese.errors import InputError, summarise_exception

LEAST = 1e-6  # mean difference of a unit, that tells images apart: less is rounding
ALIKE = 6.0  # logits of two equal embeddings under a fitted head; at the mean distance there are 0


def fitted_head(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel, float32 [units, 1], and bias, float32 [1], of a last layer under which each unit counts alike and a score
    falls with the L1 distance of two embeddings: from `ALIKE` logits at none to 0 at the mean one of these.

    Weights that are drawn count a difference in half of the units for likeness, and what they make of it has to be
    unlearned first.

    Args:
        embeddings: float32 [images, units], of an untrained network, as its training steps compute them.

    Raises:
        InputError: they can't be told apart.
    """
    first, second = np.triu_indices(len(embeddings), k=1)
    mean = np.abs(embeddings[first] - embeddings[second]).sum(axis=1, dtype=np.float64).mean()
    units = embeddings.shape[1]
    if not mean > LEAST * units:
        raise InputError("model.initial_head fitted: the images of the first step all look the same: see the images")
    return np.full((units, 1), -ALIKE / mean, np.float32), np.array([ALIKE], np.float32)


def load_into(model: Any, saved: Path) -> None:
    """Gives `model` the weights of a saved one: a `.keras` file, or the SavedModel `servable/`.

    Raises:
        InputError: it is damaged, or its arrays have other shapes.
    """
    import keras

    if saved.is_dir():
        _restore(model, saved)
        return
    try:
        weights = keras.saving.load_model(saved, compile=False).get_weights()
    except (OSError, ValueError, TypeError, KeyError, BadZipFile) as error:
        raise InputError(f"model.initial_weights {saved}: damaged, or not a Keras model: name another") from error
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
        raise _another_network(saved, why)
    model.set_weights(weights)


def _restore(model: Any, saved: Path) -> None:
    """From the variables of a `siamese.models.servable.Servable`, which tracks its network as `model`."""
    import tensorflow as tf

    try:
        found = tf.train.Checkpoint(model=model).read(str(saved / "variables/variables"))
        found.assert_existing_objects_matched()
        found.expect_partial()  # of the transform and the views that are there, too
    except AssertionError:
        raise _another_network(saved, "it has other layers") from None
    except ValueError as error:  # a shape
        raise _another_network(saved, " ".join(str(error).split())[:100]) from None
    except (tf.errors.OpError, OSError, IndexError) as error:
        raise InputError(
            f"model.initial_weights {saved}: damaged ({summarise_exception(error)}): name another"
        ) from error


def _another_network(saved: Path, why: str) -> InputError:
    return InputError(f"model.initial_weights {saved}: is of another network ({why}): set model.network to its own")
