"""Preprocessing: from image files to stored pixels with `siamese preprocess`, and the same arrays by plain tf.data."""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed import place
from benchmarks.speed.rows import Row, seconds
from benchmarks.speed.sides import Side, alternate, command

FEW, MANY = 1_000, 13_000
ROUNDS = 2


def measure(folder: Path) -> list[Row]:
    """The row of preprocessing, in an empty folder."""
    sizes = {"few": FEW, "many": MANY}
    for name, count in sizes.items():
        place.pictures(folder / name / "data/sample", count)
        place.siamese(folder / name, "catalog")
    ours = {f"siamese preprocess, {name}": command([place.SIAMESE, "preprocess"], folder / name) for name in sizes}
    processes = {
        name: Side("benchmarks.speed.plain_decoding", folder / "many", name)
        for name in ("same arrays", "default decoding")
    }
    runs = alternate(ours | {name: process.run for name, process in processes.items()}, ROUNDS)
    for process in processes.values():
        process.close()
    few, many = (seconds(runs[name]) for name in ours)
    steady = (MANY - FEW) / (many - few)
    start = few - FEW / steady
    plain = {name: MANY / seconds(runs[name]) for name in processes}
    return [
        Row(
            f"preprocessing {MANY:,} JPEGs of 250x250, steady state",
            f"{steady:,.0f} images/s (start-up apart: {start:.1f} s; all in: {MANY / many:,.0f}/s)",
            f"plain tf.data to {name}: {plain[name]:,.0f}",
            ">= 0.5x",
            steady >= 0.5 * plain[name],
            steady / plain[name],
            runs if name == "same arrays" else {},
        )
        for name in processes
    ]
