"""A training step: ours, the original's, PyTorch's, and the processor's limit; and how long it waits for its images."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.speed.rows import Row, rate
from benchmarks.speed.sides import Side, alternate, working

PAIRS = 16  # the original's batch: 32 images a step on every side
LARGE = 32
ROUNDS = 3
# Multiplications and additions of the specification's network, forward: positions x filters x what each sums.
_FORWARD = 2 * (91**2 * 64 * 300 + 40**2 * 128 * 3136 + 17**2 * 128 * 2048 + 6**2 * 256 * 2048 + 9216 * 4096)
_FIRST_LAYER = 2 * 91**2 * 64 * 300  # whose input needs no gradient
FLOP_PER_IMAGE = 3 * _FORWARD - _FIRST_LAYER


def measure(small_run: Path, torch_python: str | None) -> list[Row]:
    """The rows of training.

    Args:
        small_run: a folder in which the pipeline ran.
        torch_python: a Python that has PyTorch, if there is one.
    """
    ours, large = f"float32, {2 * PAIRS} images", f"float32, {2 * LARGE} images"
    step = "benchmarks.speed.training_step"
    processes = {
        "bfloat16": Side(step, small_run, "bfloat16", 2 * PAIRS),
        ours: Side(step, small_run, "float32", 2 * PAIRS),
        large: Side(step, small_run, "float32", 2 * LARGE),
        "original": Side("benchmarks.speed.original_step", PAIRS),
        "peak": Side("benchmarks.speed.peak", "float32"),
        "files": Side("benchmarks.speed.reading_files", small_run / "data", 2 * PAIRS),
    }
    dtypes = ("float32", "bfloat16") if torch_python else ()
    for dtype in dtypes:
        processes[f"PyTorch {dtype}"] = Side("benchmarks.speed.torch_step", dtype, PAIRS, python=torch_python)
    with working(processes) as sides:
        runs = alternate(sides, ROUNDS)

    images = {name: rate(done) for name, done in runs.items() if name != "peak"}
    peak = rate(runs["peak"], "flop")
    shares = {name: images[name] * FLOP_PER_IMAGE / peak for name in (ours, large)}
    waiting = median(one["waiting"] / one["seconds"] for one in runs["bfloat16"])
    reading = images["bfloat16"] / images["files"]
    best = max(images["bfloat16"], images[ours])
    rows = [
        Row(
            f"training step of {2 * PAIRS} images",
            f"{best:.1f} images/s in bfloat16",
            f"the original's form (two calls, float32): {images['original']:.1f}",
            ">= 2x",
            best >= 2 * images["original"],
            best / images["original"],
            runs,
        )
    ]
    if dtypes:
        dtype = max(dtypes, key=lambda one: images[f"PyTorch {one}"])
        peer = images[f"PyTorch {dtype}"]
        rows.append(
            Row(
                f"training step of {2 * PAIRS} images",
                f"{images['bfloat16']:.1f} images/s in bfloat16",
                f"PyTorch, channels last, fused Adam, {dtype}: {peer:.1f}",
                ">= 1.2x",
                images["bfloat16"] >= 1.2 * peer,
                images["bfloat16"] / peer,
            )
        )
    for name in (ours, large):
        rows.append(
            Row(
                f"training step in {name}",
                f"{images[name]:.1f} images/s, {images[name] * FLOP_PER_IMAGE / 1e9:.0f} GFLOP/s",
                f"product of two matrices of 4096²: {peak / 1e9:.0f} GFLOP/s",
                ">= 90 % at 32 pairs" if name == large else "",
                shares[name] >= 0.9 if name == large else None,
                shares[name],
            )
        )
    rows.append(
        Row(
            "share of a bfloat16 step spent waiting for its images",
            f"{waiting:.2%}",
            f"files read and decoded each epoch: {reading:.1%}",
            "< 1 %",
            waiting < 0.01,
            reading / waiting,
        )
    )
    return rows
