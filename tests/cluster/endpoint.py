"""The installation under test: where it is, and the commands that its users give."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.kubeflow import Kubeflow, all_pages, connect
from siamese.config import deep_merge

ROOT = Path(__file__).parents[2]
NEEDED = ("KFP_HOST", "SIAMESE_REPOSITORY", "SIAMESE_CLUSTER", "CONFORMANCE_TRACKING_URI")
LIMIT = "3h"  # of one run: it ends what would hang, and decides nothing
# Quick, and with limits that the model of two epochs keeps: what is checked is the pipeline, not the model.
QUICK = {
    "train.epochs": 2,
    "train.batch": 8,
    "train.precision": "float32",
    "evaluate.bootstrap": 100,
    "evaluate.one_shot_trials": 20,
    "tracking.checkpoints": "none",
    "promote.min_precision": 0.0,
    "promote.max_eer": 1.0,
    "promote.max_regression": 1.0,
    "promote.bootstrap": 200,
}


@dataclass(frozen=True)
class Ended:
    """What `submit --wait` left.

    Attributes:
        exit_code: of the command.
        answer: what it printed as JSON; {} where it printed none.
        lines: what it said on the way.
    """

    exit_code: int
    answer: dict[str, Any]
    lines: list[str]

    def __str__(self) -> str:
        return "\n".join([f"exit code {self.exit_code}, {self.answer}", *self.lines])

    @property
    def run_id(self) -> str:
        return self.answer["run_id"]

    def states(self) -> dict[str, str]:
        """The last state of each step that was named."""
        pairs = [line.partition(": ") for line in self.lines]
        return {step: state for step, _, state in pairs if step.isidentifier()}

    def ended_as(self, state: str) -> set[str]:
        """The steps whose last state begins so."""
        return {step for step, last in self.states().items() if last.startswith(state)}


class Following:
    """`submit --wait` while it goes on."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as this object
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=self._said, text=True
        )

    def lines(self) -> list[str]:
        """What it has said so far."""
        self._said.seek(0)
        return self._said.read().splitlines()

    def run_id(self) -> str | None:
        """Of the run, once it is submitted; None: not yet."""
        found = re.search(r"/runs/details/(\S+)", "\n".join(self.lines()))
        return found[1] if found else None

    def still_goes_on(self) -> None:
        """Fails where there is nothing left to wait for."""
        assert self.process.poll() is None, self.ended()

    def ended(self) -> Ended:
        """Waits for its end."""
        out, _ = self.process.communicate()
        return Ended(self.process.returncode, json.loads(out) if out.startswith("{") else {}, self.lines())


