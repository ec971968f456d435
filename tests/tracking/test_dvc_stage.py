"""Inputs edited while DVC runs a stage: what is recorded is what was used, or the stage fails with one line."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Repository, changed_stages, working_folder

from siamese import config, paths
from siamese.errors import InputError
from siamese.tracking import dvc_stage
from siamese.tracking.client import connect
from siamese.tracking.dvc_stage import unchanged_inputs

EDITING = ROOT / "tests/helpers/editing_siamese.py"
FAILED = 255  # exit code of DVC


def with_settings(folder: Path, *settings: str) -> dict[str, str]:
    """The folder's params.yaml with other values."""
    return {"params.yaml": config.to_yaml(config.load_params(folder / "params.yaml", settings))}


def repro(project: Repository, *arguments: str, edits: list[Any], exit_code: int = 0) -> str:
    """What `dvc repro` prints while its commands make `edits`, as editing_siamese.py describes them."""
    commands = project.folder / ".git/editing"
    commands.mkdir(exist_ok=True)
    (commands / "edits.json").write_text(json.dumps(edits))
    siamese = commands / "siamese"
    siamese.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{EDITING}" "{commands}/edits.json" "$@"\n')
    siamese.chmod(0o755)
    path = f"{commands}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return project.run("env", f"PATH={path}", "dvc", "repro", *arguments, exit_codes=[exit_code])


def lock(project: Repository) -> Mapping[str, Any]:
    return yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]


# While DVC runs the catalog


