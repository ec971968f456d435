"""A side: a step's images read and decoded from their files, as a training without stored pixels does each epoch.

python -m benchmarks.speed.reading_files FOLDER IMAGES
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.sides import answer

BATCHES = 10


def main() -> None:
    folder, images = Path(sys.argv[1]), int(sys.argv[2])
    import tensorflow as tf

    files = sorted(str(file) for file in folder.rglob("*") if file.suffix in (".jpg", ".png"))

    def decoded(name: Any) -> Any:
        image = tf.io.decode_image(tf.io.read_file(name), channels=3, expand_animations=False)
        return tf.image.resize(image, (100, 100)) / 255

    read = tf.data.Dataset.from_tensor_slices(files).repeat().map(decoded, tf.data.AUTOTUNE).batch(images)
    coming = iter(read)  # no prefetch: each batch is waited for

    def work() -> dict[str, Any]:
        for _ in range(BATCHES):
            assert np.isfinite(next(coming).numpy()).all()
        return {"images": BATCHES * images}

    answer(work)


if __name__ == "__main__":
    main()
