"""`siamese drift`: new images of the same kind are no drift, darkened, blurred and shrunk ones are.

By the real command, on what the pipeline made of the sample: 12 writers, 5 of them held out from training. New images
are those of 20 other writers, drawn by another seed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import working_folder
from PIL import Image, ImageFilter
from registered import small_model, upload

from siamese import cli, paths
from siamese.data.images.formats import canonical, check
from siamese.models.verifier import Verifier
from siamese.monitoring import drift, prediction_log

MAX = 10**8
WHAT = ["width", "height", "aspect ratio", "brightness", "contrast", "sharpness", "embeddings"]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, small_params: str) -> Path:
    """80 signatures by 20 writers that the workspace's aren't among."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "params.yaml").write_text(small_params)
    with working_folder(folder):
        assert cli.run(["sample", "new", "--seed", "5", "--identities", "20"]) == 0
    return folder / "new"


def changed(others: Path, folder: Path, change: Callable[[Image.Image], Image.Image]) -> Path:
    """The same folder of images, each changed."""
    for file in others.rglob("*.*"):
        into = folder / file.relative_to(others)
        into.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(BytesIO(canonical(file.read_bytes(), MAX))) as image:
            change(image.convert("RGB")).save(into.with_suffix(".png"))
    return folder


def darker(image: Image.Image) -> Image.Image:
    return image.point(lambda level: level * 0.6)


