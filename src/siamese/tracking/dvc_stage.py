"""The DVC stage that runs this command: inputs that must not change meanwhile, and parameters of earlier stages.

DVC reads a stage's dependencies and parameters again when the command has ended, and writes what it then finds into
dvc.lock. After an edit in between, dvc.lock would name new inputs for a result of the old ones, and the next
`dvc repro` would find nothing to do. The command fails instead, and DVC records nothing. Without DVC, nothing is
checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.console import log
from siamese.errors import InputError
from siamese.storage.files import sha256
from siamese.storage.object_store import RemotePath, as_path, is_uri

if TYPE_CHECKING:
    from siamese.params import Params
    from siamese.training.checkpoints import Origin
    from siamese.training.train import TrainingCallbacks

STAGE = "DVC_STAGE"  # variable that DVC sets for a stage's command, such as train or data/dvc.yaml:sample
PIPELINES = (Path("dvc.yaml"), Path("data/dvc.yaml"))
LOCKS = tuple(file.with_suffix(".lock") for file in PIPELINES)
MOST_READ = 100_000_000  # bytes of a dependency whose content is compared: about 0.2 s; of a larger one, size and time

_PARAMS = "params.yaml"
_INTERPOLATED = re.compile(r"\$\{([^}]+)\}")
_NOT_SET = object()

Stat = tuple[int, int, int]  # size, time of the last change in ns, inode: what DVC, too, knows a file by


@dataclass(frozen=True)
class Seen:
    """A file at the beginning; `digest`: SHA-256 of its content, None where that wasn't read."""

    stat: Stat
    digest: str | None


class StageInputs:
    """What DVC will record for a stage, as it is when the stage's command begins."""

    def __init__(self, name: str, stage: Mapping[str, Any]) -> None:
        """Reads parameters first, then the dependencies.

        Args:
            name: of the stage.
            stage: its entry in dvc.yaml.

        Raises:
            InputError: `data.path` is not the one that DVC began with.
        """
        self._name = name
        self._keys = dict(_tracked_keys(stage.get("params", [])))
        self._edited = self._last_edit()
        self._values = _values(self._keys)
        dependencies = dict(_dependencies(stage.get("deps", [])))
        _require_known_to_dvc(dependencies)
        self._seen = {path: _look(path) for path in dependencies.values()}
        self._warned = ""

    def depends_on(self, path: Path) -> bool:
        """Whether DVC checks this file or folder before the stage."""
        return os.path.realpath(path) in map(os.path.realpath, self._seen)

    def change(self) -> str:
        """What has changed since the beginning, for a message; empty if nothing has."""
        what = self._changed_value() or self._changed_file()
        return f"{what} while stage {self._name} was running" if what else ""

    def require_unchanged(self, advice: str = "run `dvc repro` again") -> None:
        """Raises InputError if anything has changed since the beginning."""
        if change := self.change():
            raise InputError(f"{change}; {advice}")

    def warn(self, advice: str) -> None:
        """Prints a change once."""
        change = self.change()
        if change and change != self._warned:
            log(f"warning: {change}; {advice}")
        self._warned = change

    def _last_edit(self) -> list[Mapping[str, Stat]]:
        return [_files(file) for file in self._keys]

    def _changed_value(self) -> str:
        if self._edited == self._last_edit():
            return ""
        now = _values(self._keys)
        for file, key in self._values | now:
            before, after = (values.get((file, key), _NOT_SET) for values in (self._values, now))
            if before != after:
                return f"{file}: {key} was changed from {_shown(before)} to {_shown(after)}"
        return ""

    def _changed_file(self) -> str:
        for dependency, seen in self._seen.items():
            now = _files(dependency)
            for path in sorted(seen.keys() | now.keys()):
                if path not in seen:
                    return f"{path}: was added"
                if path not in now:
                    return f"{path}: was removed"
                digest = seen[path].digest
                if now[path] != seen[path].stat and (digest is None or digest != _digest(path)):
                    return f"{path}: was changed"
        return ""


_running: ContextVar[StageInputs | None] = ContextVar("running stage", default=None)


