"""Checkpoints of training: working files that outlive a killed process, found again by the same run and no other.

A checkpoint is a folder `epoch-0010-step-000000` with `last.npz` (weights and optimizer), `best.npz` (the best weights
so far, where they aren't the last ones) and `state.json`: whose it is, where training stands, the SHA-256 of both
files, and a digest of all this. It's written beside its place and renamed, so that a process killed while writing
leaves the one before.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from siamese.config import flatten
from siamese.console import log
from siamese.errors import InputError
from siamese.storage.files import atomic_folder, digest, sha256

KEPT = 2  # the newest, and the one before in case the newest is damaged

_STATE = "state.json"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)
_NAMED = 4  # differences between two runs that a message names

Arrays = list[np.ndarray]
Shapes = Mapping[str, Sequence[tuple[int, ...]]]


@dataclass
class TrainingState:
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


@dataclass(frozen=True)
class Origin:
    """What a run is made of: `inputs`, by name a digest of their content, and `settings`, nested or not, that JSON can
    hold. Runs of equal origin end equal."""

    inputs: Mapping[str, str]
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The run's name: 16 hexadecimal digits."""
        return _digest_of(asdict(self))[:16]

    def differences(self, here: Origin) -> str:
        """In what a run differs from the one here, in words; "" where in nothing."""
        inputs = [name for name in {**self.inputs, **here.inputs} if self.inputs.get(name) != here.inputs.get(name)]
        theirs, ours = (
            {name: json.dumps(value) for name, value in flatten(origin.settings)} for origin in (self, here)
        )
        settings = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        told = [f"{name} is {theirs.get(name, 'not set')} there, {ours.get(name, 'not set')} here" for name in settings]
        told += [f"other {', '.join(inputs)}"] if inputs else []
        return "; ".join(told if len(told) <= _NAMED else [*told[:_NAMED], f"{len(told) - _NAMED} more"])


