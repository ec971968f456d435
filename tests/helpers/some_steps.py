"""Some steps of training in a process of its own, on the devices that a test asks for.

Run as `python some_steps.py PRECISION STEPS STRATEGY=RESULT.npz...` in a folder with the pipeline's artifacts: one
strategy after the other, each from the same initial weights. The process has two logical processors, of which `one` and
`multi_worker` use the first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from siamese import config, tf_runtime
from siamese.preprocessing.pixel_store import StoredImages
from siamese.training.dataset import read_data
from siamese.training.distribution import start
from siamese.training.trainer import Trainer

ARTIFACTS = Path("artifacts")


def main(precision: str, steps: str, *runs: str) -> None:
    tf = tf_runtime.import_tensorflow()
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    for run in runs:
        strategy, result = run.split("=")
        some_steps(strategy, precision, int(steps), Path(result))


def some_steps(strategy: str, precision: str, steps: int, result: Path) -> None:
    replicas = start(strategy)
    # 28 images in steps of at most 10: three a pass, two of which have an odd number of images.
    settings = ["train.batch=10", "train.augmentation.flip=true", "train.augmentation.affine=0.1"]
    values = config.load_params(config.packaged_file(), settings).train
    data = read_data(
        ARTIFACTS / "catalog.parquet", ARTIFACTS / "pairs.parquet", StoredImages(ARTIFACTS / "images"), values
    )
    plan = data.plan(values, 0)
    training = Trainer("specification", precision, ARTIFACTS / "transform", values, plan.steps, replicas)
    losses = []
    for number in range(steps):
        epoch, within = divmod(number, plan.steps)
        step = data.plan(values, epoch).step(within)
        pixels = data.images.rows(data.train_rows[step.rows])
        seed = np.array([0, number], np.int32)
        losses.append(float(training.step(pixels, step.first, step.second, step.labels, seed)))
    np.savez(result, *training.variables(), losses=losses, replicas=replicas.count)


if __name__ == "__main__":
    main(*sys.argv[1:])
