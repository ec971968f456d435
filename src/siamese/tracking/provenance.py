"""What a training is made of and runs on: code, data, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamese import __version__, paths
from siamese.config import known_keys
from siamese.console import log, with_aliases
from siamese.data.linked_folders import linked_folders
from siamese.errors import InputError
from siamese.params import Params
from siamese.storage.files import digest, sha256
from siamese.tracking.client import without_credentials
from siamese.tracking.dvc_stage import stages_of, yaml_of
from siamese.tracking.git import NoRepository, git

LOCK = Path("dvc.lock")
CATALOG_DIGEST = "catalog:"  # marks a digest of the catalog, where DVC doesn't know the data
# The sections of params.yaml that a training's run records: those of the steps up to it. `siamese register` adds the
# rest, as the evaluation used it and as it is then.
TRAINED_WITH = ("data", "sample", "catalog", "pairs", "preprocess", "model", "train", "tracking")
STEP = "siamese.step"  # tag of a run of a pipeline: what all attempts of its step have in common, and no other step
RECORDED = "siamese.recorded"  # tag of a run that was made when training was over

IMAGE_COMMIT = "SIAMESE_COMMIT"  # set in the images: the commit they were built from
UNKNOWN, DIRTY = "unknown", "-dirty"  # as `make images` writes them
ORIGIN = ("repository", "revision", "path", "hash")  # what is recorded of data that came from elsewhere

_DIGEST_LENGTH = 36  # what MLflow takes; DVC's of a folder has as many


@dataclass(frozen=True)
class DataDigest:
    """Which data: `value`, DVC's hash of the folder, or `catalog:` and digits; `source`: the file that says so."""

    value: str
    source: str


@dataclass(frozen=True)
class RemoteOrigin:
    """What a training knows that doesn't run in the project's folder, but in a pod.

    Attributes:
        data: what `ORIGIN` names, as far as it is known; other names are ignored.
        sections: of the parameters, those that it was given.
        step: what all attempts of this step of this run have in common, and no other step, such as an output's address.
    """

    data: Mapping[str, Any]
    sections: Collection[str]
    step: str


