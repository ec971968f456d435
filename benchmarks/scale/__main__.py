"""Time and memory of each step as images, identities, pairs and galleries grow, each over three decades.

    make bench-scale
    python -m benchmarks.scale pairs search       only these curves; the files stay as they are

Writes growth.csv and growth.png beside this file. The exponent is that of the last decade: at smaller sizes start-up
is most of the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.speed import place
from benchmarks.speed.remembering import peak
from benchmarks.speed.sides import ROOT

FOLDER = Path(__file__).parent
SIZES = (100, 1_000, 10_000, 100_000)
Point = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", help=f"which, of {', '.join(CURVES)}; all, where none is named")
    given = parser.parse_args()
    unknown = set(given.curves) - set(CURVES)
    if unknown:
        parser.error(f"no curve is called {', '.join(sorted(unknown))}: there are {', '.join(CURVES)}")
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.curves or CURVES:
            (Path(folder) / name).mkdir()
            for point in CURVES[name](Path(folder) / name):
                print(point, file=sys.stderr)
                points.append(point)
    table = pd.DataFrame(points)
    print(exponents(table).to_string(index=False))
    if not given.curves:
        table.to_csv(FOLDER / "growth.csv", index=False)
        draw(table, FOLDER / "growth.png")


def images(folder: Path) -> Iterator[Point]:
    """catalog, preprocess and steps of training, against the number of images, 10 of each identity."""
    for size in SIZES:
        made = folder / str(size)
        place.pictures(made / "data/sample", size, identities=size // 10, side=64)
        few = ("pairs.per_split=20",)
        for step in ("catalog", "pairs", "preprocess"):
            yield taken(step, "images", size, [place.SIAMESE, step, *options(few)], made)
        training = [sys.executable, "-m", "benchmarks.speed.short_training", str(made)]
        yield taken("12 steps of train", "images", size, training, ROOT)


def identities(folder: Path) -> Iterator[Point]:
    """pairs, against the number of identities among 100,000 images."""
    for size in (50, 500, 5_000, 50_000):
        made = catalog(folder / str(size), 100_000, size)
        command = [place.SIAMESE, "pairs", *options(("pairs.per_split=100000",))]
        yield taken("pairs", "identities", size, command, made)


def pairs(folder: Path) -> Iterator[Point]:
    """pairs, against the number of pairs among 100,000 images of 500 identities."""
    made = catalog(folder / "catalog", 100_000, 500)
    for size in (10_000, 100_000, 1_000_000, 10_000_000):
        command = [place.SIAMESE, "pairs", *options((f"pairs.per_split={size}",))]
        yield taken("pairs", "pairs", size, command, made)


def search(folder: Path) -> Iterator[Point]:
    """One probe against all embeddings, exactly, and candidates by 256 units, against the size of the gallery."""
    from siamese.identification.search import Coarse, scores
    from siamese.models.scoring import Head

    rng = np.random.default_rng(0)
    head = Head(rng.normal(0, 0.02, 4096).astype(np.float32), 0)
    probe = rng.random(4096, np.float32)
    for size in (100, 1_000, 10_000, 100_000):
        gallery = rng.random((size, 4096), np.float32)
        scores(head, probe[None], gallery[:1])
        seconds = timed(partial(scores, head, probe[None], gallery))
        yield point("exact search", "embeddings", size, seconds, gallery.nbytes)
    for size in (1_000, 10_000, 100_000, 1_000_000):
        codes = rng.integers(256, size=(size, 256), dtype=np.uint8)
        even = np.zeros(256, np.float32), np.full(256, 1 / 255, np.float32)
        coarse = Coarse(np.arange(256), *even, codes)
        coarse.candidates(head, probe, 10)
        seconds = timed(partial(coarse.candidates, head, probe, 1000))
        yield point("candidates", "embeddings", size, seconds, codes.nbytes)


CURVES: dict[str, Callable[[Path], Iterator[Point]]] = {
    one.__name__: one for one in (images, identities, pairs, search)
}


def taken(step: str, of: str, size: int, command: list[str], folder: Path) -> Point:
    """Time of a command from start to end, and the most memory of its own that it held."""
    began = time.monotonic()
    held = peak(command, folder)
    return point(step, of, size, time.monotonic() - began, held)


def point(step: str, of: str, size: int, seconds: float, held: float) -> Point:
    """One place on a curve."""
    return {"step": step, "of": of, "size": size, "seconds": round(seconds, 4), "megabytes": round(held / 1e6)}


def timed(work: Callable[[], object]) -> float:
    """The median of five runs, in seconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def options(settings: tuple[str, ...]) -> list[str]:
    """Settings as options of a command."""
    return [part for setting in settings for part in ("-S", setting)]


def catalog(folder: Path, size: int, who: int) -> Path:
    """A folder with a catalog of images that are nowhere: 80 % of them in the split train."""
    (folder / "artifacts").mkdir(parents=True)
    number = np.arange(size)
    identity = number % who
    split = np.select([identity % 10 < 8, identity % 10 == 8], ["train", "test"], "validation")
    ids = [f"{one:064x}" for one in number]
    table = pd.DataFrame({"image_id": ids, "identity": identity.astype(str), "split": split})
    table.to_parquet(folder / "artifacts/catalog.parquet", index=False)
    return folder


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Of each curve: the powers with which time and memory grow over its last decade."""
    rows = []
    for (step, of), curve in table.groupby(["step", "of"], sort=False):
        last, before = curve.iloc[-1], curve.iloc[-2]
        decades = np.log10(last["size"] / before["size"])
        rows.append(
            {
                "step": step,
                "of": of,
                "largest": last["size"],
                "seconds": last.seconds,
                "megabytes": last.megabytes,
                "time_exponent": round(np.log10(last.seconds / before.seconds) / decades, 2),
                "memory_exponent": round(np.log10(last.megabytes / max(before.megabytes, 1)) / decades, 2),
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, file: Path) -> None:
    """Time and memory of every curve, both axes logarithmic."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for axis, column in zip(axes, ("seconds", "megabytes"), strict=True):
        for (step, of), curve in table.groupby(["step", "of"], sort=False):
            axis.plot(curve["size"], curve[column], marker="o", label=f"{step}, by {of}")
        axis.set(xscale="log", yscale="log", xlabel="size", ylabel=column)
        axis.grid(alpha=0.3)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
