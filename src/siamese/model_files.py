"""A model as MLflow keeps it: code to load it, SavedModel, threshold, signature, example, requirements. No pickle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import siamese
from siamese.images.png import png_bytes

NAME = "model"  # of the logged model, among the outputs of its run
REQUIRED = ("mlflow", "numpy", "pandas", "pillow", "tensorflow")  # what siamese.served_model and all it imports need


def log(model_folder: Path, threshold_file: Path, max_pixels: int, run_id: str, tags: Mapping[str, str]) -> str:
    """Logs the model to its run; complete when this returns, and not registered.

    Args:
        model_folder: what step `train` wrote.
        threshold_file: what step `evaluate` wrote.
        max_pixels: an image of more is refused.
        tags: of the logged model.

    Returns:
        The logged model's id.
    """
    import mlflow
    from mlflow.models import Model

    from siamese.served_model import MAX_PIXELS

    package = Path(siamese.__file__).parent
    paths = sys.path
    try:
        info = Model.log(
            None,
            flavor=mlflow.pyfunc,
            name=NAME,
            run_id=run_id,
            tags=dict(tags),
            python_model=str(package / "served_model.py"),
            code_paths=[str(package)],
            artifacts={"servable": str(model_folder / "servable"), "threshold": str(threshold_file)},
            model_config={MAX_PIXELS: max_pixels},
            signature=signature(),
            input_example=example(),
            pip_requirements=requirements(),
        )
    finally:
        sys.path = paths  # MLflow loads what it has written, to try the example, and leaves its folder in front
    return str(info.model_id)


def requirements() -> list[str]:
    """What loads the model, in the versions that made it: `name==version` each."""
    return [f"{name}=={version(name)}" for name in REQUIRED]


def signature() -> Any:
    """Two binary columns and the parameter `images` in; a float32 and a boolean column out."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    from siamese.served_model import COLUMNS, FORMS

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, column) for column in COLUMNS]),
        outputs=Schema([ColSpec(DataType.float, "score"), ColSpec(DataType.boolean, "same")]),
        params=ParamSchema([ParamSpec("images", DataType.string, FORMS[0])]),
    )


def example() -> Any:
    """A table of one pair, two small PNG images."""
    import pandas as pd

    from siamese.served_model import COLUMNS

    across = np.broadcast_to(np.arange(0, 256, 32, dtype=np.uint8)[:, None], (8, 8, 3))
    images = (across, across.swapaxes(0, 1))
    return pd.DataFrame({column: [png_bytes(image)] for column, image in zip(COLUMNS, images, strict=True)})