class Checkpoints:
    """The checkpoints of one run, in a folder of its own in `folder`."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.folder = folder / origin.key
        self.origin = origin
        self._named: list[Path] = []  # what `begin_at` asks for
        self._damaged: set[Path] = set()  # of this run's own, as `newest` found them

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
            with suppress(OSError):  # on a full disk a second process won't know this one's number
                os.write(held.fileno(), f"{os.getpid()}\n".encode())
            yield

    def size(self) -> int:
        """How much the checkpoints take: bytes."""
        return _size(self.folder)

    def of_other_runs(self) -> tuple[int, int]:
        """How many other runs have left checkpoints here, and how many bytes they take."""
        others = [place for place in self.folder.parent.glob("*") if place.is_dir() and place != self.folder]
        return len(others), sum(map(_size, others))

    def save(self, state: TrainingState, last: Sequence[np.ndarray], best: Sequence[np.ndarray] | None) -> None:
        """Writes a checkpoint, then removes all others but the newest undamaged one.

        Args:
            state: where training stands.
            last: weights and optimizer variables.
            best: the best epoch's weights; None where they are among `last`.

        Raises:
            InputError: the disk is full or not writable; the checkpoints before stay.
        """
        place = self.folder / f"epoch-{state.epoch:04d}-step-{state.step:06d}"
        self._clear_leftovers()
        with atomic_folder(place, own=["last.npz", "best.npz", _STATE]) as beside:
            sums = {"last.npz": _write(beside / "last.npz", last)}
            if best is not None:
                sums["best.npz"] = _write(beside / "best.npz", best)
            content: dict[str, Any] = {"origin": asdict(self.origin), "state": asdict(state), "sha256": sums}
            content["digest"] = _digest_of(content)
            (beside / _STATE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        self._damaged.discard(place)
        others = [other for other in newest_first(self.folder) if other != place and other not in self._damaged]
        for needless in (*self._damaged, *others[KEPT - 1 :]):
            _remove(needless)

    def begin_at(self, path: Path) -> None:
        """Lets `newest` take `path`: a checkpoint, or a folder of one run's checkpoints.

        Raises:
            InputError: it is neither, is damaged, or another run's.
        """
        one = (path / _STATE).exists() or bool(_numbers(path) and path.is_dir())
        places = [path] if one else newest_first(path)
        if not places:
            raise InputError(
                f"{path} is no checkpoint: name a folder as epoch-0010-step-000000, or one that holds such"
            )
        reasons = []
        for place in places:
            try:
                _, differences = self._verified(place)
            except _DAMAGE as error:
                reasons.append(_in_words(error))
                continue
            if differences:
                raise InputError(
                    f"{place} is another run's ({differences}): "
                    "give the parameters and inputs it was made with, or train without --resume"
                )
        if len(reasons) == len(places):
            raise InputError(
                f"{places[0]} is damaged ({reasons[0]}): name another checkpoint, or train without --resume"
            )
        self._named = places

    def newest(self, shapes: Shapes) -> tuple[TrainingState, Arrays, Arrays | None] | None:
        """The newest undamaged checkpoint, as it was given to `save`; None where there is none.

        One that is damaged, or another run's, is named and not taken.

        Args:
            shapes: of the arrays that `last` and `best` must hold.

        Raises:
            InputError: none of those that `begin_at` named can be taken.
        """
        places = self._named or newest_first(self.folder)
        for place in places:
            try:
                content, differences = self._verified(place)
                if not differences:
                    return _read(place, content, shapes)
                log(f"checkpoint {place} is another run's ({differences}): not taken")
            except _DAMAGE as error:
                if not self._named:
                    self._damaged.add(place)
                log(f"checkpoint {place} is damaged ({_in_words(error)}): not taken")
        if self._named:
            raise InputError(f"{places[0]} can't be taken: name another checkpoint, or train without --resume")
        return None

    def prune(self) -> None:
        """Removes this run's checkpoints, when its model is written."""
        for place in reversed(newest_first(self.folder)):
            _remove(place)
        self._clear_leftovers()
        with suppress(OSError):  # not there, or it holds what isn't a checkpoint
            self.folder.rmdir()

    def _clear_leftovers(self) -> None:
        """Removes what killed processes left half written: `locked` lets no living one write here."""
        for leftover in self.folder.glob(".epoch-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _verified(self, place: Path) -> tuple[dict[str, Any], str]:
        """What `state.json` holds, once it and the files beside it are what was written; and `Origin.differences`."""
        content = json.loads((place / _STATE).read_text(encoding="utf-8"))
        if content.pop("digest") != _digest_of(content):
            raise ValueError(f"{_STATE} isn't what was written")
        for name, expected in content["sha256"].items():
            if sha256(place / name) != expected:
                raise ValueError(f"{name} isn't what was written")
        return content, Origin(**content["origin"]).differences(self.origin)


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in the folder of a run."""
    return sorted(filter(_numbers, folder.glob("epoch-*")), key=_numbers, reverse=True)


def _numbers(place: Path) -> list[int]:
    found = re.fullmatch(r"epoch-(\d+)-step-(\d+)", place.name)
    return [int(part) for part in found.groups()] if found else []


def _remove(place: Path) -> None:
    """Renames it first, so that a process killed meanwhile leaves no checkpoint that looks damaged."""
    aside = place.with_name(f".{place.name}.unneeded")
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        place.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _size(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another run may remove it at this moment
                size += Path(parent, name).stat().st_size
    return size


def _write(file: Path, arrays: Sequence[np.ndarray]) -> str:
    np.savez(file, *arrays)
    return sha256(file)


def _read(place: Path, content: Mapping[str, Any], shapes: Shapes) -> tuple[TrainingState, Arrays, Arrays | None]:
    groups: dict[str, Arrays] = {}
    for name in content["sha256"]:
        group = name.removesuffix(".npz")
        with np.load(place / name) as arrays:
            groups[group] = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
        if [array.shape for array in groups[group]] != list(shapes[group]):
            raise ValueError(f"{name} holds other arrays than this network has")
    return TrainingState(**content["state"]), groups["last"], groups.get("best")


def _digest_of(content: Any) -> str:
    return digest([json.dumps(content, sort_keys=True).encode()])


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}"
    if isinstance(error, json.JSONDecodeError):
        return f"{_STATE} is no JSON"
    return f"{_STATE} lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())


def _check_disk(parameters: int, checkpoints: Checkpoints, model_folder: Path) -> None:
    # Weights take 4 bytes each. A checkpoint holds them with Adam's two moments and the best ones, 16 bytes; two are
    # kept while a third is written. The model folder holds the weights twice.
    for folder, name, need in (
        (checkpoints.folder.parent, "checkpoints", 3 * 16 * parameters - checkpoints.size()),
        (model_folder, "the model", 8 * parameters),
    ):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        log(f"disk: {name} may take {_bytes(need)} more in {folder}, {_bytes(free)} are free")
        if need > free:
            raise InputError(f"{folder}: {name} may take {_bytes(need)}, only {_bytes(free)} are free: make room")
    others, taken = checkpoints.of_other_runs()
    if others:
        log(f"disk: {others} other runs left {_bytes(taken)} of checkpoints there: delete what you don't need")


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
