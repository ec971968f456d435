"""CI's workflows: valid, secure, and run: their own `run:` steps in fresh clones, real remotes and a real server.

The project of these tests: simple pictures of few identities, whose contrast and light vary. A first model that has
seen little; then more data and longer training; then the same pictures with their labels shuffled, so that no two in
one folder show one identity.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT, Repository, project_copy
from mlflow_servers import mlflow_server
from PIL import Image
from workflow_runner import Expression, Job, Runner, borrow_environment, environment, filled_in

from siamese import config
from siamese.registry.client import Registry, Version

RETRAIN = ROOT / ".github/workflows/retrain.yml"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
COMMENTING = "Write the comment, or write it anew"
IMAGES = 8  # of each identity
FEW, MANY = 16, 24  # identities
SMALL = {
    "data.path": "data/faces",
    "train.precision": "float32",
    "evaluate.bootstrap": 100,
    "evaluate.one_shot_trials": 20,
    "tracking.checkpoints": "none",
    "promote.min_precision": 0.5,
    "promote.max_eer": 0.4,
    "promote.bootstrap": 200,
}


def draw(folder: Path, identities: int, *, shuffled: bool = False) -> None:
    """Pictures of coarse patterns, an identity's own, in light and contrast of each picture's own, with noise.

    Args:
        shuffled: move the j-th picture of each identity j folders on, so that one folder shows as many identities as
            it has pictures.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for identity in range(identities):
        random = np.random.default_rng([0, identity])
        pattern = np.kron(random.uniform(-1, 1, (4, 4)), np.ones((8, 8)))
        for image in range(IMAGES):
            light, contrast = random.uniform(80, 175), random.uniform(40, 70)
            pixels = light + contrast * pattern + random.normal(scale=8, size=pattern.shape)
            shown_as = (identity + image) % identities if shuffled else identity
            file = folder / f"who-{shown_as:02d}/{identity:02d}-{image}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


def test_drawn_identities_keep_their_pictures_and_shuffled_folders_show_no_identity_twice(tmp_path: Path) -> None:
    draw(tmp_path / "few", FEW)
    draw(tmp_path / "many", MANY)
    few = {file.relative_to(tmp_path / "few"): file.read_bytes() for file in (tmp_path / "few").rglob("*.png")}
    assert all((tmp_path / "many" / name).read_bytes() == content for name, content in few.items())
    draw(tmp_path / "many", MANY, shuffled=True)
    for folder in (tmp_path / "many").iterdir():
        assert len({file.name.split("-")[0] for file in folder.iterdir()}) == IMAGES


@dataclass(frozen=True)
class Project:
    """A team's project: where data comes from and people work, the repository that they share, its DVC remote and its
    tracking server."""

    source: Path
    work: Repository
    origin: Path
    remote: Path
    server: str
    folder: Path

    def check_out(self, ref: str) -> Any:
        """As actions/checkout: the ref alone, some commits deep."""

        def clone(folder: Path, depth: int) -> None:
            subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
            git = Repository(folder)
            git.run("git", "remote", "add", "origin", self.origin.as_uri())
            git.run("git", "fetch", "-q", f"--depth={depth}", "origin", ref)
            git.run("git", "reset", "-q", "--hard", "FETCH_HEAD")
            if (folder / "Makefile").exists():
                borrow_environment(folder)

        return clone

    def run(self, name: str, event: str, ref: str = "refs/heads/main", **given: Any) -> dict[str, Job]:
        """The workflow as GitHub runs it for an event."""
        github = {
            "event_name": event,
            "ref": ref,
            "ref_name": ref.removeprefix("refs/heads/"),
            "repository": "team/project",
            "server_url": "https://git.example",
            "run_id": "7",
            "token": "a-token",
            "event": given.get("payload", {}),
        }
        variables = {"MLFLOW_TRACKING_URI": self.server} | given.get("vars", {})
        contexts = {"github": github, "vars": variables, "secrets": {}, "inputs": given.get("inputs", {})}
        runner = Runner(self.check_out(ref), self.folder / name, leave_out={COMMENTING})
        return runner.run(RETRAIN, contexts)

    def change(self, message: str, **parameters: str) -> None:
        """Commits the data as its source has it now, and these parameters, and pushes both."""
        self.work.run("git", "pull", "-q", "--rebase", "origin", "main")
        self.work.run("dvc", "update", "-q", "data/faces.dvc")
        for key, change in parameters.items():
            self.work.set(key, *change.split("->"))
        self.work.run("dvc", "push", "-q", "data/faces.dvc")
        self.work.run("git", "commit", "-q", "-am", message)
        self.work.run("git", "push", "-q", "origin", "HEAD:main")

    def at_origin(self, file: str, ref: str = "main") -> str:
        return subprocess.run(
            ["git", "show", f"{ref}:{file}"], cwd=self.origin, check=True, capture_output=True, text=True
        ).stdout

    def refs(self) -> str:
        return Repository(self.origin).run("git", "for-each-ref")

    def stored(self) -> set[str]:
        """The names of the files in the DVC remote."""
        return {str(file.relative_to(self.remote)) for file in self.remote.rglob("*") if file.is_file()}

    def aliases(self) -> dict[str, int]:
        return {alias: version.number for version in self.versions() for alias in version.aliases}

    def versions(self) -> list[Version]:
        return Registry("siamese", client_of(self.server)).versions()