@dataclass(frozen=True)
class Endpoint:
    """An installation, and names of this session alone: what earlier sessions left there stays and decides nothing.

    Attributes:
        given: the variables of the environment that describe it.
        name: of the registered model and of the experiments.
        seed: of the first training, which no earlier session had: it can't be in the cache.
    """

    given: Mapping[str, str]
    name: str = field(default_factory=lambda: f"conformance-{secrets.token_hex(3)}")
    seed: int = field(default_factory=lambda: secrets.randbelow(2**31))

    @property
    def namespace(self) -> str:
        return self.given.get("KFP_NAMESPACE", "kubeflow")

    @cached_property
    def cluster(self) -> dict[str, Any]:
        """The cluster file, as its owner wrote it."""
        return yaml.safe_load(Path(self.given["SIAMESE_CLUSTER"]).read_text(encoding="utf-8")) or {}

    @cached_property
    def registry(self) -> MlflowClient:
        """The tracking server."""
        return MlflowClient(self.tracking_uri)

    @property
    def tracking_uri(self) -> str:
        """Of the tracking server as it is reached from here, which may be another address than the pods'."""
        return self.given.get("CONFORMANCE_TRACKING_URI_HERE") or self.given["CONFORMANCE_TRACKING_URI"]

    def submit(
        self, folder: Path, *options: str, cluster: Mapping[str, Any] | None = None, **settings: object
    ) -> Ended:
        """One run to its end; see `begin`."""
        return self.begin(folder, *options, cluster=cluster, **settings).ended()

    def begin(
        self, folder: Path, *options: str, cluster: Mapping[str, Any] | None = None, **settings: object
    ) -> Following:
        """`submit --wait`; see `configured`."""
        waits = ("submit", "--wait", "--poll", "1", "--timeout", LIMIT)
        return self.configured(waits, folder, *options, cluster=cluster, **settings)

    def configured(
        self,
        command: Sequence[str],
        folder: Path,
        *options: str,
        cluster: Mapping[str, Any] | None = None,
        **settings: object,
    ) -> Following:
        """A command with the session's cluster file, data and parameters.

        Args:
            command: its words.
            folder: for the cluster file.
            options: of the command, besides.
            cluster: what the cluster file says otherwise for this run.
            settings: parameters otherwise than in QUICK, with __ for the dot.
        """
        file = folder / "cluster.yaml"
        file.write_text(yaml.safe_dump(deep_merge(self.cluster, dict(cluster or {}))), encoding="utf-8")
        names = {"registry.name": self.name, "tracking.experiment": self.name, "train.seed": self.seed}
        data = {"data.path": self.given.get("CONFORMANCE_DATA", "data/faces")}
        values = QUICK | names | data | {name.replace("__", "."): value for name, value in settings.items()}
        revision = () if "--revision" in options else ("--revision", self.given.get("CONFORMANCE_REVISION", "main"))
        return self.command(
            *command, "--json", "--cluster", str(file), "--experiment", self.name,
            "--tracking-uri", self.given["CONFORMANCE_TRACKING_URI"], *revision, *options,
            *(f"-S{key}={value}" for key, value in values.items()),
        )  # fmt: skip

    def command(self, *arguments: str, **environment: str) -> Following:
        """`python -m pipelines …` as a user starts it."""
        return Following([sys.executable, "-m", "pipelines", *arguments], {**os.environ, **environment})

    @cached_property
    def kubeflow(self) -> Kubeflow:
        """The API, for what no command shows."""
        named = {
            key: Path(self.given[key]) if self.given.get(key) else None for key in ("KFP_TOKEN_FILE", "KFP_CA_FILE")
        }
        return connect(self.given["KFP_HOST"], self.given.get("KFP_NAMESPACE"), *named.values())

    def run(self, run_id: str) -> Any:
        """A run as the API gives it."""
        return self.kubeflow.runs.run_service_get_run(run_id)

    def terminate(self, run_id: str) -> None:
        """As "Terminate" in KFP's user interface."""
        self.kubeflow.runs.run_service_terminate_run(run_id)

    @contextmanager
    def schedule(self, folder: Path, every: str) -> Iterator[str]:
        """A schedule of the session's first run, deleted in the end; gives its name."""
        name = f"{self.name}-schedule"
        made = self.configured(("schedule", "create", name, "--every", every), folder).ended()
        assert made.exit_code == 0, made
        try:
            yield name
        finally:
            gone = self.command("schedule", "delete", name).ended()
            assert gone.exit_code == 0, gone

    def scheduled_run(self, schedule: str) -> Any | None:
        """The first run that a schedule started; None: there is none yet."""
        number = self.kubeflow.recurring_run(schedule).recurring_run_id
        listed = self.kubeflow.runs.run_service_list_runs
        experiment = self.kubeflow.experiment(self.name)
        found = [run for run in all_pages(listed, "runs", experiment_id=experiment) if run.recurring_run_id == number]
        return min(found, key=lambda run: run.created_at, default=None)

    def asks_to_log_in(self) -> bool:
        """Whether a token is needed: a made-up one is refused."""
        return self.command("schedule", "list", KFP_TOKEN="revoked", KFP_TOKEN_FILE="").ended().exit_code != 0

    def versions(self) -> list[str]:
        """The versions of this session's registered model, in the order of their making."""
        found = self.registry.search_model_versions(f"name = '{self.name}'")
        return sorted((one.version for one in found), key=int)

    def judged(self, version: str) -> str:
        """What the gate said of a version: "accepted", or why it was refused; "" where it wasn't asked."""
        tags = self.registry.get_model_version(self.name, version).tags
        return tags.get("siamese.refused.why", "") or ("accepted" if "siamese.promoted.at" in tags else "")

    def weights(self, version: str, folder: Path) -> dict[str, np.ndarray]:
        """The weights of a version's servable model, by name."""
        import mlflow.artifacts
        import tensorflow as tf

        uri = self.registry.get_model_version_download_uri(self.name, version)
        mlflow.artifacts.download_artifacts(uri, dst_path=str(folder), tracking_uri=self.tracking_uri)
        (index,) = folder.rglob("variables.index")
        read = tf.train.load_checkpoint(str(index.with_suffix("")))
        names = [name for name in read.get_variable_to_shape_map() if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE")]
        return {name: read.get_tensor(name) for name in names}

    def champion(self) -> str | None:
        """Its champion's version."""
        try:
            return self.registry.get_model_version_by_alias(self.name, "champion").version
        except MlflowException:
            return None


def missing(environment: Mapping[str, str]) -> list[str]:
    """Variables that the suite can't do without, and that aren't set."""
    return [name for name in NEEDED if not environment.get(name)]
