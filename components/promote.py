"""Pipeline step `promote`: the version that this run registered becomes champion, if the gate accepts it."""

from typing import NamedTuple

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def promote(
    catalog: dsl.Input[dsl.Dataset],
    pairs: dsl.Input[dsl.Dataset],
    images: dsl.Input[dsl.Dataset],
    version: str,
    params: dict,
    tracking_uri: str,
    gate_report: dsl.Output[dsl.Markdown],
) -> NamedTuple("Outputs", [("accepted", bool), ("moved", bool)]):
    """Compares the version and the champion on the current test pairs; moves the alias `champion` if the gate agrees.

    A refusal is an answer, not a failure: the run goes on, and the champion stays.

    Args:
        catalog: `catalog.parquet`.
        pairs: `pairs.parquet`.
        images: stored pixels.
        version: the version to judge, as step `register` returned it: models:/siamese/3.
        params: section `promote` of params.yaml.
        tracking_uri: of the MLflow server; "": the environment says it.
        gate_report: the gate's report.

    Returns:
        accepted: what the gate says (a champion already is accepted, a version that was rolled back is not); moved:
            whether the alias was moved.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from siamese.config import parse_section
    from siamese.console import log
    from siamese.errors import exit_in_one_line
    from siamese.params import PromoteParams
    from siamese.registry import gate_report as report
    from siamese.registry import promote as step
    from siamese.registry.candidate import taken_back
    from siamese.registry.client import resolve
    from siamese.tracking.client import use_tracking_uri

    exit_in_one_line()
    inputs = [Path(one.path) for one in (catalog, pairs, images)]
    limits = parse_section(PromoteParams, params)
    with use_tracking_uri(tracking_uri), TemporaryDirectory() as models:
        registry, judged = resolve(version)
        if against := taken_back(judged):
            Path(gate_report.path).write_text(f"{against}\n", encoding="utf-8")
            log(against)
            return (False, False)
        done = step.run(registry, *inputs, Path(models), limits, dry_run=False, version=judged)
    text = report.page(registry.name, done)
    Path(gate_report.path).write_text(text, encoding="utf-8")
    log(text.partition("\n|")[0].strip())  # without the tables
    if done.result:
        log(report.in_words(done.result, done.champion))
    return (done.result is None or done.result.verdict.accepted, done.moved)