@contextmanager
def unchanged_inputs() -> Iterator[None]:
    """Fails at the end of a block that ends well if what DVC records for the running stage changed since its beginning.

    Raises:
        InputError: names what was changed.
    """
    inputs = _inputs_of_running_stage()
    token = _running.set(inputs)
    try:
        yield
        if inputs:
            inputs.require_unchanged()
    finally:
        _running.reset(token)


class WatchfulListener:
    """A listener of a training that reports changed inputs early: a warning after an epoch, an error before the
    checkpoints are removed, from which the training can then be finished."""

    def __init__(self, listener: TrainingCallbacks) -> None:
        self._listener = listener
        self._inputs = _running.get()

    def begun(self, origin: Origin, history: Sequence[Mapping[str, Any]]) -> None:
        """As `siamese.training.train.TrainingCallbacks`."""
        self._listener.begun(origin, history)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """As `siamese.training.train.TrainingCallbacks`."""
        self._listener.epoch(row)
        if self._inputs:
            self._inputs.warn("undo this before training ends, or the stage will fail")

    def ended(self, checkpoints: Path) -> None:
        """As `siamese.training.train.TrainingCallbacks`.

        Raises:
            InputError: names what was changed.
        """
        if self._inputs:
            self._inputs.require_unchanged("run `dvc repro` again; undo the edit first to finish this training")
        self._listener.ended(checkpoints)


def params_used(params: Params, made: Sequence[Path]) -> Params:
    """The parameters with the values that dvc.lock records for the stages that made some files.

    They stay as they are unless dvc.lock knows the content of every one of these files. What is in a folder is known
    only if the running stage depends on it, as DVC has then checked it.

    Raises:
        InputError: the running stage depends on one of the files, which is not what its stage wrote.
    """
    stages = [stage for lock in LOCKS for stage in stages_of(lock)]
    makers: list[Mapping[str, Any]] = []
    for path in made:
        maker = _maker(path, stages)
        if maker is None:
            return params
        _add_with_earlier(maker, stages, makers)
    values = params.model_dump()
    for maker in makers:
        for recorded in maker.get("params", {}).values():
            for key, value in recorded.items():
                *parents, last = key.split(".")
                section = values
                for parent in parents:
                    section = section.setdefault(parent, {})
                section[last] = value
    try:
        return type(params).model_validate(values)
    except ValueError:  # written by a release with other parameters
        return params


def stages_of(lock: Path) -> list[Mapping[str, Any]]:
    """The entries of a dvc.lock or dvc.yaml; none where it can't be read."""
    stages = yaml_of(lock).get("stages", {})
    return [stage for stage in stages.values() if isinstance(stage, Mapping)] if isinstance(stages, Mapping) else []


def yaml_of(file: Path) -> Mapping[str, Any]:
    """The mapping that a YAML file contains; empty where it can't be read or has no mapping."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _inputs_of_running_stage() -> StageInputs | None:
    name = os.environ.get(STAGE, "").rpartition(":")[2]
    for file in PIPELINES if name else ():
        stages = yaml_of(file).get("stages", {})
        stage = stages.get(name.partition("@")[0]) if isinstance(stages, Mapping) else None
        if isinstance(stage, Mapping):
            return StageInputs(name, stage.get("do", stage))
    return None


def _tracked_keys(entries: Iterable[Any]) -> Iterator[tuple[str, list[str]]]:
    """Each file of parameters with the keys that DVC records; no keys: all."""
    own = [entry for entry in entries if isinstance(entry, str)]
    if own:
        yield _PARAMS, own
    for entry in entries:
        if isinstance(entry, Mapping):
            yield from ((file, list(keys or [])) for file, keys in entry.items())


def _values(keys: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], Any]:
    """By file and dotted key the value of each parameter."""
    from siamese.config import flatten  # costs pydantic, which `siamese --help` does without

    values: dict[tuple[str, str], Any] = {}
    for file, names in keys.items():
        content = yaml_of(Path(file))
        for name in names or content:
            values |= {(file, key): value for key, value in flatten({name: _at(content, name)})}
    return values


def _at(content: Mapping[str, Any], key: str) -> Any:
    value: Any = content
    for part in key.split("."):
        value = value.get(part, _NOT_SET) if isinstance(value, Mapping) else _NOT_SET
    return value


def _shown(value: Any) -> str:
    return "not set" if value is _NOT_SET else json.dumps(value, default=str)


def _dependencies(entries: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Each dependency as dvc.yaml has it, with its path; without those that need more than params.yaml to resolve."""
    content = yaml_of(Path(_PARAMS))
    for entry in entries:
        text = str(next(iter(entry)) if isinstance(entry, Mapping) else entry)
        path = text
        for key in _INTERPOLATED.findall(text):
            value = _at(content, key)
            path = path.replace(f"${{{key}}}", value) if isinstance(value, str) else path
        if not _INTERPOLATED.search(path):
            yield text, path


