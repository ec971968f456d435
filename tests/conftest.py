"""What many tests share: one small run of the whole pipeline through the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings
from waiting import PATIENCE, wait_until

from siamese import cli, config, console

# How long an example takes, or its drawing, depends on the machine.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

ROOT = Path(__file__).parents[1]
CHANGED = re.compile(r"^(?:Running stage|Stage) '(?P<name>[^']+)'(?::| is cached)", flags=re.MULTILINE)
NEED_REPOSITORY = {
    "test_dvc_docs",
    "test_dvc_stage",
    "test_experiments",
    "test_lineage",
    "test_pipeline",
    "test_readme",
    "test_remotes",
    "test_tracking",
}
LONGEST = {"repository", "test_distribution", "test_beam_runner", "test_runs_here", "test_workflows"}
OF_THE_SESSION = {"workspace", "repository"}  # folders of fixtures that every file's tests share
SMALL = {
    "sample.identities": 12,
    "sample.images": 4,
    "train.epochs": 2,
    "train.batch": 8,
    "train.precision": "float32",
    "train.checkpoint_minutes": 0,  # or on a busy machine there would be checkpoints that tests don't expect
    "evaluate.bootstrap": 100,
    "evaluate.one_shot_trials": 20,
    "tracking.checkpoints": "none",  # half a gigabyte each
}
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "SIAMESE_SWEEP", "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"):
    os.environ.pop(name, None)  # no test writes to a developer's own server
os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = f"{PATIENCE:.0f}"  # a server on a busy machine is slow, not away
console.SECONDS_BETWEEN_LINES = PATIENCE  # or on a busy machine there would be lines that tests don't expect


def group_of(file: str) -> str:
    """Which tests one process runs, for the fixtures that they share: a file's, or all that need the repository."""
    name = Path(file).stem
    return "repository" if name in NEED_REPOSITORY else name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups come first, or one process would end with them alone."""
    unlisted = {item.path.stem for item in items if "repository" in item.fixturenames} - NEED_REPOSITORY
    if unlisted:
        raise pytest.UsageError(f"add to NEED_REPOSITORY in tests/conftest.py: {', '.join(sorted(unlisted))}")
    items.sort(key=lambda item: group_of(item.path.name) not in LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A training leaves half a gigabyte: a file's folders go with its fixtures, unless a test has failed."""
    yield
    if not item.session.testsfailed and (nextitem is None or nextitem.path != item.path):
        factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
        for folder in factory.getbasetemp().iterdir():
            if folder.name.rstrip("0123456789") not in OF_THE_SESSION and not folder.name.startswith("popen-"):
                shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Groups by `group_of`: with pytest 9, pytest-xdist's own marks of groups have no effect."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0])

    return ByGroup(config, log)


@contextmanager
def working_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def small_params() -> str:
    """params.yaml of a run that takes seconds: the specification's network, few images, two epochs."""
    return config.to_yaml(
        config.load_params(config.packaged_file(), [f"{key}={value}" for key, value in SMALL.items()])
    )


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_params: str) -> Path:
    """A folder in which every step has run once, by the commands that dvc.yaml calls. Tests must not change it."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "params.yaml").write_text(small_params)
    with working_folder(folder):
        for step in ("sample", "catalog", "pairs", "preprocess"):
            assert cli.run([step]) == 0, step
        # Tests compare weights with those of other processes: none that earlier tests have used, then.
        subprocess.run([Path(sys.executable).with_name("siamese"), "train"], check=True)
        assert cli.run(["evaluate"]) == 0
    return folder


def changed_stages(said: str) -> list[str]:
    """The stages that `dvc repro` or `dvc exp run` found changed: run, or taken from the cache of runs."""
    return list(dict.fromkeys(found["name"] for found in CHANGED.finditer(said)))


class Repository:
    """A git repository of the project, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, exit_codes: Sequence[int] = (0,)) -> str:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@localhost",
            "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@localhost",
        }  # fmt: skip
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode in exit_codes, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def clone(self, folder: Path) -> Repository:
        """A clone with its own, empty DVC cache."""
        self.run("git", "clone", "-q", ".", str(folder))
        return Repository(folder)

    def sibling(self, folder: Path) -> Repository:
        """A clone that shares this one's DVC cache: `dvc checkout` there makes the outputs. Free to be changed."""
        made = self.clone(folder)
        made.run("dvc", "cache", "dir", "--local", str(self.folder / ".dvc/cache"))
        return made

    def reset(self) -> None:
        """Back to the last commit, the outputs too."""
        self.run("git", "reset", "-q", "--hard")
        self.run("git", "clean", "-fdq")
        shutil.rmtree(self.folder / "data/faces", ignore_errors=True)
        self.run("dvc", "checkout")

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", "state")

    def would_run(self) -> list[str]:
        """The stages that have changed; those behind them follow as their inputs change."""
        return changed_stages(self.run("dvc", "repro", "--dry"))

    def finish_queue(self) -> None:
        """Returns when the queue of experiments is empty. A worker that died, which DVC's do at times, is replaced."""

        def finished() -> bool:
            status = self.run("dvc", "queue", "status")
            if not re.search(r"(Queued|Running)$", status, flags=re.MULTILINE):
                return True
            if "0 active, 0 idle" in status and not self._queue_is_served():
                self.run("dvc", "queue", "start")
            return False

        wait_until(finished)

    def _queue_is_served(self) -> bool:
        """Whether a worker runs, or is about to: DVC sees one only some time after its start."""
        processes = psutil.process_iter(["cmdline", "cwd"])
        commands = [one.info["cmdline"] or [] for one in processes if one.info["cwd"] == str(self.folder)]
        return any("queue-worker" in command or command[-2:] == ["queue", "start"] for command in commands)

    def set(self, key: str, old: str, new: str) -> None:
        text = (self.folder / "params.yaml").read_text()
        assert f"{key}: {old}\n" in text
        (self.folder / "params.yaml").write_text(text.replace(f"{key}: {old}\n", f"{key}: {new}\n"))


def project_copy(folder: Path, parameters: str) -> Repository:
    """A repository of one commit: the project's files as they are now, with these parameters, nothing run."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.endswith("dvc.lock"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(parameters)
    made = Repository(folder)
    made.run("git", "init", "-q")
    made.commit()
    return made


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, small_params: str) -> Repository:
    """The copy after its first `dvc repro`, committed. Tests that change it put it back."""
    made = project_copy(tmp_path_factory.mktemp("repository"), small_params)
    made.run("dvc", "repro")
    made.commit()
    return made
