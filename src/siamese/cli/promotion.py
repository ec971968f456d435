"""Which version is in use: `models`, `promote`, `rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamese import paths
from siamese.cli.options import AsJson, ParamsFile, Settings, answer, where
from siamese.cli.steps import Catalog, Images, Pairs
from siamese.errors import ExitCode, InputError
from siamese.storage.object_store import as_path
from siamese.storage.staging import staged

if TYPE_CHECKING:
    from siamese.registry.comparison import Promotion


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (models, promote, rollback):
        app.command(rich_help_panel="The registry")(command)


def models(params_file: ParamsFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List the versions of the registered model: aliases, figures, who promoted them."""
    from siamese.config import load_params
    from siamese.registry import versions as question
    from siamese.registry.client import Registry

    name = load_params(params_file, settings or []).registry.name
    found = Registry(name).versions()
    listed = [question.as_dict(version) for version in found]
    answer({"model": name, "versions": listed}, question.to_text(name, found), as_json)


def promote(
    version: Annotated[
        str | None,
        typer.Argument(help="The version to judge: models:/NAME/VERSION.", show_default="the challenger"),
    ] = None,
    catalog_file: Catalog = str(paths.CATALOG),
    pairs_file: Pairs = str(paths.PAIRS),
    images_folder: Images = str(paths.IMAGES),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the gate says.")] = False,
    trained: Annotated[
        bool,
        typer.Option("--trained", help="The model trained here, for CI; with --dry-run it need not be registered."),
    ] = False,
    report_file: Annotated[
        str | None, where("--report", help="Markdown to write: the gate's report.", show_default="none")
    ] = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Make a version champion, if the gate accepts it; exit code 3 if not."""
    from siamese.config import load_params
    from siamese.registry import candidate, comparison
    from siamese.registry.client import Registry, resolve
    from siamese.registry.promote import run

    params = load_params(params_file, settings or [])
    if version and trained:
        raise InputError(f"promote: {version} and --trained name two models; leave one of them out")
    registry, judged = resolve(version) if version else (Registry(params.registry.name), None)
    with staged() as at:
        files = (at.input(catalog_file), at.input(pairs_file), as_path(images_folder), paths.MODELS)
        report = at.output_if_named(report_file)
        if trained and dry_run:
            champion, result = candidate.judge(registry, paths.MODEL, paths.THRESHOLD, *files, params.promote)
            return _told(registry.name, comparison.Promotion(None, champion, result, moved=False), report, as_json)
        if trained:
            judged, against = candidate.registered_version(registry, paths.MODEL, paths.THRESHOLD, paths.METRICS)
            if against:
                refusal = {"model": registry.name, "accepted": False, "reasons": [against], "moved": False}
                answer(refusal, against, as_json)
                return ExitCode.REFUSED
        return _told(registry.name, run(registry, *files, params.promote, dry_run, judged), report, as_json)


def _told(model: str, done: Promotion, report_file: Path | None, as_json: bool) -> int:
    """Says what came of it; its exit code."""
    from siamese.console import log
    from siamese.registry import gate_report
    from siamese.storage.files import atomic_file

    version = f"version {done.challenger.number} of {model}" if done.challenger else "the model trained here"
    if done.result is None:
        already = {"model": model, "champion": done.champion and done.champion.number, "moved": False}
        answer(already, f"{version} is champion already: nothing to do", as_json)
        return ExitCode.DONE
    report = gate_report.as_dict(model, done.challenger, done.champion, done.result) | {"moved": done.moved}
    if report_file:
        with atomic_file(report_file) as beside:
            beside.write_text(gate_report.to_markdown(report), encoding="utf-8")
    for note in done.result.notes:
        log(f"note: {note}")
    verdict = done.result.verdict
    if not verdict.accepted:
        answer(report, "\n".join(f"{version} refused: {reason}" for reason in verdict.reasons), as_json)
        return ExitCode.REFUSED
    becomes = "is champion now" if done.moved else "would become champion"
    instead = f", in place of version {done.champion.number}" if done.champion else ""
    answer(report, f"{version} {becomes}{instead}: {report['in_words']}", as_json)
    return ExitCode.DONE


def rollback(
    why: Annotated[str, typer.Option("--why", help="Kept with the version that is taken back.")] = "",
    params_file: ParamsFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Take the last promotion back: the version before is champion again."""
    from siamese.config import load_params
    from siamese.registry import promote as step
    from siamese.registry.client import Registry

    name = load_params(params_file, settings or []).registry.name
    before, now = step.rollback(Registry(name), why)
    text = f"version {now.number} of {name} is champion again, in place of version {before.number}"
    answer({"model": name, "champion": now.number, "rolled_back": before.number}, text, as_json)
