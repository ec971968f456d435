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
from argo_workflow import Plan
from commands import FOREIGN
from conftest import ROOT, project_copy
from executing_backend import ExecutingKfp, ExecutingKubernetes
from kfp_server import kfp_server
from kubernetes_server import NAMESPACE
from mlflow_servers import mlflow_server

from siamese import config, params
from siamese.data.synthetic import sample

TOKEN = "of-the-suite"


@dataclass
class Checked:
    """What the suite left."""

    exit_code: int
    report: str

    def outcomes(self) -> dict[str, str]:
        """What became of each check."""
        found = re.findall(r"^(passed|FAILED|NOT RUN): ([^:\n]+)", self.report, re.MULTILINE)
        return {name: outcome for outcome, name in found}


def check(given: dict[str, str], *options: str) -> Checked:
    """Run the suite, or a part of it."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/cluster", "-m", "cluster", "--tb=short", *options],
        cwd=ROOT,
        env=plain | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    return Checked(done.returncode, done.stdout.partition(" conformance ")[2])


@pytest.fixture(scope="module", params=["2.17"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An installation of a version of KFP, set up as docs/conformance.md says."""
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "repository").mkdir()
    data = project_copy(folder / "repository", config.to_yaml(config.load_params(config.packaged_file())))
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
                kind=ExecutingKfp,
                token=TOKEN,
                namespaces=(NAMESPACE,),
                folder=folder / "runs",
                environment=steps,
                kfp=request.param,
            )
        )
        kubernetes.kfp = kfp
        kfp.job_deletions = lambda: sum(way == "DELETE" and "/trainjobs/" in path for way, path in kubernetes.asked)
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
        yield given


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """A set-up whose runs are made up, for checks of what the suite makes of them."""
    (tmp_path / "cluster.yaml").write_text("image: siamese-training:v1\n")
    return {
        "SIAMESE_CLUSTER": str(tmp_path / "cluster.yaml"),
        "SIAMESE_REPOSITORY": "https://git.example.com/siamese.git",
        "CONFORMANCE_TRACKING_URI": "http://localhost:1",
        "KUBECONFIG": str(tmp_path / "none"),
    }


def test_without_an_endpoint_nothing_is_collected(elsewhere: dict[str, str]) -> None:
    checked = check(elsewhere, "--collect-only")
    assert checked.exit_code == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_setting_that_lacks_is_named(elsewhere: dict[str, str]) -> None:
    del elsewhere["CONFORMANCE_TRACKING_URI"]
    done = check(elsewhere | {"KFP_HOST": "http://localhost:1"})
    assert done.exit_code == 2
    assert "CONFORMANCE_TRACKING_URI: not set" in done.report


def test_a_check_that_cannot_run_says_why(elsewhere: dict[str, str]) -> None:
    with kfp_server() as kfp:  # anybody may use it
        checked = check(elsewhere | {"KFP_HOST": kfp.address}, "-k", "revoked_token")
    assert "NOT RUN: a revoked token is one line: this endpoint asks nobody to log in" in checked.report


def test_a_check_says_what_it_saw(elsewhere: dict[str, str]) -> None:
    with kfp_server(token=TOKEN) as kfp:
        checked = check(elsewhere | {"KFP_HOST": kfp.address, "KFP_TOKEN": TOKEN}, "-k", "revoked_token")
    assert checked.outcomes() == {"a revoked token is one line": "passed"}
    assert f"    exit code 2: siamese: {kfp.address} asks to log in" in checked.report


@pytest.mark.parametrize("also_failing", [(), ("notify",)])
def test_notify_that_fails_is_found(elsewhere: dict[str, str], also_failing: tuple[str, ...]) -> None:
    failing = dict.fromkeys(("catalog", *also_failing), "main: Error (exit code 1)")
    with kfp_server(plan=Plan(failing=failing)) as kfp:
        checked = check(elsewhere | {"KFP_HOST": kfp.address}, "-k", "step_that_fails")
    (outcome,) = checked.outcomes().values()
    assert outcome == ("FAILED" if also_failing else "passed")
    assert checked.exit_code == (1 if also_failing else 0)


@pytest.mark.slow
def test_the_suite_passes_but_for_its_longest_checks(installation: dict[str, str]) -> None:
    checked = check(installation, "-k", "not two_workers and not lost_pod")
    found = checked.outcomes()
    assert set(found.values()) == {"passed"}, found
    assert len(found) == 13


@pytest.mark.long
def test_the_suite_passes(installation: dict[str, str]) -> None:
    checked = check(installation)
    found = checked.outcomes()
    assert set(found.values()) == {"passed"}, found
    assert len(found) == 15


@pytest.mark.long
@pytest.mark.parametrize("installation", ["2.16"], indirect=True)
def test_failures_under_the_retry_policy_of_2_16(installation: dict[str, str]) -> None:
    checked = check(installation, "-k", "interrupted or cancelled_is_not or step_that_fails")
    found = checked.outcomes()
    assert set(found.values()) == {"passed"}, found
    assert len(found) == 4