def _require_known_to_dvc(dependencies: Mapping[str, str]) -> None:
    """Raises InputError if params.yaml names another dependency now than when DVC read dvc.yaml.

    DVC writes the paths that its commands read into .dvc/tmp/rwlock, as long as they run.
    """
    folder = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / ".dvc").is_dir()), Path.cwd())
    known: set[str] = set()
    with suppress(OSError, ValueError, AttributeError):  # another DVC command may be writing it
        known = {*map(os.path.realpath, json.loads((folder / ".dvc/tmp/rwlock").read_text(encoding="utf-8"))["read"])}
    paths = {text: os.path.realpath(path.partition("://")[2] or path) for text, path in dependencies.items()}
    if known.isdisjoint(paths.values()):
        return
    for text, path in paths.items():
        if path not in known and _INTERPOLATED.search(text):
            named = ", ".join(_INTERPOLATED.findall(text))
            raise InputError(
                f"{_PARAMS}: {named} was changed to {dependencies[text]} after DVC had read it; run `dvc repro` again"
            )


def _look(dependency: str) -> dict[str, Seen]:
    files = _files(dependency)
    reads = not is_uri(dependency) and sum(size for size, _, _ in files.values()) <= MOST_READ
    return {path: Seen(stat, _digest(path) if reads else None) for path, stat in files.items()}


def _files(dependency: str) -> dict[str, Stat]:
    """The files of a dependency, a file or a folder; of a store, sizes alone."""
    where = as_path(dependency)
    if isinstance(where, RemotePath):
        return {f"{where}/{name}": (size, 0, 0) for name, size in where.files().items()}
    patterns = [line for line in _lines(Path(".dvcignore")) if line and not line.startswith("#")]
    is_ignored = re.compile("|".join(map(translate, patterns)) or "(?!)").match
    paths = [str(where)] if where.is_file() else []
    for parent, folders, names in os.walk(where):
        folders[:] = [name for name in folders if not is_ignored(name)]
        paths += [os.path.join(parent, name) for name in names if not is_ignored(name)]
    files = {}
    for path in paths:
        with suppress(OSError):
            status = os.stat(path)
            files[path] = status.st_size, status.st_mtime_ns, status.st_ino
    return files


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _digest(path: str) -> str | None:
    try:
        return sha256(Path(path))
    except OSError:
        return None


def _maker(path: Path, stages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The stage that wrote what is at `path` now; None where that isn't known."""
    running = _running.get()
    is_input = running is not None and running.depends_on(path)
    for stage in stages:
        for out in stage.get("outs", []):
            if os.path.abspath(out.get("path", "")) != os.path.abspath(path):
                continue
            if path.is_dir():
                return stage if is_input else None
            if path.is_file() and out.get("md5") == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest():
                return stage
            if is_input:
                raise InputError(f"{path}: is not what its stage wrote (dvc.lock); run `dvc repro` again")
    return None


def _add_with_earlier(
    stage: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], makers: list[Mapping[str, Any]]
) -> None:
    """Adds a stage to `makers`, after the stages that made what it read."""
    if any(stage is maker for maker in makers):
        return
    for dependency in stage.get("deps", []):
        for earlier in stages:
            if any(
                (out.get("path"), out.get("md5")) == (dependency.get("path"), dependency.get("md5"))
                for out in earlier.get("outs", [])
            ):
                _add_with_earlier(earlier, stages, makers)
    makers.append(stage)
