"""The first steps of `siamese train` in a folder, and a validation: what memory it takes doesn't change afterwards.

python -m benchmarks.speed.short_training FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path


class _Enough(Exception):
    pass


STEPS = 12


def main() -> None:
    made = Path(sys.argv[1]) / "artifacts"

    from siamese.config import load_params
    from siamese.preprocessing.pixel_store import StoredImages
    from siamese.training.dataset import read_data
    from siamese.training.distribution import start
    from siamese.training.train import train_epoch, validate
    from siamese.training.trainer import Trainer

    params = load_params(None, ["train.precision=float32"]).train
    data = read_data(made / "catalog.parquet", made / "pairs.parquet", StoredImages(made / "images"), params)
    training = Trainer("specification", "float32", made / "transform", params, data.plan(params, 0).steps, start("one"))
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == STEPS:
            raise _Enough

    try:
        train_epoch(training, data, count)
    except _Enough:
        validate(training, data, 0, lambda: None)


if __name__ == "__main__":
    main()
