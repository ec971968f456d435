"""Step `register`: a trained and measured model in; a version of the registered model out, the new challenger.

Nothing is registered twice: weights and threshold make the model. The order makes an interruption harmless: figures,
reports and model go to the run that trained it, and the version appears last, when all files are there. Run again, the
step goes on with what is there.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.config import flatten
from siamese.console import log
from siamese.data.inspection.page import render
from siamese.data.inspection.report import look, report, survey
from siamese.errors import InputError
from siamese.evaluation import results
from siamese.models import foreign_models, trained_on
from siamese.models.artifacts import model_digest, threshold_of, weights_digest, weights_of
from siamese.params import Params
from siamese.registry import model_card, packaging
from siamese.registry.client import CHALLENGER, CHAMPION, Registry, Version
from siamese.registry.lock import Lock
from siamese.storage.files import require_exists
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table
from siamese.tracking.client import is_local, reraise_unreachable, tracking_uri, uploading, without_credentials
from siamese.tracking.provenance import flat_params

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

SAME = "siamese.model"  # tag: digest of weights and threshold
DECIDED = {"siamese.promoted.at", "siamese.refused.at"}  # tags of a version that was judged
DATA_REPORT, CARD, EVALUATION = "data/report.html", "card.md", "evaluation"
NAME = "model"  # of the logged model
SAME_FIGURE = 1e-6  # metrics.json is rounded to six decimals


@dataclass(frozen=True)
class Registered:
    """What `run` answers: the version, its run, and whether it was made now."""

    version: Version
    new: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"new": self.new, "uri": self.version.uri, **asdict(self.version)}


@dataclass(frozen=True)
class Evaluated:
    """A model with its figures, which were found to belong together.

    Attributes:
        model_folder, threshold_file: its files.
        threshold, metrics: content of threshold.json and metrics.json.
        digest: what makes it the same model as another.
    """

    model_folder: Path
    threshold_file: Path
    threshold: Mapping[str, Any]
    metrics: Mapping[str, Any]
    digest: str


def run(
    model_folder: Path,
    threshold_file: Path,
    metrics_file: Path,
    plots_folder: Path,
    report_file: Path,
    catalog_file: Path,
    history_file: Path,
    run_file: Path,
    data_folder: AnyPath,
    params: Params,
) -> Registered:
    """Registers the model, unless it is registered already.

    Args:
        model_folder, history_file, run_file: what step `train` wrote.
        threshold_file, metrics_file, plots_folder, report_file: what step `evaluate` wrote.
        catalog_file: what step `catalog` wrote.
        data_folder: the images; the data report is made if it is still there and holds those of the catalog.
        params: of all steps; what the training couldn't know of them is added to its run.

    Raises:
        InputError: the files don't belong together, one is missing, or the tracking server can't be used.
    """
    evaluated = read(model_folder, threshold_file, metrics_file)
    catalog = read_table(require_exists(catalog_file, "siamese catalog"), ["image_id", "split"])
    seen = trained_on.require_unseen(model_folder, catalog, catalog_file)
    evaluated = replace(evaluated, metrics={**evaluated.metrics, **seen.in_metrics()})  # for the card
    if not seen.complete:
        log(f"{model_folder}: {trained_on.doubt()}")
    registry = Registry(params.registry.name)
    known = _registered(registry, evaluated.digest)
    if known:
        return Registered(_challenging(registry, known), new=False)
    registry.refuse_look_alikes()

    from siamese.tracking.sync import ensure_run

    _require_its_run(run_file, evaluated)
    run_id = ensure_run(run_file, history_file, catalog_file, params)
    with reraise_unreachable():
        its_run = registry.client.get_run(run_id)
    logged = [(EVALUATION, file) for file in (metrics_file, threshold_file, report_file)]
    logged += [(f"{EVALUATION}/plots", file) for file in sorted(plots_folder.glob("*.csv"))]
    model = _logged_model(registry.client, its_run, evaluated.digest)
    _log_evaluation(registry.client, its_run, model.model_id, evaluated, logged, params)
    _log_data_report(registry.client, its_run, catalog_file, data_folder, params)
    log("logging the model")
    _log_files(registry.client, its_run, model, evaluated, params.data.max_pixels)
    tags = version_tags(evaluated, its_run.data.tags)
    with Lock(registry, "siamese register"):  # two that register the same model at once make one version
        known = _registered(registry, evaluated.digest)
        if known is None:
            made = registry.add(f"models:/{model.model_id}", run_id, tags, model.model_id)
        return Registered(_challenging(registry, known or made), new=known is None)


def read(model_folder: Path, threshold_file: Path, metrics_file: Path) -> Evaluated:
    """The model and its figures.

    Raises:
        InputError: one is missing, or they are of different models.
    """
    if not (model_folder / "servable/saved_model.pb").exists():
        raise foreign_models.no_model(model_folder)
    value = threshold_of(require_exists(threshold_file, "siamese evaluate"), None)
    threshold = json.loads(threshold_file.read_text(encoding="utf-8"))
    metrics = results.read(metrics_file)
    weights = weights_digest(model_folder)
    if threshold.get("weights") != weights:
        raise InputError(f"{threshold_file} is not of the model in {model_folder}: run `siamese evaluate` again")
    if not _agree(threshold, metrics):
        raise InputError(
            f"{metrics_file} and {threshold_file} are of different evaluations: run `siamese evaluate` again"
        )
    return Evaluated(model_folder, threshold_file, threshold, metrics, model_digest(weights, value))


def _require_its_run(run_file: Path, evaluated: Evaluated) -> None:
    weights = weights_of(require_exists(run_file, "siamese train"))
    if weights is None:
        log(f"{run_file}: it is unknown whether this is the training of {evaluated.model_folder}: --run names another")
    elif weights != evaluated.threshold["weights"]:
        raise InputError(
            f"{run_file} is of another training than the model in {evaluated.model_folder}: name that model's with "
            "--run, or run `siamese train` again"
        )


def to_text(registered: Registered) -> str:
    """What was registered, and how to look at it and to use it."""
    version, uri = registered.version, tracking_uri()
    state = f", {', '.join(version.aliases)}" if version.aliases else ""
    said = f"registered {version.uri}{state}" if registered.new else f"registered already: {version.uri}{state}"
    look_at = f"mlflow ui --backend-store-uri {without_credentials(uri)}" if is_local(uri) else without_credentials(uri)
    return "\n".join(
        [
            said,
            f"look at it    {look_at}",
            f"ask about it  siamese lineage {version.uri}",
            f"promote it    siamese promote {version.uri}",
            f"use it        siamese verify A B --model {version.uri}",
            f"serve it      mlflow models serve --model-uri {version.uri} --env-manager local",
        ]
    )


def version_tags(evaluated: Evaluated, run_tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version: what it is, how well it does, and of its run's tags those that say where it came from."""
    metrics = evaluated.metrics
    tags = {name: value for name, value in run_tags.items() if name.startswith("siamese.")}
    tags |= {SAME: evaluated.digest, "siamese.threshold": repr(evaluated.threshold["threshold"])}
    for name, value in metrics["test"].items():
        ends = {"": value, ".low": metrics["test_low"].get(name), ".high": metrics["test_high"].get(name)}
        tags |= {f"siamese.test.{name}{end}": repr(found) for end, found in ends.items() if found is not None}
    return tags


def numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of nested mappings by dotted name, such as test.eer; what has no value is left out."""
    return ((name, float(value)) for name, value in flatten(values) if isinstance(value, int | float))


def _agree(threshold: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool:
    """Whether what both files of one evaluation say is the same."""
    try:
        validation = metrics["validation"]
        twice = (
            (threshold["threshold"], metrics["threshold"]),
            (threshold["false_accept_rate"], validation["false_accept_rate"]),
            (1 - threshold["false_reject_rate"], validation["recall"]),
        )
        return all(abs(ours - theirs) <= SAME_FIGURE for ours, theirs in twice)
    except (KeyError, TypeError):
        return False


def _registered(registry: Registry, digest: str) -> Version | None:
    return registry.with_tag(SAME, digest)


def _challenging(registry: Registry, version: Version) -> Version:
    """Makes the version the challenger, as the model of the pipeline as it is now.

    Not if a newer one waits for a decision, nor if this one was refused or replaced: it isn't put forward again. The
    champion is, which has nothing to win, so that no refused challenger is left to be tried again and again.
    """
    challenger = registry.alias(CHALLENGER)
    waits = challenger is not None and challenger.number > version.number and not _decided(challenger)
    over = _decided(version) and CHAMPION not in version.aliases
    if waits or over or CHALLENGER in version.aliases:
        return version
    registry.point(CHALLENGER, version.number)
    return registry.version(version.number)


def _decided(version: Version) -> bool:
    return bool(DECIDED & version.tags.keys())


def _log_evaluation(
    client: MlflowClient,
    its_run: Run,
    model_id: str,
    evaluated: Evaluated,
    logged: list[tuple[str, Path]],
    params: Params,
) -> None:
    from mlflow.entities import Metric, Param

    run_id, has = its_run.info.run_id, its_run.data.metrics
    ours = flat_params(params)
    new = [Param(name, value) for name, value in ours.items() if name not in its_run.data.params]
    text = model_card.render(
        evaluated.metrics,
        evaluated.threshold,
        ours | its_run.data.params,
        its_run.data.tags,
        run_id,
        params.registry.name,
    )
    now = int(time.time() * 1000)
    found = [(name, value) for name, value in numbers(evaluated.metrics) if has.get(name) != value]
    with reraise_unreachable():
        client.log_batch(run_id, [Metric(name, value, now, 0, model_id) for name, value in found], new)
        for folder, file in logged:
            client.log_artifact(run_id, str(file), folder)
        client.log_text(run_id, text, CARD)


def _log_data_report(client: MlflowClient, its_run: Run, catalog_file: Path, folder: AnyPath, params: Params) -> None:
    """The report of `siamese inspect --html`, if there is none yet and the data is still what was trained on."""
    run_id = its_run.info.run_id
    with reraise_unreachable():
        there = {one.path for one in client.list_artifacts(run_id, Path(DATA_REPORT).parent.as_posix())}
    if DATA_REPORT in there:
        return
    if not folder.is_dir():
        log(f"no data report: {folder} is not here")
        return
    seen = survey(folder, params.catalog, params.data.max_pixels)
    if set(seen.images["image_id"]) != set(read_table(catalog_file, ["image_id"])["image_id"]):
        log(f"no data report: {folder} no longer holds the images of {catalog_file}")
        return
    odd = look(seen, params.data.max_pixels)
    page = render(report(seen, odd), seen, odd, params)
    with reraise_unreachable():
        client.log_text(run_id, page, DATA_REPORT)


def _logged_model(client: MlflowClient, its_run: Run, digest: str) -> LoggedModel:
    """The logged model of this run: complete, begun by a call that was interrupted, or just begun."""
    from mlflow.entities import LoggedModelStatus

    run_id, experiment = its_run.info.run_id, its_run.info.experiment_id
    with reraise_unreachable():
        of_run = f"source_run_id = '{run_id}' AND tags.`{SAME}` = '{digest}'"
        begun = list(client.search_logged_models([experiment], filter_string=of_run))
        if begun:
            return min(begun, key=lambda one: one.status != LoggedModelStatus.READY)
        return client.create_logged_model(experiment, NAME, run_id, {SAME: digest}, its_run.data.params)


def _log_files(client: MlflowClient, its_run: Run, model: LoggedModel, evaluated: Evaluated, max_pixels: int) -> None:
    """The files of the logged model, unless it is complete."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    if model.status == LoggedModelStatus.READY:
        return
    run_id, model_id = its_run.info.run_id, model.model_id
    origin = Model(artifact_path=model.artifact_location, run_id=run_id, model_uuid=model_id, model_id=model_id)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / NAME
        packaging.save(evaluated.model_folder, evaluated.threshold_file, max_pixels, folder, origin)
        with reraise_unreachable():
            with uploading():
                client.log_model_artifacts(model_id, str(folder))
            _link(client, run_id, model_id)
            client.finalize_logged_model(model_id, LoggedModelStatus.READY)


def _link(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Makes the logged model an output of its run, which MLflow lets be said only once."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    except MlflowException:
        outputs = client.get_run(run_id).outputs
        if outputs is None or all(one.model_id != model_id for one in outputs.model_outputs):
            raise
