"""The model as MLflow loads and serves it: the scores of `siamese verify`, wherever it runs, and no pickle anywhere."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import working_folder
from PIL import Image
from storage_servers import free_port, wait_for
from waiting import PATIENCE

from siamese.models.score import score_list
from siamese.models.verify import Verification, verify
from siamese.registry import packaging
from siamese.registry.locator import resolve_model

NO_PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
MAX_PIXELS = 1_000_000

# What a model's own environment doesn't hold; whoever imports it would fail there.
ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow_transform", "tfx_bsl", "apache_beam", "kfp", "dvc", "typer", "rich"}:
            raise ModuleNotFoundError(f"{name} is not in the model's requirements")
sys.meta_path.insert(0, Absent())
"""
ASKS = """
import json, sys
import mlflow, pandas as pd
folder, *images = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
pairs = pd.DataFrame({"anchor": images[::2], "other": images[1::2]})
found = model.predict(pairs, params={"images": "paths"})
import siamese
print(json.dumps({"score": found.score.tolist(), "same": found.same.tolist(), "code": siamese.__file__}))
"""


@pytest.fixture(scope="module", autouse=True)
def without_pickle() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(NO_PICKLE, "false")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture(scope="module")
def folder(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace's model as it goes to the registry."""
    from mlflow.models import Model

    made = tmp_path_factory.mktemp("served") / "model"
    before = list(sys.path)
    with working_folder(workspace):
        packaging.save(
            Path("artifacts/model"), Path("artifacts/threshold.json"), MAX_PIXELS, made, Model(run_id="0" * 32)
        )
    assert sys.path == before
    return made


@pytest.fixture(scope="module")
def model(folder: Path):
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def pairs(workspace: Path) -> list[tuple[Path, Path]]:
    """Four pairs, of JPEG, PNG and BMP."""
    catalog = pd.read_parquet(workspace / "artifacts/catalog.parquet")
    files = [workspace / "data/sample" / path for path in catalog.path]
    assert {file.suffix.lower() for file in files[:5]} >= {".jpg", ".png", ".bmp"}
    return list(pairwise(files[:5]))


def verified(workspace: Path, a: Path, b: Path) -> Verification:
    return verify(
        a, b, resolve_model(workspace / "artifacts/model", workspace / "artifacts/threshold.json"), None, MAX_PIXELS
    )


def table(pairs: list[tuple[Path, Path]], form=Path.read_bytes) -> pd.DataFrame:
    return pd.DataFrame({"anchor": [form(a) for a, _ in pairs], "other": [form(b) for _, b in pairs]})


def text(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "params"),
    [
        (Path.read_bytes, None),
        (Path.read_bytes, {"images": "bytes"}),
        (text, {"images": "base64"}),
        (lambda file: text(file).encode(), {"images": "base64"}),
        (text, None),
        (lambda file: f"data:image/png;base64,{text(file)}", None),
        (lambda file: base64.encodebytes(file.read_bytes()), {"images": "base64"}),
        (str, {"images": "paths"}),
    ],
    ids=[
        "bytes by default",
        "bytes",
        "base64",
        "base64 as bytes",
        "text by default",
        "data URI",
        "lines as bytes",
        "paths",
    ],
)
def test_a_pair_has_the_score_and_the_verdict_of_siamese_verify(
    workspace: Path, model, pairs: list[tuple[Path, Path]], form, params: dict | None
) -> None:
    found = model.predict(table(pairs[:1], form), params=params)
    assert found.dtypes.to_dict() == {"score": np.dtype("float32"), "same": np.dtype("bool")}
    expected = verified(workspace, *pairs[0])
    assert found.to_dict("records") == [{"score": expected.score, "same": expected.same}]