@pytest.fixture(scope="module")
def own_project(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A sibling with a catalog of its own images, which has the splits of a list."""
    made = repository.sibling(tmp_path_factory.mktemp("own") / "project")
    repository.run("dvc", "checkout", "data/dvc.yaml:sample")
    faces = shutil.copytree(repository.folder / "data/sample", made.folder / "data/faces")
    identities = sorted(folder.name for folder in faces.iterdir() if folder.is_dir())
    splits = [*["train"] * 6, *["test"] * 3, *["validation"] * 3]
    rows = [f"{identity},{split}\n" for identity, split in zip(identities, splits, strict=True)]
    (faces / "splits.csv").write_text("".join(["identity,split\n", *rows]))
    shutil.copytree(faces, made.folder / "data/others")
    for name, text in with_settings(made.folder, "data.path=data/faces", "catalog.splits=splits.csv").items():
        (made.folder / name).write_text(text)
    made.run("dvc", "repro", "catalog")
    made.commit()
    return made


@pytest.fixture
def own(own_project: Repository) -> Iterator[Repository]:
    yield own_project
    own_project.run("git", "checkout", "-q", "--", "params.yaml", "dvc.lock", "data/faces", "src")


AT_THE_END = "artifacts/catalog.parquet"  # all is read, and the catalog is about to be there
EDITS: dict[str, tuple[str, Callable[[Path], Mapping[str, str]], str]] = {
    "a parameter": (
        AT_THE_END,
        lambda folder: with_settings(folder, "data.max_pixels=7000000"),
        "params.yaml: data.max_pixels was changed from 90000000 to 7000000 while stage catalog was running",
    ),
    "the split list": (
        AT_THE_END,
        lambda folder: {
            "data/faces/splits.csv": (folder / "data/faces/splits.csv").read_text().replace("test", "train")
        },
        "data/faces/splits.csv: was changed while stage catalog was running",
    ),
    "data.path before the command reads it": (
        "start",
        lambda folder: with_settings(folder, "data.path=data/others"),
        "params.yaml: data.path was changed to data/others after DVC had read it",
    ),
}


@pytest.mark.parametrize("edited", EDITS)
def test_an_edited_input_fails_the_stage_and_is_not_recorded(own: Repository, edited: str) -> None:
    """Another value of max_pixels, at which the same images are taken, has the stage run."""
    moment, texts, line = EDITS[edited]
    before = lock(own)["catalog"]
    (own.folder / "params.yaml").write_text(with_settings(own.folder, "data.max_pixels=90000000")["params.yaml"])
    said = repro(own, "catalog", edits=[["catalog", moment, texts(own.folder)]], exit_code=FAILED)
    assert f"\nsiamese: {line}; run `dvc repro` again\n" in said and "Traceback" not in said
    assert lock(own)["catalog"] == before
    assert changed_stages(own.run("dvc", "repro", "--dry", "catalog")) == ["catalog"]


def test_an_edit_of_what_the_stage_does_not_use_is_no_failure(own: Repository) -> None:
    """Another section, a comment, the same image written again, and a file that DVC ignores."""
    image = own.folder / "data/faces/splits.csv"
    section = with_settings(own.folder, "data.max_pixels=80000000", "serve.queue=8")["params.yaml"]
    (own.folder / "params.yaml").write_text(with_settings(own.folder, "data.max_pixels=80000000")["params.yaml"])
    edits = {
        "params.yaml": f"# Tried on Monday\n{section}",
        "data/faces/splits.csv": image.read_text(),
        "data/faces/.notes.unfinished-1": "x",
    }
    assert changed_stages(repro(own, "catalog", edits=[["catalog", AT_THE_END, edits]])) == ["catalog"]
    assert lock(own)["catalog"]["params"]["params.yaml"]["data"]["max_pixels"] == 80000000
    assert changed_stages(own.run("dvc", "repro", "--dry", "catalog")) == []


# While DVC runs a training, and before and after it


def test_what_was_trained_is_recorded_with_the_parameters_that_made_it(repository: Repository, tmp_path: Path) -> None:
    """catalog.seed is 0 when the catalog is made, and 1 from before the training on; train.seed is edited while the
    training runs, which then ends without a result, and once it is what it was, goes on from the last checkpoint."""
    project = repository.sibling(tmp_path / "project")
    project.run("dvc", "checkout")
    begun = with_settings(project.folder, "pairs.seed=1", "train.epochs=1", "model.views=mirrored")
    (project.folder / "params.yaml").write_text(begun["params.yaml"])
    catalog_edited = with_settings(project.folder, "catalog.seed=1")
    both_edited = with_settings(project.folder, "catalog.seed=1", "train.epochs=5")

    before = lock(project)["train"]
    during_pairs = ["pairs", "artifacts/pairs.parquet", catalog_edited]
    during_training = ["train", "artifacts/history.csv", both_edited]
    said = repro(project, edits=[during_pairs, during_training], exit_code=FAILED)
    what = "params.yaml: train.epochs was changed from 1 to 5 while stage train was running"
    assert f"\nwarning: {what}; " in said and f"\nsiamese: {what}; " in said and "Traceback" not in said
    assert changed_stages(said) == ["pairs", "train"]
    assert lock(project)["train"] == before

    (project.folder / "params.yaml").write_text(begun["params.yaml"])
    said = repro(project, edits=[["train", "artifacts/model", catalog_edited]])
    assert "\ncontinuing after epoch 1, step 0\n" in said and "images/s" not in said
    assert changed_stages(said) == ["train", "evaluate"]
    assert lock(project)["train"]["params"]["params.yaml"]["train"]["epochs"] == 1
    assert "<td>catalog.seed</td><td>0</td>" in (project.folder / paths.REPORT).read_text()
    client = connect(f"sqlite:///{project.folder}/mlflow.db")
    run = client.get_run(json.loads((project.folder / paths.RUN).read_text())["run_id"])
    assert (run.info.status, run.data.params["catalog.seed"]) == ("FINISHED", "0")
    assert project.would_run() == ["catalog"]


# Without DVC, but as if it ran the command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a stage that reads a file and a folder, and the parameters a and b.c."""
    (tmp_path / "images/one").mkdir(parents=True)
    (tmp_path / "images/one/1.png").write_text("first")
    (tmp_path / "table.csv").write_text("table")
    stage = {"cmd": "siamese step", "deps": ["${in}", {"table.csv": None}], "params": ["a", "b.c"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"step": stage}}))
    (tmp_path / "params.yaml").write_text("a: {x: 1.0e-3, y: [1, 2]}\nb: {c: 1, d: 1}\nin: images\n")
    monkeypatch.setenv(dvc_stage.STAGE, "step")
    with working_folder(tmp_path):
        yield tmp_path


def edit_params(old: str, new: str) -> Callable[[Path], None]:
    def edit(project: Path) -> None:
        text = (project / "params.yaml").read_text()
        assert old in text
        (project / "params.yaml").write_text(text.replace(old, new))

    return edit


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda project: (project / name).write_text(text)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (edit_params("1.0e-3", "2"), "params.yaml: a.x was changed from 0.001 to 2"),
        (edit_params("x: 1.0e-3, ", ""), "params.yaml: a.x was changed from 0.001 to not set"),
        (edit_params("[1, 2]", "[2, 1]"), "params.yaml: a.y was changed from [1, 2] to [2, 1]"),
        (edit_params("c: 1", "c: one"), 'params.yaml: b.c was changed from 1 to "one"'),
        (write("table.csv", "other"), "table.csv: was changed"),
        (write("images/one/1.png", "other"), "images/one/1.png: was changed"),
        (write("images/2.png", "new"), "images/2.png: was added"),
        (lambda project: (project / "images/one/1.png").unlink(), "images/one/1.png: was removed"),
        (lambda project: shutil.rmtree(project / "images"), "images/one/1.png: was removed"),
    ],
)
def test_each_kind_of_edit_is_named(project: Path, edit: Callable[[Path], object], line: str) -> None:
    with pytest.raises(InputError) as raised, unchanged_inputs():
        edit(project)
    assert str(raised.value) == f"{line} while stage step was running; run `dvc repro` again"


