"""Memory: the most that training and preprocessing hold, as images grow 1, 10 and 100 times."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.speed import place
from benchmarks.speed.rows import Row
from benchmarks.speed.sides import ROOT

IMAGES = (500, 5_000, 50_000)
PAIR_BYTES = 2 * 100 * 100 * 3 * 4


def measure(folder: Path) -> list[Row]:
    """The rows of memory, in an empty folder."""
    peaks: dict[str, list[float]] = {"preprocess": [], "train": []}
    for images in IMAGES:
        made = folder / str(images)
        place.pictures(made / "data/sample", images, identities=images // 10, side=120)
        place.siamese(made, "catalog")
        place.siamese(made, "pairs", settings=("pairs.per_split=200",))
        peaks["preprocess"].append(peak([place.SIAMESE, "preprocess"], made))
        peaks["train"].append(peak([sys.executable, "-m", "benchmarks.speed.short_training", str(made)], ROOT))
    rows = []
    for step, most in peaks.items():
        growth = np.polyfit(np.log(IMAGES), np.log(most), 1)[0]
        floats = " to ".join(f"{images / 2 * PAIR_BYTES / 1e9:.1f}" for images in (IMAGES[0], IMAGES[-1]))
        rows.append(
            Row(
                f"memory of `{step}` at {', '.join(f'{images:,}' for images in IMAGES)} images",
                ", ".join(f"{one / 1e9:.2f}" for one in most) + f" GB (exponent {growth:.2f})",
                f"the original's cached float pairs, 240 KB each: {floats} GB",
                "flat",
                bool(most[-1] <= 1.2 * most[0]),
                None,
                {"bytes": most},
            )
        )
    return rows


def peak(arguments: list[str], folder: Path) -> float:
    """The most memory of its own that a command's processes held together: pages of mapped files don't count."""
    process = psutil.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL)
    most = 0.0
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.is_set():
            held = 0
            for one in [process, *_children(process)]:
                try:
                    about = one.memory_info()
                    held += about.rss - about.shared
                except psutil.Error:
                    continue
            most = max(most, held)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}")
    return most


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found
