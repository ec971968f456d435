"""The model registry: versions of one registered model, and the aliases that say what each is for.

challenger: the version registered last. champion: the version in use. previous: the one in use before it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.data.names import canonical_name
from siamese.errors import InputError
from siamese.storage.files import atomic_folder, digest, only_one
from siamese.tracking.client import connect, file_of, reraise_unreachable, tracking_uri, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
SCHEME = "models:/"
MODEL_CONTENT = ("servable", "threshold.json")  # what `fetch` gives
CATALOG = "data/catalog.parquet"  # artifact of a model's run: which images trained it

_REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))$")


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    Attributes:
        name, number: of the registered model, and which version.
        run_id: the tracking run that it belongs to.
        tags, aliases: as the registry has them now.
        created: milliseconds since 1970.
        source: where its files are.
    """

    name: str
    number: int
    run_id: str
    source: str
    created: int
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}/{self.number}"


class Registry:
    """The versions of the registered model `name`. Every method raises InputError where the server can't be used."""

    def __init__(self, name: str, client: MlflowClient | None = None) -> None:
        """Connects to the tracking server when something is asked of it, unless given a client of it."""
        self.name = name
        self._client = client

    @property
    def client(self) -> MlflowClient:
        """The client of the tracking server."""
        self._client = self._client or connect()
        return self._client

    def versions(self) -> list[Version]:
        """All versions, the newest first; none where there is no such registered model."""
        if self._no_file_yet():
            return []
        with reraise_unreachable():
            found, page = [], None
            while page != "":
                answer = self.client.search_model_versions(f"name='{self.name}'", max_results=200, page_token=page)
                found += list(answer)
                page = answer.token or ""
            # A search gives no aliases.
            aliases = self._aliases() if found else {}
        versions = [_version(one, aliases) for one in found]
        return sorted(versions, key=lambda one: one.number, reverse=True)

    def alias(self, alias: str) -> Version | None:
        """The version that an alias points to."""
        if self._no_file_yet():
            return None
        with reraise_unreachable():
            aliases = self._aliases()
            return self._read(aliases[alias], aliases) if alias in aliases else None

    def version(self, number: int) -> Version:
        """One version.

        Raises:
            InputError: there is none of that number.
        """
        with reraise_unreachable():
            return self._read(number, self._aliases())

    def look_alikes(self) -> list[str]:
        """Return the other registered models whose names look the same as this one's, sorted."""
        return sorted(
            name for name in self._names() if name != self.name and canonical_name(name) == canonical_name(self.name)
        )

    def refuse_look_alikes(self) -> None:
        """Raise InputError if a version would make a second registered model that looks the same as another.

        The databases of some servers compare names without regard to case, those of others do not.
        """
        alike = self.look_alikes()
        if alike and self.name not in self._names():
            raise InputError(
                f"registry.name = {self.name}: {without_credentials(tracking_uri())} has a model {alike[0]}, which "
                "looks the same: "
                f"set registry.name to {alike[0]}, or choose another name"
            )

    def with_tag(self, tag: str, value: str) -> Version | None:
        """The newest version whose tag has this value."""
        return next((one for one in self.versions() if one.tags.get(tag) == value), None)

    def add(self, source: str, run_id: str, tags: Mapping[str, str], model_id: str | None = None) -> Version:
        """A new version; the registered model is made if there is none."""
        from mlflow.exceptions import MlflowException

        with reraise_unreachable():
            try:
                self.client.create_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            made = self.client.create_model_version(
                self.name, source=source, run_id=run_id, tags=dict(tags), model_id=model_id
            )
        return self.version(int(made.version))

    def point(self, alias: str, number: int) -> None:
        """Moves an alias; it is never without a version meanwhile."""
        with reraise_unreachable():
            self.client.set_registered_model_alias(self.name, alias, str(number))

    def drop(self, alias: str) -> None:
        """Removes an alias, if it is there."""
        with reraise_unreachable():
            self.client.delete_registered_model_alias(self.name, alias)

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Sets tags of a version."""
        with reraise_unreachable():
            for key, value in tags.items():
                self.client.set_model_version_tag(self.name, str(number), key, value)

    def untag(self, number: int, key: str) -> None:
        """Removes a tag of a version, if it is there."""
        with reraise_unreachable():
            self.client.delete_model_version_tag(self.name, str(number), key)

    def fetch(self, version: Version, below: Path) -> Path:
        """The version's files as a model folder under `below`: `servable/`, `threshold.json` and, where it is known,
        what the model was trained on. Once fetched, kept.

        Raises:
            InputError: also where the version isn't what `siamese register` makes, or its files are gone.
        """
        import mlflow

        from siamese.models.trained_on import FILE

        # What a number means changes where a registered model is deleted and made anew; a source is one model's.
        origin = digest([part.encode() for part in (version.source, version.run_id, str(version.created))])[:8]
        place = below / f"{version.name}-{version.number}-{origin}"
        with only_one(below / ".lock"):
            if not all((place / name).exists() for name in MODEL_CONTENT):
                with atomic_folder(place, ["*"]) as beside:
                    with reraise_unreachable():
                        server = self.client.tracking_uri
                        everything = mlflow.artifacts.download_artifacts(
                            version.uri, dst_path=str(beside / "all"), tracking_uri=server, registry_uri=server
                        )
                        got = Path(everything)
                    for name in MODEL_CONTENT:
                        if not (got / "artifacts" / name).exists():
                            raise InputError(f"{version.uri} holds no {name}: it isn't what `siamese register` makes")
                        (got / "artifacts" / name).replace(beside / name)
                    if (got / "artifacts" / FILE).exists():  # older versions have none
                        (got / "artifacts" / FILE).replace(beside / FILE)
                    shutil.rmtree(beside / "all")
        return place

    def artifact(self, version: Version, path: str, below: Path) -> Path | None:
        """A file of the version's run, under `below`; None where the run has none of that name."""
        from mlflow.exceptions import MlflowException

        if not version.run_id:
            return None
        below.mkdir(parents=True, exist_ok=True)
        with reraise_unreachable():
            folder = path.rpartition("/")[0]
            try:
                there = {one.path for one in self.client.list_artifacts(version.run_id, folder)}
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the run was deleted
                    raise
                return None
            return Path(self.client.download_artifacts(version.run_id, path, str(below))) if path in there else None

    def parameters(self, version: Version) -> dict[str, str]:
        """Every parameter of the version's run by its dotted key; empty if the run was deleted."""
        from mlflow.exceptions import MlflowException

        with reraise_unreachable():
            try:
                return dict(self.client.get_run(version.run_id).data.params)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}

    def log_text(self, version: Version, text: str, path: str) -> None:
        """Adds a file of this text to the artifacts of the version's run."""
        with reraise_unreachable():
            self.client.log_text(version.run_id, text, path)

    def _read(self, number: int, aliases: Mapping[str, int]) -> Version:
        from mlflow.exceptions import MlflowException

        try:
            return _version(self.client.get_model_version(self.name, str(number)), aliases)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"{SCHEME}{self.name}/{number} is not in the registry: `siamese models` lists what is"
            ) from None

    def _no_file_yet(self) -> bool:
        """Whether the registry would be a file that isn't there: a question must not make it."""
        file = file_of(tracking_uri())
        return self._client is None and file is not None and not file.exists()

    def _names(self) -> set[str]:
        """Return the names of all registered models."""
        if self._no_file_yet():
            return set()
        names: set[str] = set()
        page = None
        with reraise_unreachable():
            while page != "":
                answer = self.client.search_registered_models(max_results=200, page_token=page)
                names |= {model.name for model in answer}
                page = answer.token or ""
        return names

    def _aliases(self) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: int(number) for alias, number in found.items()}


