"""Pipeline step `train`: catalog, pairs and stored pixels to a trained network, recorded as a run of MLflow."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def train(
    catalog: dsl.Input[dsl.Dataset],
    pairs: dsl.Input[dsl.Dataset],
    images: dsl.Input[dsl.Dataset],
    transform: dsl.Input[dsl.Artifact],
    params: dict,
    model_params: dict,
    tracking_params: dict,
    catalog_params: dict,
    pairs_params: dict,
    preprocess_params: dict,
    tracking_uri: str,
    checkpoints: str,
    overrides: dict,
    model: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Dataset],
    run: dsl.Output[dsl.Artifact],
) -> None:
    """Trains the network; started again after an interruption, continues from its newest checkpoint.

    Args:
        catalog: `catalog.parquet`; its metadata say which data it lists.
        pairs: `pairs.parquet`.
        images: stored pixels.
        transform: the TFT graph.
        params: section `train` of params.yaml.
        model_params: section `model`.
        tracking_params: section `tracking`.
        catalog_params: section `catalog`, for the record alone, as those of `pairs` and `preprocess`.
        pairs_params: section `pairs`.
        preprocess_params: section `preprocess`.
        tracking_uri: of the MLflow server; "": the environment says it.
        checkpoints: folder or URI of a folder that outlives this container; "": none does.
        overrides: what a candidate of a sweep has otherwise than `params`; {}: nothing.
        model: folder with `siamese.keras` and `servable/`; metadata: the parameters it was trained with, as JSON.
        history: `history.csv`, one row an epoch.
        run: `run.json`: which run of MLflow the training is.
    """
    import json
    from pathlib import Path

    from siamese.config import deep_merge
    from siamese.errors import exit_in_one_line
    from siamese.orchestration import container as step

    exit_in_one_line()
    before = {"catalog": catalog_params, "pairs": pairs_params, "preprocess": preprocess_params}
    own = {"train": deep_merge(params, overrides), "model": model_params, "tracking": tracking_params}
    files = [Path(one.path) for one in (catalog, pairs, images, transform, model, history, run)]
    step.run(*files, {**before, **own}, catalog.metadata, tracking_uri, checkpoints, model.uri)
    model.metadata.update(params=json.dumps({**before, **own}))
