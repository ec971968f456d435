"""Does training in bfloat16 (or float16) recognise worse than in float32?

Trains the specification's network on the built-in sample with several seeds in float32 and as often in the other
precision, everything else equal, by the commands that `dvc repro` calls. The split gives more to validation than
params.yaml does, for a finer EER. Prints the lowest validation EER of each run, and whether the other precision's lie
within the spread of float32's from seed to seed.

    .venv/bin/python -m benchmarks.precision --seeds 5 --epochs 25
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.speed import place

SETTINGS = (
    "sample.identities=80",
    "catalog.train=0.5",
    "catalog.test=0.1",
    "catalog.validation=0.4",
)
PEER = "float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=25)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for step in ("sample", "catalog", "pairs", "preprocess"):
            place.siamese(folder, step, settings=SETTINGS)
        rows = [
            {"precision": precision, "seed": seed} | run(folder, precision, seed, given.epochs)
            for seed in range(given.seeds)
            for precision in (PEER, given.precision)  # in turn, so that a busy minute of the machine meets both
        ]
    runs = pd.DataFrame(rows)
    print(runs.to_string(index=False))
    print(json.dumps(verdict(runs, given.precision), indent=2))


def run(folder: Path, precision: str, seed: int, epochs: int) -> dict[str, float]:
    """One training: its lowest validation EER, that of its last epoch, and seconds."""
    began = time.monotonic()
    settings = (f"train.precision={precision}", f"train.seed={seed}", f"train.epochs={epochs}")
    place.siamese(folder, "train", settings=(*SETTINGS, *settings))
    history = pd.read_csv(folder / "artifacts/history.csv")
    print(f"{precision} seed {seed}: validation EER {history.eer.min():.3f}", file=sys.stderr)
    return {
        "lowest_eer": history.eer.min(),
        "last_eer": history.eer.iloc[-1],
        "best_auc": history.auc.max(),
        "seconds": round(time.monotonic() - began),
    }


def verdict(runs: pd.DataFrame, precision: str) -> dict[str, object]:
    """The other precision's EER against the spread of float32's: its range, and mean ± 2 standard deviations."""
    peer, other = (runs[runs.precision == one].lowest_eer.to_numpy() for one in (PEER, precision))
    mean, deviation = float(peer.mean()), float(peer.std(ddof=1))
    # Seeds are paired (same initial weights, same order of images), so the difference has an error of its own.
    difference = other - peer
    return {
        f"{PEER}_mean": round(mean, 4),
        f"{PEER}_standard_deviation": round(deviation, 4),
        f"{PEER}_range": [round(float(peer.min()), 4), round(float(peer.max()), 4)],
        f"{precision}_mean": round(float(other.mean()), 4),
        f"{precision}_range": [round(float(other.min()), 4), round(float(other.max()), 4)],
        "mean_difference": round(float(difference.mean()), 4),
        "its_standard_error": round(float(difference.std(ddof=1) / np.sqrt(len(difference))), 4),
        f"{precision}_mean_within_{PEER}_range": bool(peer.min() <= other.mean() <= peer.max()),
        f"{precision}_runs_within_two_deviations": f"{int((abs(other - mean) <= 2 * deviation).sum())} of {len(other)}",
    }


if __name__ == "__main__":
    main()