def resolve(reference: str) -> tuple[Registry, Version]:
    """The version that `models:/name/3` or `models:/name@champion` means.

    Raises:
        InputError: it is written otherwise, or there is no such version.
    """
    parts = _REFERENCE.fullmatch(reference)
    if not parts:
        raise InputError(f"{reference}: write {SCHEME}NAME/VERSION or {SCHEME}NAME@ALIAS, as {SCHEME}siamese@champion")
    registry = Registry(parts["name"])
    if parts["version"]:
        return registry, registry.version(int(parts["version"]))
    found = registry.alias(parts["alias"])
    if found is None:
        alike = ", ".join(_look_alikes(registry, parts["alias"]))
        raise InputError(
            f"{reference}: {without_credentials(tracking_uri())} has no such model or "
            f"alias{f', but {alike}' if alike else ''}: "
            "`siamese models` lists what there is"
        )
    return registry, found


def _look_alikes(registry: Registry, alias: str) -> list[str]:
    """Return the references that look the same as one of this model and alias."""
    return [
        f"{SCHEME}{name}@{other}"
        for name in (registry.name, *registry.look_alikes())
        for version in Registry(name).versions()
        for other in version.aliases
        if canonical_name(other) == canonical_name(alias)
    ]


def _version(found: Any, aliases: Mapping[str, int]) -> Version:
    number = int(found.version)
    return Version(
        name=found.name,
        number=number,
        run_id=found.run_id or "",
        source=found.source or "",
        created=int(found.creation_timestamp),
        tags=dict(found.tags or {}),
        aliases=tuple(sorted(alias for alias, points_to in aliases.items() if points_to == number)),
    )