def test_many_pairs_have_the_scores_of_siamese_score(
    workspace: Path, model, pairs: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    """Up to rounding: how many images are embedded at once differs. The threshold lies between the scores."""
    many = [*pairs, *((b, a) for a, b in pairs), (pairs[0][0], pairs[0][0])] * 12
    table(many, str).to_csv(tmp_path / "pairs.csv", index=False)
    files = workspace / "artifacts/model", workspace / "artifacts/threshold.json"
    expected = score_list(tmp_path / "pairs.csv", resolve_model(*files), None, MAX_PIXELS)
    found = model.predict(table(many).set_index(np.arange(len(many)) * 10))
    np.testing.assert_allclose(found.score, expected.score, rtol=0, atol=1e-6)
    assert found.index.tolist() == [10 * row for row in range(len(many))]
    threshold = json.loads((workspace / "artifacts/threshold.json").read_text())["threshold"]
    assert (found.same == (found.score >= np.float32(threshold))).all()


def test_images_of_odd_kinds_are_seen_as_everywhere_else(workspace: Path, model, tmp_path: Path) -> None:
    """Transparency on white, a palette, 16 bits, CMYK: TensorFlow alone would see each otherwise, or not at all."""
    shade = np.linspace(0, 255, 40 * 60).reshape(40, 60)
    drawn = Image.fromarray(shade.astype(np.uint8)).convert("RGB")
    clear = Image.merge("RGBA", (*drawn.split(), Image.fromarray((shade % 97 * 2).astype(np.uint8))))
    odd = {
        "clear.png": clear,
        "palette.png": drawn.quantize(7),
        "deep.png": Image.fromarray((shade * 257).astype(np.uint16)),
        "inks.jpg": drawn.convert("CMYK"),
    }
    for name, image in odd.items():
        image.save(tmp_path / name)
        pair = [(tmp_path / "clear.png", tmp_path / name)]
        assert model.predict(table(pair)).score.tolist() == [verified(workspace, *pair[0]).score], name


@pytest.mark.parametrize(
    ("data", "params", "said"),
    [
        (b"no image", None, "row 1, other: not an image"),
        (b"", None, "row 1, other: empty file"),
        (encoded(Image.new("RGB", (9, 9)))[:-20], None, "row 1, other: truncated PNG"),
        (encoded(Image.new("RGB", (99, 99)), "JPEG")[:-99], None, "row 1, other: truncated JPEG"),
        (encoded(Image.new("1", (2000, 1000))), None, "row 1, other: too many pixels: 2000 x 1000"),
        (None, None, "row 1, other: nothing, where bytes are needed"),
        ("a/path.png", None, "row 1, other: text that is a file's path: send the file's bytes as base64; params {'im"),
        ("s3://b/a.png", {"images": "base64"}, "row 1, other: text that is a URL: send the image's bytes as base64"),
        (
            base64.decodebytes(b"data:image/jpeg;base64,/9j/"),
            None,
            "row 1, other: a data URI, of which MLflow's server",
        ),
        ("YQ==", {"images": "base64"}, "row 1, other: not an image"),
        ("no/such.png", {"images": "paths"}, "row 1, other: 'no/such.png' can't be read (No such file or directory)"),
        (b"x", {"images": "paths"}, "row 1, other: a bytes, where paths are needed"),
        (b"x", {"images": "urls"}, "images = 'urls' is not allowed: must be one of bytes, base64, paths"),
    ],
)
def test_what_is_no_image_is_named_with_its_row_and_the_reason(
    model, pairs: list[tuple[Path, Path]], data, params: dict | None, said: str
) -> None:
    from mlflow.exceptions import MlflowException

    form = str if (params or {}).get("images") == "paths" else text
    first, second = (form(file) for file in pairs[0])
    asked = pd.DataFrame({"anchor": [first, second], "other": [second, data]}, dtype=object)
    with pytest.raises(MlflowException) as refused:
        model.predict(asked, params=params)
    assert said in refused.value.message
    assert refused.value.get_http_status_code() == 400


def test_a_file_tells_what_goes_in_and_out(model) -> None:
    assert model.metadata.signature.to_dict() == {
        "inputs": json.dumps([{"type": "binary", "name": name, "required": True} for name in ("anchor", "other")]),
        "outputs": json.dumps([
            {"type": "float", "name": "score", "required": True},
            {"type": "boolean", "name": "same", "required": True},
        ]),
        "params": json.dumps([{"name": "images", "default": "bytes", "shape": None, "type": "string"}]),
    }  # fmt: skip
    assert model.predict(model.input_example).shape == (1, 2)


def test_it_requires_what_loads_it_in_the_versions_that_made_it_and_nothing_of_the_pipeline(folder: Path) -> None:
    required = (folder / "requirements.txt").read_text().split()
    assert required == [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "pandas", "pillow", "tensorflow")]


