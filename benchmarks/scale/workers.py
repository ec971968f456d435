"""Training by 1, 2 and 4 worker processes of this machine, each held to one core: images a second, and what they learn.

    make bench-scale
    python -m benchmarks.scale.workers

Every number of workers makes the same 20 steps of 32 images, in float32, from the same weights. With 2 cores, 4 workers
share them two by two: that shows what being four costs, not what four cores give. Writes workers.csv beside this file.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.speed import place
from benchmarks.speed.sides import ROOT

STEPS, WARM = 20, 3  # the first steps compile
ROUNDS = 2
COUNTS = (1, 2, 4)
ALL_CORES = 0  # one process that has them all


def main() -> None:
    if sys.argv[1:]:
        work(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for step in ("sample", "catalog", "pairs", "preprocess"):
            place.siamese(folder, step)
        runs = []
        for _ in range(ROUNDS):
            for count in (*COUNTS, ALL_CORES):
                runs.append({"workers": count} | together(folder, count))
                print(runs[-1], file=sys.stderr)
    table = summary(pd.DataFrame(runs))
    table.to_csv(Path(__file__).with_name("workers.csv"), index=False)
    print(table.to_string(index=False))


def together(folder: Path, count: int) -> dict[str, float]:
    """One run of so many workers: images a second, and how far weights and losses are from those of one worker."""
    workers = max(count, 1)
    weights = folder / f"weights-{count}.npz"
    cores = sorted(os.sched_getaffinity(0))
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers):
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        environment.pop("TF_CONFIG", None)
        if workers > 1:
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(task)
        command = [sys.executable, "-m", "benchmarks.scale.workers", str(folder), str(weights)]
        if count != ALL_CORES:
            command = ["taskset", "--cpu-list", str(cores[index % len(cores)]), *command]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{count} workers: one of them failed, see above")
    found = json.loads(said[0].splitlines()[-1])
    losses = folder / "losses.json"
    if count == 1:
        losses.write_text(json.dumps(found["losses"]))
    reference = json.loads(losses.read_text())
    of_losses = max(abs(one - other) for one, other in zip(found.pop("losses"), reference, strict=True))
    return found | {"weights_apart": apart(folder / "weights-1.npz", weights), "losses_apart": of_losses}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def work(folder: Path, weights: Path) -> None:
    """One worker: the steps as `siamese train` makes them. The chief says how fast, and writes the weights."""
    from siamese.config import load_params
    from siamese.preprocessing.pixel_store import StoredImages
    from siamese.training.dataset import read_data
    from siamese.training.distribution import start
    from siamese.training.trainer import Trainer

    replicas = start("auto")
    params = load_params(None, ["train.precision=float32"]).train
    made = folder / "artifacts"
    data = read_data(made / "catalog.parquet", made / "pairs.parquet", StoredImages(made / "images"), params)
    plan = data.plan(params, 0)
    training = Trainer("specification", "float32", made / "transform", params, plan.steps, replicas)
    images, began, losses = 0, 0.0, []
    for number in range(STEPS):
        if number == WARM:
            images, began = 0, time.perf_counter()
        step = data.plan(params, number // plan.steps).step(number % plan.steps)
        pixels = data.images.rows(data.train_rows[step.rows])
        seed = np.array([0, number], np.int32)
        losses.append(float(training.step(pixels, step.first, step.second, step.labels, seed)))
        images += len(step.rows)
    took = time.perf_counter() - began
    if replicas.chief:
        np.savez(weights, *training.model.get_weights())
        print(json.dumps({"images_per_second": round(images / took, 2), "losses": losses}))
    replicas.wait()


def apart(one: Path, other: Path) -> float:
    """The largest difference between two sets of weights, each array's relative to its norm."""
    with np.load(one) as ours, np.load(other) as theirs:
        return max(float(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(ours[name])) for name in ours.files)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Medians; `efficiency`: of one worker on one core, times the cores that the workers have."""
    table = (
        runs.groupby("workers")
        .agg({"images_per_second": "median", "weights_apart": "max", "losses_apart": "max"})
        .reset_index()
    )
    one = float(table.images_per_second[table.workers == 1].iloc[0])
    cores = table.workers.replace(ALL_CORES, os.cpu_count() or 1).clip(upper=os.cpu_count() or 1)
    table["cores"] = cores
    table["efficiency"] = (table.images_per_second / (one * cores)).round(3)
    table["workers"] = table.workers.astype(str).replace(str(ALL_CORES), "one process, all cores")
    return table


if __name__ == "__main__":
    main()
