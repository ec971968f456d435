"""Where the benchmarks work: one small run of the pipeline, which they share, and pictures of a camera's size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIAMESE = str(Path(sys.executable).with_name("siamese"))
SETTINGS = (
    "train.epochs=1",
    "train.checkpoint_every=1000",
    "train.checkpoint_minutes=0",
    "tracking.checkpoints=none",
)


def siamese(folder: Path, *arguments: str, settings: tuple[str, ...] = ()) -> None:
    """Runs a command of `siamese` in `folder`."""
    options = [part for setting in (*SETTINGS, *settings) for part in ("-S", setting)]
    done = subprocess.run([SIAMESE, *arguments, *options], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"siamese {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")


def small_run(folder: Path) -> Path:
    """The built-in sample through all steps, with one epoch."""
    folder.mkdir()
    for step in ("sample", "catalog", "pairs", "preprocess", "train", "evaluate"):
        siamese(folder, step)
    return folder


def pictures(folder: Path, count: int, identities: int = 100, side: int = 250, seed: int = 0) -> Path:
    """`count` JPEG files of side x side pixels with the detail of photographs, in folders by identity.

    Their energy falls with frequency as a photograph's does (its square, Field 1987), so that decoding them costs what
    decoding photographs costs. No two files are equal.
    """
    rng = np.random.default_rng(seed)
    bases = [_scene(rng, 2 * side) for _ in range(32)]
    for number in range(count):
        base = bases[number % len(bases)]
        top, left = rng.integers(side, size=2)
        picture = base[top : top + side, left : left + side].astype(np.int16) + rng.integers(-20, 20)
        picture[:2, :2] = rng.integers(256, size=(2, 2, 3))
        file = folder / f"{number % identities:03}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(file, quality=90)
    return folder


def _scene(rng: np.random.Generator, side: int) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1
    grey = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency) for _ in range(3)]
    mixed = np.stack([grey[0] + 0.3 * one for one in grey], axis=-1)  # colours of a photograph are much alike
    return np.clip(128 + 50 * mixed / mixed.std(), 0, 255).astype(np.uint8)
