"""Where a model came from, by the registry and its run alone: data, code, parameters; and how to make it again."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siamese import paths
from siamese.config import load_params, to_yaml
from siamese.errors import InputError
from siamese.registry.client import Version, resolve
from siamese.storage.files import atomic_file
from siamese.tracking.client import is_local, tracking_uri, without_credentials
from siamese.tracking.provenance import CATALOG_DIGEST, RECORDED, TRAINED_WITH

PARAMS = "training/params.yaml"  # artifact of a run


@dataclass(frozen=True)
class Lineage:
    """What a model came from. What isn't known is an empty text.

    Attributes:
        model, aliases: the version, and what it is now.
        run, training: ids of the tracking run and of the training.
        data_path, data_hash: the image folder, from the project's, and DVC's hash of it.
        data_repository, data_revision: where it was fetched from, if it was.
        git_commit, git_dirty, git_remote: the code; dirty: changed since that commit.
        siamese: the library's version.
        parameters: every parameter by its dotted key; empty where the run was deleted.
        warnings: what stands against making it again, one line each.
        commands: what makes it again, in one shell.
    """

    model: str
    aliases: tuple[str, ...]
    run: str
    training: str
    data_path: str
    data_hash: str
    data_repository: str
    data_revision: str
    git_commit: str
    git_dirty: bool
    git_remote: str
    siamese: str
    parameters: Mapping[str, str]
    warnings: tuple[str, ...]
    commands: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def lineage(reference: str) -> Lineage:
    """The lineage of `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        InputError: there is no such model, or the registry can't be used.
    """
    registry, version = resolve(reference)
    uri = tracking_uri()
    return trace(version, registry.parameters(version), uri if is_local(uri) else without_credentials(uri))


def trace(version: Version, parameters: Mapping[str, str], server: str) -> Lineage:
    """The lineage that a version's tags and its run's parameters tell.

    Args:
        server: the tracking server's address, as commands may have it.
    """
    tags = {name.removeprefix("siamese."): value for name, value in version.tags.items()}
    return Lineage(
        model=version.uri,
        aliases=version.aliases,
        run=version.run_id,
        training=tags.get("training", ""),
        data_path=tags.get("data.path", ""),
        data_hash=tags.get("data.hash", ""),
        data_repository=tags.get("data.repository", ""),
        data_revision=tags.get("data.revision", ""),
        git_commit=tags.get("git.commit", ""),
        git_dirty=tags.get("git.dirty") == "true",
        git_remote=tags.get("git.remote", ""),
        siamese=tags.get("version", ""),
        parameters=dict(parameters),
        warnings=tuple(_warnings(tags, parameters)),
        commands=tuple(_commands(version, tags, server)) if tags.get("git.commit") else (),
    )


def save_params(reference: str, params_file: Path) -> None:
    """Write the parameters that made a model: those that its training read, and of later steps those of its run.

    Raises:
        InputError: there is no such model, its run doesn't have them, or the registry can't be used.
    """
    registry, version = resolve(reference)
    with tempfile.TemporaryDirectory() as below:
        got = registry.artifact(version, PARAMS, Path(below))
        if got is None:
            raise InputError(f"the run of {version.uri} holds no {PARAMS}: its parameters can't be had as a file")
        with atomic_file(params_file) as beside:
            beside.write_text(_params_text(got, registry.parameters(version)), encoding="utf-8")


def _params_text(trained_with: Path, of_run: Mapping[str, str]) -> str:
    later = [f"{key}={value}" for key, value in of_run.items() if key.partition(".")[0] not in TRAINED_WITH]
    try:
        return to_yaml(load_params(trained_with, later))
    except InputError:  # of a release with other parameters, whose code reads it
        return trained_with.read_text(encoding="utf-8")


def to_text(found: Lineage) -> str:
    """The lineage for a person to read."""
    dirty = " and changes that were not committed" if found.git_dirty else ""
    lines = [
        ("model", f"{found.model} {', '.join(found.aliases)}".rstrip()),
        ("run", found.run),
        ("training", found.training or "not recorded"),
        ("data", _data(found)),
        ("code", f"git commit {found.git_commit}{dirty}" if found.git_commit else "no git commit recorded"),
        ("siamese", found.siamese or "not recorded"),
        *(("parameter", f"{key} = {value}") for key, value in sorted(found.parameters.items())),
        *(("warning", warning) for warning in found.warnings),
    ]
    text = [f"{name:<11}{value}" for name, value in lines]
    if found.commands:
        place = "" if found.git_remote else " in a clone of the project"
        text += ["", f"What makes it again{place}, to the same bits on the same kind of machine:", "", *found.commands]
    return "\n".join(text)


def _data(found: Lineage) -> str:
    parts = [found.data_path or "not recorded"]
    parts += [f"hash {found.data_hash}"] if found.data_hash else []
    parts += [f"from {found.data_repository}"] if found.data_repository else []
    parts += [f"revision {found.data_revision}"] if found.data_revision else []
    return ", ".join(parts)


def _warnings(tags: Mapping[str, str], parameters: Mapping[str, str]) -> Iterator[str]:
    if not tags.get("git.commit"):
        yield "no git commit was recorded: the code of that time can't be had"
    if tags.get("git.dirty") == "true":
        yield "files had changes that were not committed: only the parameters among them were kept"
    data = tags.get("data.hash", "")
    if not data or data.startswith(CATALOG_DIGEST):
        yield f"DVC did not know {tags.get('data.path', 'the data')}: put the same images there yourself"
    if not parameters:
        yield "its run is gone: the parameters are not known"
    if RECORDED.removeprefix("siamese.") in tags:
        yield "its run was recorded after training: code, data and parameters are those of that moment"


def _commands(version: Version, tags: Mapping[str, str], server: str) -> Iterator[str]:
    folder = f"{version.name}-{version.number}"
    if tags.get("git.remote"):
        yield f"git clone {shlex.quote(tags['git.remote'])} {folder}"
        yield f"cd {folder}"
    yield f"git checkout {tags['git.commit']}"
    yield "make setup"
    yield "source .venv/bin/activate"
    yield f"MLFLOW_TRACKING_URI={shlex.quote(server)} siamese lineage {version.uri} --save-params params.yaml"
    path, data = tags.get("data.path", ""), tags.get("data.hash", CATALOG_DIGEST)
    repository, revision, place = tags.get("data.repository"), tags.get("data.revision"), shlex.quote(path)
    if data.startswith(CATALOG_DIGEST):
        pass  # nobody knows how to bring it: a warning says so
    elif repository and revision:
        yield f"dvc get {shlex.quote(repository)} {place} --rev {shlex.quote(revision)} --out {place}"
    elif Path(path) != paths.SAMPLE:  # which `dvc repro` draws
        yield f"dvc pull {place}"
    yield "dvc repro"
