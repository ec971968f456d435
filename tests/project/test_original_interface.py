"""The original's interface: its README's two scripts, and what each call gives or refuses."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, working_folder
from PIL import Image

from model.data import Data
from model.model import Model
from siamese import config
from siamese.data.synthetic import sample
from siamese.errors import InputError
from siamese.models.network import parts
from siamese.models.verifier import Verifier
from siamese.params import SampleParams
from siamese.preprocessing.pixel_store import StoredImages
from siamese.storage.files import content_digest

# Runs a file, and sends itself SIGINT when the third epoch is told.
SIGNALLED = """
import os, runpy, signal, sys
from siamese import console
log = console.log
def log_and_send(line):
    log(line)
    if line.startswith("epoch 3/8"):
        os.kill(os.getpid(), signal.SIGINT)
console.log = log_and_send
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# The calls of the original's README, in its order.
TRAIN = """
from model.model import Model
from model.data import Data

def main() -> None:
    data: Data = Data()
    if not data.initialized:
        data.initialize()
    model: Model = Model(data=data)
    model.build_model()
    model.train()
    model.evaluate()
    model.save_compiled_model(filename='trained')

main()
"""
USE = """
from model.model import Model
from sys import argv

def main(compiled_model_path: str) -> None:
    model: Model = Model.from_trained(compiled_model_path)
    model.summary()
    model.evaluate()
    model.predict(...)

main(argv[1])
"""
WHICH = "import model, siamese; print(model.__file__, siamese.__file__)\n"
SAME_GREY = np.full((100, 100, 3), 128, np.uint8)