@pytest.fixture
def run(workspace: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Runs `siamese drift` in the workspace: exit code, answer, and what it said beside."""

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with working_folder(workspace):
            code = cli.run(["drift", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_other_writers_of_the_same_kind_are_no_drift(run: Callable, others: Path) -> None:
    before = contents(others)
    code, said, _ = run(others)
    assert code == 0
    lines = said.splitlines()
    assert lines[-1] == "no drift found"
    assert lines[0].split() == ["reference", "new", "effect", "p", "(Holm)"]
    assert [line.split("  ")[0] for line in lines[2:9]] == WHAT
    assert {line.rpartition(" ")[2] for line in lines[2:9]} == {"-"}
    assert lines[9:12] == [
        "reference: 48 images of 12 identities",
        "held out from training, for embeddings: 20 images of 5 identities",
        "new: 80 images of 20 identities",
    ]
    assert contents(others) == before


def test_darkened_images_are_drift(run: Callable, others: Path, tmp_path: Path) -> None:
    code, said, _ = run(changed(others, tmp_path, darker))
    assert code == 4
    [advice] = [line for line in said.splitlines() if line.startswith("retraining advised: ")]
    assert "brightness" in advice and said.endswith(f"{advice}\n")
    [row] = [line.split() for line in said.splitlines() if line.startswith("brightness")]
    assert row[-1] == "drift"


def test_blurred_and_shrunk_images_are_drift_for_what_they_are(run: Callable, others: Path, tmp_path: Path) -> None:
    blurred = changed(others, tmp_path / "blurred", lambda image: image.filter(ImageFilter.GaussianBlur(4)))
    shrunk = changed(others, tmp_path / "shrunk", lambda image: image.reduce(2))
    for folder, reason, others_ in (
        (blurred, {"sharpness"}, {"width", "brightness"}),
        (shrunk, {"width", "height"}, {"aspect ratio"}),
    ):
        code, said, _ = run(folder, "--json")
        because = set(json.loads(said)["because"])
        assert code == 4 and because >= reason and not because & others_


def test_json_holds_everything_and_the_seed_decides(run: Callable, others: Path, tmp_path: Path) -> None:
    folder = changed(others, tmp_path, darker)
    once, again, other = (
        run(folder, "--json", "-S", f"drift.seed={seed}", "-S", "drift.images=40") for seed in (0, 0, 1)
    )
    assert once == again != other
    found = json.loads(once[1])
    assert [one["what"] for one in found["differences"]] == WHAT
    assert found["retrain"] is True and "brightness" in found["because"]
    assert found["images"] == {"reference": 40, "held_out": 20, "new": 40}
    assert found["units"] == {"reference": 10, "held_out": 5, "new": 10}
    brightness = next(one for one in found["differences"] if one["what"] == "brightness")
    assert brightness["new"]["median"] == pytest.approx(0.6 * brightness["reference"]["median"], rel=0.1)
    assert brightness["drift"] and brightness["effect"] > 0.9 and brightness["adjusted"] <= 0.01


def test_what_is_known_already_is_left_out(run: Callable, workspace: Path, others: Path, tmp_path: Path) -> None:
    """A folder that has grown: the model's own data are no news, and what is new beside them counts alone."""
    code, said, _ = run(workspace / "data/sample")
    assert (code, said.splitlines()) == (
        0,
        ["48 of 48 images looked at are in the model's data already: left out", "no drift found"],
    )
    grown = shutil.copytree(workspace / "data/sample", tmp_path / "grown")
    dark = changed(others, tmp_path / "dark", darker)
    for writer in dark.iterdir():
        shutil.copytree(writer, grown / f"new-{writer.name}")
    code, said, _ = run(grown, "--json")
    found = json.loads(said)
    assert code == 4 and "brightness" in found["because"] and found["images"]["new"] == 80


def test_a_folder_without_identities(run: Callable, others: Path, tmp_path: Path) -> None:
    """One image of each of 40 writers, in a heap: from the reference one of each is drawn, too."""
    for number, writer in enumerate(sorted(others.iterdir())):
        file = sorted(writer.iterdir())[0]
        shutil.copy(file, tmp_path / f"{number}{file.suffix}")
    note = "identities of the new images are unknown: many images of a few would look like drift"
    for extra, folder in (((), tmp_path), (("--flat",), tmp_path.parent / tmp_path.name)):
        code, said, _ = run(folder, *extra)
        assert code == 0 and note in said.splitlines()
        assert "reference: 12 images" in said.splitlines() and "new: 20 images" in said.splitlines()
    assert "new: 80 images" in run(others, "--flat")[1].splitlines()


def test_unreadable_images_are_counted_and_many_are_warned_of(run: Callable, others: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(others, tmp_path / "new")
    first = sorted(folder.iterdir())[0]
    (first / "notes.txt").write_text("none")
    (first / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, said, _ = run(folder)
    assert code == 0 and "new: 80 images of 20 identities" in said
    notes = [line for line in said.splitlines() if "files not taken" in line]
    assert notes == [note for note in notes if not note.startswith("warning")] and "1 other suffix" in notes[0]

    for number, file in enumerate(sorted(folder.rglob("*.*"))):
        if number % 3 == 0:
            file.write_bytes(b"no image")
    code, said, _ = run(folder, "--json")
    found = json.loads(said)
    assert code == 0 and sum(found["rejected"].values()) > 20
    assert any(note.startswith("warning: many files not taken: ") for note in found["notes"])


def log_of(folder: Path, file: Path, workspace: Path) -> Path:
    """What `siamese serve` logs when it is asked about each two neighbouring images of a folder."""
    verifier = Verifier.load(workspace / paths.MODEL)
    told = []
    for path in sorted(folder.rglob("*.*")):
        data = path.read_bytes()
        told.append(prediction_log.statistics_of(check(data, MAX), verifier.pixels([canonical(data, MAX)])[0]))
    for number, (anchor, other) in enumerate(zip(told[::2], told[1::2], strict=True)):
        asked = prediction_log.Prediction(float(number), str(number), "siamese/1", 0.5, 0.4, True, anchor, other)
        with file.open("ab") as log:
            log.write(asked.line() * 3)  # asked three times
    return file


def test_a_log_of_predictions_tells_of_everything_but_embeddings(
    run: Callable, workspace: Path, others: Path, tmp_path: Path
) -> None:
    code, said, _ = run(log_of(others, tmp_path / "same.jsonl", workspace), "--json")
    found = json.loads(said)
    assert code == 0 and [one["what"] for one in found["differences"]] == WHAT[:-1]
    assert found["images"] == {"reference": 24, "new": 80} and found["units"] == {"reference": 12, "new": 40}

    dark = changed(others, tmp_path / "dark", darker)
    code, said, _ = run(log_of(dark, tmp_path / "dark.jsonl", workspace))
    assert code == 4 and said.splitlines()[-1].startswith("retraining advised: ")
    assert "a log of predictions holds no images: embeddings aren't compared" in said.splitlines()


def test_of_a_log_each_image_counts_once_and_those_without_statistics_do_not() -> None:
    """Three predictions: the second asks about the anchor of the first again, the third has an image without."""
    sides = {
        "anchor": [(10, 20, 1.0), (10, 20, 1.0), (30, 10, 2.0)],
        "other": [(5, 5, 3.0), (6, 5, 3.0), (7, 7, np.nan)],
    }
    log = pd.DataFrame(
        {
            f"{side}_{name}": [row[column] for row in rows]
            for side, rows in sides.items()
            for name, column in (("width", 0), ("height", 1), ("brightness", 2), ("contrast", 2), ("sharpness", 2))
        }
    )
    told = drift.of_predictions(log)
    assert told.unit.tolist() == [0, 2, 0, 1]
    assert told.values[["width", "aspect ratio", "brightness"]].to_numpy().tolist() == [
        [10, 0.5, 1], [30, 3, 2], [5, 1, 3], [6, 1.2, 3],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (2, "8 images are too few to tell: add images, 10 at least"),
        (3, None),
    ],
)
def test_few_images_are_told_in_one_line(
    run: Callable, others: Path, tmp_path: Path, keep: int, expected: str | None
) -> None:
    """Two writers of 4 images: nothing. Three: 12 images, and 455 arrangements of 12 and 3 writers, too few for 1 %."""
    for writer in sorted(others.iterdir())[:keep]:
        shutil.copytree(writer, tmp_path / "few" / writer.name)
    code, said, line = run(tmp_path / "few")
    assert (code, said) == (2, "")
    [told] = [one for one in line.splitlines() if one.startswith("siamese: ")]
    assert told.endswith(
        expected or "nothing can be said with 0.01 of false alarms: 12 identities against 3 are too few"
    )


def test_a_folder_around_the_images_is_no_identity(run: Callable, others: Path, tmp_path: Path) -> None:
    """All in `more/`: as one identity's images they'd say nothing."""
    (tmp_path / "more").mkdir()
    for number, file in enumerate(sorted(others.rglob("*.*"))[::4]):
        shutil.copy(file, tmp_path / "more" / f"{number}{file.suffix}")
    code, _, line = run(tmp_path)
    assert code == 2 and line.endswith(
        "all new images lie in one subfolder, as one identity's: give --flat if it is none, or add other identities\n"
    )
    code, said, _ = run(tmp_path, "--flat")
    assert code == 0 and "new: 20 images" in said.splitlines()


def test_embeddings_are_left_out_where_too_few_identities_were_held_out(
    run: Callable, others: Path, tmp_path: Path
) -> None:
    """Four new writers: 1,820 arrangements with the reference's twelve, but 126 with the five held out."""
    for writer in sorted(others.iterdir())[:4]:
        shutil.copytree(writer, tmp_path / "few" / writer.name)
    code, said, _ = run(tmp_path / "few", "--json")
    found = json.loads(said)
    assert code == 0 and [one["what"] for one in found["differences"]] == WHAT[:-1]
    assert found["notes"] == ["embeddings aren't compared: held out from training, 5 identities against 4 are too few"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "nowhere: can't be read as a folder (No such file or directory)"),
        (["OTHERS", "--model", "nowhere"], "nowhere: no trained model here"),
        (["OTHERS", "--catalog", "nowhere"], "nowhere is missing: run `siamese catalog` first"),
        (["OTHERS", "--images", "nowhere"], "nowhere holds no stored images"),
        (["EMPTY"], "holds no usable image (1 other suffix): name a folder of JPEG, PNG or BMP images"),
        (["params.yaml"], "params.yaml"),
        (["OTHERS", "-S", "drift.permutations=100"], "100 permutations are too few: 700 are needed"),
        (["OTHERS", "-S", "drift.permutations=99"], "drift.permutations = 99 is not allowed: must be 100 or more"),
    ],
)
def test_wrong_input_is_one_line(run: Callable, others: Path, tmp_path: Path, arguments: list[str], line: str) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    named = {"OTHERS": str(others), "EMPTY": str(tmp_path)}
    code, said, told = run(*(named.get(one, one) for one in arguments))
    [error] = [one for one in told.splitlines() if one.startswith("siamese: ")]
    assert (code, said) == (2, "") and line in error


