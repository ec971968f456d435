"""What a training in the shared workspace read, and the weights that one wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siamese import tf_runtime

INPUTS = [Path("artifacts") / name for name in ("catalog.parquet", "pairs.parquet", "images", "transform")]


def weights_of(model_folder: Path) -> list[np.ndarray]:
    """The weights in `siamese.keras`, in the network's order."""
    tf_runtime.import_tensorflow()
    import keras

    return keras.saving.load_model(model_folder / "siamese.keras").get_weights()
