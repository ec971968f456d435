"""A model as MLflow keeps it: code to load it, SavedModel, threshold, signature, example, requirements. No pickle."""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import siamese
from siamese.data.images.png import png_bytes
from siamese.models import trained_on

REQUIRED = ("mlflow", "numpy", "pandas", "pillow", "tensorflow")  # what siamese.registry.pyfunc and all it imports need


def save(model_folder: Path, threshold_file: Path, max_pixels: int, folder: Path, origin: Any) -> None:
    """Writes the model as MLflow keeps it into the new folder `folder`, and sees that it loads and answers.

    Args:
        model_folder: what step `train` wrote.
        threshold_file: what step `evaluate` wrote.
        max_pixels: an image of more is refused.
        origin: an `mlflow.models.Model` that names run and logged model.
    """
    import mlflow

    from siamese.registry.pyfunc import MAX_PIXELS

    package = Path(siamese.__file__).parent
    paths = sys.path
    try:
        with tempfile.TemporaryDirectory() as copies:  # DVC may have made links, which MLflow refuses
            shutil.copytree(model_folder / "servable", Path(copies) / "servable")
            shutil.copyfile(threshold_file, Path(copies) / "threshold.json")
            artifacts = {"servable": f"{copies}/servable", "threshold": f"{copies}/threshold.json"}
            if (model_folder / trained_on.FILE).exists():
                shutil.copyfile(model_folder / trained_on.FILE, Path(copies) / trained_on.FILE)
                artifacts["trained_on"] = f"{copies}/{trained_on.FILE}"
            mlflow.pyfunc.save_model(
                str(folder),
                mlflow_model=origin,
                python_model=str(package / "registry/pyfunc.py"),
                code_paths=[str(package)],
                artifacts=artifacts,
                model_config={MAX_PIXELS: max_pixels},
                signature=signature(),
                input_example=example(),
                pip_requirements=requirements(),
            )
        mlflow.pyfunc.load_model(str(folder)).predict(example())
    finally:
        sys.path = paths  # MLflow puts the code of what it loads in front
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def requirements() -> list[str]:
    """What loads the model, in the versions that made it: `name==version` each."""
    return [f"{name}=={version(name)}" for name in REQUIRED]


def signature() -> Any:
    """Two binary columns and the parameter `images` in; a float32 and a boolean column out."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    from siamese.registry.pyfunc import COLUMNS, FORMS

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, column) for column in COLUMNS]),
        outputs=Schema([ColSpec(DataType.float, "score"), ColSpec(DataType.boolean, "same")]),
        params=ParamSchema([ParamSpec("images", DataType.string, FORMS[0])]),
    )


def example() -> Any:
    """A table of one pair, two small PNG images."""
    import pandas as pd

    from siamese.registry.pyfunc import COLUMNS

    across = np.broadcast_to(np.arange(0, 256, 32, dtype=np.uint8)[:, None], (8, 8, 3))
    images = (across, across.swapaxes(0, 1))
    return pd.DataFrame({column: [png_bytes(image)] for column, image in zip(COLUMNS, images, strict=True)})