def client_of(server: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(server, server)


@dataclass(frozen=True)
class Retrained:
    """A run of the workflow, and what there was when it had ended."""

    project: Project
    jobs: dict[str, Job]
    aliases: dict[str, int]
    refs: str
    metrics: dict[str, Any]

    @property
    def refs_main(self) -> str:
        """The commit of main."""
        return next(line.split()[0] for line in self.refs.splitlines() if line.endswith("refs/heads/main"))

    @property
    def report(self) -> str:
        return (self.jobs["retrain"].folder / "artifacts/retraining/report.md").read_text()


def after(project: Project, jobs: dict[str, Job]) -> Retrained:
    assert jobs["retrain"].result == "success", jobs["retrain"].said[-5000:]
    metrics = json.loads((jobs["retrain"].folder / "metrics.json").read_text())
    return Retrained(project, jobs, project.aliases(), project.refs(), metrics)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrained]:
    """The very first retraining: few identities, two passes; nothing in registry or remote but the data."""
    folder = tmp_path_factory.mktemp("team")
    settings = [f"{key}={value}" for key, value in (SMALL | {"train.epochs": 2}).items()]
    (folder / "work").mkdir()
    work = project_copy(folder / "work", config.to_yaml(config.load_params(config.packaged_file(), settings)))
    work.run("git", "branch", "-m", "main")
    work.run("git", "rm", "-q", "metrics.json")
    work.run("dvc", "remote", "add", "-q", "-d", "storage", str(folder / "remote"))
    draw(folder / "source", FEW)
    work.run("dvc", "import-url", "-q", str(folder / "source"), "data/faces")
    work.run("dvc", "push", "-q")
    work.commit()
    work.run("git", "clone", "-q", "--bare", ".", str(folder / "origin.git"))
    work.run("git", "remote", "add", "origin", str(folder / "origin.git"))
    with mlflow_server(folder / "mlflow") as server:
        places = (folder / "source", work, folder / "origin.git", folder / "remote")
        project = Project(*places, server, folder / "runs")
        project.folder.mkdir()
        yield after(project, project.run("first", "push"))


@pytest.fixture(scope="module")
def better(first: Retrained) -> Retrained:
    """More identities where the data comes from, and more passes: a data platform asks for both."""
    draw(first.project.source, MANY)
    payload = {"client_payload": {"update": "data/faces.dvc", "settings": "train.epochs=5"}}
    return after(first.project, first.project.run("better", "repository_dispatch", payload=payload))


@pytest.fixture(scope="module")
def reviewed(better: Retrained) -> tuple[Retrained, set[str], set[str]]:
    """A pull request that evaluates otherwise; and the remote's files before and after."""
    project = better.project
    project.work.run("git", "pull", "-q", "--rebase", "origin", "main")
    project.work.run("git", "checkout", "-q", "-b", "other")
    project.work.set("bootstrap", "100", "110")
    project.work.run("git", "commit", "-q", "-am", "more resamples")
    project.work.run("git", "checkout", "-q", "main")
    project.work.run("git", "merge", "-q", "--no-ff", "-m", "merge", "other")
    project.work.run("git", "push", "-q", "origin", "HEAD:refs/pull/1/merge")
    project.work.run("git", "reset", "-q", "--hard", "HEAD^1")
    before, refs = project.stored(), project.refs()
    payload = {"pull_request": {"number": 1, "head": {"repo": {"full_name": "team/project"}}}}
    found = after(project, project.run("reviewed", "pull_request", "refs/pull/1/merge", payload=payload))
    assert found.refs == refs
    return found, before, project.stored()


