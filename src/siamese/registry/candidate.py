"""The model trained here, whatever the registry's aliases say: what CI asks the gate about, and promotes.

Alias `challenger` is the version registered last, by anybody. A pull request's model is judged without being
registered; of a model of the main branch, the version that it was registered as is judged.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from siamese.errors import InputError
from siamese.models import resolved_model, trained_on
from siamese.params import PromoteParams
from siamese.registry.client import CHAMPION, Registry, Version
from siamese.registry.comparison import Contender, GateResult
from siamese.registry.promote import ROLLED_BACK, score
from siamese.registry.register import SAME, read
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table


def judge(
    registry: Registry,
    model_folder: Path,
    threshold_file: Path,
    catalog_file: Path,
    pairs_file: Path,
    images_folder: AnyPath,
    models_folder: Path,
    params: PromoteParams,
) -> tuple[Version | None, GateResult]:
    """The champion, and what the gate says of the model trained here against it. Nothing is written to the registry.

    Args:
        model_folder, threshold_file, catalog_file, pairs_file, images_folder: what the steps wrote.
        models_folder: where the champion is fetched to.

    Raises:
        InputError: an input is missing, the model has seen what is to measure it, or the server can't be used.
    """
    from siamese.models.verifier import Verifier

    catalog = read_table(catalog_file, ["image_id", "split"])
    seen = trained_on.require_unseen(model_folder, catalog, catalog_file)
    champion = registry.alias(CHAMPION)
    entrant = Contender(
        name="the candidate",
        load=partial(Verifier.load, model_folder),
        threshold=resolved_model.ResolvedModel(model_folder, threshold_file).threshold(None),
        seen=seen,
    )
    files = (catalog_file, pairs_file, images_folder, models_folder)
    return champion, score(registry, entrant, champion, *files, params)


def registered_version(
    registry: Registry, model_folder: Path, threshold_file: Path, metrics_file: Path
) -> tuple[Version, str | None]:
    """Return the version of the model trained here, and why a machine must not promote it.

    The reason is None if the machine may. Aliases stay as they are.

    Raises:
        InputError: it isn't registered, its files don't belong together, or the server can't be used.
    """
    version = registry.with_tag(SAME, read(model_folder, threshold_file, metrics_file).digest)
    if version is None:
        raise InputError(f"the model in {model_folder} is not registered: run `siamese register` first")
    return version, taken_back(version)


def taken_back(version: Version) -> str | None:
    """Return why a machine must not promote a version: a person rolled it back; None if it may."""
    by, at = (version.tags.get(f"{ROLLED_BACK}.{what}") for what in ("by", "at"))
    if at is None or CHAMPION in version.aliases:
        return None
    return (
        f"version {version.number} was rolled back by {by}, {at}: `siamese promote {version.uri}` by hand promotes "
        "it again"
    )