@pytest.mark.parametrize(
    "edit",
    [
        edit_params("d: 1", "d: 2"),
        edit_params("1.0e-3", "0.001"),
        edit_params("in: images", "in: images  # a comment"),
        write("table.csv", "table"),
        write("images/one/1.png", "first"),
        write("other.csv", "other"),
        write("dvc.yaml", "stages: {}"),
    ],
)
def test_what_dvc_would_record_as_before_is_no_edit(project: Path, edit: Callable[[Path], object]) -> None:
    with unchanged_inputs():
        edit(project)


def test_the_content_of_a_large_folder_is_not_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are known by size, time of change and inode, as DVC knows them: reading a file leaves all three."""
    monkeypatch.setattr(dvc_stage, "MOST_READ", 4)  # "first" and "table" have 5 bytes
    monkeypatch.setattr(dvc_stage, "sha256", None)
    with unchanged_inputs():
        assert (project / "images/one/1.png").read_text() == "first"
    with pytest.raises(InputError, match=r"images/one/1\.png: was changed"), unchanged_inputs():
        os.utime(project / "images/one/1.png", ns=(0, 0))


def test_an_error_of_the_command_comes_first(project: Path) -> None:
    with pytest.raises(InputError, match="the command's own"), unchanged_inputs():
        (project / "table.csv").write_text("other")
        raise InputError("the command's own")


@pytest.mark.parametrize("stage", [None, "", "another", "data/dvc.yaml:another"])
def test_what_dvc_does_not_run_may_read_what_changes(
    project: Path, stage: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage is None:
        monkeypatch.delenv(dvc_stage.STAGE)
    else:
        monkeypatch.setenv(dvc_stage.STAGE, stage)
    with unchanged_inputs():
        (project / "table.csv").write_text("other")


# Parameters that dvc.lock records


@pytest.fixture
def locked(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """table.csv and images are made by stages of dvc.lock, from what a first stage made. params.yaml has 0 as each
    seed, dvc.lock 1 for the sample, which the first stage drew, 2 for the catalog, and 3 for the pairs."""
    (project / "params.yaml").write_text(config.packaged_file().read_text() + "in: images\n")

    def stage(section: str, seed: int, out: str, md5: str, **deps: str) -> dict[str, Any]:
        values = {section: {**config.load_params(config.packaged_file()).model_dump()[section], "seed": seed}}
        read = [{"path": path, "md5": content} for path, content in deps.items()]
        return {"deps": read, "params": {"params.yaml": values}, "outs": [{"path": out, "md5": md5}]}

    table = "aab9e1de16f38176f86d7a92ba337a8d"  # `printf table | md5sum`
    entries = {
        "pairs": stage("pairs", 3, "images", "3.dir", first="1"),
        "catalog": stage("catalog", 2, "table.csv", table, first="1"),
        "first": stage("sample", 1, "first", "1"),
        "old": stage("evaluate", 4, "first", "0"),
    }
    (project / "dvc.lock").write_text(yaml.safe_dump({"stages": entries}))
    return project


def seeds(*made: str) -> tuple[int, ...]:
    before = config.load_params(config.packaged_file())
    used = dvc_stage.params_used(before, [Path(path) for path in made])
    return used.sample.seed, used.catalog.seed, used.pairs.seed, used.evaluate.seed


def test_parameters_of_all_earlier_stages_are_those_of_dvc_lock(locked: Path) -> None:
    assert seeds("table.csv") == (1, 2, 0, 0)
    with unchanged_inputs():
        assert seeds("table.csv", "images") == (1, 2, 3, 0)


def test_where_dvc_lock_does_not_know_a_file_parameters_stay(locked: Path) -> None:
    """What is in a folder is not known when no stage runs that depends on it."""
    assert seeds("table.csv", "params.yaml") == seeds("images") == seeds("missing.csv") == (0, 0, 0, 0)
    (locked / "table.csv").write_text("made by hand")
    assert seeds("table.csv") == (0, 0, 0, 0)


def test_an_input_that_its_stage_did_not_write_is_refused(locked: Path) -> None:
    (locked / "table.csv").write_text("made by hand")
    with (
        pytest.raises(
            InputError, match=r"table\.csv: is not what its stage wrote \(dvc\.lock\); run `dvc repro` again"
        ),
        unchanged_inputs(),
    ):
        seeds("table.csv")


def test_a_lock_of_a_release_with_other_parameters_changes_none(locked: Path) -> None:
    (locked / "dvc.lock").write_text((locked / "dvc.lock").read_text().replace("splits: hash", "given: hash"))
    assert seeds("table.csv") == (0, 0, 0, 0)