@pytest.fixture(scope="module")
def spoiled(better: Retrained, reviewed: object) -> Retrained:
    """The pictures of before, with their labels shuffled; one pass, since more wouldn't help."""
    draw(better.project.source, MANY, shuffled=True)
    better.project.change("new labels", epochs="5->1")
    return after(better.project, better.project.run("spoiled", "push"))


@pytest.mark.slow
def test_the_first_model_becomes_champion_and_git_gets_what_it_was_made_from(first: Retrained) -> None:
    assert first.jobs["retrain"].outputs == {"outcome": "promoted", "publish": "yes"}
    assert first.jobs["publish"].result == "success", first.jobs["publish"].said
    assert first.jobs["comment"].result == "skipped"
    assert first.aliases == {"challenger": 1, "champion": 1}
    project = first.project
    assert json.loads(project.at_origin("metrics.json")) == first.metrics
    assert set(yaml.safe_load(project.at_origin("dvc.lock"))["stages"]) == set(
        yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    )
    assert "there are no figures from before" in first.report
    assert "It is champion now." in first.report and first.report == first.jobs["retrain"].summary


@pytest.mark.slow
def test_a_better_model_is_promoted_and_git_gets_data_parameters_lock_and_figures(
    better: Retrained, first: Retrained
) -> None:
    assert better.metrics["test"]["eer"] < first.metrics["test"]["eer"]
    assert better.jobs["retrain"].outputs == {"outcome": "promoted", "publish": "yes"}
    assert better.jobs["publish"].result == "success", better.jobs["publish"].said
    assert better.aliases == {"challenger": 2, "champion": 2, "previous": 1}
    project = better.project
    assert json.loads(project.at_origin("metrics.json")) == better.metrics
    assert yaml.safe_load(project.at_origin("params.yaml"))["train"]["epochs"] == 5
    log = Repository(project.origin).run("git", "log", "--format=%an|%s", "--name-only", "main").split("\n\n")
    assert log[0] == "retraining|The champion's dvc.lock and figures [skip ci]"
    assert log[1].splitlines()[:4] == ["data/faces.dvc", "dvc.lock", "metrics.json", "params.yaml"]


@pytest.mark.slow
def test_whoever_clones_afterwards_gets_the_champion_without_training(better: Retrained, tmp_path: Path) -> None:
    project = better.project
    clone = Repository(tmp_path / "clone")
    project.work.run("git", "clone", "-q", str(project.origin), str(clone.folder))
    clone.run("git", "checkout", "-q", better.refs_main)
    clone.run("dvc", "pull", "-q", "--allow-missing")  # the built-in sample was never drawn
    assert clone.would_run() == []
    trained = better.jobs["retrain"].folder / "artifacts/model/servable/saved_model.pb"
    assert (clone.folder / "artifacts/model/servable/saved_model.pb").read_bytes() == trained.read_bytes()


@pytest.mark.slow
def test_the_report_compares_with_the_model_before(better: Retrained, first: Retrained) -> None:
    was, is_now = first.metrics["test"]["eer"], better.metrics["test"]["eer"]
    (row,) = [line for line in better.report.splitlines() if line.startswith("| eer |")]
    assert re.fullmatch(rf"\| eer \| {was:.3f}[^|]* \| {is_now:.3f} \(.+\) \| −{was - is_now:.3f} better \|", row)
    counts = [state.metrics["counts"]["train"]["identities"] for state in (first, better)]
    assert f"| identities to train on | {counts[0]} | {counts[1]} |" in better.report
    assert "| train.epochs | 2 | 5 |" in better.report and "| files | 128 | 192 |" in better.report
    assert "](https://git.example/team/project/actions/runs/7#artifacts)" in better.report
    assert Image.open(better.project.folder / "better/artifacts/curves.png").size == (1300, 400)


