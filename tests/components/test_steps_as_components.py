"""Each component makes what its command makes: of the same data, parameters and machine, equal content.

"Equal" as design.md has it: tables, pixels, weights and figures, but not times. The workspace was made by the commands,
with the code that DVC's stages call. The components run as kfp calls them: on real artifacts, section by section.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, working_folder
from kfp import dsl
from mlflow import MlflowClient
from mlflow_servers import mlflow_server
from signalled import AT_A_STEP
from trained import weights_of

import components.catalog
import components.choose
import components.evaluate
import components.notify
import components.pairs
import components.preprocess
import components.promote
import components.register
import components.train
from pipelines.values_on_cluster import stored
from siamese import config
from siamese.errors import InputError
from siamese.preprocessing.pixel_store import StoredImages
from siamese.tracking.client import connect

DATA = {"repository": "https://git.example.com/r.git", "revision": "a" * 40, "path": "data/sample", "hash": "b.dir"}
BEFORE = ("model", "tracking", "catalog", "pairs", "preprocess")  # sections that `train` is given besides its own
pytestmark = pytest.mark.slow
NAMES = sorted(file.stem for file in (ROOT / "components").glob("[a-z]*.py") if file.stem != "image")


def call(name: str) -> Callable[..., Any]:
    return getattr(getattr(components, name), name).python_func


@dataclass(frozen=True)
class Made:
    """What the chain of components left, and where runs went."""

    folder: Path
    artifacts: dict[str, dsl.Artifact]
    good_enough: bool
    client: MlflowClient
    address: str
    sections: dict[str, dict[str, Any]]

    def path(self, name: str) -> Path:
        return Path(self.artifacts[name].path)

    def read(self, *names: str) -> list[dsl.Artifact]:
        """Artifacts as the next component reads them."""
        return [stored(self.artifacts[name]) for name in names]


@pytest.fixture(scope="module")
def made(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The steps up to `evaluate`, called one after the other, in a folder that is no project."""
    folder = tmp_path_factory.mktemp("pod")
    values = config.load_params(workspace / "params.yaml")
    # As kfp hands them on: every number a double.
    given = json.loads(json.dumps(values.model_dump()), parse_int=float)
    artifacts: dict[str, dsl.Artifact] = {}

    def out(kind: type[dsl.Artifact], name: str) -> dsl.Artifact:
        return artifacts.setdefault(name, kind(name=name, uri=str(folder / "outputs" / name)))

    data = dsl.Dataset(name="data", uri=str(workspace / values.data.path), metadata=dict(DATA))
    table, tree = partial(out, dsl.Dataset), partial(out, dsl.Artifact)
    (folder / "outputs").mkdir()
    with (
        mlflow_server(tmp_path_factory.mktemp("server")) as address,
        working_folder(folder),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_RUN_ID", connect(address).create_run("0").info.run_id)  # as KFP's MLflow integration does
        limit = values.data.max_pixels
        call("catalog")(data, given["catalog"], limit, *DATA.values(), table("catalog"), table("rejected"))
        call("pairs")(artifacts["catalog"], given["pairs"], table("pairs"))
        pixels = table("images"), tree("transform")
        call("preprocess")(data, artifacts["catalog"], given["preprocess"], given["model"], limit, *pixels)
        read = [stored(artifacts[name]) for name in ("catalog", "pairs", "images")]
        call("train")(
            *read,
            stored(artifacts["transform"]),
            *(given[name] for name in ("train", "model", "tracking", "catalog", "pairs", "preprocess")),
            address,
            str(folder / "outliving"),
            {},
            out(dsl.Model, "model"),
            table("history"),
            tree("run"),
        )
        good_enough = call("evaluate")(
            *read,
            stored(artifacts["model"]),
            stored(artifacts["history"]),
            given["evaluate"],
            given["promote"] | {"min_precision": 0.0, "max_eer": 1.0},
            out(dsl.Metrics, "metrics"),
            out(dsl.ClassificationMetrics, "plots"),
            out(dsl.HTML, "report"),
            tree("threshold"),
        )
        artifacts["data"] = data
        yield Made(folder, artifacts, good_enough, connect(address), address, given)


def test_the_catalog_is_the_commands_and_knows_where_the_data_came_from(made: Made, workspace: Path) -> None:
    there = pd.read_parquet(workspace / "artifacts/catalog.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(made.path("catalog")), there)
    assert made.artifacts["catalog"].metadata == {**DATA, "images": len(there)}
    assert made.path("rejected").read_text() == (workspace / "artifacts/rejected.csv").read_text()


def test_the_pairs_are_the_commands(made: Made, workspace: Path) -> None:
    there = pd.read_parquet(workspace / "artifacts/pairs.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(made.path("pairs")), there)
    assert made.artifacts["pairs"].metadata == {"pairs": len(there)}


def test_every_image_has_the_commands_pixels(made: Made, workspace: Path) -> None:
    ids = pd.read_parquet(made.path("catalog")).image_id.tolist()
    here, there = (StoredImages(folder).pixels(ids) for folder in (made.path("images"), workspace / "artifacts/images"))
    np.testing.assert_array_equal(here, there)


def test_the_weights_and_the_history_are_the_commands_to_the_bit(made: Made, workspace: Path) -> None:
    for ours, theirs in zip(weights_of(made.path("model")), weights_of(workspace / "artifacts/model"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    tables = (pd.read_csv(file) for file in (made.path("history"), workspace / "artifacts/history.csv"))
    one, other = (table.drop(columns="images_per_second") for table in tables)
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_the_figures_are_the_commands(made: Made, workspace: Path) -> None:
    here, there = (json.loads(file.read_text()) for file in (made.path("metrics"), workspace / "metrics.json"))
    assert here | {"note": None} == there | {"note": None}  # the command knows that it was the sample
    for curve in ("roc", "scores", "confusion"):
        assert (made.path("plots") / f"{curve}.csv").read_text() == (workspace / f"plots/{curve}.csv").read_text()
    threshold = (made.path("threshold"), workspace / "artifacts/threshold.json")
    assert json.loads(threshold[0].read_text()) == json.loads(threshold[1].read_text())
    page = made.path("report").read_text()
    assert "<td>evaluate.bootstrap</td><td>100</td>" in page and "<td>train.epochs</td><td>2</td>" in page


def test_figures_and_curves_are_shown_as_kubeflow_shows_them(made: Made) -> None:
    measured = json.loads(made.path("metrics").read_text())
    assert made.artifacts["metrics"].metadata == {k: v for k, v in measured["test"].items() if v is not None}
    shown = made.artifacts["plots"].metadata
    rows = [row["row"] for row in shown["confusionMatrix"]["rows"]]
    assert [one["displayName"] for one in shown["confusionMatrix"]["annotationSpecs"]] == ["different", "same"]
    assert sum(map(sum, rows)) == measured["counts"]["test"]["pairs"]
    right = rows[0][0] + rows[1][1]
    assert right / sum(map(sum, rows)) == pytest.approx(measured["test"]["accuracy"], abs=1e-6)
    assert rows[1][1] / (rows[0][1] + rows[1][1]) == pytest.approx(measured["test"]["precision"], abs=1e-6)
    first, last = shown["confidenceMetrics"][0], shown["confidenceMetrics"][-1]
    assert (first["falsePositiveRate"], first["recall"]) == (0, 0)
    assert (last["falsePositiveRate"], last["recall"]) == (1, 1)


def test_the_run_tells_the_datas_origin_and_the_parameters_that_training_was_given(made: Made) -> None:
    run = made.client.get_run(json.loads(made.path("run").read_text())["run_id"])
    told = {name: value for name, value in run.data.tags.items() if name.startswith("siamese.data.")}
    assert told == {f"siamese.data.{name}": value for name, value in DATA.items()}
    assert run.inputs.dataset_inputs[0].dataset.digest == DATA["hash"]
    assert {key.partition(".")[0] for key in run.data.params} == {
        "catalog", "pairs", "preprocess", "model", "train", "tracking",
    }  # fmt: skip
    assert run.data.params["train.epochs"] == "2"


def test_working_files_lie_where_they_outlive_the_container(made: Made) -> None:
    kept = made.folder / "outliving/.siamese"
    assert (kept / "tracking").is_dir() and list(kept.glob("checkpoints/*.lock"))
    assert not (made.folder / ".siamese").exists()


TRAIN = """
import json, sys
from kfp import dsl
from components.train import train
told = json.loads(sys.argv[1])
kinds = {"model": dsl.Model}
artifacts = {name: kinds.get(name, dsl.Artifact)(name=name, uri=uri) for name, uri in told["uris"].items()}
artifacts["catalog"].metadata = told["data"]
train.python_func(**artifacts, **told["given"])
"""


def test_a_training_that_is_killed_goes_on_in_the_next_run(made: Made, workspace: Path, tmp_path: Path) -> None:
    """By SIGKILL, in its second epoch; submitted again with the same address of checkpoints.

    The next run has nothing else of the first: another pod, another root, inputs that were made again in another place,
    and of a newer commit, which brings the same images.
    """
    place = tmp_path / "volume"
    sections = {f"{name}_params": made.sections[name] for name in BEFORE}

    def submit(name: str, inputs: dict[str, Path], minutes: float, *ended: int) -> tuple[int, str, Path]:
        root = tmp_path / name
        (root / "pod").mkdir(parents=True)
        outputs = {one: root / one for one in ("model", "history", "run")}
        told = {
            "uris": {one: str(path) for one, path in (inputs | outputs).items()},
            "data": DATA | {"revision": name},
            "given": {
                **sections,
                "params": made.sections["train"] | {"checkpoint_minutes": minutes},
                "tracking_uri": made.address,
                "checkpoints": str(place),
                "overrides": {},
            },
        }
        command = [sys.executable, "-c", AT_A_STEP + TRAIN, *map(str, ended), json.dumps(told)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        del environment["MLFLOW_RUN_ID"]  # KFP's run of another step
        done = subprocess.run(
            command, cwd=root / "pod", env=environment, stderr=subprocess.PIPE, text=True, check=False
        )
        return done.returncode, done.stderr, root

    files = {"catalog": "catalog.parquet", "pairs": "pairs.parquet", "images": "images", "transform": "transform"}
    by_commands = {name: workspace / "artifacts" / file for name, file in files.items()}
    by_components = {name: made.path(name) for name in files}
    recorded = set(runs_of(made.client))
    last_step = 8  # of two epochs of 4 steps

    code, said, root = submit("first", by_commands, 1e-9, signal.SIGKILL, last_step)
    assert code == -signal.SIGKILL, said
    assert not (root / "model").exists()
    newest = max(place.glob(".siamese/checkpoints/*/epoch-*")).name
    assert newest > "epoch-0001-step-000000"

    code, said, root = submit("second", by_components, 0.0, 0, 0)
    assert code == 0, said
    _, epoch, _, step = newest.split("-")
    assert f"continuing after epoch {int(epoch)}, step {int(step)}\n" in said
    for ours, theirs in zip(weights_of(root / "model"), weights_of(workspace / "artifacts/model"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not list(place.glob(".siamese/checkpoints/*/epoch-*"))

    (run_id,) = set(runs_of(made.client)) - recorded
    run = made.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert [one.step for one in made.client.get_metric_history(run_id, "loss")] == [1, 2]
    assert run.data.tags["siamese.data.revision"] == "first"
    assert run.data.tags["siamese.continued.data.revision"] == "second"


def runs_of(client: MlflowClient) -> list[str]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    return [run.info.run_id for run in client.search_runs(experiments)]


def test_a_model_that_breaks_an_absolute_limit_is_not_good_enough(made: Made, tmp_path: Path) -> None:
    assert made.good_enough
    inputs = made.read("catalog", "pairs", "images", "model", "history")
    outputs = [
        kind(name=str(number), uri=str(tmp_path / str(number)))
        for number, kind in enumerate((dsl.Metrics, dsl.ClassificationMetrics, dsl.HTML, dsl.Artifact))
    ]
    limits = made.sections["promote"] | {"min_precision": 1.0, "max_eer": 0.0}
    assert call("evaluate")(*inputs, made.sections["evaluate"], limits, *outputs) is False


def test_registered_and_promoted_the_first_model_is_champion(made: Made, tmp_path: Path) -> None:
    names = ("data", "catalog", "model", "history", "run", "metrics", "plots", "report", "threshold")
    sections = made.sections
    limits = sections["promote"] | {"min_precision": 0.0, "max_eer": 1.0}
    register = partial(
        call("register"),
        *made.read(*names),
        100_000_000,
        {"name": "of-components"},
        sections["evaluate"],
        limits,
        made.address,
    )
    with working_folder(tmp_path):
        version = register()
        assert version == "models:/of-components/1" == register()
        run = made.client.get_run(made.client.get_model_version("of-components", "1").run_id)
        assert run.data.params["promote.max_eer"] == "1.0" and run.data.params["train.epochs"] == "2"
        assert "data/report.html" in {one.path for one in made.client.list_artifacts(run.info.run_id, "data")}

        gate_report = dsl.Markdown(name="gate_report", uri=str(tmp_path / "gate.md"))
        read = made.read("catalog", "pairs", "images")
        promote = partial(call("promote"), *read, version, limits, made.address, gate_report)
        assert promote() == (True, True)
        assert (tmp_path / "gate.md").read_text().startswith("# of-components, version 1: accepted by the gate")
        assert promote() == (True, False)
    assert made.client.get_model_version_by_alias("of-components", "champion").version == "1"
    of_kfp = made.client.get_run(os.environ["MLFLOW_RUN_ID"])
    assert (of_kfp.data.metrics, of_kfp.data.params, of_kfp.info.status) == ({}, {}, "RUNNING")
    assert of_kfp.data.tags["siamese.run"] == run.info.run_id and of_kfp.outputs.model_outputs == []
    assert made.client.list_artifacts(of_kfp.info.run_id) == []


def test_what_a_section_may_not_hold_is_told_in_a_line(made: Made, tmp_path: Path) -> None:
    out = dsl.Dataset(name="pairs", uri=str(tmp_path / "pairs"))
    with pytest.raises(InputError, match="per_spilt") as refused:
        call("pairs")(made.artifacts["catalog"], {"per_spilt": 10, "seed": 0}, out)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_component_documents_every_input_and_output(name: str) -> None:
    component = getattr(getattr(__import__(f"components.{name}"), name), name)
    documentation = inspect.getdoc(component.python_func)
    described = {line.split(":")[0].strip() for line in documentation.splitlines() if ":" in line}
    assert set(inspect.signature(component.python_func).parameters) <= described
    assert component.component_spec.implementation.container.image == "siamese-training:latest"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_person_can_fix_ends_a_step_in_one_line(name: str) -> None:
    assert "    exit_in_one_line()\n" in (ROOT / f"components/{name}.py").read_text()
