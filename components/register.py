"""Pipeline step `register`: a trained and measured model to a version of the registered model, the new challenger."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def register(
    data: dsl.Input[dsl.Dataset],
    catalog: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    history: dsl.Input[dsl.Dataset],
    run: dsl.Input[dsl.Artifact],
    metrics: dsl.Input[dsl.Metrics],
    plots: dsl.Input[dsl.ClassificationMetrics],
    report: dsl.Input[dsl.HTML],
    threshold: dsl.Input[dsl.Artifact],
    max_pixels: int,
    params: dict,
    evaluate_params: dict,
    promote_params: dict,
    tracking_uri: str,
) -> str:
    """Makes the model a version of the registered model; nothing if it is one already.

    Args:
        data: the image folder, for the data report.
        catalog: `catalog.parquet`.
        model: what step `train` wrote.
        history: `history.csv`.
        run: `run.json`.
        metrics: `metrics.json`.
        plots: folder of curves as CSV.
        report: the report.
        threshold: `threshold.json`.
        max_pixels: `data.max_pixels` of params.yaml.
        params: section `registry` of params.yaml.
        evaluate_params: section `evaluate`.
        promote_params: section `promote`.
        tracking_uri: of the MLflow server; "": the environment says it.

    Returns:
        The version's URI, as `models:/siamese/3`.
    """
    import json
    from pathlib import Path

    from siamese.config import params_from_sections
    from siamese.console import log
    from siamese.errors import exit_in_one_line
    from siamese.registry import register as step
    from siamese.tracking.client import use_tracking_uri

    exit_in_one_line()
    evaluated = [Path(one.path) for one in (model, threshold, metrics, plots, report)]
    trained = [Path(one.path) for one in (catalog, history, run, data)]
    here = {"registry": params, "evaluate": evaluate_params, "promote": promote_params}
    source = {"path": catalog.metadata.get("path", data.uri), "max_pixels": max_pixels}
    sections = {**json.loads(model.metadata["params"]), **here, "data": source}
    with use_tracking_uri(tracking_uri):
        registered = step.run(*evaluated, *trained, params_from_sections(sections))
        log(step.to_text(registered))
    return registered.version.uri
