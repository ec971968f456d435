"""The DVC pipeline: every stage run for real in a copy of the repository, cached, and open to a user's own data."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, Repository, changed_stages
from PIL import Image

from siamese import paths
from siamese.data.synthetic import sample
from siamese.params import SampleParams

SAMPLE = "data/dvc.yaml:sample"


def test_repro_leaves_a_measured_model(repository: Repository) -> None:
    for path in (paths.CATALOG, paths.PAIRS, paths.IMAGES, paths.TRANSFORM, paths.MODEL, paths.REPORT):
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


def test_own_data_needs_no_sample(repository: Repository) -> None:
    faces = SampleParams(identities=8, images=3, seed=5, layout="identities", forgeries=False)
    sample.run(repository.folder / "data/faces", faces)
    repository.run("dvc", "add", "data/faces")
    repository.set("path", "data/sample", "data/faces")
    assert repository.would_run()[0] == "catalog" and SAMPLE not in repository.would_run()
    said = repository.run("dvc", "repro", "pairs")
    assert "Running stage 'pairs'" in said and "sample'" not in said
    repository.reset()


@pytest.fixture(scope="module")
def run_on_own(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A sibling whose pipeline has run on a folder of one's own. The images are the sample's, so that its run is the
    sample's run: `dvc commit` notes that it is."""
    made = repository.sibling(tmp_path_factory.mktemp("own") / "sibling")
    made.run("dvc", "checkout")
    shutil.copytree(made.folder / "data/sample", made.folder / "data/faces")
    made.run("dvc", "add", "data/faces")
    made.set("path", "data/sample", "data/faces")
    made.run("dvc", "commit", "--force")
    made.commit()
    return made


@pytest.fixture
def own(run_on_own: Repository) -> Iterator[Repository]:
    yield run_on_own
    run_on_own.reset()


def images_of(own: Repository) -> list[Path]:
    """The files that the catalog holds, as they lie in the folder."""
    return [own.folder / "data/faces" / path for path in sorted(pd.read_parquet(own.folder / paths.CATALOG).path)]


def test_one_changed_image_runs_what_depends_on_it(own: Repository) -> None:
    """By hand: the folder is an input of catalog and preprocess. The image has other bytes, hence another image_id in
    the catalog, so the pairs are others; train and evaluate read both. The sample is not asked."""
    image = next(path for path in images_of(own) if path.suffix == ".png")
    with Image.open(image) as opened:
        Image.eval(opened.convert("RGB"), lambda grey: 255 - grey).save(image)
    assert own.would_run() == ["catalog", "preprocess"]
    assert changed_stages(own.run("dvc", "repro", "pairs")) == ["catalog", "pairs"]
    assert own.would_run() == ["preprocess", "train", "evaluate"]


def test_what_changes_no_usable_image_trains_nothing(own: Repository) -> None:
    """A copy within its identity counts once, and a note is no image: the folder has another hash, so what reads it
    runs, but writes the same bytes again; what reads those is left alone."""
    image = images_of(own)[0]
    shutil.copy(image, image.with_name(f"zz-copy{image.suffix}"))
    (own.folder / "data/faces/notes.txt").write_text("taken in May")
    assert own.would_run() == ["catalog", "preprocess"]
    assert changed_stages(own.run("dvc", "repro")) == ["catalog", "preprocess"]


def test_what_no_stage_reads_runs_nothing(own: Repository) -> None:
    (own.folder / "README.md").write_text("Changed.")
    (own.folder / "src/siamese/cli/model.py").write_text("# Changed.")
    shutil.rmtree(own.folder / "tests")
    assert own.would_run() == []


def test_other_intervals_are_evaluated_and_nothing_else(own: Repository) -> None:
    own.set("bootstrap", "100", "120")
    assert own.would_run() == ["evaluate"]


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
    not_outputs = (
        "SAMPLE",
        "CHECKPOINT",
        "CHECKPOINTS",
        "CALIBRATED",
        "MODEL_REPORT",
        "TRACKING",
        "MODELS",
        "DOWNLOADS",
    )
    known = {str(path) for name, path in vars(paths).items() if name.isupper() and name not in not_outputs}
    assert written == known
    assert read <= known
    assert yaml.safe_load((ROOT / "data/dvc.yaml").read_text())["stages"]["sample"]["outs"] == [str(paths.SAMPLE)]


# What every step uses without its result depending on it: the root modules and storage.
INFRASTRUCTURE = {"storage", "__init__", *(file.stem for file in (ROOT / "src/siamese").glob("*.py"))}


def modules_used_by(file: Path, seen: set[Path]) -> set[Path]:
    """The library's files that a file imports, and those that they import."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "siamese":
            names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        for name in names:
            imported = ROOT / "src" / name.replace(".", "/")
            if imported.with_suffix(".py").is_file() and imported.with_suffix(".py") not in seen:
                seen.add(imported.with_suffix(".py"))
                modules_used_by(imported.with_suffix(".py"), seen)
    return seen


def test_every_stage_is_the_command_of_its_name_and_depends_on_all_code_that_decides_its_result() -> None:
    library = ROOT / "src/siamese"
    for file in ("dvc.yaml", "data/dvc.yaml"):
        for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items():
            assert stage["cmd"].split()[:2] == ["siamese", name]
            (step,) = [place for place in library.rglob(f"{name}.py") if place.parent.name != "cli"]
            listed = [ROOT / dep for dep in stage["deps"] if dep.startswith("src/siamese/")]
            used = {
                place
                for place in modules_used_by(step, {step})
                if place.relative_to(library).parts[0].removesuffix(".py") not in INFRASTRUCTURE
            }
            missing = {place for place in used if not any(place.is_relative_to(folder) for folder in listed)}
            assert missing == set(), name
