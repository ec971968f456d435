"""Checkpoints of training: working files that outlive a killed process, found again by the same run and no other.

A checkpoint is a folder `epoch-0010-step-00000` with `last.npz` (weights and optimizer), `best.npz` (the best weights
so far, where they aren't the last ones) and `state.json` (where training stands, and the SHA-256 of both files). It's
written beside its place and renamed, so that a process killed while writing leaves the one before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from siamese.files import digest, whole_folder
from siamese.progress import say

KEPT = 2  # the newest, and the one before in case the newest is damaged


@dataclass
class State:
    """Where training stands: `epoch` epochs are complete, and `step` steps of the next one.

    `loss_sum`: over those steps. `history`: a row an epoch. `best_epoch`: 0 before the first; `best_quality`: its
    measure.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_quality: list[float] = field(default_factory=list)


def key_of(files: Sequence[Path], settings: dict[str, Any]) -> str:
    """The name of a run: a hash of its input files' contents, its parameters and its network."""

    def contents() -> Any:
        for folder in files:
            for file in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
                if file.is_file():
                    with file.open("rb") as opened:
                        yield hashlib.file_digest(opened, "sha256").digest()
        yield json.dumps(settings, sort_keys=True).encode()

    return digest(contents())[:16]


class Checkpoints:
    """The checkpoints of one run, in `folder`/`key`."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key

    def save(self, state: State, last: Sequence[np.ndarray], best: Sequence[np.ndarray] | None) -> None:
        """Writes a checkpoint, then removes all but the newest two.

        Args:
            state: where training stands.
            last: weights and optimizer variables.
            best: the best epoch's weights; None where they are among `last`.

        Raises:
            InputError: the disk is full or not writable; the checkpoints before stay.
        """
        place = self.folder / f"epoch-{state.epoch:04d}-step-{state.step:06d}"
        with whole_folder(place) as beside:
            sums = {"last.npz": _write(beside / "last.npz", last)}
            if best is not None:
                sums["best.npz"] = _write(beside / "best.npz", best)
            content = {"state": asdict(state), "sha256": sums}
            (beside / "state.json").write_text(json.dumps(content, indent=2) + "\n")
        for older in self._newest_first()[KEPT:]:
            shutil.rmtree(older)

    def newest(self) -> tuple[State, list[np.ndarray], list[np.ndarray] | None] | None:
        """The newest undamaged checkpoint as it was given to `save`; None where there is none. A damaged one is
        named."""
        for place in self._newest_first():
            try:
                return _read(place)
            except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
                say(f"checkpoint {place} is damaged ({error}): taking the one before")
        return None

    def prune(self) -> None:
        """Removes this run's checkpoints, when its model is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"), reverse=True)


def _write(file: Path, arrays: Sequence[np.ndarray]) -> str:
    np.savez(file, *arrays)
    return _sha256(file)


def _read(place: Path) -> tuple[State, list[np.ndarray], list[np.ndarray] | None]:
    content = json.loads((place / "state.json").read_text())
    groups: dict[str, list[np.ndarray]] = {}
    for name, expected in content["sha256"].items():
        if _sha256(place / name) != expected:
            raise ValueError(f"{name} isn't what was written")
        with np.load(place / name) as arrays:
            groups[name] = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    return State(**content["state"]), groups["last.npz"], groups.get("best.npz")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
