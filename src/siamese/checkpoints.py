"""Checkpoints of training: working files that outlive a killed process, found again by the same run and no other.

A checkpoint is a folder `epoch-0010-step-000000` with `last.npz` (weights and optimizer), `best.npz` (the best weights
so far, where they aren't the last ones) and `state.json` (where training stands, and the SHA-256 of both files). It's
written beside its place and renamed, so that a process killed while writing leaves the one before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from siamese.errors import InputError
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


def key_of(contents: Sequence[Path], settings: dict[str, Any]) -> str:
    """The name of a run: a hash of the contents of files and folders, and of settings that JSON can hold."""

    def parts() -> Iterator[bytes]:
        for place in contents:
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if file.is_file():
                    yield bytes.fromhex(_sha256(file))
        yield json.dumps(settings, sort_keys=True).encode()

    return digest(parts())[:16]


class Checkpoints:
    """The checkpoints of one run, in `folder`/`key`."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other process from the same run: two would remove each other's checkpoints.

        Raises:
            InputError: another process has it, or the folder can't be written.
        """
        lock = self.folder.with_name(f"{self.folder.name}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = lock.open("a+")
        except OSError as error:
            raise InputError(f"{lock.parent}: can't be written ({error.strerror}): name another folder") from None
        with held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.seek(0)
                raise InputError(
                    f"process {held.read().strip() or 'elsewhere'} is training the same at this moment: "
                    "wait for its end, or stop it and run again to continue"
                ) from None
            held.truncate(0)
            held.write(f"{os.getpid()}\n")
            held.flush()
            yield

    def size(self) -> int:
        """How much the checkpoints take: bytes."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def of_other_runs(self) -> tuple[int, int]:
        """How many other runs have left checkpoints here, and how many bytes they take."""
        others = [place for place in self.folder.parent.glob("*") if place.is_dir() and place != self.folder]
        return len(others), sum(Checkpoints(place.parent, place.name).size() for place in others)

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
        with whole_folder(place, own=["last.npz", "best.npz", "state.json"]) as beside:
            sums = {"last.npz": _write(beside / "last.npz", last)}
            if best is not None:
                sums["best.npz"] = _write(beside / "best.npz", best)
            content = {"state": asdict(state), "sha256": sums}
            (beside / "state.json").write_text(json.dumps(content, indent=2) + "\n")
        for older in self._newest_first()[KEPT:]:
            shutil.rmtree(older, ignore_errors=True)

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
        return sorted(
            self.folder.glob("epoch-*"),
            key=lambda place: [int(part) for part in place.name.split("-")[1::2]],
            reverse=True,
        )


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
