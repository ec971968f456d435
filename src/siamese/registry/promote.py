"""Promotion and rollback: which version of the registered model is champion.

Challenger and champion are scored first, which takes a while. Then, under a lock that lasts for some writes, comes a
look at whether both are still what was scored, and the writes, in an order that leaves a champion wherever they end:
the tags of the new one, among them `siamese.replaces`, the number of the version whose place it takes; alias
`previous`; alias `champion`. Until the last one nothing has happened. `siamese.replaces` of the champion is the truth
that `rollback` goes by; alias `previous` repeats it for people.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from siamese.console import log
from siamese.errors import InputError, summarise_exception
from siamese.models import resolved_model, trained_on
from siamese.models.trained_on import FILE, UNKNOWN, TrainedOn
from siamese.params import PromoteParams
from siamese.paths import THRESHOLD
from siamese.registry import comparison, gate_report
from siamese.registry.client import CATALOG, CHALLENGER, CHAMPION, PREVIOUS, Registry, Version
from siamese.registry.comparison import Contender, GateResult, Promotion
from siamese.registry.lock import Lock
from siamese.storage.files import require_exists
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table
from siamese.tracking.client import tracking_uri, without_credentials
from siamese.tracking.provenance import RECORDED

if TYPE_CHECKING:
    from siamese.models.verifier import Verifier

REPLACES = "siamese.replaces"
PROMOTED, REFUSED, ROLLED_BACK = "siamese.promoted", "siamese.refused", "siamese.rolled_back"
USERS = ("SIAMESE_USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")  # who acts, where a machine does it for somebody
REPORTS = "promotion"  # among the artifacts of the challenger's run
CATALOG_COLUMNS = ["image_id", "identity", "split"]
PAIR_COLUMNS = ["anchor_id", "other_id", "label", "split"]


class ChampionMoved(InputError):
    """The alias `champion` points to another version than the one that was scored."""


def run(
    registry: Registry,
    catalog_file: Path,
    pairs_file: Path,
    images_folder: AnyPath,
    models_folder: Path,
    params: PromoteParams,
    dry_run: bool,
    version: Version | None = None,
) -> Promotion:
    """Make a version champion if the gate accepts it.

    A refused one is tagged. Either way the gate's report goes to the version's run, as JSON and as Markdown. If another
    promotion moves the champion meanwhile, the gate judges again, against the new one.

    Args:
        catalog_file, pairs_file, images_folder: what the steps wrote, as they are now.
        models_folder: where versions are fetched to.
        dry_run: only ask the gate: nothing is written to the registry.
        version: the version to judge, whatever the alias `challenger` points to; None: the challenger.

    Raises:
        InputError: there is no challenger, an input is missing, or the version was taken back meanwhile.
    """
    challenger = version or registry.alias(CHALLENGER)
    if challenger is None:
        raise InputError(
            f"{registry.name} has no challenger on {without_credentials(tracking_uri())}: run `siamese register` first"
        )
    while True:
        champion = registry.alias(CHAMPION)
        if champion and champion.number == challenger.number:
            return Promotion(challenger, champion, None, moved=False)
        entrant = _entrant(registry, challenger, models_folder)
        result = score(registry, entrant, champion, catalog_file, pairs_file, images_folder, models_folder, params)
        if dry_run:
            return Promotion(challenger, champion, result, moved=False)
        by, at = who(), now()
        _keep_report(registry, challenger, champion, result, by, at)
        if not result.verdict.accepted:
            why = "; ".join(result.verdict.reasons)
            registry.tag(challenger.number, {f"{REFUSED}.at": at, f"{REFUSED}.why": why})
            return Promotion(challenger, champion, result, moved=False)
        try:
            move(registry, challenger, champion, gate_report.in_words(result, champion))
        except ChampionMoved as reason:
            log(f"{reason}; judging version {challenger.number} again")
            continue
        return Promotion(challenger, champion, result, moved=True)


def score(
    registry: Registry,
    challenger: Contender,
    champion: Version | None,
    catalog_file: Path,
    pairs_file: Path,
    images_folder: AnyPath,
    models_folder: Path,
    params: PromoteParams,
) -> GateResult:
    """What the gate says of challenger and champion on the current test pairs; arguments as for `run`.

    Raises:
        InputError: an input is missing, or a version's files are.
    """
    from siamese.preprocessing import pixel_store

    catalog = read_table(require_exists(catalog_file, "siamese catalog"), CATALOG_COLUMNS)
    pairs = read_table(require_exists(pairs_file, "siamese pairs"), PAIR_COLUMNS)
    images = pixel_store.open_store(require_exists(images_folder, "siamese preprocess"))
    theirs = _entrant(registry, champion, models_folder) if champion else None
    return comparison.compare(catalog, pairs, images, challenger, theirs, params)


def move(registry: Registry, challenger: Version, champion: Version | None, why: str) -> None:
    """Makes the challenger champion, if both are still what they were.

    Args:
        challenger, champion: as they were when they were scored; None: there was no champion.
        why: in words, for the version's tags.

    Raises:
        ChampionMoved: another promotion or rollback moved the alias `champion` meanwhile.
        InputError: the challenger was taken back or removed meanwhile, or the server can't be used.
    """
    by, number = who(), challenger.number
    with Lock(registry, by) as lock:
        _same_champion(registry, champion)
        is_now = registry.version(number)
        if is_now.tags.get(f"{ROLLED_BACK}.at") != challenger.tags.get(f"{ROLLED_BACK}.at"):
            raise InputError(f"version {number} was promoted and rolled back meanwhile: nothing was changed")
        tags = {f"{PROMOTED}.by": by, f"{PROMOTED}.at": now(), f"{PROMOTED}.why": why}
        writes = [partial(registry.tag, number, tags)]
        if champion:
            writes.append(partial(registry.tag, number, {REPLACES: str(champion.number)}))
            writes.append(partial(registry.point, PREVIOUS, champion.number))
        else:
            writes.append(partial(registry.untag, number, REPLACES))
            writes.append(partial(registry.drop, PREVIOUS))
        writes.append(partial(registry.point, CHAMPION, number))
        _write(writes, lock)


def rollback(registry: Registry, why: str) -> tuple[Version, Version]:
    """Makes the version champion whose place the champion took; called again, the one before that.

    Args:
        why: in words, for the tags of the version that was champion.

    Returns:
        The version that was champion, and the one that is now.

    Raises:
        InputError: there is nothing to go back to, another promotion or rollback came between, or the server can't be
            used.
    """
    champion = registry.alias(CHAMPION)
    if champion is None:
        raise InputError(
            f"{registry.name} has no champion on {without_credentials(tracking_uri())}: nothing to roll back"
        )
    replaced = champion.tags.get(REPLACES)
    if not replaced:
        raise InputError(f"version {champion.number} of {registry.name} replaced no champion: nothing to roll back to")
    there = {version.number: version for version in registry.versions()}
    if int(replaced) not in there:
        raise InputError(
            f"version {replaced} of {registry.name}, which version {champion.number} replaced, is no longer in the "
            "registry: nothing to roll back to"
        )
    target, by = there[int(replaced)], who()
    with Lock(registry, by) as lock:
        _same_champion(registry, champion)
        tags = {f"{ROLLED_BACK}.by": by, f"{ROLLED_BACK}.at": now(), f"{ROLLED_BACK}.why": why}
        writes = [partial(registry.tag, champion.number, tags)]
        writes.append(partial(registry.point, CHAMPION, target.number))
        before = target.tags.get(REPLACES)
        # The champion first: a rollback that ends here has done what it is for.
        writes.append(
            partial(registry.point, PREVIOUS, int(before))
            if before and int(before) in there
            else partial(registry.drop, PREVIOUS)
        )
        # Else two versions that were each promoted over the other would be rolled back to for ever.
        writes.append(partial(registry.untag, champion.number, REPLACES))
        _write(writes, lock)
    return champion, target


def who() -> str:
    """Who acts: the first of the variables `USERS` that is set, or user and host."""
    for name in USERS:
        if os.environ.get(name):
            return os.environ[name]
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """The time in UTC, as 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entrant(registry: Registry, version: Version, models_folder: Path) -> Contender:
    place = registry.fetch(version, models_folder)
    return Contender(
        name=f"version {version.number}",
        load=partial(_load, version, place),
        threshold=resolved_model.ResolvedModel(place, place / THRESHOLD.name).threshold(None),
        seen=trained_on.read(place) if (place / FILE).exists() else _seen(registry, version),
    )


