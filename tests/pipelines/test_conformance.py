"""The conformance suite (tests/cluster) on stand-in servers whose runs are real: it passes, and finds what is wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import FOREIGN
from conftest import ROOT, project_copy
from executing_backend import ExecutingKfp, ExecutingKubernetes
from kfp_server import kfp_server
from kubernetes_server import NAMESPACE
from mlflow_servers import mlflow_server

from siamese import params, sample

TOKEN = "of-the-suite"


@dataclass
class Installation:
    """An endpoint, and what its set-up gives to the suite."""

    kfp: ExecutingKfp
    environment: dict[str, str]

    def check(self, *options: str, **environment: str) -> str:
        """Run the suite, or a part of it; gives its report."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/cluster", "-m", "cluster", "--tb=short", *options],
            cwd=ROOT,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout)
        return done.stdout.partition("conformance =")[2]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Set up as docs/conformance.md says."""
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "repository").mkdir()
    data = project_copy(folder / "repository", params.to_yaml(params.load(params.packaged_file())))
    faces = params.SampleParams(identities=12, images=4, seed=0, layout="identities", forgeries=False)
    sample.run(data.folder / "data/faces", faces)
    data.run("dvc", "add", "data/faces")
    data.run("dvc", "remote", "add", "--default", "store", str(folder / "store"))
    data.commit()
    data.run("git", "branch", "--force", "--move", "main")
    data.run("dvc", "push")
    shutil.copytree(data.folder / "data/faces", folder / "bucket/faces")
    shutil.rmtree(data.folder / ".dvc/cache")
    shutil.rmtree(data.folder / "data/faces")
    volume = folder / "volume"
    volume.mkdir()
    cluster = f"image: siamese-training:v1\nvolume: {{claim: siamese, path: {volume}}}\n"
    (folder / "cluster.yaml").write_text(cluster)
    plain = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    plain["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}"
    with ExitStack() as opened:
        tracking = opened.enter_context(mlflow_server(tmp_path_factory.mktemp("server")))
        kubernetes = opened.enter_context(ExecutingKubernetes(folder / "kubernetes"))
        steps = plain | {"KUBECONFIG": str(kubernetes.configuration), "PYTHONPATH": str(ROOT)}
        kfp = opened.enter_context(
            kfp_server(
                kind=ExecutingKfp, token=TOKEN, namespaces=(NAMESPACE,), folder=folder / "runs", environment=steps
            )
        )
        kubernetes.kfp = kfp
        opened.callback(kfp.end)
        given = {
            "KFP_HOST": kfp.address,
            "KFP_TOKEN": TOKEN,
            "KFP_NAMESPACE": NAMESPACE,
            "KUBECONFIG": str(kubernetes.configuration),
            "SIAMESE_CLUSTER": str(folder / "cluster.yaml"),
            "SIAMESE_REPOSITORY": f"file://{data.folder}",
            "SIAMESE_CHECKPOINTS": str(volume / "checkpoints"),
            "CONFORMANCE_TRACKING_URI": tracking,
            "CONFORMANCE_DATA_URI": str(folder / "bucket/faces"),
        }
        yield Installation(kfp, plain | given)


def outcomes(report: str) -> dict[str, str]:
    """What became of each check."""
    return {name: outcome for outcome, name in re.findall(r"^(passed|FAILED|NOT RUN): ([^:\n]+)", report, re.MULTILINE)}


def test_without_an_endpoint_nothing_is_collected() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "KFP_HOST"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/cluster", "-m", "cluster", "--collect-only", "-q"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "no tests collected" in done.stdout
    assert done.returncode == 5  # pytest's code for it


@pytest.mark.slow
def test_the_suite_passes(installation: Installation) -> None:
    found = outcomes(installation.check())
    assert set(found.values()) == {"passed"}, found
    assert len(found) == 15