def tags(data_path: str, catalog_file: Path, elsewhere: RemoteOrigin | None = None) -> dict[str, str]:
    """What is known of code and data, as a run's tags; what isn't known is left out. A missing commit is reported."""
    if elsewhere:
        origin = {name: elsewhere.data[name] for name in ORIGIN if elsewhere.data.get(name)}
        data = {"hash": _catalog_digest(catalog_file).value} | origin
        step = elsewhere.step
    else:
        found = data_digest(data_path, catalog_file)
        data = {"path": data_path, "hash": found.value, "hash.source": found.source}
        step = ""
    known = {f"siamese.data.{name}": value for name, value in data.items()} | {
        "siamese.version": __version__,
        STEP: step,
        "siamese.dvc_lock": sha256(LOCK) if LOCK.is_file() else "",
        "mlflow.source.name": "siamese train",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    try:
        code = git_tags()
    except InputError as reason:
        line = str(reason)
        if elsewhere and isinstance(reason, NoRepository):  # a repository made in a container would not last
            line = f"{reason.problem}; set {IMAGE_COMMIT} to the commit of the code"
        log(f"tracking: no commit is recorded: {line}")
        code = {}
    return {name: value for name, value in (known | code).items() if value}


def git_tags() -> dict[str, str]:
    """Commit, dirty flag and origin of the working folder; outside of a repository, what the image was built from.

    Dirty: files that git tracks differ from the commit, or files are there that it neither tracks nor ignores. What
    the pipeline itself writes doesn't count: each dvc.lock, and metrics.json.

    Raises:
        InputError: neither git nor an image knows the commit.
    """
    try:
        commit = git("rev-parse", "--verify", "--quiet", "HEAD")
        if not commit:
            raise InputError(f"{Path.cwd()}: git has no commit here; run: git add . && git commit -m start")
    except InputError:
        built_from = os.environ.get(IMAGE_COMMIT, "")
        if image := _image_tags(built_from):
            return image
        if built_from:
            raise InputError(f"{IMAGE_COMMIT}: {built_from}; run make images in a git repository") from None
        raise
    written = {LOCK.name, paths.METRICS.name}
    entries = (git("--no-optional-locks", "status", "--porcelain", "-z", "--no-renames") or "").split("\0")
    dirty = any(Path(entry[3:]).name not in written for entry in entries if entry)
    return {
        "siamese.git.commit": commit,
        "siamese.git.dirty": str(dirty).lower(),
        "siamese.git.remote": without_credentials(git("remote", "get-url", "origin") or ""),
        "mlflow.source.git.commit": commit,
    }


def _image_tags(built_from: str) -> dict[str, str]:
    commit = built_from.removesuffix(DIRTY)
    if commit in ("", UNKNOWN):
        return {}
    dirty = str(built_from != commit).lower()
    return {"siamese.git.commit": commit, "siamese.git.dirty": dirty, "mlflow.source.git.commit": commit}


def data_digest(data_path: str, catalog_file: Path) -> DataDigest:
    """Which data the catalog lists.

    DVC's hash of the folder, where it is known to be that of this catalog: dvc.lock says from which data a stage made
    this very file; else the `.dvc` file of the folder or the lock of the stage that makes it, as long as the folder
    has the number of files and bytes noted there. Otherwise a digest of the catalog, which lists each image's content;
    so, too, if the folder contains links to folders, which DVC hashes as empty.
    """
    if linked_folders(Path(data_path)):
        return _catalog_digest(catalog_file)
    made_here = hashlib.md5(catalog_file.read_bytes(), usedforsecurity=False).hexdigest()
    for stage in stages_of(LOCK):
        if any(out.get("md5") == made_here for out in stage.get("outs", [])):
            for dependency in stage.get("deps", []):
                if _same(dependency.get("path"), data_path) and dependency.get("md5"):
                    return DataDigest(dependency["md5"], str(LOCK))
    for source, out in _tracked(Path(data_path)):
        if out.get("md5") and (out.get("nfiles"), out.get("size")) == _extent(Path(data_path)):
            return DataDigest(out["md5"], source)
    return _catalog_digest(catalog_file)


def _catalog_digest(catalog_file: Path) -> DataDigest:
    own = digest([catalog_file.read_bytes()])
    return DataDigest(f"{CATALOG_DIGEST}{own}"[:_DIGEST_LENGTH], with_aliases(str(catalog_file)))


def flat_params(params: Params, sections: Collection[str] | None = None) -> dict[str, str]:
    """Every parameter by its dotted key, its value as `-S key=value` takes it.

    Args:
        sections: those wanted; None: all.
    """
    keys = [key for key in known_keys() if sections is None or key.partition(".")[0] in sections]
    leaves = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
    values: dict[str, str] = {}
    for key in leaves:
        value: Any = params.model_dump()
        for part in key.split("."):
            value = value[part]
        values[key] = value if isinstance(value, str) else json.dumps(value)
    return values


def environment(precision: str) -> dict[str, Any]:
    """Packages, machine, and how TensorFlow uses it. TensorFlow is loaded.

    Args:
        precision: of the arithmetic, as chosen.
    """
    import importlib.metadata

    import psutil

    from siamese import tf_runtime

    tf = tf_runtime.import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    named = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": {
            "cpu": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "threads": psutil.cpu_count(),
            "threads_usable": len(os.sched_getaffinity(0)),
            "memory_bytes": psutil.virtual_memory().total,
            "gpus": named,
        },
        "tensorflow": {
            "version": tf.__version__,
            "precision": precision,
            "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),  # 0: TensorFlow's choice
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "packages": dict(sorted(packages.items(), key=lambda one: one[0].lower())),
    }


def _tracked(data: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where DVC keeps a hash of this folder: the file, and its entry there."""
    pointer = data.with_name(f"{data.name}.dvc")
    for out in yaml_of(pointer).get("outs", []):
        if out.get("path") == data.name:
            yield str(pointer), out
    for folder in (data.parent, *data.parent.parents):
        for stage in stages_of(folder / LOCK):
            # Paths of a lock are relative to its folder, or to the working folder that its stage names.
            for out in stage.get("outs", []):
                if any(_same(base / str(out.get("path")), data) for base in (folder, Path())):
                    yield str(folder / LOCK), out


def _extent(folder: Path) -> tuple[int, int]:
    """Number of files, and their bytes; a broken link has none."""
    files = size = 0
    for parent, _, names in os.walk(folder):
        files += len(names)
        size += sum(path.stat().st_size for path in map(Path(parent).joinpath, names) if path.exists())
    return files, size


def _same(one: Any, other: str | Path) -> bool:
    return one is not None and os.path.abspath(one) == os.path.abspath(other)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""
