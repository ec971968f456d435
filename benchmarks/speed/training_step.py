"""A side: steps of `siamese train`, as its epochs make them, on the pixels of a small run.

python -m benchmarks.speed.training_step FOLDER PRECISION IMAGES
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.sides import answer

STEPS = 6


def main() -> None:
    folder, precision, images = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

    from siamese.config import load_params
    from siamese.preprocessing.pixel_store import StoredImages
    from siamese.training.dataset import read_data
    from siamese.training.distribution import start
    from siamese.training.sampler import StepPlan
    from siamese.training.trainer import Trainer

    settings = [f"train.precision={precision}", f"train.batch={images}"]
    params = load_params(folder / "params.yaml" if (folder / "params.yaml").exists() else None, settings).train
    made = folder / "artifacts"
    data = read_data(made / "catalog.parquet", made / "pairs.parquet", StoredImages(made / "images"), params)
    training = Trainer("specification", precision, made / "transform", params, data.plan(params, 0).steps, start("one"))

    def steps() -> Iterator[tuple[StepPlan, int]]:
        number = epoch = 0
        while True:
            plan = data.plan(params, epoch)
            for inside in range(plan.steps):
                yield plan.step(inside), number
                number += 1
            epoch += 1

    coming = steps()

    def work() -> dict[str, Any]:
        done, waiting = 0, 0.0
        for _ in range(STEPS):
            began = time.perf_counter()
            step, number = next(coming)
            pixels = data.images.rows(data.train_rows[step.rows])
            waiting += time.perf_counter() - began
            loss = training.step(pixels, step.first, step.second, step.labels, np.array([0, number], np.int32))
            assert np.isfinite(float(loss))
            done += len(step.rows)
        return {"images": done, "waiting": waiting}

    answer(work)


if __name__ == "__main__":
    main()
