"""Pipeline step `train` on several machines: what `components/train.py` does, by a job that this step launches."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def train_on_workers(
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
    workers: dict,
    model: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Dataset],
    run: dsl.Output[dsl.Artifact],
) -> None:
    """Trains the network on several machines; started again, it takes up the job that it launched.

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
        checkpoints: folder of the shared volume, or URI of one, that outlives the job; "": the job's own folder.
        workers: how many, and what they look like (`siamese.orchestration.k8s.manifests.PodSpec`).
        model: folder with `siamese.keras` and `servable/`; metadata: the parameters it was trained with, as JSON.
        history: `history.csv`, one row an epoch.
        run: `run.json`: which run of MLflow the training is.
    """
    import json
    from pathlib import Path

    from siamese.config import params_from_sections, parse_section
    from siamese.errors import exit_in_one_line
    from siamese.orchestration.k8s.job import JobSpec
    from siamese.orchestration.k8s.launch import launch
    from siamese.orchestration.k8s.manifests import PodSpec

    exit_in_one_line()
    before = {"catalog": catalog_params, "pairs": pairs_params, "preprocess": preprocess_params}
    sections = {**before, "train": params, "model": model_params, "tracking": tracking_params}
    given = params_from_sections(sections)
    inputs = [Path(one.path) for one in (catalog, pairs, images, transform)]
    data = {name: str(value) for name, value in catalog.metadata.items()}
    order = JobSpec(sections, data, tracking_uri, checkpoints)
    outputs = Path(model.path), Path(history.path), Path(run.path)
    launch(inputs, *outputs, order, given.train, parse_section(PodSpec, workers), model.uri)
    model.metadata.update(params=json.dumps(sections))
