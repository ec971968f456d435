"""A registered model as MLflow loads it: pairs of images in, scores and verdicts out.

MLflow runs this file by itself (models-from-code), with the library beside it. What it imports needs TensorFlow, NumPy,
pandas, Pillow and MLflow alone.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from siamese.data.images import base64_images
from siamese.data.images.formats import Rejected, canonical, check
from siamese.models.artifacts import threshold_of
from siamese.models.verifier import Verifier

COLUMNS = ("anchor", "other")
FORMS = ("bytes", "base64", "paths")  # what the parameter `images` may say of the two columns
MAX_PIXELS = "data.max_pixels"  # of the model's configuration
IMAGES_AT_ONCE = 64
SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # set by MLflow's scoring server


class ServedModel(PythonModel):
    """The SavedModel `servable/` and the threshold of `threshold.json`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads both, once."""
        self.verifier = Verifier.load(Path(context.artifacts["servable"]).parent)
        self.threshold = threshold_of(Path(context.artifacts["threshold"]), None)
        self.max_pixels = int(context.model_config[MAX_PIXELS])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Scores pairs of images.

        Args:
            model_input: columns anchor and other, an image in each: JPEG, PNG or BMP of any kind.
            params: `images` says in which form: `bytes` (the default; text is taken to be base64), `base64`, or `paths`
                of files.

        Returns:
            Rows as in `model_input`: score, float32 in [0, 1], and same, bool: score at or above the threshold.

        Raises:
            MlflowException: an image can't be taken (status 400 over HTTP); names its row and column, and the reason.
        """
        form = (params or {}).get("images", FORMS[0])
        if form not in FORMS:
            raise _refused(f"images = {form!r} is not allowed: must be one of {', '.join(FORMS)}")
        if form == "paths" and os.environ.get(SERVED) == "true":
            raise _refused("a server reads no paths: send the images themselves, as base64 text")
        images = {column: self._images(model_input, column, form) for column in COLUMNS}
        if model_input.empty:
            return pd.DataFrame({"score": np.empty(0, np.float32), "same": np.empty(0, bool)})
        rows = {image: row for row, image in enumerate(dict.fromkeys(images["anchor"] + images["other"]))}
        embeddings = self._embed(list(rows))
        anchors, others = (embeddings[[rows[image] for image in images[column]]] for column in COLUMNS)
        score = self.verifier.score(anchors, others)
        return pd.DataFrame({"score": score, "same": score >= np.float32(self.threshold)}, index=model_input.index)

    def _images(self, model_input: pd.DataFrame, column: str, form: str) -> list[bytes]:
        return [
            self._image(value, form, f"row {row}, {column}") for row, value in enumerate(model_input[column].tolist())
        ]

    def _image(self, value: Any, form: str, where: str) -> bytes:
        try:
            data = _bytes_of(value, form)
            check(data, self.max_pixels)
            return canonical(data, self.max_pixels)
        except Rejected as reason:
            raise _refused(f"{where}: {reason}") from None

    def _embed(self, images: list[bytes]) -> np.ndarray:
        parts = [images[start : start + IMAGES_AT_ONCE] for start in range(0, len(images), IMAGES_AT_ONCE)]
        return np.concatenate([self.verifier.embed_encoded(part) for part in parts])


def _bytes_of(value: Any, form: str) -> bytes:
    """An image file's bytes, from them, from base64 or from a path; raises `Rejected` where it's none of these."""
    if form == "paths" and isinstance(value, str):
        try:
            return Path(value).read_bytes()
        except (OSError, ValueError) as error:
            raise Rejected(f"{value!r} can't be read ({getattr(error, 'strerror', None) or error})") from None
    if isinstance(value, str) or (form == "base64" and isinstance(value, bytes)):
        try:
            return base64_images.decode(value if isinstance(value, str) else value.decode("ascii"))
        except ValueError as obstacle:
            if isinstance(value, str):
                raise Rejected(f"text that {obstacle}; params {{'images': 'paths'}} is for paths") from None
    if isinstance(value, bytes) and form != "paths":
        # MLflow's server takes binary columns to be base64 and has decoded them, characters outside base64 left out.
        if base64.b64encode(value[:9]).startswith(b"dataimage"):
            raise Rejected(
                "a data URI, of which MLflow's server takes the first letters for base64: send the rest alone"
            )
        return value
    raise Rejected(f"{'nothing' if value is None else 'a ' + type(value).__name__}, where {form} are needed")


def _refused(why: str) -> MlflowException:
    return MlflowException(why, error_code=INVALID_PARAMETER_VALUE)


set_model(ServedModel())
