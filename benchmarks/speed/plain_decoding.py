"""A side: image files to an array of uint8 [images, 100, 100, 3] by tf.data alone.

`same arrays`: decoded and resized as the transform graph does it (accurate JPEG, antialiased). `default decoding`: as
TensorFlow does it where nothing is asked for, which differs by a grey level and more.

python -m benchmarks.speed.plain_decoding FOLDER same arrays | default decoding
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.sides import answer


def main() -> None:
    folder, same = Path(sys.argv[1]), sys.argv[2] == "same arrays"
    import tensorflow as tf

    files = sorted(map(str, folder.rglob("*.jpg")))

    def pixels(name: Any) -> Any:
        method = "INTEGER_ACCURATE" if same else ""
        image = tf.io.decode_jpeg(tf.io.read_file(name), channels=3, dct_method=method)
        resized = tf.image.resize(image, (100, 100), antialias=same)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

    def work() -> dict[str, Any]:
        made = np.empty((len(files), 100, 100, 3), np.uint8)
        batches = tf.data.Dataset.from_tensor_slices(files).map(pixels, tf.data.AUTOTUNE).batch(256).prefetch(2)
        for number, batch in enumerate(batches):
            made[256 * number : 256 * (number + 1)] = batch
        return {"images": len(files)}

    answer(work)


if __name__ == "__main__":
    main()