def _load(version: Version, place: Path) -> Verifier:
    """Load a version's files.

    Raises:
        InputError: they are damaged, or of another version of the libraries.
    """
    from siamese.models.verifier import Verifier

    try:
        return Verifier.load(place)
    except InputError as error:
        reason = summarise_exception(error.__cause__) if isinstance(error.__cause__, Exception) else error
        what_to_do = "train and register a model again"
        if CHAMPION in version.aliases:
            what_to_do = "take it back with `siamese rollback`, or set registry.name to another name"
        raise InputError(
            f"{version.uri}: this version of siamese can't load its files ({reason}); {what_to_do}"
        ) from error


def _seen(registry: Registry, version: Version) -> TrainedOn:
    """What a version has seen that was registered before models said so themselves: what the catalog of its run says.

    A run that was recorded after training has the catalog of that moment, which tells nothing; and what the model had
    seen whose weights it began with is not in the catalog.
    """
    with TemporaryDirectory() as folder:
        file = registry.artifact(version, CATALOG, Path(folder))
        if file is None or RECORDED in version.tags:
            return UNKNOWN
        seen = trained_on.of_catalog(read_table(file, ["image_id", "split"]))
    return replace(seen, complete=not registry.parameters(version).get("model.initial_weights"))


def _keep_report(
    registry: Registry, challenger: Version, champion: Version | None, result: GateResult, by: str, at: str
) -> None:
    report = gate_report.as_dict(registry.name, challenger, champion, result) | {"by": by, "at": at}
    place = f"{REPORTS}/{at.replace(':', '-')}"
    registry.log_text(challenger, gate_report.to_json(report), f"{place}.json")
    registry.log_text(challenger, gate_report.to_markdown(report), f"{place}.md")


def _same_champion(registry: Registry, scored: Version | None) -> None:
    """Raise ChampionMoved if the champion is no longer the version that was scored."""
    is_now = registry.alias(CHAMPION)
    numbers = [version.number if version else None for version in (scored, is_now)]
    if numbers[0] != numbers[1]:
        old, new = (f"version {number}" if number else "none" for number in numbers)
        raise ChampionMoved(f"another promotion moved the champion from {old} to {new} meanwhile: nothing was changed")


def _write(writes: Sequence[Callable[[], None]], lock: Lock) -> None:
    for write in writes:
        lock.check()
        write()
