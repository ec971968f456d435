"""The whole pipeline by kfp's local runners: from a git repository whose data lies in a DVC remote to a champion.

In processes, and in containers of the training image, with a real MLflow server and somebody who listens to `notify`:
the same steps, the specification's network, few images and one epoch. Each run goes on with what the runs before left
in the cache and in the registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from conftest import SMALL, Repository, project_copy
from container_engine import image, needs_engine
from listening import Listener
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_servers import mlflow_server

from siamese import config, params
from siamese.data.synthetic import sample
from siamese.tracking.client import connect

pytestmark = pytest.mark.slow

LENIENT = {
    "promote.min_precision": 0.0,
    "promote.max_eer": 1.0,
    "promote.max_regression": 1.0,
    "promote.bootstrap": 200,
}
SMALLER = SMALL | {"train.epochs": 1, "data.path": "data/faces"} | LENIENT
STEPS = {"data_version", "fetch_data", "catalog", "pairs", "preprocess", "train", "evaluate", "register", "promote"}


@dataclass
class Project:
    """A repository without the data's bytes, which are in its DVC remote alone, and what runs beside it."""

    repository: Repository
    hash: str
    client: MlflowClient
    server: str
    listener: Listener
    options: tuple[str, ...]
    said: str = ""
    exit_code: int = 0
    ran: set[str] = field(default_factory=set)

    def run(self, **settings: object) -> None:
        """Runs the pipeline with these parameters; keeps what came of it."""
        given = [f"-S{name.replace('__', '.')}={value}" for name, value in settings.items()]
        environment = os.environ | {"MLFLOW_TRACKING_URI": self.server, "SIAMESE_NOTIFY_URL": self.listener.address}
        command = [sys.executable, "-m", "pipelines", "local", *self.options, *given]
        done = subprocess.run(
            command,
            cwd=self.repository.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.said, self.exit_code = done.stdout, done.returncode
        *steps, last = re.findall(r"^([\w-]+): (?:success|failure)$", done.stdout, flags=re.MULTILINE)
        assert last == "notify"
        self.ran = set(steps)

    def heard(self) -> dict[str, Any]:
        """The one message since it was last asked."""
        (message,) = self.listener.heard
        self.listener.heard.clear()
        return message

    def versions(self) -> list[str]:
        found = self.client.search_model_versions("name = 'siamese'")
        return sorted(version.version for version in found)

    def champion(self) -> str | None:
        try:
            return self.client.get_model_version_by_alias("siamese", "champion").version
        except MlflowException:
            return None


@pytest.fixture(scope="module", params=["processes", pytest.param("containers", marks=needs_engine)])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp(request.param)
    text = config.to_yaml(
        config.load_params(config.packaged_file(), [f"{key}={value}" for key, value in SMALLER.items()])
    )
    made = project_copy(folder, text)
    faces = params.SampleParams(identities=12, images=4, seed=0, layout="identities", forgeries=False)
    sample.run(folder / "data/faces", faces)
    made.run("dvc", "add", "data/faces")
    made.run("dvc", "remote", "add", "--default", "store", str(folder / "store"))
    (folder / ".gitignore").write_text(f"{(folder / '.gitignore').read_text()}/store/\n")
    made.commit()
    made.run("dvc", "push")
    shutil.rmtree(folder / ".dvc/cache")
    shutil.rmtree(folder / "data/faces")
    options: tuple[str, ...] = ("--repository", f"file://{folder}", "--revision", "HEAD")
    if request.param == "containers":
        (folder / "cluster.yaml").write_text(f"image: {image('siamese-training')}\n")
        options += ("--containers", "--cluster", "cluster.yaml")
    digest = yaml.safe_load((folder / "data/faces.dvc").read_text())["outs"][0]["md5"]
    with ExitStack() as opened:
        server = opened.enter_context(mlflow_server(tmp_path_factory.mktemp("server")))
        listener = opened.enter_context(Listener())
        yield Project(made, digest, connect(server), server, listener, options)


def test_from_a_repository_to_a_champion(project: Project) -> None:
    project.run()
    assert project.exit_code == 0, project.said
    assert project.ran == STEPS
    assert (project.versions(), project.champion()) == (["1"], "1")
    assert project.heard()["state"] == "SUCCEEDED"

    version = project.client.get_model_version("siamese", "1")
    run = project.client.get_run(version.run_id)
    assert run.data.tags["siamese.data.hash"] == project.hash
    head = project.repository.run("git", "rev-parse", "HEAD").strip()
    assert run.data.tags["siamese.data.revision"] == head
    assert re.fullmatch("[0-9a-f]{40}", run.data.tags["siamese.git.commit"])  # in containers, the image's
    assert run.data.params["data.path"] == "data/faces"
    logged = {one.path for one in project.client.list_artifacts(run.info.run_id)}
    assert {"card.md", "data", "evaluation", "training"} <= logged
    status = project.repository.run("git", "status", "--porcelain")
    assert [line for line in status.splitlines() if "cluster.yaml" not in line] == []


def test_the_same_again_takes_all_from_the_cache_and_registers_nothing_new(project: Project) -> None:
    """Also after a commit that leaves the data alone."""
    (project.repository.folder / "README.md").write_text("other words")
    project.repository.run("git", "commit", "-q", "-a", "-m", "words")
    project.run()
    assert project.exit_code == 0, project.said
    assert project.ran == {"data_version", "register", "promote"}
    assert (project.versions(), project.champion()) == (["1"], "1")
    assert project.heard()["state"] == "SUCCEEDED"


def test_a_model_that_is_not_good_enough_is_not_registered(project: Project) -> None:
    project.run(train__seed=1, promote__min_precision=1.0, promote__max_eer=0.0)
    assert project.exit_code == 0, project.said
    assert project.ran == {"data_version", "train", "evaluate"}
    assert "not good enough: eer" in project.said
    assert (project.versions(), project.champion()) == (["1"], "1")
    assert project.heard()["state"] == "SUCCEEDED"


def test_a_model_that_does_not_beat_the_champion_is_registered_and_refused(project: Project) -> None:
    """No p-value is below nought: the gate wants what no model can show."""
    project.run(train__seed=1, promote__max_p_value=0.0)
    assert project.exit_code == 0, project.said
    assert project.ran == {"data_version", "evaluate", "register", "promote"}
    assert (project.versions(), project.champion()) == (["1", "2"], "1")
    refused = project.client.get_model_version("siamese", "2").tags["siamese.refused.why"]
    assert "above promote.max_p_value 0" in refused
    assert project.heard()["state"] == "SUCCEEDED"


def test_a_step_that_fails_fails_the_run_and_notify_says_so(project: Project) -> None:
    """`docs` is a folder of the repository, and holds no image."""
    project.run(data__path="docs")
    assert project.exit_code == 2, project.said
    assert project.ran == {"data_version", "fetch_data", "catalog"}
    assert project.said.strip().splitlines()[-1].startswith("siamese: Pipeline")
    assert (project.versions(), project.champion()) == (["1", "2"], "1")
    assert project.heard()["state"] == "FAILED"


def test_of_a_sweep_the_best_on_validation_pairs_is_registered(project: Project) -> None:
    """Two candidates, one of which is the model that is champion: what is known is not trained again."""
    folder = project.repository.folder
    before = project.options
    text = (folder / "cluster.yaml").read_text() if (folder / "cluster.yaml").exists() else ""
    (folder / "sweep.yaml").write_text(f"{text}sweep: {{parallel: 1, candidates: [{{seed: 0}}, {{seed: 2}}]}}\n")
    project.options = (*(one for one in before if one not in ("--cluster", "cluster.yaml")), "--cluster", "sweep.yaml")
    project.run()
    project.options = before
    assert project.exit_code == 0, project.said
    assert {"choose", "train", "evaluate", "register", "promote"} - {"evaluate"} <= project.ran
    assert re.search(r"^choose: candidate [12] of 2 did best on validation pairs$", project.said, flags=re.MULTILINE)
    assert project.heard()["state"] == "SUCCEEDED"
