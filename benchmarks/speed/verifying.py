"""One pair of image files compared by a model that is loaded: ours, and as the original's `predict` does it."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.speed.rows import Row
from benchmarks.speed.sides import Side, alternate, working

ROUNDS = 5


def measure(small_run: Path) -> list[Row]:
    """The row of one pair."""
    module = "benchmarks.speed.verifying_side"
    processes = {name: Side(module, small_run, name) for name in ("siamese", "original")}
    with working(processes) as sides:
        runs = alternate(sides, ROUNDS)
    times = {name: np.concatenate([one["times"] for one in done]) for name, done in runs.items()}
    ours, peer = (median(times[name]) * 1e3 for name in ("siamese", "original"))
    p99 = {name: float(np.quantile(one, 0.99)) * 1e3 for name, one in times.items()}
    return [
        Row(
            "one pair of image files, model loaded",
            f"p50 {ours:.1f} ms, p99 {p99['siamese']:.1f} ms",
            f"the original's `predict`: p50 {peer:.1f} ms, p99 {p99['original']:.1f} ms",
            "p50 <= 30 ms, half of the peer's",
            ours <= 30 and ours <= peer / 2,
            peer / ours,
            {name: one.round(5).tolist() for name, one in times.items()},
        )
    ]
