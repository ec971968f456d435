"""A small world to evaluate in: images of a few identities, stored as by `preprocess`, and stand-ins for a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from siamese.models import trained_on
from siamese.models.scoring import Scorer
from siamese.params import EvaluateParams
from siamese.preprocessing import records

PARAMS = EvaluateParams(threshold="eer", bootstrap=100, one_shot_trials=50, seed=0)
IMAGES = 3  # of each identity
IDENTITIES = {"train": 3, "validation": 4, "test": 6}
MANY_IDENTITIES = {"train": 2, "validation": 8, "test": 21}  # enough for 20-way trials and a TAR at FAR 0.01
HISTORY = """\
epoch,loss,precision,accuracy,auc,eer,learning_rate,images_per_second
1,0.7,,0.5,0.5,0.5,0.0001,30.1
2,0.4,0.9,0.8,0.9,0.2,0.0001,30.3
"""


@dataclass(frozen=True)
class World:
    """Catalog and pairs as tables, and the pixels of every image."""

    catalog: pd.DataFrame
    pairs: pd.DataFrame
    drawn: dict[str, np.ndarray]

    def pixels(self, image_ids) -> np.ndarray:
        return np.stack([self.drawn[image_id] for image_id in image_ids])


class Means:
    """Embeds an image as the means of its 100 tiles; the score falls with their distance. Counts what it embeds."""

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (100, 100, 3)
        self.embedded += len(pixels)
        return pixels.reshape(-1, 10, 10, 10, 10, 3).mean(axis=(2, 4, 5)).reshape(len(pixels), -1).astype(np.float32)

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.exp(-np.abs(anchors - others).mean(axis=1) / 40).astype(np.float32)


class Constant(Means):
    """Gives every pair the same score."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.full(len(anchors), self.value, np.float32)


class Oracle(Means):
    """Reads the identity that `world(marked=True)` writes into the first tile: 1 for the same, 0 for different."""

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (np.abs(anchors[:, 0] - others[:, 0]) < 0.5).astype(np.float32)


def world(
    *,
    roles: bool = False,
    names: str = "who-{}",
    marked: bool = False,
    identities: Mapping[str, int] = IDENTITIES,
) -> World:
    """Identities that differ by a coarse pattern, images that differ by noise.

    Args:
        roles: role folders instead of identity folders: one target, and images of unknown identity.
        names: of the identities, with a place for a number.
        marked: write each identity's number, up to 31, into the first tile, in flat grey.
        identities: how many each split has.
    """
    rng = np.random.default_rng(0)
    rows, drawn = [], {}
    number = 0
    for split, count in identities.items():
        for _ in range(count):
            pattern = np.kron(rng.uniform(60, 195, (10, 10)), np.ones((10, 10)))
            for image in range(IMAGES):
                noisy = (
                    pattern + 90 * np.kron(rng.normal(size=(10, 10)), np.ones((10, 10))) + rng.normal(size=(100, 100))
                )
                pixels = np.repeat(noisy.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
                if marked:
                    pixels[:10, :10] = 8 * number
                image_id = hashlib.sha256(f"{number} {image}".encode()).hexdigest()
                rows.append((image_id, names.format(number), None, split))
                drawn[image_id] = pixels
            number += 1
    catalog = pd.DataFrame(rows, columns=["image_id", "identity", "role", "split"])
    if roles:
        first = catalog.groupby("split").identity.transform("first") == catalog.identity
        catalog["role"] = np.where(first, "anchor", "negative")
        catalog["identity"] = np.where(first, "target", None)
    return World(catalog, every_pair(catalog), drawn)


def every_pair(catalog: pd.DataFrame) -> pd.DataFrame:
    """All pairs of each split whose truth is known."""
    rows = [
        (a.image_id, b.image_id, int(a.identity == b.identity), split)
        for split, images in catalog.groupby("split")
        for a, b in combinations(images.itertuples(), 2)
        if pd.notna(a.identity) or pd.notna(b.identity)
    ]
    return pd.DataFrame(rows, columns=["anchor_id", "other_id", "label", "split"])


@dataclass(frozen=True)
class Files:
    """Where `run` reads and writes, under one folder."""

    folder: Path

    def arguments(self) -> dict[str, Path]:
        names = {
            "catalog_file": "catalog.parquet",
            "pairs_file": "pairs.parquet",
            "images_folder": "images",
            "model_folder": "model",
            "history_file": "history.csv",
            "metrics_file": "metrics.json",
            "plots_folder": "plots",
            "report_file": "report.html",
            "threshold_file": "threshold.json",
        }
        return {argument: self.folder / name for argument, name in names.items()}


def write(folder: Path, made: World) -> Files:
    """The world as files of the earlier steps; of the model's folder, only what it was trained on."""
    made.catalog.to_parquet(folder / "catalog.parquet")
    made.pairs.to_parquet(folder / "pairs.parquet")
    (folder / "history.csv").write_text(HISTORY)
    (folder / "model").mkdir(exist_ok=True)
    trained_on.write(folder / "model", trained_on.of_catalog(made.catalog))
    (folder / "images").mkdir(exist_ok=True)
    ids = sorted(made.drawn)
    records.to_records(ids, made.pixels(ids)).tofile(folder / "images" / records.file_name(0, 1))
    return Files(folder)


def network(monkeypatch, scorer: Scorer) -> None:
    """Puts `scorer` in the place of the trained network."""
    monkeypatch.setattr("siamese.models.verifier.Verifier.load", lambda folder: scorer)