@pytest.mark.slow
def test_spoiled_labels_are_refused_and_nothing_moves(spoiled: Retrained, better: Retrained) -> None:
    assert spoiled.jobs["retrain"].outputs == {"outcome": "refused", "publish": "no"}
    assert "::warning title=The gate refused" in spoiled.jobs["retrain"].said
    assert spoiled.jobs["publish"].result == "skipped"
    assert spoiled.aliases == better.aliases | {"challenger": 3}
    project = better.project
    assert project.at_origin("dvc.lock") == (better.jobs["publish"].folder / "dvc.lock").read_text()
    assert json.loads(project.at_origin("metrics.json")) == better.metrics
    assert re.search(r"^- eer 0\.\d{4} is above promote\.max\\_eer 0\.4$", spoiled.report, flags=re.MULTILINE)


@pytest.mark.slow
def test_a_pull_request_is_reported_and_nothing_is_promoted_or_pushed(
    reviewed: tuple[Retrained, set[str], set[str]], better: Retrained
) -> None:
    review, stored_before, stored_after = reviewed
    assert review.jobs["retrain"].outputs == {"outcome": "accepted", "publish": "no"}
    assert review.jobs["publish"].result == "skipped"
    assert (review.aliases, stored_after) == (better.aliases, stored_before)
    assert [version.number for version in better.project.versions()][-2:] == [2, 1]
    comment = review.jobs["comment"]
    assert (comment.result, comment.skipped) == ("success", [COMMENTING])
    told = (comment.folder / "artifacts/retraining/report.md").read_text()
    assert told == review.report
    assert "| evaluate.bootstrap | 100 | 110 |" in told
    assert "**The gate accepts this model.** Nothing was promoted." in told
    assert [file.name for file in comment.folder.iterdir() if file.name.startswith(".")] == []  # no clone


@pytest.mark.long
def test_by_hand_with_other_parameters_what_was_trained_once_is_not_trained_again(
    spoiled: Retrained, better: Retrained
) -> None:
    """The labels are mended, and a person wants more resamples: the champion's training comes from the DVC remote."""
    project = spoiled.project
    draw(project.source, MANY)
    project.change("labels mended", epochs="1->5")
    inputs = {"settings": "evaluate.bootstrap=120", "force": False}
    found = after(project, project.run("by-hand", "workflow_dispatch", inputs=inputs))
    assert re.findall(r"Running stage '(\w+)'", found.jobs["retrain"].said) == ["evaluate"]
    assert found.jobs["retrain"].outputs == {"outcome": "promoted", "publish": "yes"}
    assert "**This model is the champion already.**" in found.report
    assert found.aliases == better.aliases
    assert yaml.safe_load(project.at_origin("params.yaml"))["evaluate"]["bootstrap"] == 120
    again = after(project, project.run("again", "schedule"))
    assert "git knows it all already" in again.jobs["publish"].said
    assert (again.aliases, again.refs) == (found.aliases, found.refs)


@pytest.mark.long
def test_the_schedule_trains_nothing_where_new_images_look_like_those_trained_on(spoiled: Retrained) -> None:
    project = spoiled.project
    before = project.refs()
    found = project.run("weekly", "schedule", vars={"NEW_DATA": "data/faces"})
    assert found["retrain"].outputs == {"outcome": "no-drift", "publish": "no"}, found["retrain"].said
    assert found["publish"].result == "skipped" and project.refs() == before
    assert "Not needed" in found["retrain"].summary


# What the files say


def workflow(file: Path) -> dict[str, Any]:
    content = yaml.safe_load(file.read_text())
    return content | {"on": content[True]}  # YAML 1.1 reads `on` as true


def steps_of(file: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(file)["jobs"].values() for step in job["steps"]]


