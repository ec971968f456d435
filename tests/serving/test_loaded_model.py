"""`siamese serve` of a model in the registry: which version it is, and by which threshold it decides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import registered
from drawn import encoded, picture
from mlflow_servers import mlflow_server
from siamese_servers import siamese_server
from waiting import PATIENCE

from siamese import cli
from siamese.errors import InputError
from siamese.models import resolved_model, trained_on
from siamese.models.verifier import Verifier
from siamese.serving import loaded_model
from siamese.tracking.client import TRACKING_URI


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRACKING_URI, address)
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        yield


@pytest.fixture(scope="module")
def folder(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return registered.small_model(tmp_path_factory.mktemp("model"), workspace, better=True)


@pytest.fixture
def as_in_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process can't import what the serving image lacks: the image itself is tested where there is an engine."""
    absent = ["pandas", "pyarrow", "scipy", "sklearn", "apache_beam", "tensorflow_transform", "kfp", "dvc"]
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(
        "import sys\n\n\nclass Absent:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))


def test_the_version_that_the_alias_means_is_served_with_its_threshold(
    workspace: Path, folder: Path, tmp_path: Path, as_in_the_image: None
) -> None:
    shutil.copy(workspace / "params.yaml", tmp_path)
    trained_on.write(folder, trained_on.of_catalog(pd.read_parquet(workspace / "artifacts/catalog.parquet")))
    uploaded = registered.upload(folder)
    uploaded.version("served")
    uploaded.version("served", "champion")
    uploaded.version("served", "challenger")
    image = encoded(picture(0))
    with siamese_server(tmp_path, tmp_path / "said", "--model", "models:/served@champion") as running:
        sent = {"anchor": image, "other": image}
        answer = httpx.post(f"{running.address()}/verify", files=sent, timeout=PATIENCE).json()
        assert "\nserving served version 2 at http://" in f"\n{running.said()}"
    assert answer["model"] == "served/2"
    assert answer["threshold"] == json.loads((folder / "threshold.json").read_text())["threshold"]
    assert (answer["score"], answer["same"]) == (0.5, True)  # its score is 0.5 at distance 0, and falls from there


def test_a_folder_is_named_by_its_weights_and_threshold(folder: Path) -> None:
    loaded, again, other = (loaded_model.load(str(folder), None, own) for own in (None, None, 0.25))
    assert str(loaded) == str(again) == f"siamese/{loaded.version}" and len(loaded.version) == 12
    assert other.version != loaded.version and other.threshold == 0.25


def test_a_model_that_gives_no_numbers_is_not_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutNumbers(Verifier):
        def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
            return np.full(len(anchors), np.nan, np.float32)

    monkeypatch.setattr(resolved_model.ResolvedModel, "load", lambda found: WithoutNumbers.load(found.place))
    with pytest.raises(InputError, match="gives numbers that aren't finite"):
        loaded_model.load(str(folder), None, None)


@pytest.mark.parametrize("reference", ["models:/served@nobody", "models:/nothing@champion", "models:/served/99"])
def test_a_version_that_is_not_there_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["serve", "--port", "0", "--model", reference]) == 2
    said = capsys.readouterr().err
    assert "`siamese models` lists what" in said.splitlines()[-1] and "Traceback" not in said
