"""The DVC pipeline: every stage run for real in a copy of the repository, cached, and open to a user's own data."""

from __future__ import annotations

import ast
import json

import yaml
from conftest import ROOT, Repository

from siamese import places, sample
from siamese.params import SampleParams

SAMPLE = "data/dvc.yaml:sample"


def test_repro_leaves_a_measured_model(repository: Repository) -> None:
    for path in (places.CATALOG, places.PAIRS, places.IMAGES, places.TRANSFORM, places.MODEL, places.REPORT):
        assert (repository.folder / path).exists(), path
    measured = json.loads((repository.folder / "metrics.json").read_text())
    assert 0 <= measured["test"]["accuracy"] <= 1
    assert "stand-in" in (repository.folder / "report.html").read_text()


def test_a_second_repro_runs_nothing_and_git_sees_no_output(repository: Repository) -> None:
    assert "Data and pipelines are up to date" in repository.run("dvc", "repro")
    assert repository.run("git", "status", "--porcelain") == ""
    changed = repository.run("git", "show", "--name-only", "--format=", "HEAD").split()
    assert sorted(changed) == ["data/dvc.lock", "dvc.lock", "metrics.json"]


def test_other_pairs_hash_no_image_again(repository: Repository) -> None:
    repository.set("per_split", "20000", "20")
    assert repository.would_run() == ["pairs"]
    repository.set("per_split", "20", "20000")
    assert repository.would_run() == []


def test_other_training_starts_at_training(repository: Repository) -> None:
    repository.set("epochs", "2", "3")
    assert repository.would_run() == ["train"]
    repository.set("epochs", "3", "2")


def test_an_experiment_is_one_command_and_its_figures_are_compared(repository: Repository) -> None:
    repository.run("dvc", "exp", "run", "-S", "train.epochs=1")
    assert "test.eer" in repository.run("dvc", "metrics", "diff", "--all")
    repository.run("dvc", "plots", "diff", "HEAD", "-o", "plots_diff")
    repository.reset()


def test_own_data_needs_no_sample(repository: Repository) -> None:
    faces = SampleParams(identities=8, images=3, seed=5, layout="identities", forgeries=False)
    sample.run(repository.folder / "data/faces", faces)
    repository.run("dvc", "add", "data/faces")
    repository.set("path", "data/sample", "data/faces")
    assert repository.would_run()[0] == "catalog" and SAMPLE not in repository.would_run()
    said = repository.run("dvc", "repro", "pairs")
    assert "Running stage 'pairs'" in said and "sample'" not in said
    repository.reset()


def test_the_commands_paths_are_those_of_dvc_yaml() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

    def names(entries: list) -> list[str]:
        return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]

    written = {
        path
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for path in names(stage.get(kind, []))
    }
    read = {path for stage in stages.values() for path in names(stage["deps"]) if path.startswith("artifacts/")}
    not_outputs = ("SAMPLE", "CHECKPOINTS", "CALIBRATED")
    known = {str(path) for name, path in vars(places).items() if name.isupper() and name not in not_outputs}
    assert written == known
    assert read <= known
    assert yaml.safe_load((ROOT / "data/dvc.yaml").read_text())["stages"]["sample"]["outs"] == [str(places.SAMPLE)]


# What every step uses without its result depending on it.
INFRASTRUCTURE = {"backend", "checkpoints", "errors", "files", "params", "progress", "signals", "tables"}


def modules_used_by(module: str, seen: set[str]) -> set[str]:
    """The project's modules that a module imports, and those that they import."""
    place = ROOT / "src/siamese" / module
    for file in place.glob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module == "siamese":
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("siamese."):
                names = [node.module.split(".")[1]]
            for name in set(names) - seen:
                if (place.with_name(f"{name}.py")).exists() or place.with_name(name).is_dir():
                    seen.add(name)
                    modules_used_by(name, seen)
    return seen


def test_every_stage_is_the_command_of_its_name_and_depends_on_all_code_that_decides_its_result() -> None:
    for file in ("dvc.yaml", "data/dvc.yaml"):
        for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items():
            assert stage["cmd"].split()[:2] == ["siamese", name]
            listed = {dep.split("/")[2].removesuffix(".py") for dep in stage["deps"] if dep.startswith("src/siamese/")}
            assert modules_used_by(name, {name}) - INFRASTRUCTURE - listed == set(), name
