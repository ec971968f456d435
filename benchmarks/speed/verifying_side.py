"""A side: pairs of image files, one after another, to scores; each is timed.

python -m benchmarks.speed.verifying_side FOLDER siamese | original
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.sides import answer

PAIRS = 40
MAX_PIXELS = 100_000_000


def main() -> None:
    folder = Path(sys.argv[1])
    files = sorted(file for file in (folder / "data").rglob("*") if file.suffix in (".jpg", ".png"))
    compare = {"siamese": ours, "original": original}[sys.argv[2]](folder / "artifacts/model")
    coming = itertools.cycle(zip(files, files[7:], strict=False))

    def work() -> dict[str, Any]:
        times = []
        for a, b in itertools.islice(coming, PAIRS):
            began = time.perf_counter()
            assert 0 <= compare(a, b) <= 1
            times.append(time.perf_counter() - began)
        return {"times": times}

    answer(work)


def ours(model: Path) -> Callable[[Path, Path], float]:
    """What `siamese verify` does between loading the model and printing."""
    from siamese.models.verifier import Verifier, read_image

    verifier = Verifier.load(model)

    def compare(a: Path, b: Path) -> float:
        embeddings = verifier.embed_encoded([read_image(file, MAX_PIXELS) for file in (a, b)])
        return float(verifier.score(embeddings[:1], embeddings[1:])[0])

    return compare


def original(model: Path) -> Callable[[Path, Path], float]:
    """Decoded by TensorFlow one by one, as floats in batches of one to Keras's `predict`."""
    import keras
    import tensorflow as tf

    import siamese.models.network  # noqa: F401 - registers its layer

    network = keras.models.load_model(model / "siamese.keras")

    def decoded(file: Path) -> Any:
        image = tf.io.decode_image(tf.io.read_file(str(file)), channels=3, expand_animations=False)
        return np.expand_dims(tf.image.resize(image, (100, 100)) / 255, axis=0)

    return lambda a, b: float(network.predict([decoded(a), decoded(b)], verbose=0)[0, 0])


if __name__ == "__main__":
    main()
