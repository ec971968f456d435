"""Experiments: queued by lists and ranges, compared in a page that needs no network, and kept by one command."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Repository, changed_stages, working_folder
from waiting import PATIENCE

from siamese.tracking.client import connect

pytestmark = pytest.mark.slow
PLOTS = [next(iter(plot)) for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]]
# The page's rule of the Makefile, with the environment that is there.
SETUP = ("-o", ".venv/for-users", ".dvc/plots_page.html")
GRID = ("-S", "evaluate.bootstrap=range(101,103)", "-S", "train.optimizer.learning_rate=0.0002,0.0004")


@pytest.fixture(scope="module")
def tried(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A sibling in which one experiment, which evaluates alone, has run: 110 resamples for 100."""
    made = repository.sibling(tmp_path_factory.mktemp("experiments") / "sibling")
    made.run("dvc", "checkout")
    said = made.run("dvc", "exp", "run", "-n", "tried", "-S", "evaluate.bootstrap=110")
    assert changed_stages(said) == ["evaluate"]
    return made


def changed(repository: Repository, revision: str) -> dict[str, object]:
    """The parameters that a revision sets otherwise than HEAD, by name."""
    rows = json.loads(repository.run("dvc", "params", "diff", "HEAD", revision, "--json"))
    return {name: row["new"] for name, row in rows.get("params.yaml", {}).items()}


def test_an_experiment_is_one_command_and_its_figures_are_compared(tried: Repository) -> None:
    assert changed(tried, "tried") == {"evaluate.bootstrap": 110}
    figures = json.loads(tried.run("dvc", "metrics", "diff", "HEAD", "tried", "--all", "--json"))["metrics.json"]
    assert {"old", "new"} <= set(figures["test.eer"])


def test_an_experiment_is_kept_as_a_branch_or_applied(tried: Repository) -> None:
    tried.run("git", "reset", "-q", "--hard")
    tried.run("dvc", "exp", "branch", "tried", "more-resamples")
    assert "bootstrap: 110" in tried.run("git", "show", "more-resamples:params.yaml")
    assert "bootstrap: 100" in (tried.folder / "params.yaml").read_text()
    tried.run("dvc", "exp", "apply", "tried")
    assert "bootstrap: 110" in (tried.folder / "params.yaml").read_text()
    assert tried.would_run() == []


class Page(HTMLParser):
    """What a page would load from elsewhere, and the kinds of marks in each drawing that stands in its body."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.drawings: list[set[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "link", "img", "iframe", "object", "embed", "source", "image", "use"):
            found = [values.get(name) for name in ("src", "href", "xlink:href", "data")]
            self.loaded += [value for value in found if value and not value.startswith(("#", "data:"))]
        classes = (values.get("class") or "").split()
        if tag == "svg" and "marks" in classes:
            self.drawings.append(set())
        if "role-mark" in classes:
            self.drawings[-1].add(classes[0])


def test_the_page_of_plots_draws_without_a_network(tried: Repository) -> None:
    tried.run("make", *SETUP)
    assert tried.run("git", "status", "--porcelain", "--", ".dvc") == ""
    tried.run("dvc", "plots", "diff", "HEAD", "tried", "-o", "compared")
    file = tried.folder / "compared/index.html"
    assert Page(file.read_text()).loaded == []
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("the page loads nothing from elsewhere; whether it draws is not seen, there is no chromium here")
    drawn = Page(dom(browser, file))
    assert drawn.loaded == []
    assert len(drawn.drawings) == len(PLOTS) == 5
    assert sum("mark-line" in marks for marks in drawn.drawings) == 4
    assert sum("mark-rect" in marks for marks in drawn.drawings) == 1  # the confusion matrix


def dom(browser: str, file: Path) -> str:
    """The page's elements after its scripts have run in a browser that can look up no host."""
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={file.parent / 'browser'}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout


def test_a_template_of_ones_own_is_left_alone(tried: Repository) -> None:
    settings = tried.folder / ".dvc/config.local"
    before = settings.read_text()
    tried.run("dvc", "config", "--local", "plots.html_template", "mine.html")
    chosen = settings.read_text()
    tried.run("make", "-B", *SETUP)
    assert settings.read_text() == chosen
    settings.write_text(before)


def test_a_range_and_a_list_queue_an_experiment_of_each_pair_of_values(tried: Repository) -> None:
    tried.run("dvc", "exp", "run", "--queue", "-n", "grid", *GRID)
    rows = [line.split() for line in tried.run("dvc", "queue", "status").splitlines()]
    assert sorted(row[1] for row in rows if row[-1:] == ["Queued"]) == ["grid-1", "grid-2", "grid-3", "grid-4"]
    tried.run("dvc", "queue", "remove", "--all")


@pytest.mark.long
def test_a_queue_runs_to_its_end_and_leaves_the_folder_alone(tried: Repository) -> None:
    tried.run("git", "reset", "-q", "--hard")
    tried.run("dvc", "exp", "run", "--queue", "-n", "resamples", *GRID[:2])
    tried.run("dvc", "exp", "run", "--queue", "-n", "rate", *GRID[2:])
    tried.run("dvc", "queue", "start")
    tried.finish_queue()
    assert tried.run("git", "status", "--porcelain", "--untracked-files=no") == ""
    assert changed(tried, "resamples-1") == {"evaluate.bootstrap": 101}
    assert changed(tried, "resamples-2") == {"evaluate.bootstrap": 102}
    assert changed(tried, "rate-1") == {"train.optimizer.learning_rate": 0.0002}
    assert changed(tried, "rate-2") == {"train.optimizer.learning_rate": 0.0004}
    assert_one_sweep(tried, experiments=2)


def assert_one_sweep(tried: Repository, experiments: int) -> None:
    """The experiments that trained, in copies of the project, are runs of the project, nested under one."""
    with working_folder(tried.folder):
        runs = connect().search_runs(["1"])
    (parent,) = [run for run in runs if "siamese.sweep" in run.data.tags]
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(nested) == experiments and {run.info.status for run in nested} == {"FINISHED"}
    assert {run.info.run_name for run in nested} == {f"rate-{n}" for n in (1, 2)}