def test_nothing_in_it_is_a_pickle(folder: Path) -> None:
    """Each pickle of protocol 2 to 5 begins with 0x80 and its protocol, and ends with a full stop."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"servable", "threshold.json", "trained_on.npz"} == {file.name for file in (folder / "artifacts").iterdir()}
    assert len(files) > 20
    for file in files:
        assert file.suffix not in (".pkl", ".pickle", ".joblib", ".cloudpickle"), file
        data = file.read_bytes()
        assert not (data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5") and data[-1:] == b"."), file


def test_it_loads_without_the_packages_of_the_pipeline(workspace: Path, folder: Path, pairs, tmp_path: Path) -> None:
    """In a process that knows the library by the model's own copy alone; the paths are relative to no project."""
    told = asked([sys.executable, "-c", ABSENT + ASKS], folder, pairs[:1], tmp_path)
    assert told == {
        "score": [verified(workspace, *pairs[0]).score],
        "same": [verified(workspace, *pairs[0]).same],
        "code": str(folder / "code/siamese/__init__.py"),
    }


def test_it_loads_in_an_environment_of_its_requirements_alone(workspace: Path, folder: Path, pairs, tmp_path) -> None:
    """Packages come from uv's cache, which holds those of this environment: they decide what the required ones need."""
    uv = str(Path(sys.executable).with_name("uv"))
    python = tmp_path / "venv/bin/python"
    subprocess.run([uv, "venv", "-q", "--offline", "--python", sys.executable, tmp_path / "venv"], check=True)
    here = subprocess.run(
        [uv, "pip", "freeze", "--exclude-editable", "--python", sys.executable],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "here.txt").write_text(here.stdout)
    required = ["-r", folder / "requirements.txt", "-c", tmp_path / "here.txt"]
    install = [uv, "pip", "install", "-q", "--offline", "--python", python, *required]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"uv's cache doesn't hold the requirements: {done.stderr}")
    listed = subprocess.run([uv, "pip", "list", "--python", python], capture_output=True, text=True, check=True).stdout
    assert not {"siamese", "tensorflow-transform", "apache-beam", "kfp", "dvc"} & set(listed.split())
    told = asked([str(python), "-c", ASKS], folder, pairs[:1], tmp_path)
    shutil.rmtree(tmp_path / "venv")  # 2 GB, where the cache is on another disk
    assert told["score"] == [verified(workspace, *pairs[0]).score]
    assert told["code"] == str(folder / "code/siamese/__init__.py")


def asked(program: list[str], folder: Path, pairs: list[tuple[Path, Path]], place: Path) -> dict:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    images = [str(file) for pair in pairs for file in pair]
    done = subprocess.run(
        [*program, str(folder), *images],
        cwd=place,
        env=environment | {NO_PICKLE: "false"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve`, asked as any client would."""
    port, place = free_port(), tmp_path_factory.mktemp("serving")
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--port", str(port)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (place / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--env-manager", "local"],
            cwd=place,
            env=environment | {NO_PICKLE: "false", "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(port, server)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def ask(address: str, question: object, kind: str = "application/json") -> tuple[int, dict]:
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_over_http_it_answers_as_siamese_verify_does(workspace: Path, address: str, pairs) -> None:
    asked = table(pairs[:1], text)
    split = {"dataframe_split": {"columns": ["anchor", "other"], "data": asked.to_numpy().tolist()}}
    questions = [
        split,
        {"dataframe_records": asked.to_dict("records")},
        split | {"params": {"images": "base64"}},
    ]
    answers = [ask(address, question) for question in questions]
    answers.append(ask(address, asked.to_csv(index=False).encode(), "text/csv"))
    expected = verified(workspace, *pairs[0])
    for status, answer in answers:
        (found,) = answer["predictions"]
        assert (status, np.float32(found["score"]), found["same"]) == (200, expected.score, expected.same)


@pytest.mark.parametrize(
    ("other", "params", "said"),
    [
        (base64.b64encode(b"no image").decode(), {}, "row 0, other: not an image"),
        (None, {}, "other"),
        ("a.png", {"images": "paths"}, "a server reads no paths: send the images themselves, as base64 text"),
    ],
)
def test_over_http_it_refuses_with_a_sentence(address: str, pairs, other: str | None, params: dict, said: str) -> None:
    asked = {"dataframe_records": [{"anchor": text(pairs[0][0]), "other": other}], "params": params}
    status, answer = ask(address, asked)
    assert status == 400
    assert said in answer["message"]