def test_role_folders_count_each_image(tmp_path: Path) -> None:
    """Of a catalog of role folders every image is a unit, as of most the identity is unknown."""
    catalog = pd.DataFrame({
        "image_id": list("abcd"), "identity": ["target", "target", None, None],
        "role": ["anchor", "positive", "negative", "negative"], "split": "test", "width": 1, "height": 1,
    })  # fmt: skip

    class Stored:
        image_ids = tuple("abc")

    there, unit, notes = drift._stored(catalog, Stored())  # type: ignore[arg-type]
    assert there.image_id.tolist() == list("abc") and sorted(unit.tolist()) == [0, 1, 2]
    assert notes == ["1 of the 4 images of the model's data aren't stored here"]


def test_a_model_of_the_registry_is_compared_by_its_own_catalog(
    run: Callable, others: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version was trained on all but three of the writers; the working folder's catalog is no matter."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setattr(paths, "MODELS", tmp_path / "models")
    monkeypatch.chdir(tmp_path)  # where MLflow puts its artifacts
    catalog = pd.read_parquet(workspace / "artifacts/catalog.parquet")
    catalog = catalog[~catalog.identity.isin(catalog.identity.unique()[:3])]
    (tmp_path / "its").mkdir()
    catalog.to_parquet(tmp_path / "its/catalog.parquet")
    model = small_model(tmp_path / "model", workspace, better=True)
    upload(model, tmp_path / "its/catalog.parquet").version("siamese", "champion")

    code, said, _ = run(others, "--model", "models:/siamese@champion", "--json")
    found = json.loads(said)
    assert code == 0 and found["units"]["reference"] == 9 and found["images"]["reference"] == len(catalog)
    code, said, _ = run(
        others, "--model", "models:/siamese@champion", "--catalog", "artifacts/catalog.parquet", "--json"
    )
    assert json.loads(said)["units"]["reference"] == 12

    upload(model).version("siamese", "champion")  # its run has no catalog
    code, said, err = run(others, "--model", "models:/siamese@champion", "--json")
    assert json.loads(said)["units"]["reference"] == 12
    assert err.startswith("models:/siamese/2: its run has no catalog, so it is unknown what it was trained on: ")
