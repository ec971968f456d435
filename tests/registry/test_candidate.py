"""`siamese promote --trained`: the model trained here, whatever the aliases say, against a real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registered
from conftest import working_folder
from mlflow_servers import mlflow_server
from registered import Uploaded

from siamese import cli
from siamese.registry.client import Registry
from siamese.registry.register import SAME, read
from siamese.tracking.client import TRACKING_URI

LAX = ["-S", "promote.min_precision=0", "-S", "promote.max_eer=1", "-S", "promote.max_regression=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, workspace: Path) -> Iterator[Path]:
    """A folder with a trained and measured model; MLFLOW_TRACKING_URI names a server that knows nothing of it."""
    made = tmp_path_factory.mktemp("candidate")
    for name in ("artifacts", "metrics.json", "params.yaml"):
        (made / name).symlink_to(workspace / name)
    with pytest.MonkeyPatch.context() as patch, mlflow_server(made / "server") as server:
        patch.setenv(TRACKING_URI, server)
        patch.setenv("SIAMESE_USER", "ann")
        yield made


@pytest.fixture(scope="module")
def other(folder: Path, workspace: Path) -> Uploaded:
    """Another model on the server, which training has not touched: what a champion may be."""
    place = registered.small_model(folder / "other", workspace, better=False)
    return registered.upload(place, workspace / "artifacts/catalog.parquet")


@pytest.fixture(scope="module")
def trained(folder: Path, workspace: Path) -> Uploaded:
    """The files of the model trained here on the server, under the tag that `register` gives it."""
    place = folder / "trained"
    shutil.copytree(workspace / "artifacts/model/servable", place / "servable")
    shutil.copy(workspace / "artifacts/threshold.json", place)
    artifacts = workspace / "artifacts"
    digest = read(artifacts / "model", artifacts / "threshold.json", workspace / "metrics.json").digest
    return registered.upload(place, artifacts / "catalog.parquet", **{SAME: digest})


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def run(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `siamese promote --trained` on the test's own registered model: its exit code, and the JSON it printed."""

    def command(*arguments: str) -> tuple[int, dict[str, Any], str]:
        with working_folder(folder):
            code = cli.run(["promote", "--trained", "--json", "-S", f"registry.name={name}", *LAX, *arguments])
        printed = capsys.readouterr()
        return code, json.loads(printed.out or "{}"), printed.err

    return command


def aliases(name: str) -> dict[str, int]:
    return {alias: version.number for version in Registry(name).versions() for alias in version.aliases}


def test_a_model_that_is_not_registered_is_judged_and_nothing_is_written(run, other: Uploaded, name: str) -> None:
    """What a pull request may do: the champion's files are read, and the registry stays as it was."""
    other.version(name, "challenger", "champion")
    before = Registry(name).versions()
    code, verdict, _ = run("--dry-run")
    assert (code, verdict["accepted"], verdict["moved"]) == (0, True, False)
    assert (verdict["challenger"], verdict["champion"]) == (None, 1)
    assert verdict["comparison"]["difference"] is not None
    assert Registry(name).versions() == before


def test_without_a_champion_the_absolute_limits_decide(run, folder: Path, name: str) -> None:
    code, verdict, _ = run("--dry-run", "-S", "promote.max_eer=0")
    assert (code, verdict["champion"], verdict["comparison"]) == (3, None, None)
    eer = json.loads((folder / "metrics.json").read_text())["test"]["eer"]
    assert verdict["reasons"] == [f"eer {eer:.4f} is above promote.max_eer 0"]
    assert Registry(name).versions() == []


@pytest.fixture
def without_list(folder: Path, tmp_path: Path) -> Path:
    """The same folder, but for the list of what the model has seen."""
    for file in ("metrics.json", "params.yaml"):
        (tmp_path / file).symlink_to(folder / file)
    (tmp_path / "artifacts/model").mkdir(parents=True)
    for file in (folder / "artifacts").iterdir():
        if file.name != "model":
            (tmp_path / "artifacts" / file.name).symlink_to(file)
    (tmp_path / "artifacts/model/servable").symlink_to(folder / "artifacts/model/servable")
    return tmp_path


def test_a_model_without_a_list_of_what_it_has_seen_is_refused(
    without_list: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not taken to have been trained by the catalog that lies here."""
    asked = ["promote", "--trained", "--dry-run", "--json", "-S", f"registry.name={name}", *LAX]
    with working_folder(without_list):
        assert cli.run(asked) == 3
        (reason,) = json.loads(capsys.readouterr().out)["reasons"]
        assert reason.startswith("it is unknown whether the candidate was trained on the images that measure it")
        assert cli.run([*asked, "-S", "promote.allow_unknown_training_data=true"]) == 0
    printed = capsys.readouterr()
    (note,) = json.loads(printed.out)["notes"]
    assert reason.startswith(f"{note}: ") and printed.err.endswith(f"note: {note}\n")


def test_a_threshold_of_another_model_judges_nothing(
    without_list: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = without_list / "artifacts/threshold.json"
    found = json.loads(file.read_text())
    file.unlink()
    file.write_text(json.dumps(found | {"weights": "0" * 64}))
    with working_folder(without_list):
        assert cli.run(["promote", "--trained", "--dry-run", "-S", f"registry.name={name}"]) == 2
    assert "threshold.json: is the threshold of another model than artifacts/model" in capsys.readouterr().err


def test_to_be_promoted_it_must_be_registered(run, other: Uploaded, name: str) -> None:
    other.version(name, "challenger")
    code, _, said = run()
    assert (code, aliases(name)) == (2, {"challenger": 1})
    assert said == "siamese: the model in artifacts/model is not registered: run `siamese register` first\n"


def test_the_challenger_of_somebody_else_is_left_alone(run, trained: Uploaded, other: Uploaded, name: str) -> None:
    """A colleague registered another model after this one: this one is promoted, and the colleague's version waits."""
    trained.version(name)
    other.version(name, "challenger")
    code, verdict, _ = run()
    assert (code, verdict["challenger"], verdict["moved"]) == (0, 1, True)
    assert aliases(name) == {"challenger": 2, "champion": 1}


def test_the_champion_is_not_judged_again(run, trained: Uploaded, other: Uploaded, name: str) -> None:
    """As where spoiled labels were mended: the refused version is challenger yet, and the champion is trained here."""
    trained.version(name, "champion")
    other.version(name, "challenger")
    code, verdict, _ = run("-S", "promote.max_eer=0")
    assert (code, verdict["champion"], verdict["moved"]) == (0, 1, False)
    assert aliases(name)["champion"] == 1


def test_what_a_person_took_back_a_machine_does_not_promote_again(
    run, trained: Uploaded, other: Uploaded, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other.version(name, "challenger", "champion")
    trained.version(name, "challenger")
    assert run()[0] == 0
    with working_folder(folder):
        assert cli.run(["rollback", "--why", "complaints", "-S", f"registry.name={name}"]) == 0
    capsys.readouterr()
    code, verdict, _ = run()
    assert (code, aliases(name)["champion"]) == (3, 1)
    assert (verdict["accepted"], verdict["moved"]) == (False, False)
    (reason,) = verdict["reasons"]
    assert reason.startswith("version 2 was rolled back by ann, 20")
    assert reason.endswith(f": `siamese promote models:/{name}/2` by hand promotes it again")


def test_a_version_and_the_model_trained_here_are_not_named_together(run, name: str) -> None:
    code, _, said = run(f"models:/{name}/1")
    assert code == 2
    assert said == f"siamese: promote: models:/{name}/1 and --trained name two models; leave one of them out\n"
