"""The components one after the other, each given the metadata of the earlier ones as a cluster hands them on."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import SMALL, working_folder
from kfp import dsl

from components.catalog import catalog
from components.choose import choose
from components.evaluate import evaluate
from components.pairs import pairs
from components.preprocess import preprocess
from components.register import register
from components.train import train
from pipelines.values_on_cluster import stored
from siamese import config
from siamese.data.synthetic import sample
from siamese.tracking.client import connect

SMALLER = SMALL | {"model.network": "convolutional", "evaluate.one_shot_trials": 5}
ORIGIN = {"repository": "s3://bucket/faces", "revision": "v1", "path": "data/faces", "hash": ""}


class Artifacts:
    """Artifacts of one run, by the names of the components' outputs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, dsl.Artifact] = {}

    def out(self, kind: type[dsl.Artifact], name: str) -> dsl.Artifact:
        """Return a new artifact for a component to write."""
        return self._written.setdefault(name, kind(name=name, uri=str(self._folder / name)))

    def read(self, *names: str) -> list[dsl.Artifact]:
        """Return artifacts as a component reads them."""
        return [stored(self._written[name]) for name in names]

    def path(self, name: str) -> Path:
        return Path(self._written[name].path)


def test_from_images_in_an_object_store_to_a_registered_model_of_a_sweep(tmp_path: Path) -> None:
    values = config.load_params(config.packaged_file(), [f"{key}={value}" for key, value in SMALLER.items()])
    sample.run(tmp_path / "data", values.sample)
    given = json.loads(json.dumps(values.model_dump()), parse_int=float)  # as kfp hands numbers on
    limit, address = float(values.data.max_pixels), f"sqlite:///{tmp_path}/runs.db"
    limits = given["promote"] | {"min_precision": 0.0, "max_eer": 1.0}
    run = Artifacts(tmp_path / "run")
    (tmp_path / "run").mkdir()
    data = stored(dsl.Dataset(name="data", uri=str(tmp_path / "data")))

    with working_folder(tmp_path):
        listed = run.out(dsl.Dataset, "catalog"), run.out(dsl.Dataset, "rejected")
        catalog.python_func(data, given["catalog"], limit, *ORIGIN.values(), *listed)
        pairs.python_func(*run.read("catalog"), given["pairs"], run.out(dsl.Dataset, "pairs"))
        pixels = run.out(dsl.Dataset, "images"), run.out(dsl.Artifact, "transform")
        preprocess.python_func(data, *run.read("catalog"), given["preprocess"], given["model"], limit, *pixels)

        sections = [given[name] for name in ("train", "model", "tracking", "catalog", "pairs", "preprocess")]
        trained = run.out(dsl.Model, "tried"), run.out(dsl.Dataset, "tried_history"), run.out(dsl.Artifact, "tried_run")
        read = run.read("catalog", "pairs", "images", "transform")
        train.python_func(*read, *sections, address, "", {"epochs": 1.0, "keep": "last"}, *trained)
        tried = [run.read(name) for name in ("tried", "tried_history", "tried_run")]
        chosen = run.out(dsl.Model, "model"), run.out(dsl.Dataset, "history"), run.out(dsl.Artifact, "run")
        choose.python_func(*tried, *chosen)

        kinds = {"metrics": dsl.Metrics, "plots": dsl.ClassificationMetrics, "report": dsl.HTML}
        measured = [run.out(kind, name) for name, kind in kinds.items()] + [run.out(dsl.Artifact, "threshold")]
        read = run.read("catalog", "pairs", "images", "model", "history")
        assert evaluate.python_func(*read, given["evaluate"], limits, *measured)
        read = run.read("catalog", "model", "history", "run", "metrics", "plots", "report", "threshold")
        settings = given["registry"], given["evaluate"], limits, address
        assert register.python_func(data, *read, limit, *settings) == "models:/siamese/1"

    page = run.path("report").read_text()
    assert "<td>train.epochs</td><td>1</td>" in page and "<td>train.keep</td><td>last</td>" in page
    client = connect(address)
    record = client.get_run(client.get_model_version("siamese", "1").run_id).data
    expected = {"train.epochs": "1", "train.keep": "last", "data.path": "data/faces", "evaluate.bootstrap": "100"}
    assert {name: record.params[name] for name in expected} == expected
    listed_metadata, chosen_metadata = (artifact.metadata for artifact in run.read("catalog", "model"))
    added = {"display_name": "catalog", "store_session_info": "{}"}
    assert listed_metadata == added | ORIGIN | {"images": 48.0}  # 12 identities of 4 images
    assert (chosen_metadata["display_name"], set(chosen_metadata) - set(added)) == ("model", {"params"})
    tags = {name: value for name, value in record.tags.items() if name.startswith("siamese.data.")}
    assert tags.pop("siamese.data.hash").startswith("catalog:")
    assert tags == {f"siamese.data.{name}": value for name, value in ORIGIN.items() if value}
