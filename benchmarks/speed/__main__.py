"""Measures the rows of the table in README.md, each beside its peer, and writes them there and into results.json.

    make bench
    python -m benchmarks.speed training pairs        only these rows; the others stay as they were measured before

PyTorch, a peer, is no dependency of the project: name a Python that has it with --torch.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.speed import (
    machine,
    pair_making,
    place,
    preprocessing,
    remembering,
    searching,
    serving,
    starting,
    training,
    verifying,
)
from benchmarks.speed.rows import Row, to_markdown, to_plain

FOLDER = Path(__file__).parent
README, RESULTS = FOLDER / "README.md", FOLDER / "results.json"
TABLE = re.compile(r"(<!-- table -->\n).*(<!-- end of the table -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="which; all, where none is named")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch")
    parser.add_argument("--repository", type=Path, help="a clone of the project in which `dvc repro` has run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        small_run = cache(lambda: place.small_run(here / "small"))

        def empty(name: str) -> Path:
            (here / name).mkdir()
            return here / name

        parts: dict[str, Callable[[], list[Row]]] = {
            "training": lambda: training.measure(small_run(), given.torch),
            "preprocessing": lambda: preprocessing.measure(empty("preprocessing")),
            "pairs": pair_making.measure,
            "verifying": lambda: verifying.measure(small_run()),
            "searching": lambda: searching.measure(small_run()),
            "serving": lambda: serving.measure(small_run(), empty("serving")),
            "starting": lambda: starting.measure(small_run(), given.repository),
            "remembering": lambda: remembering.measure(empty("remembering")),
        }
        unknown = set(given.rows) - set(parts)
        if unknown:
            parser.error(f"no row is called {', '.join(sorted(unknown))}: there are {', '.join(parts)}")
        for name in given.rows or parts:
            began = time.monotonic()
            rows = parts[name]()
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
            print(to_markdown(rows))
            write(name, rows, list(parts))


def write(part: str, rows: Sequence[Row], order: Sequence[str]) -> None:
    """Puts a part's rows in the place of those of an earlier run, into results.json and the table."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[part] = {"machine": machine.described(), "rows": to_plain(rows)}
    results = {name: results[name] for name in order if name in results}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    every = [Row(**row) for name in results for row in results[name]["rows"]]
    said = ", ".join(f"{name} {value}" for name, value in results[part]["machine"].items())
    README.write_text(TABLE.sub(rf"\g<1>Last run: {said}\n\n{to_markdown(every)}\n\g<2>", README.read_text()))


if __name__ == "__main__":
    main()
