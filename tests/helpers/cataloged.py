"""A few small pictures with their catalog, and step `preprocess` run on them."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from siamese.params import IMAGE_SHAPE, PreprocessParams
from siamese.preprocessing import preprocess

MAX_PIXELS = 10**6
SPLITS = ["train", "train", "test", "train", "validation"]


def params(
    *, standardise: bool = False, per_shard: int | str = 5, runner: str = "DirectRunner", **options: Any
) -> PreprocessParams:
    return PreprocessParams.model_validate(
        {
            "crop": 1,
            "standardise": standardise,
            "images_per_shard": per_shard,
            "runner": runner,
            "runner_options": options,
        }
    )


def picture(seed: int, size: tuple[int, int] = (160, 120), file_format: str = "JPEG", mode: str = "RGB") -> bytes:
    """A smooth random picture: a few random colours, enlarged. So light that six fill a sum of 32 bits."""
    colours = np.random.default_rng(seed).integers(128, 256, size=(6, 8, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).convert(mode).save(file, file_format)
    return file.getvalue()


def catalog_of(folder: Path, files: dict[str, tuple[bytes, str]]) -> Path:
    """Writes the files (name to bytes and split) and a catalog of them."""
    rows = []
    for name, (data, split) in files.items():
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_bytes(data)
        with Image.open(folder / "data" / name) as image:
            rows.append((hashlib.sha256(data).hexdigest(), name, split, *image.size))
    pd.DataFrame(rows, columns=["image_id", "path", "split", "width", "height"]).to_parquet(folder / "catalog.parquet")
    return folder


def run(folder: Path, wanted: PreprocessParams, out: str = "out") -> Path:
    preprocess.run(
        folder / "data",
        folder / "catalog.parquet",
        folder / out / "images",
        folder / out / "transform",
        wanted,
        "specification",
        MAX_PIXELS,
    )
    return folder / out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def some_files() -> dict[str, tuple[bytes, str]]:
    files = {f"a/{seed}.jpg": (picture(seed), SPLITS[seed % 5]) for seed in range(8)}
    files["b/exact size.png"] = (picture(20, IMAGE_SHAPE[:2], "PNG"), "train")
    files["b/grey ü.PNG"] = (picture(21, (90, 250), "PNG", "L"), "test")
    files["b/palette.bmp"] = (picture(22, (64, 64), "BMP", "P"), "train")
    return files
