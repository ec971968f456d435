"""Recipes: parameters that exist and differ from the defaults; trainings in copies of the repository."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from ruamel.yaml import YAML

from recipes import workplace
from recipes.__main__ import NAMES, main
from siamese import config
from siamese.config import flatten
from siamese.errors import InputError

ROOT = Path(__file__).parents[2]


def read(file: Path) -> Mapping[str, Any]:
    return YAML(typ="safe").load(file)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_differs_from_the_defaults_and_nothing_else(name: str, tmp_path: Path) -> None:
    defaults, own = read(ROOT / "params.yaml"), read(ROOT / f"recipes/{name}/params.yaml")
    of_default = dict(flatten(defaults))
    assert [key for key, value in flatten(own) if of_default[key] == value] == []
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(config.deep_merge(defaults, own), file)
    config.load_params(tmp_path / "params.yaml")


def test_every_recipe_has_its_page() -> None:
    assert sorted(NAMES) == sorted(file.parent.name for file in ROOT.glob("recipes/*/recipe.py"))
    for name in NAMES:
        assert f"make recipe name={name}" in (ROOT / f"recipes/{name}/README.md").read_text()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository of a file and a lock file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("code.py", "dvc.lock"):
        (folder / name).write_text("committed")
    for command in (["init", "--quiet"], ["add", "."], [*workplace.OWN_NAME, "commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", "-C", folder, *command], check=True)
    monkeypatch.setattr(workplace, "ROOT", folder)
    return folder


def test_a_copy_holds_changes_that_are_not_committed_and_keeps_what_dvc_knows(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    workplace.copy_repository(copy)
    assert (copy / "code.py").read_text() == (copy / "dvc.lock").read_text() == "committed"
    (copy / "dvc.lock").write_text("of the copy")
    (copy / "model").write_text("made there")
    (checkout / "code.py").write_text("changed")
    before = subprocess.run(["git", "-C", checkout, "status", "--short"], capture_output=True, check=True).stdout
    workplace.copy_repository(copy)
    assert (copy / "code.py").read_text() == "changed"
    assert (copy / "dvc.lock").read_text() == "of the copy"
    assert (copy / "model").read_text() == "made there"
    after = subprocess.run(["git", "-C", checkout, "status", "--short"], capture_output=True, check=True).stdout
    assert before == after == b" M code.py\n"
    assert not subprocess.run(["git", "-C", checkout, "stash", "list"], capture_output=True, check=True).stdout


def test_what_git_says_is_told_in_one_line(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("a file in the way")
    with pytest.raises(InputError, match=r"^git clone .*already exists") as told:
        workplace.copy_repository(tmp_path / "copy")
    assert "\n" not in str(told.value)


def test_the_time_of_a_training_is_known_again_when_dvc_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clock: a training of 100 s; one of 30 s until it is interrupted, and 50 s after; the first one brought back."""
    history = tmp_path / "artifacts/history.csv"
    history.parent.mkdir()
    clock = iter([0, 100, 200, 230, 300, 350, 400, 401]).__next__
    monkeypatch.setattr(workplace, "time", SimpleNamespace(monotonic=clock))
    assert workplace.seconds_of(tmp_path) is None
    with workplace.timed(tmp_path):
        history.write_text("first")
    assert workplace.seconds_of(tmp_path) == 100
    with pytest.raises(KeyboardInterrupt), workplace.timed(tmp_path):
        history.write_text("half of the second")
        raise KeyboardInterrupt
    assert workplace.seconds_of(tmp_path) is None
    with workplace.timed(tmp_path):
        history.write_text("second")
    assert workplace.seconds_of(tmp_path) == 30 + 50
    with workplace.timed(tmp_path):
        history.write_text("first")
    assert workplace.seconds_of(tmp_path) == 100


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["orl", "--to", "file"], 2, "siamese: file: no folder can be made there (File exists): name another one"),
        (["orl", "--seeds", "-1"], 2, "-1: name a whole number from 0 to 4294967295"),
        (["anomaly", "--from", "wheel", "--to", "new"], 2, "siamese: wheel: grass.png isn't grey, 512 x 512"),
        (["anomaly", "--from", "nowhere", "--to", "new"], 2, "siamese: nowhere: is not there"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "wheel").mkdir()
    for name, size in {"brick": 512, "grass": 511, "gravel": 512}.items():
        Image.new("L", (size, size)).save(tmp_path / f"wheel/{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recipes", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == code and told in printed.err and "Traceback" not in printed.err


@pytest.mark.slow
def test_a_training_runs_in_its_copy_and_is_not_repeated(tmp_path: Path) -> None:
    siamese = workplace.BIN / "siamese"
    small = ["-S", "sample.identities=20", "-S", "sample.images=4"]
    subprocess.run([siamese, "sample", *small], cwd=tmp_path, check=True)
    data = tmp_path / "data/sample"
    writers = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    (data / "protocol").mkdir()
    split = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    rows = [f"{writer},{of}" for writer, of in zip(writers, split, strict=True)]
    (data / "protocol/splits.csv").write_text("\n".join(["identity,split", *rows]) + "\n")
    [first, second], [other, *_] = (sorted(path.relative_to(data) for path in (data / writers[place]).iterdir())[:2]
                                    for place in (-1, -2))  # fmt: skip
    listed = ["probe,reference,label", f"{first},{second},1", f"{first},{other},0"]
    (data / "protocol/trials.csv").write_text("\n".join(listed) + "\n")

    settings = ["train.epochs=1", "train.images_per_identity=4", "evaluate.bootstrap=100", "pairs.per_split=100"]
    at = workplace.Workplace("anomaly", tmp_path / "work", [], [7], settings)
    done = at.trained("tiny", data, 7, train__batch=16)
    effective = read(done.folder / "params.yaml")
    assert done.folder == tmp_path / "work/tiny-seed-7"
    assert effective["train"]["seed"] == 7 and effective["train"]["epochs"] == 1 and effective["train"]["batch"] == 16
    assert effective["catalog"]["splits"] == "protocol/splits.csv"  # the recipe's
    assert effective["data"]["path"] == str(data)
    assert json.loads((done.folder / "metrics.json").read_text())["test"]
    assert done.trials("trials")["comparisons"] == 2
    drawn = ElementTree.parse(done.folder / "roc.svg").getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg" and "ROC" in drawn.attrib["aria-label"]

    model = done.folder / "artifacts/model/siamese.keras"
    made = model.stat().st_mtime_ns
    again = at.trained("tiny", data, 7, train__batch=16)
    assert model.stat().st_mtime_ns == made and again.seconds == done.seconds
