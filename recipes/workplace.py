"""Where a recipe runs: a copy of the repository for each training, with parameters of its own.

The pipeline is the repository's, run by `dvc repro` as anywhere else; the checkout and its params.yaml stay as they
are. A recipe that is run again trains nothing twice: DVC knows what has changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from recipes.picture import roc
from siamese import config
from siamese.errors import InputError
from siamese.storage.files import atomic_file, sha256, write_json

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
UNFINISHED = "unfinished"  # in seconds.json, of a training that was interrupted
OWN_NAME = ("-c", "user.name=siamese", "-c", "user.email=siamese@localhost")  # of commits that no branch gets


class Workplace:
    """The folder where a recipe runs: its data in `data`, each training in a folder beside."""

    def __init__(
        self, recipe: str, folder: Path, source: Sequence[Path], seeds: Sequence[int], settings: Sequence[str]
    ) -> None:
        """
        Args:
            recipe: its name.
            folder: made where it isn't there.
            source: archives or folders that hold the published data; none: they are downloaded.
            seeds: of trainings, each in turn.
            settings: `key=value`, over the recipe's own parameters.
        """
        self.name = recipe
        self.recipe_folder = ROOT / "recipes" / recipe
        self.folder = folder.absolute()
        self.source, self.seeds, self.settings = source, list(seeds), list(settings)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: no folder can be made there ({error.strerror}): name another one") from None

    def fetch(self, name: str) -> Path:
        """The published data set, laid out by `siamese fetch`."""
        data = self.folder / "data" / name
        options = [part for one in self.source for part in ("--from", one.absolute())]
        call("siamese", "fetch", name, "--to", data, *options, cwd=self.folder)
        return data

    def trained(self, run: str, data: Path, seed: int, **settings: Any) -> Run:
        """The whole pipeline on a folder of images.

        Args:
            run: a name for the training, within the recipe; the seed is added to it.
            data: the folder of images.
            settings: parameters that this run has for itself, `__` for each dot: `catalog__splits="…"`.
        """
        folder = self.folder / f"{run}-seed-{seed}"
        copy_repository(folder)
        own = [f"{name.replace('__', '.')}={value}" for name, value in settings.items()]
        self._write_params(folder, [f"data.path={data}", f"train.seed={seed}", *own, *self.settings])
        say(f"{self.name}: {folder}")
        call("dvc", "repro", "--quiet", "preprocess", "pairs", cwd=folder)
        with timed(folder):
            call("dvc", "repro", "--quiet", "train", cwd=folder)
        call("dvc", "repro", "--quiet", cwd=folder)
        picture = roc((folder / "report.html").read_text(encoding="utf-8"))
        with atomic_file(folder / "roc.svg") as drawn:
            drawn.write_text(picture, encoding="utf-8")
        return Run(folder, data, seed, seconds_of(folder))

    def _write_params(self, folder: Path, settings: Sequence[str]) -> None:
        given = YAML(typ="safe").load(self.recipe_folder / "params.yaml") or {}
        defaults = YAML(typ="safe").load(ROOT / "params.yaml")
        with atomic_file(folder / "params.yaml") as beside:
            with beside.open("w", encoding="utf-8") as file:
                YAML().dump(config.deep_merge(defaults, given), file)
            checked = config.load_params(beside, settings)  # fails now if something is wrong
            beside.write_text(config.to_yaml(checked), encoding="utf-8")

    def write(self, results: Sequence[dict[str, Any]], *lines: str) -> None:
        """Writes `results.json`, and prints what came of it."""
        write_json(self.folder / "results.json", {"recipe": self.name, "runs": list(results), "summary": list(lines)})
        print("\n".join(lines))


@dataclass(frozen=True)
class Run:
    """A training that is done: its copy of the repository, its data, its seed, and how many seconds `train` took, if
    that is known."""

    folder: Path
    data: Path
    seed: int
    seconds: int | None

    @property
    def time(self) -> str:
        return "trained before" if self.seconds is None else f"trained in {self.seconds} s"

    def trials(self, listed: str, *options: str | Path) -> dict[str, Any]:
        """The figures of `siamese trials` on a list of the data's `protocol` folder."""
        figures = self.folder / f"{listed}.json"
        list_file = self.data / f"protocol/{listed}.csv"
        call("siamese", "trials", list_file, "--data", self.data, "--output", figures, *options, cwd=self.folder)
        found: dict[str, Any] = json.loads(figures.read_text())
        return found


def copy_repository(folder: Path) -> None:
    """Makes `folder` a clone of the repository as it is now, changes that aren't committed included; what a pipeline
    has made there before stays.

    Raises:
        InputError: git can't.
    """
    now = git("-C", ROOT, *OWN_NAME, "stash", "create") or git("-C", ROOT, "rev-parse", "HEAD")
    if not (folder / ".git").exists():
        git("clone", "--quiet", "--no-checkout", ROOT, folder)
    lock = folder / "dvc.lock"
    known = lock.read_bytes() if lock.exists() else None
    git("-C", folder, "fetch", "--quiet", ROOT, now)
    git("-C", folder, "checkout", "--quiet", "--force", "--detach", now)
    if known is not None:
        with atomic_file(lock) as beside:
            beside.write_bytes(known)


@contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Adds a training's seconds to `seconds.json`, under the SHA-256 of the history that it wrote: that is the same
    where DVC brings the training back. What a training took until it was interrupted is added to what it takes then."""
    file = folder / "seconds.json"
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    before = _history(folder)
    began = time.monotonic() - known.pop(UNFINISHED, 0)
    done = UNFINISHED
    try:
        yield
        done = _history(folder)
    finally:
        if done != before and done not in known:
            write_json(file, {**known, done: round(time.monotonic() - began)})


def seconds_of(folder: Path) -> int | None:
    """How long the training took whose history lies there; None where nobody measured it."""
    file = folder / "seconds.json"
    found: int | None = json.loads(file.read_text()).get(_history(folder)) if file.exists() else None
    return found


def _history(folder: Path) -> str:
    file = folder / "artifacts/history.csv"
    return sha256(file) if file.exists() else ""


def git(*arguments: str | Path) -> str:
    done = subprocess.run(["git", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"git {' '.join(map(str, arguments))}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def call(command: str, *arguments: str | Path, cwd: Path) -> None:
    """Runs a command of this environment; what it says goes to the terminal.

    Raises:
        InputError: it fails.
    """
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    running = subprocess.Popen([BIN / command, *map(str, arguments)], cwd=cwd, env=environment)
    try:
        code = running.wait()
    except KeyboardInterrupt:  # the command heard it, too, and may be writing a checkpoint
        running.wait()
        raise
    if code:
        raise InputError(f"{cwd}: `{command} {' '.join(map(str, arguments))}` ended with {code}, see above")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def percent(found: Mapping[str, Any], metric: str) -> str:
    """A figure of `siamese trials`, with its interval where it has one."""
    ends = found["intervals"][metric]
    return f"{found[metric]:.1%}" + (f" ({ends[0]:.1%} to {ends[1]:.1%})" if ends else "")
