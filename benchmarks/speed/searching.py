"""Probes against a gallery of 10,000: ours, numpy's, and the whole network on pairs of images."""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed.rows import Row, seconds
from benchmarks.speed.sides import Side, alternate, working

GALLERY = 10_000
PROBES = 32
TWINS = 64 * 8  # pairs that the whole network compares; what 10,000 take is reckoned from these
ROUNDS = 7


def measure(small_run: Path) -> list[Row]:
    """The rows of one probe and of several."""
    module = "benchmarks.speed.searching_side"
    names = ("one", "several", "numpy", "copy", "network")
    processes = {name: Side(module, small_run, name, GALLERY, PROBES, TWINS) for name in names}
    with working(processes) as sides:
        network = sides["network"]
        runs = alternate({name: sides[name] for name in names[:-1]}, ROUNDS)
        runs |= {"network": [network() for _ in range(2)]}
    one, several, numpy = (seconds(runs[name]) for name in ("one", "several", "numpy"))
    bytes_of_gallery = GALLERY * 4096 * 4
    bandwidth = bytes_of_gallery / seconds(runs["copy"])
    whole = seconds(runs["network"]) * GALLERY / TWINS
    read = PROBES * bytes_of_gallery / several
    return [
        Row(
            f"one probe, embedded, against {GALLERY:,}",
            f"{one * 1e3:.1f} ms ({bytes_of_gallery / one / 1e9:.0f} GB/s)",
            f"numpy `abs(E-e)@w`: {numpy * 1e3:.0f} ms; the network on pairs of images: {whole:.0f} s (from {TWINS})",
            "<= 10 ms, >= 5x numpy",
            one <= 0.01 and one <= numpy / 5,
            numpy / one,
            runs,
        ),
        Row(
            f"{PROBES} probes against {GALLERY:,}",
            f"{several * 1e3:.0f} ms: as if {read / 1e9:.0f} GB/s were read",
            f"one reading of the memory: {bandwidth / 1e9:.0f} GB/s",
            "memory bandwidth or better",
            read >= bandwidth,
            read / bandwidth,
        ),
    ]
