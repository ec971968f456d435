"""Pairs: a million among 100,000 images, and a hundred million by index, beside a loop in Python."""

from __future__ import annotations

from benchmarks.speed.rows import Row, seconds
from benchmarks.speed.sides import Side, alternate, working

ROUNDS = 5


def measure() -> list[Row]:
    """The rows of pairs."""
    module = "benchmarks.speed.pair_side"
    processes = {name: Side(module, name) for name in ("table", "loop")}
    with working(processes) as sides:
        runs = alternate(sides, ROUNDS)
    ours, peer = seconds(runs["table"]), seconds(runs["loop"])
    by_index = {}
    for count in (10_000_000, 100_000_000):
        with Side(module, "index", count) as side:
            by_index[count] = side.run()
    few, many = by_index.values()
    return [
        Row(
            "1,000,000 pairs among 100,000 images, as a table",
            f"{ours:.2f} s",
            f"a loop with itertools and random: {peer:.2f} s",
            "< 2 s",
            ours < 2,
            peer / ours,
            runs,
        ),
        Row(
            "100,000,000 pairs by index",
            f"{many['seconds']:.1f} s, {many['peak'] / 1e6:.0f} MB at most",
            f"10,000,000: {few['seconds']:.1f} s, {few['peak'] / 1e6:.0f} MB",
            "memory independent of the number",
            many["peak"] < 1.1 * few["peak"],
            None,
            {str(count): [one] for count, one in by_index.items()},
        ),
    ]
