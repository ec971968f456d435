"""Pipeline step `evaluate`: threshold from validation pairs, figures from test pairs, report, absolute verdict."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def evaluate(
    catalog: dsl.Input[dsl.Dataset],
    pairs: dsl.Input[dsl.Dataset],
    images: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    history: dsl.Input[dsl.Dataset],
    params: dict,
    promote_params: dict,
    metrics: dsl.Output[dsl.Metrics],
    plots: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    threshold: dsl.Output[dsl.Artifact],
) -> bool:
    """Chooses the threshold on validation pairs, then measures once on the test split.

    Args:
        catalog: `catalog.parquet`.
        pairs: `pairs.parquet`.
        images: stored pixels.
        model: what step `train` wrote.
        history: `history.csv`.
        params: section `evaluate` of params.yaml.
        promote_params: section `promote`, for the absolute limits.
        metrics: `metrics.json`; metadata: every metric of the test split that has a value.
        plots: folder of curves as CSV; metadata: ROC curve and confusion matrix of the test split.
        report: the report, one self-contained page.
        threshold: `threshold.json`.

    Returns:
        Whether the model is good enough by itself: the gate's absolute limits.
    """
    import json
    from pathlib import Path

    from siamese.config import params_from_sections, parse_section
    from siamese.console import log
    from siamese.errors import exit_in_one_line
    from siamese.evaluation import evaluate as step
    from siamese.orchestration import kfp_outputs
    from siamese.params import EvaluateParams, PromoteParams

    exit_in_one_line()
    inputs = [Path(one.path) for one in (catalog, pairs, images, model, history)]
    outputs = [Path(one.path) for one in (metrics, plots, report, threshold)]
    chosen = parse_section(EvaluateParams, params)
    sections = json.loads(model.metadata["params"])
    trained_with = params_from_sections(sections).model_dump(include=set(sections))
    settings = {**trained_with, "evaluate": chosen.model_dump()}
    step.run(*inputs, *outputs, chosen, note=None, settings=settings)

    for name, value in kfp_outputs.of_test_split(outputs[0]).items():
        metrics.log_metric(name, value)
    plots.log_roc_curve(*kfp_outputs.roc(outputs[1]))
    plots.log_confusion_matrix(kfp_outputs.CATEGORIES, kfp_outputs.confusion(outputs[1]))
    reasons = kfp_outputs.reasons_against(outputs[0], parse_section(PromoteParams, promote_params))
    for reason in reasons:
        log(f"not good enough: {reason}")
    return not reasons