def test_workflows_are_valid_and_zizmor_finds_nothing() -> None:
    (lint,) = re.findall(r"^lint: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    checks = [line.strip() for line in lint.splitlines() if re.match(r"\t(zizmor|check-jsonschema) ", line)]
    assert len(checks) == 4
    for check in checks:
        path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
        done = subprocess.run(
            check, shell=True, cwd=ROOT, env=environment() | {"PATH": path}, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{check}\n{done.stdout.decode()}\n{done.stderr.decode()}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_their_version_beside(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_commands_get_what_others_wrote_through_the_environment_alone(file: Path) -> None:
    for step in steps_of(file):
        assert "${{" not in step.get("run", ""), step
    text = file.read_text()
    assert not re.search(r"secrets\.", re.sub(r"^ {10}\w+: \$\{\{ secrets\.\w+ \}\}$", "", text, flags=re.MULTILINE))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_job_has_the_least_permissions(file: Path) -> None:
    content = workflow(file)
    assert content["permissions"] == {}
    writes = {name: job["permissions"] for name, job in content["jobs"].items() if "write" in str(job["permissions"])}
    expected = {"publish": {"contents": "write"}, "comment": {"pull-requests": "write"}}
    assert writes == (expected if file == RETRAIN else {})
    for name, job in content["jobs"].items():
        if name not in writes:
            assert job["permissions"] == {"contents": "read"}
        for step in job["steps"]:
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_what_runs_where_the_repository_can_be_written_was_not_installed() -> None:
    jobs = workflow(RETRAIN)["jobs"]
    for name in ("publish", "comment"):
        commands = [step["run"] for step in jobs[name]["steps"] if "run" in step]
        assert not [command for command in commands if "setup" in command or command == "retrain"]
    (rule,) = re.findall(r"^publish:(.*?)##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert rule.strip() == ""  # needs no .venv


def test_a_retraining_on_main_is_never_cancelled_and_one_runs_at_a_time() -> None:
    concurrency = workflow(RETRAIN)["concurrency"]
    for event, cancels in (("push", "false"), ("schedule", "false"), ("pull_request", "true")):
        contexts = {"github": {"event_name": event, "ref": "refs/heads/main"}}
        assert filled_in(concurrency["cancel-in-progress"], contexts) == cancels
        assert filled_in(concurrency["group"], contexts) == "retrain-refs/heads/main"


@pytest.mark.parametrize(
    ("file", "triggers"),
    [
        ("data/faces.dvc", True),
        ("params.yaml", True),
        ("dvc.yaml", True),
        ("src/siamese/cli/steps.py", True),
        ("dvc.lock", False),  # or each retraining would start the next
        ("metrics.json", False),
        ("README.md", False),
        ("tests/training/test_train.py", False),
    ],
)
@pytest.mark.parametrize("event", ["push", "pull_request"])
def test_what_a_model_depends_on_starts_a_retraining(file: str, triggers: bool, event: str) -> None:
    patterns = workflow(RETRAIN)["on"][event]["paths"]
    assert any(fnmatch(file, pattern) for pattern in patterns) == triggers


def of_retrain(contexts: Mapping[str, Any]) -> dict[str, str]:
    """The environment of `make retrain` in some contexts."""
    (step,) = [step for step in workflow(RETRAIN)["jobs"]["retrain"]["steps"] if step.get("id") == "retrain"]
    empty = {"github": {}, "inputs": {}, "vars": {}, "secrets": {}}
    return {name: filled_in(value, empty | contexts) for name, value in step["env"].items()}


def test_each_event_sets_what_the_retraining_does() -> None:
    main = {"ref": "refs/heads/main"}
    by_hand = of_retrain(
        {"github": main | {"event_name": "workflow_dispatch"}, "inputs": {"settings": "train.epochs=3", "force": True}}
    )
    assert [by_hand[name] for name in ("PROMOTE", "SETTINGS", "FORCE")] == ["yes", "train.epochs=3", "yes"]
    payload = {"client_payload": {"update": "data/faces.dvc", "settings": "train.batch=16"}}
    called = of_retrain({"github": main | {"event_name": "repository_dispatch", "event": payload}})
    assert [called[name] for name in ("PROMOTE", "UPDATE", "SETTINGS")] == ["yes", "data/faces.dvc", "train.batch=16"]
    variables = {"vars": {"NEW_DATA": "data/new", "UPDATE": "data/faces.dvc"}}
    weekly = of_retrain({"github": main | {"event_name": "schedule"}} | variables)
    assert [weekly[name] for name in ("PROMOTE", "NEW_DATA", "UPDATE")] == ["yes", "data/new", "data/faces.dvc"]
    pushed = of_retrain({"github": main | {"event_name": "push"}} | variables)
    assert [pushed[name] for name in ("PROMOTE", "NEW_DATA", "UPDATE", "FORCE")] == ["yes", "", "", "no"]
    elsewhere = of_retrain({"github": {"ref": "refs/heads/trial", "event_name": "workflow_dispatch"}})
    review = of_retrain({"github": {"ref": "refs/pull/1/merge", "event_name": "pull_request"}} | variables)
    assert (elsewhere["PROMOTE"], review["PROMOTE"], review["SINCE"]) == ("no", "no", "HEAD^1")


@pytest.mark.parametrize(
    ("event", "head", "server", "runs"),
    [
        ("push", "", "https://mlflow.example", True),
        ("push", "", "", False),  # no tracking server: nowhere that a champion could be
        ("pull_request", "team/project", "https://mlflow.example", True),
        ("pull_request", "stranger/project", "https://mlflow.example", False),
    ],
)
def test_forks_and_projects_without_a_server_are_left_out(event: str, head: str, server: str, runs: bool) -> None:
    contexts = {
        "github": {
            "event_name": event,
            "repository": "team/project",
            "event": {"pull_request": {"head": {"repo": {"full_name": head}}}},
        },
        "vars": {"MLFLOW_TRACKING_URI": server},
    }
    job = workflow(RETRAIN)["jobs"]["retrain"]
    assert bool(Expression(job["if"], contexts).value()) == runs
    runner = {"vars": {"GPU_RUNNER": "gpu"}}
    assert [filled_in(job["runs-on"], given) for given in (runner, {"vars": {}})] == ["gpu", "ubuntu-latest"]


def test_every_make_target_that_ci_calls_is_there() -> None:
    gitlab = yaml.safe_load(re.sub(r"!reference", "", (ROOT / ".gitlab-ci.yml").read_text()))
    scripts = [line for job in gitlab.values() if isinstance(job, dict) for line in job.get("script", [])]
    scripts += [step["run"] for file in WORKFLOWS for step in steps_of(file) if "run" in step]
    called = set(re.findall(r"\bmake ([\w-]+)", "\n".join(scripts)))
    there = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert called == {"setup", "lint", "test", "test-slow", "images", "retrain", "publish"} and called <= there


# What the commands do without a pipeline


@pytest.fixture
def published(tmp_path: Path) -> Repository:
    """A clone in which a retraining ended, of a repository that others push to, too."""
    there = Repository(tmp_path / "there")
    there.folder.mkdir()
    there.run("git", "init", "-q", "-b", "main")
    for name in ("dvc.lock", "metrics.json", "params.yaml", "README.md"):
        (there.folder / name).write_text("of the champion before\n")
    there.commit()
    there.run("git", "clone", "-q", "--bare", ".", str(tmp_path / "origin.git"))
    clone = Repository(tmp_path / "clone")
    there.run("git", "clone", "-q", str(tmp_path / "origin.git"), str(clone.folder))
    there.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    (clone.folder / "artifacts/retraining").mkdir(parents=True)
    (clone.folder / "artifacts/retraining/outcome").write_text("outcome=promoted\npublish=yes\n")
    for name in ("dvc.lock", "metrics.json"):
        (clone.folder / name).write_text("of the champion\n")
    return clone


def publish(clone: Repository, exit_code: int = 0) -> str:
    return clone.run("env", "BRANCH=main", "bash", str(ROOT / ".ci/publish"), exit_codes=(exit_code,))


def others_push(clone: Repository, name: str) -> None:
    there = Repository(clone.folder.parent / "there")
    (there.folder / name).write_text("of others\n")
    there.run("git", "commit", "-q", "-am", "others")
    there.run("git", "push", "-q", "origin", "main")


def at_origin(clone: Repository, name: str) -> str:
    return Repository(clone.folder.parent / "origin.git").run("git", "show", f"main:{name}")


def test_publishing_commits_what_the_champion_was_made_from_and_nothing_else(published: Repository) -> None:
    (published.folder / "README.md").write_text("changed by the way\n")
    (published.folder / "scratch.txt").write_text("left behind\n")
    publish(published)
    assert at_origin(published, "dvc.lock") == at_origin(published, "metrics.json") == "of the champion\n"
    assert at_origin(published, "README.md") == "of the champion before\n"
    assert "scratch.txt" not in Repository(published.folder.parent / "origin.git").run("git", "ls-tree", "main")
    assert "git knows it all already" in publish(published)


def test_commits_that_came_between_are_kept(published: Repository) -> None:
    others_push(published, "README.md")
    (published.folder / "README.md").unlink()  # the working folder's own state is nobody's matter
    published.run("git", "checkout", "-q", "README.md")
    publish(published)
    assert at_origin(published, "dvc.lock") == "of the champion\n"
    assert at_origin(published, "README.md") == "of others\n"


def test_a_lock_that_another_has_changed_meanwhile_stays_and_the_job_says_so(published: Repository) -> None:
    others_push(published, "dvc.lock")
    said = publish(published, exit_code=1)
    assert "main has moved on meanwhile, and changes the same lines" in said
    assert at_origin(published, "dvc.lock") == "of others\n"
    assert "rebase" not in published.run("git", "status")


def test_a_refused_retraining_publishes_nothing(published: Repository) -> None:
    (published.folder / "artifacts/retraining/outcome").write_text("outcome=refused\npublish=no\n")
    assert "outcome=refused" in publish(published)
    assert at_origin(published, "dvc.lock") == "of the champion before\n"


def test_the_token_reaches_git_by_its_credential_helper_alone(published: Repository) -> None:
    """A server that wants a login is asked with it; neither the configuration nor the remote's address holds it."""
    published.run("git", "remote", "set-url", "origin", "https://127.0.0.1:9/none.git")
    environment = ["GIT_TOKEN=the-token", "BRANCH=main", "GIT_TRACE=1"]
    said = published.run("env", *environment, "bash", str(ROOT / ".ci/publish"), exit_codes=(1, 128))
    assert "the-token" not in said and "the-token" not in (published.folder / ".git/config").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("SETTINGS=train.epoch=3", "unknown key train.epoch"),
        ("SETTINGS=$(touch made)", "siamese: "),
        ("SETTINGS=--help", "siamese: "),
        ("UPDATE=README.md", "README.md is no .dvc file of this repository"),
        ("UPDATE=--all.dvc", "--all.dvc is no .dvc file of this repository"),
        ("SINCE=nowhere", "SINCE: git has no revision nowhere; name another revision"),
    ],
)
def test_wrong_input_is_told_in_a_line_before_anything_is_done(published: Repository, given: str, said: str) -> None:
    shutil.copy(ROOT / "params.yaml", published.folder / "params.yaml")

    def there() -> list[str]:  # coverage, too, writes where a command runs
        return sorted(file.name for file in published.folder.iterdir() if not file.name.startswith(".coverage"))

    before = there()
    found = published.run("env", given, "bash", str(ROOT / ".ci/retrain"), exit_codes=(2,))
    assert said in found.splitlines()[-1]
    assert there() == before


def test_a_revision_that_a_shallow_clone_lacks_is_told_before_anything_is_done(tmp_path: Path) -> None:
    full = Repository(tmp_path / "full")
    full.folder.mkdir()
    full.run("git", "init", "-q")
    shutil.copy(ROOT / "params.yaml", full.folder / "params.yaml")
    full.commit()
    full.run("git", "commit", "-q", "--allow-empty", "-m", "second")
    full.run("git", "clone", "-q", "--depth=1", full.folder.as_uri(), str(tmp_path / "shallow"))
    shallow = Repository(tmp_path / "shallow")
    said = shallow.run("env", "SINCE=HEAD~1", "bash", str(ROOT / ".ci/retrain"), exit_codes=(2,))
    line = "make retrain: SINCE: git has no revision HEAD~1; this clone is shallow, so run: git fetch --unshallow"
    assert said.splitlines()[-1] == line
    assert not (shallow.folder / "artifacts").exists()


def test_an_experiment_is_committed_where_git_knows_an_address_and_no_name(tmp_path: Path) -> None:
    """Files that differ from the commit, which DVC puts aside in a commit of its own."""
    project = Repository(tmp_path / "project")
    project.folder.mkdir()
    shutil.copy(ROOT / "params.yaml", project.folder / "params.yaml")
    (project.folder / "dvc.yaml").write_text("stages: {one: {cmd: echo done, params: [train.epochs]}}\n")
    (project.folder / "README.md").write_text("before\n")
    project.run("git", "init", "-q")
    project.run("dvc", "init", "-q")
    project.commit()
    (project.folder / "README.md").write_text("changed\n")
    project.run("git", "config", "user.email", "test@localhost")
    unset = [f"--unset=GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    own = [f"HOME={tmp_path}", "GIT_CONFIG_NOSYSTEM=1", "SETTINGS=train.epochs=7"]
    said = project.run("env", *unset, *own, "bash", str(ROOT / ".ci/retrain"), exit_codes=(2,))
    assert "Ran experiment(s)" in said
    assert "artifacts/catalog.parquet" in said.splitlines()[-1]  # what `siamese promote` lacks here
