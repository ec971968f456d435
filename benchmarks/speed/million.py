"""One probe against a million embeddings: candidates by a byte a unit and exact scores, beside scanning them all.

    make bench-long
    python -m benchmarks.speed.million --run FOLDER        a folder in which the pipeline has run, with a trained model

The embeddings are real ones and perturbed copies of them: each copy is moved by the difference of two images of one
identity, as another picture of the same thing would move it, never by noise in all directions, which an index of few
units would find too easy. Probes are copies of embeddings of the gallery, moved likewise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.speed.machine import own_memory
from siamese.identification.search import Coarse, best, scores
from siamese.models.scoring import Head
from siamese.models.verifier import Verifier
from siamese.preprocessing.pixel_store import StoredImages

GALLERY = 1_000_000
PROBES = 200
MOVED = 0.5  # of the difference of two images of one identity
UNITS, CANDIDATES = 2048, 1000
BLOCK = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a folder in which the pipeline has run")
    parser.add_argument("--gallery", type=int, default=GALLERY)
    parser.add_argument("--units", type=int, nargs="+", default=[UNITS])
    given = parser.parse_args()
    head, real, differences = embedded(given.run / "artifacts")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=given.run) as place:
        gallery = filled(Path(place) / "gallery.npy", given.gallery, real, differences, rng)
        rows = rng.choice(given.gallery, PROBES, replace=False)
        probes = perturbed(gallery[np.sort(rows)].astype(np.float32), differences, rng)
        about = {
            "gallery": given.gallery,
            "real": len(real),
            "intrinsic_dimension": dimension(gallery[np.sort(rng.choice(given.gallery, 5000, replace=False))]),
            "file_gb": round(gallery.nbytes / 1e9, 1),
        }
        right = exact_best(head, gallery, probes)
        found = [measured(head, gallery, probes, units, Path(place) / "codes.npy", right) for units in given.units]
        print(json.dumps(about | scanned(head, gallery, probes) | {"found": found}, indent=1))


def embedded(made: Path) -> tuple[Head, np.ndarray, np.ndarray]:
    """The head, embeddings of all images, float32 [images, units], and differences within identities, [n, units]."""
    verifier = Verifier.load(made / "model")
    catalog = pd.read_parquet(made / "catalog.parquet")
    images = StoredImages(made / "images")
    ids = catalog.image_id.tolist()
    parts = [verifier.embed(images.pixels(ids[start : start + 64])) for start in range(0, len(ids), 64)]
    real = np.concatenate(parts)
    differences = []
    for rows in catalog.reset_index(drop=True).groupby("identity").indices.values():
        differences += [real[a] - real[b] for a, b in pairwise(rows)]
    return Head(*verifier.head()), real, np.stack(differences)


def perturbed(embeddings: np.ndarray, differences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each moved by half a difference, taken at random, forwards or backwards: float32 [n, units]."""
    moves = differences[rng.integers(len(differences), size=len(embeddings))]
    signs = rng.choice([-MOVED, MOVED], size=(len(embeddings), 1)).astype(np.float32)
    return np.clip(embeddings + signs * moves, 0, 1)


def filled(file: Path, size: int, real: np.ndarray, differences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The gallery, float16 [size, units], mapped from `file`."""
    made = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(size, real.shape[1]))
    for start in range(0, size, BLOCK):
        part = real[np.arange(start, min(start + BLOCK, size)) % len(real)]
        # Twice, so that copies of one embedding differ in more than one direction.
        made[start : start + BLOCK] = perturbed(perturbed(part, differences, rng), differences, rng)
    made.flush()
    mapped: np.ndarray = np.load(file, mmap_mode="r")
    return mapped


def dimension(embeddings: np.ndarray) -> float:
    """The two-nearest-neighbours estimate of the intrinsic dimension (Facco et al. 2017)."""
    from scipy.spatial.distance import cdist

    apart = np.partition(cdist(embeddings.astype(np.float32), embeddings.astype(np.float32)), 2, axis=1)
    nearest, second = np.sort(apart[:, :3], axis=1)[:, 1:].T
    ratio = second / nearest
    return round(float(len(ratio) / np.log(ratio).sum()), 1)


def measured(
    head: Head, gallery: np.ndarray, probes: np.ndarray, units: int, file: Path, right: np.ndarray
) -> dict[str, Any]:
    """Time, recall and memory of the search by `units` units, whose codes are mapped from `file`."""
    began = time.perf_counter()
    codes = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(len(gallery), units))
    coarse = Coarse.of(head, gallery, units, codes)
    built = time.perf_counter() - began
    times, first = [], []
    for probe in probes:
        began = time.perf_counter()
        rows, _ = best(head, probe, gallery, 1, coarse, CANDIDATES)
        times.append(time.perf_counter() - began)
        first.append(int(rows[0]))
    held = own_memory("RssAnon")
    return {
        "units": units,
        "candidates": CANDIDATES,
        "built_s": round(built, 1),
        "p50_ms": round(float(np.median(times)) * 1e3, 1),
        "p99_ms": round(float(np.quantile(times, 0.99)) * 1e3, 1),
        "recall_at_1": float(np.mean(np.array(first) == right)),
        "own_memory_gb": round(held / 1e9, 2),
    }


def exact_best(head: Head, gallery: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """The row of the highest exact score of each probe: int64 [probes]."""
    highest, rows = np.full(len(probes), -np.inf, np.float32), np.zeros(len(probes), np.int64)
    for start in range(0, len(gallery), BLOCK):
        found = scores(head, probes, gallery[start : start + BLOCK])
        here = found.max(axis=1)
        better = here > highest
        highest[better], rows[better] = here[better], start + found[better].argmax(axis=1)
    return rows


def scanned(head: Head, gallery: np.ndarray, probes: np.ndarray) -> dict[str, Any]:
    """Peers: all of it scanned exactly, in float32 (a quarter of it in memory, times four), and faiss."""
    quarter = np.asarray(gallery[: len(gallery) // 4], np.float32)
    times = []
    for probe in probes[:7]:
        began = time.perf_counter()
        scores(head, probe[None], quarter)
        times.append(time.perf_counter() - began)
    return {"float32_scan_ms": round(4 * float(np.median(times)) * 1e3), **indexed(head, quarter, probes)}


def indexed(head: Head, quarter: np.ndarray, probes: np.ndarray) -> dict[str, Any]:
    """faiss's scan of the same quarter, times four; its L1 distance takes no negative weights, which are left out."""
    try:
        import faiss  # type: ignore[import-untyped]
    except ImportError:
        return {}
    weights = np.maximum(-head.weights, 0)
    index = faiss.IndexFlat(quarter.shape[1], faiss.METRIC_L1)
    index.add(quarter * weights)
    times = []
    for probe in probes[:3]:
        began = time.perf_counter()
        index.search((probe * weights)[None], 1)
        times.append(time.perf_counter() - began)
    return {"faiss_flat_l1_ms": round(4 * float(np.median(times)) * 1e3)}


if __name__ == "__main__":
    main()
