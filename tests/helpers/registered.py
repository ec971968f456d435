"""Versions of a registered model for tests: real models of few weights on a real server, laid out as by `register`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamese.evaluation import choose_threshold
from siamese.models import scoring
from siamese.models.artifacts import weights_digest
from siamese.registry.client import CATALOG, Registry, Version
from siamese.storage.files import write_json
from siamese.tracking.client import connect


@dataclass(frozen=True)
class Uploaded:
    """A model's files on the server: what versions of any name can be made of."""

    source: str
    run_id: str
    tags: dict[str, str]

    def version(self, name: str, *aliases: str) -> Version:
        """A new version of the registered model `name`, with these aliases."""
        registry = Registry(name)
        made = registry.add(self.source, self.run_id, self.tags)
        for alias in aliases:
            registry.point(alias, made.number)
        return registry.version(made.number)


def upload(folder: Path, catalog: Path | None = None, **tags: str) -> Uploaded:
    """Makes a run with the model of `folder` (`servable/`, `threshold.json`) and, where given, its catalog."""
    client = connect()
    found = client.get_experiment_by_name("tests")
    experiment = found.experiment_id if found else client.create_experiment("tests")
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(folder), "model/artifacts")
    if catalog:
        client.log_artifact(run.info.run_id, str(catalog), CATALOG.rpartition("/")[0])
    client.set_terminated(run.info.run_id)
    return Uploaded(f"{run.info.artifact_uri}/model", run.info.run_id, tags)


def model_of_another_network(folder: Path, workspace: Path) -> Path:
    """A model folder of a network that sees grey images of 64x64, which the workspace's stored images are not."""
    from siamese import config
    from siamese.models.network import embedding, twins
    from siamese.models.servable import Servable, export
    from siamese.params import SIZES
    from siamese.preprocessing import preprocess
    from siamese.preprocessing.transform import Transform

    values = config.load_params(workspace / "params.yaml")
    data, catalog = workspace / values.data.path, workspace / "artifacts/catalog.parquet"
    made = folder / "images", folder / "transform"
    preprocess.run(data, catalog, *made, values.preprocess, "residual", values.data.max_pixels)
    sizes = SIZES["residual"]
    network = twins(embedding(sizes.image, [(2, 7), (2, 4)], sizes.units, "float32"))
    export(Servable(network, Transform.load(folder / "transform")), folder / "model/servable")
    write_json(folder / "model/threshold.json", {"threshold": 0.5, "weights": weights_digest(folder / "model")})
    return folder / "model"


def small_model(folder: Path, workspace: Path, *, better: bool) -> Path:
    """A model folder of a network with few weights, drawn at random, and a threshold chosen on the workspace's pairs.

    Its score falls with the distance of two embeddings, by which even random ones tell something; where not `better`,
    it rises: the same ranking upside down.
    """
    import keras

    from siamese.models.network import embedding, parts, twins
    from siamese.models.servable import Servable, export
    from siamese.models.verifier import Verifier
    from siamese.params import EMBEDDING_UNITS, IMAGE_SHAPE
    from siamese.preprocessing.pixel_store import StoredImages
    from siamese.preprocessing.transform import Transform

    keras.utils.set_random_seed(0)
    network = twins(embedding(IMAGE_SHAPE, [(2, 10), (2, 7), (2, 4)], EMBEDDING_UNITS, "float32"))
    weight = (-1 if better else 1) * np.full((EMBEDDING_UNITS, 1), 0.05, np.float32)
    parts(network)[2].set_weights([weight, np.zeros(1, np.float32)])
    servable = Servable(network, Transform.load(workspace / "artifacts/transform"))
    export(servable, folder / "servable")
    pairs = scoring.read_pairs(workspace / "artifacts/pairs.parquet", "validation")
    chosen = choose_threshold.choose(pairs, Verifier(servable), StoredImages(workspace / "artifacts/images"), "eer")
    choose_threshold.write_threshold(folder / "threshold.json", chosen, "validation", weights_digest(folder))
    return folder