def draw(folder: Path) -> None:
    """Role folders of 44 images, 30 of them in split train, with suffixes in any case; and a file that is no image."""
    sample.run(folder, SampleParams(identities=6, images=4, seed=1, layout="roles", forgeries=False))
    (folder / "anchor/notes.txt").write_text("mine")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def command(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> int:
    """The exit code of one of the two scripts."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "src" / script), run_name="__main__")
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of src/, with images in its data/."""
    project = tmp_path_factory.mktemp("project")
    not_ours = shutil.ignore_patterns("__pycache__", ".*")
    (project / "src").mkdir()
    for name in ("model", "siamese"):
        shutil.copytree(ROOT / "src" / name, project / "src" / name, ignore=not_ours)
    for name in ("train.py", "use.py"):
        shutil.copy(ROOT / "src" / name, project / "src")
    shutil.copy(ROOT / "params.yaml", project)
    draw(project / "src/data")
    return project / "src"


@pytest.fixture(scope="module")
def trained(src: Path) -> Path:
    """The same after the README's training script has run there, but for one epoch instead of 50."""
    before = content_digest(src / "data")
    (src / "original_train.py").write_text(TRAIN.replace("model.train()", "model.train(EPOCHS=1)") + WHICH)
    done = python(src, "original_train.py")
    assert done.returncode == 0, done.stderr
    first, which = done.stdout.splitlines()
    assert first.startswith("precision: ")
    assert which == f"{src}/model/__init__.py {src}/siamese/__init__.py"  # not the installed ones
    assert [file.name for file in (src / "trained").iterdir()] == ["trained.keras"]
    assert content_digest(src / "data") == before
    return src


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return Model.from_trained(trained / "trained")


@pytest.fixture
def here(trained: Path) -> Iterator[Path]:
    with working_folder(trained):
        yield trained


@pytest.fixture
def pictures(here: Path) -> list[str]:
    files = [sorted(Path("data", role).glob("0*.*"))[0] for role in ("anchor", "positive")]
    return [str(file) for file in (*files, sorted(Path("data/negative").iterdir())[0])]


class TestTheScripts:
    def test_training_works_in_src(self, trained: Path) -> None:
        with zipfile.ZipFile(trained / "trained/trained.keras") as saved:
            assert b"siamese." not in saved.read("config.json")  # no module: Keras alone loads it

    def test_use_works_from_a_script_elsewhere_with_the_package_installed(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "original_use.py").write_text(USE + WHICH)
        done = python(trained, str(tmp_path / "original_use.py"), "trained/trained.keras")
        assert done.returncode == 0, done.stderr
        *table, total, precision, which = done.stdout.splitlines()
        assert table[0].split() == ["layer", "output", "shape", "parameters"]
        assert total == "total 38,964,545 parameters, 148.6 MB"
        assert precision.startswith("precision: ")
        assert which == f"{ROOT}/src/model/__init__.py {ROOT}/src/siamese/__init__.py"

    def test_as_commands(self, here: Path, pictures: list[str], model: Model, monkeypatch, capsys) -> None:
        before = content_digest(here / "data")
        assert command(monkeypatch, "train.py", "data", "--epochs", "1") == 0
        out, said = capsys.readouterr()
        precision, wrote = out.splitlines()
        assert precision.startswith("precision: ") and wrote == "wrote trained/trained.keras"
        assert "unknown" not in said
        assert content_digest(here / "data") == before

        assert command(monkeypatch, "use.py", "trained", *pictures[::2]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"score {model.predict(*pictures[::2]).item():.3f}"

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["train.py", "nowhere"], "nowhere: can't be read as a folder"),
            (["use.py", "nowhere"], "nowhere: no trained model here"),
            (["use.py", "trained", "a.png", "b.png"], "a.png: can't be read"),
        ],
    )
    def test_a_mistake_is_one_line_and_exit_code_2(
        self, here: Path, arguments: list[str], line: str, monkeypatch, capsys
    ) -> None:
        assert command(monkeypatch, *arguments) == 2
        said = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("no params.yaml here")]
        assert len(said) == 1 and said[0].startswith(f"siamese: {line}")

    def test_a_wheel_carries_the_import_path(self, tmp_path: Path) -> None:
        done = python(ROOT, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
            carried = {name for name in wheel.namelist() if ".dist-info" not in name}
        assert {"model/__init__.py", "model/model.py", "model/data.py", "siamese/params.yaml"} <= carried
        assert {name.partition("/")[0] for name in carried} == {"model", "siamese"}

    @pytest.mark.long
    def test_training_as_written_in_50_epochs(self, src: Path, tmp_path: Path) -> None:
        shutil.copytree(src / "data", tmp_path / "data")
        (tmp_path / "original_train.py").write_text(TRAIN)
        done = python(tmp_path, "original_train.py")
        assert done.returncode == 0, done.stderr
        [history] = tmp_path.glob(".siamese/original/*/history.csv")
        assert len(pd.read_csv(history)) == 50

    @pytest.mark.long
    def test_the_same_command_continues_after_an_interruption(self, src: Path, tmp_path: Path) -> None:
        shutil.copytree(src / "data", tmp_path / "data")
        command = [str(ROOT / "src/train.py"), "--epochs", "8"]
        assert python(tmp_path, "-c", SIGNALLED, *command).returncode == 128 + signal.SIGINT
        said = python(tmp_path, *command).stderr.splitlines()
        assert any(line.startswith("continuing after epoch ") for line in said)
        assert not any(line.startswith("epoch 3/8") for line in said)


class TestPredict:
    def test_is_the_network_s_own_answer(self, model: Model) -> None:
        rng = np.random.default_rng(0)
        anchors, others = rng.integers(256, size=(2, 3, 100, 100, 3), dtype=np.uint8)
        expected = model.compiled_model([anchors / np.float32(255), others / np.float32(255)]).numpy()
        found = model.predict(anchors, others)
        assert found.dtype == np.float32 and found.shape == (3, 1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert len(set(found.ravel().tolist())) == 3

    def test_floats_are_taken_as_scaled_already(self, model: Model) -> None:
        anchors, others = np.random.default_rng(1).integers(256, size=(2, 2, 100, 100, 3), dtype=np.uint8)
        expected = model.predict(anchors, others)
        for dtype in (np.float32, np.float64):
            given = [(images / 255).astype(dtype) for images in (anchors, others)]
            np.testing.assert_array_equal(model.predict(*given), expected)

    def test_files_are_read_as_the_servable_model_reads_them(self, model: Model, pictures: list[str]) -> None:
        """The model folder of step `train` carries the transform graph that preprocessing wrote."""
        [folder] = Path(".siamese/original").glob("*/model")
        servable = Verifier.load(folder)._servable
        encoded = [Path(file).read_bytes() for file in pictures if file.lower().endswith(("jpg", "jpeg", "png"))]
        assert len(encoded) >= 2
        expected = servable.score(np.array(encoded[:1], object), np.array(encoded[1:2], object))["score"].numpy()
        files = [file for file in pictures if file.lower().endswith(("jpg", "jpeg", "png"))]
        np.testing.assert_allclose(model.predict(files[0], Path(files[1])).ravel(), expected, atol=1e-6)

    def test_a_file_of_the_right_size_is_its_pixels(self, model: Model, tmp_path: Path) -> None:
        pixels = np.random.default_rng(2).integers(256, size=(100, 100, 3), dtype=np.uint8)
        for name in ("a.png", "a.bmp"):
            Image.fromarray(pixels).save(tmp_path / name)
            np.testing.assert_array_equal(model.predict(tmp_path / name, SAME_GREY), model.predict(pixels, SAME_GREY))

    def test_one_image_is_a_batch_of_one(self, model: Model, pictures: list[str]) -> None:
        one = model.predict(pictures[0], pictures[1])
        assert one.shape == (1, 1)
        np.testing.assert_allclose(model.predict(pictures[:2], pictures[1:])[:1], one, atol=1e-6)

    def test_the_two_may_come_in_one_list(self, model: Model) -> None:
        images = np.zeros((2, 100, 100, 3), np.uint8), np.stack([SAME_GREY, SAME_GREY // 2])
        for form in (list(images), images):
            np.testing.assert_array_equal(model.predict(form), model.predict(*images))

    @pytest.mark.parametrize(
        ("anchor", "other", "line"),
        [
            (SAME_GREY, None, "give two images, or two batches"),
            ("one.png", None, "give two images, or two batches"),
            ([SAME_GREY] * 3, None, "give two images, or two batches"),
            (np.stack([SAME_GREY] * 3), SAME_GREY, "3 and 1 images don't make pairs"),
            (SAME_GREY / 64, SAME_GREY, "from 0 to 1, found 2"),
            (SAME_GREY / -128, SAME_GREY, "from 0 to 1, found -1"),
            (SAME_GREY, np.full((100, 100, 3), np.nan), "from 0 to 1, found nan"),
            (SAME_GREY.astype(int), SAME_GREY, "type int64"),
            (SAME_GREY > 0, SAME_GREY, "type bool"),
            (7, SAME_GREY, "type int64"),
            (SAME_GREY[:99], SAME_GREY, "shape (99, 100, 3)"),
            (SAME_GREY[:, :, 0], SAME_GREY, "shape (100, 100)"),
            (SAME_GREY[None, None], SAME_GREY, "shape (1, 1, 100, 100, 3)"),
            (np.zeros((0, 100, 100, 3), np.uint8), SAME_GREY, "shape (0, 100, 100, 3)"),
            ([], [], "shape (0,)"),
            ([SAME_GREY, SAME_GREY[:50]], SAME_GREY, "different shapes"),
            ([SAME_GREY, "one.png"], SAME_GREY, "different shapes or types"),
            ("nowhere.png", SAME_GREY, "nowhere.png: can't be read"),
        ],
    )
    def test_refuses(self, model: Model, anchor: Any, other: Any, line: str) -> None:
        with pytest.raises(InputError) as refused:
            model.predict(anchor, other)
        assert line in str(refused.value) and "\n" not in str(refused.value)


class TestEvaluate:
    def test_gives_the_precision_of_the_test_pairs(self, model: Model, here: Path, capsys) -> None:
        """At a threshold set in params.yaml: of the test pairs from there on, the share that is of one identity."""
        data = Data("data")
        data.initialize()
        pairs = pd.read_parquet(data.pairs_file).query("split == 'test'")
        images = StoredImages(data.images_folder)
        embedding, distance, head = parts(model.compiled_model)
        first, second = (embedding(images.pixels(pairs[end]) / np.float32(255)) for end in ("anchor_id", "other_id"))
        scores = head(distance(first, second)).numpy().ravel()
        np.testing.assert_allclose(model.predict(...).ravel(), scores, atol=1e-6)

        other = np.sort(scores[pairs.label == 0])
        widest = int(np.diff(other).argmax())
        threshold = float(other[widest : widest + 2].mean())
        chosen = config.load_params(config.packaged_file(), [f"evaluate.threshold={threshold}"])
        (here / "params.yaml").write_text(config.to_yaml(chosen))
        try:
            used = Model.from_trained("trained")
            precision = used.evaluate(Data("data"))
        finally:
            (here / "params.yaml").unlink()
        assert precision == pytest.approx(pairs.label[scores >= threshold].mean())
        assert 0.5 < precision < 1
        said, beside = capsys.readouterr()
        assert said.startswith(f"precision: {precision:.3f} (95 %: ") and f"{len(pairs)} test pairs" in said
        assert (
            "trained/trained.keras: it is unknown whether this model was trained on the images that measure it, so "
            "its figures may be too good" in beside.splitlines()
        )


class TestData:
    def test_the_same_images_are_not_stored_again(self, here: Path) -> None:
        """So that training, which knows its checkpoints by the transform graph's bytes, finds them again."""
        data = Data()
        data.initialize()
        stored, before = data.transform_folder.stat().st_ino, len(StoredImages(data.images_folder))
        again = Data("data/../data")
        assert not again.initialized
        again.initialize()
        assert again.initialized and again.folder == data.folder
        assert data.transform_folder.stat().st_ino == stored

        Image.fromarray(SAME_GREY).save(here / "data/negative/grey.png")
        try:
            again.initialize()
        finally:
            (here / "data/negative/grey.png").unlink()
        assert len(StoredImages(data.images_folder)) == before + 1

    def test_images_are_not_standardised_whatever_params_yaml_says(self, tmp_path: Path) -> None:
        draw(tmp_path / "data")
        text = config.to_yaml(
            config.load_params(config.packaged_file(), ["preprocess.standardise=true", "pairs.seed=7"])
        )
        (tmp_path / "params.yaml").write_text(text)
        with working_folder(tmp_path):
            found = Data().params
        assert found.pairs.seed == 7 and not found.preprocess.standardise

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with working_folder(tmp_path), pytest.raises(InputError, match="data: can't be read as a folder"):
            Data()

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        with working_folder(tmp_path), pytest.raises(InputError, match="the folder is empty"):
            Model(data=Data())

    def test_nothing_is_written_into_the_folder_of_images(self, tmp_path: Path) -> None:
        (tmp_path / "faces/anchor").mkdir(parents=True)
        for inside in (tmp_path / "faces", tmp_path / "faces/anchor"):
            with working_folder(inside), pytest.raises(InputError, match="the working folder lies inside it"):
                Data(tmp_path / "faces")
        assert [file.name for file in (tmp_path / "faces").rglob("*")] == ["anchor"]


class TestOrderOfCalls:
    @pytest.mark.parametrize(
        ("call", "line"),
        [
            (lambda new: new.train(), "train: no network yet"),
            (lambda new: new.summary(), "summary: no network yet"),
            (lambda new: new.evaluate(), "evaluate: not trained yet"),
            (lambda new: new.predict(SAME_GREY, SAME_GREY), "predict: not trained yet"),
            (lambda new: new.predict(...), "predict: not trained yet"),
            (lambda new: new.save_compiled_model(filename="trained"), "save_compiled_model: not trained yet"),
        ],
    )
    def test_too_early(self, call: Any, line: str) -> None:
        with pytest.raises(InputError, match=line):
            call(Model())

    def test_a_built_network_is_what_training_starts_from_and_scores_nothing_yet(self, here: Path, capsys) -> None:
        new = Model()
        new.build_model()
        new.summary()
        assert "total 38,964,545 parameters" in capsys.readouterr().out
        first = new.compiled_model.get_weights()
        new.build_model()
        assert all((a == b).all() for a, b in zip(first, new.compiled_model.get_weights(), strict=True))
        for early in (new.evaluate, lambda: new.predict(SAME_GREY, SAME_GREY)):
            with pytest.raises(InputError, match="not trained yet: call build_model"):
                early()
        with pytest.raises(InputError, match="train: no data"):
            new.train()

    def test_a_trained_model_is_not_trained_further(self, model: Model) -> None:
        with pytest.raises(InputError, match="trained already: call build_model"):
            model.train()

    def test_no_epoch_is_too_few(self, here: Path) -> None:
        new = Model(data=Data())
        new.build_model()
        with pytest.raises(InputError, match="epochs = 0 is not allowed"):
            new.train(EPOCHS=0)


class TestFiles:
    def test_saved_and_loaded_is_the_same(self, model: Model, tmp_path: Path) -> None:
        with working_folder(tmp_path):
            for filename in ("first", "second.keras", "first"):
                model.save_compiled_model(filename=filename)
            assert sorted(os.listdir("trained")) == ["first.keras", "second.keras"]
            again = Model.from_trained("trained/second.keras")
            with pytest.raises(InputError, match="2 models are here: name a file"):
                Model.from_trained("trained")
            Path("trained/first.keras").unlink()
            Model.from_trained("trained")
        weights = zip(model.compiled_model.get_weights(), again.compiled_model.get_weights(), strict=True)
        assert all((a == b).all() for a, b in weights)

    @pytest.mark.parametrize("filename", ["", ".", "..", "a/b", "../trained", "/trained", ".keras"])
    def test_a_filename_is_no_path(self, model: Model, filename: str) -> None:
        with pytest.raises(InputError, match="is no plain file name"):
            model.save_compiled_model(filename=filename)

    @pytest.mark.parametrize("damage", ["empty", "cut", "changed", "text", "other"])
    def test_a_damaged_or_foreign_file_is_refused(self, trained: Path, tmp_path: Path, damage: str) -> None:
        import keras

        file, whole = tmp_path / "bad.keras", (trained / "trained/trained.keras").read_bytes()
        middle = len(whole) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        contents = {"empty": b"", "cut": whole[:middle], "changed": changed, "text": b"no model"}
        if damage == "other":
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(file)
        else:
            file.write_bytes(contents[damage])
        with pytest.raises(InputError, match=r"bad\.keras: damaged, or not a model"):
            Model.from_trained(file)

    def test_a_model_of_the_pipeline_is_sent_to_its_own_command(self, trained: Path) -> None:
        """It may have been trained on standardised images, which the file alone doesn't tell."""
        [folder] = trained.glob(".siamese/original/*/model")
        with pytest.raises(InputError, match="use `siamese verify`"):
            Model.from_trained(folder)
