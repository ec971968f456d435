"""`siamese register`: figures, reports and model go to the run that trained it, then a version appears, once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import working_folder
from mlflow_servers import mlflow_server
from waiting import PATIENCE

from siamese import cli, config
from siamese.paths import CATALOG, HISTORY, METRICS, MODEL, PLOTS, REPORT, RUN, THRESHOLD
from siamese.registry import model_card, packaging, register
from siamese.registry.client import CHALLENGER, CHAMPION, Registry, Version
from siamese.tracking.provenance import flat_params

OUTPUTS = [MODEL, THRESHOLD, METRICS, PLOTS, REPORT, CATALOG]
INPUTS = [Path("artifacts/rejected.csv"), HISTORY, Path("data"), Path("params.yaml")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server, which every command here talks to."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        yield address


@dataclass
class Project:
    """A folder in which the pipeline has run, and the registered model that it adds versions to."""

    folder: Path
    name: str

    @property
    def command(self) -> list[str]:
        return ["register", "-S", f"registry.name={self.name}"]

    def register(self, *more: str) -> int:
        with working_folder(self.folder):
            return cli.run([*self.command, *more])

    @property
    def registry(self) -> Registry:
        return Registry(self.name)

    def versions(self) -> list[Version]:
        return self.registry.versions()

    def run(self, version: Version):
        return self.registry.client.get_run(version.run_id)

    def json(self, file: Path) -> dict:
        return json.loads((self.folder / file).read_text())


Make = Callable[[str], Project]


@pytest.fixture(scope="module")
def make(workspace: Path, tmp_path_factory: pytest.TempPathFactory, server: str) -> Make:
    """Gives a new project, of a training of its own that left no record."""

    def made(name: str) -> Project:
        folder = tmp_path_factory.mktemp(name)
        for path in (*OUTPUTS, *INPUTS):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(workspace / path)
        training = {"training": f"training-of-{name}", "run_id": None, "tracking_uri": None, "experiment": "siamese"}
        (folder / RUN).write_text(json.dumps(training))
        return Project(folder, name)

    return made


@pytest.fixture(scope="module")
def registered(make: Make) -> Project:
    """A project after its first `siamese register`."""
    project = make("first")
    assert project.register() == 0
    return project


def paths(project: Project, run_id: str, folder: str = "") -> set[str]:
    found = set()
    for one in project.registry.client.list_artifacts(run_id, folder):
        found |= paths(project, run_id, one.path) if one.is_dir else {one.path}
    return found


def test_a_version_appears_as_challenger_with_its_figures_and_where_it_came_from(registered: Project) -> None:
    (version,) = registered.versions()
    metrics = registered.json(METRICS)
    assert (version.number, version.aliases) == (1, (CHALLENGER,))
    tags = version.tags
    assert float(tags["siamese.threshold"]) == metrics["threshold"]
    for name, value in metrics["test"].items():
        assert tags.get(f"siamese.test.{name}") == (None if value is None else repr(value)), name
        for end in ("low", "high"):
            limit = metrics[f"test_{end}"][name]
            assert tags.get(f"siamese.test.{name}.{end}") == (None if limit is None else repr(limit)), name
    assert tags["siamese.training"] == "training-of-first"
    of_run = registered.run(version).data.tags
    lineage = {name for name in of_run if name.startswith("siamese.")}
    assert lineage >= {"siamese.training", "siamese.data.path", "siamese.data.hash", "siamese.version"}
    assert {name: tags[name] for name in lineage} == {name: of_run[name] for name in lineage}


def test_its_run_has_figures_reports_card_and_model(registered: Project) -> None:
    (version,) = registered.versions()
    run = registered.run(version)
    metrics = registered.json(METRICS)
    figures = {"test.eer": metrics["test"]["eer"], "counts.train.images": metrics["counts"]["train"]["images"]}
    assert {name: run.data.metrics[name] for name in figures} == figures
    plots = {f"evaluation/plots/{file.name}" for file in (registered.folder / PLOTS).glob("*.csv")}
    files = {f"evaluation/{name}" for name in ("metrics.json", "threshold.json", "report.html")}
    assert len(plots) > 3 and paths(registered, version.run_id) >= {"card.md", "data/report.html", *files, *plots}
    (output,) = run.outputs.model_outputs
    logged = registered.registry.client.get_logged_model(output.model_id)
    assert (logged.name, logged.source_run_id, logged.status.value) == ("model", version.run_id, "READY")
    assert {one.key: one.value for one in logged.metrics}["test.eer"] == metrics["test"]["eer"]


def test_the_version_holds_the_very_files_of_the_model(registered: Project, tmp_path: Path) -> None:
    (version,) = registered.versions()
    place = registered.registry.fetch(version, tmp_path)
    for file in ("servable/saved_model.pb", "servable/variables/variables.data-00000-of-00001"):
        assert (place / file).read_bytes() == (registered.folder / MODEL / file).read_bytes()
    assert (place / "threshold.json").read_bytes() == (registered.folder / THRESHOLD).read_bytes()


def test_a_model_that_is_registered_already_is_left_alone(registered: Project, capsys) -> None:
    before = registered.versions()
    capsys.readouterr()
    assert registered.register() == 0
    said = capsys.readouterr().out
    assert said.startswith("registered already: models:/first/1, challenger\n")
    assert registered.register("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["new"], told["uri"], told["run_id"]) == (False, "models:/first/1", before[0].run_id)
    assert registered.versions() == before


def test_a_linked_folder_that_dvc_did_not_notice_is_named(registered: Project, tmp_path: Path, capsys) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/ann").symlink_to(tmp_path / "library")
    assert registered.register("--data", str(tmp_path / "faces")) == 0
    assert f"warning: {tmp_path}/faces/ann: is a link to a folder" in capsys.readouterr().err


def test_the_answer_says_how_to_look_at_the_model_and_to_use_it(registered: Project, server: str, monkeypatch) -> None:
    (version,) = registered.versions()
    said = register.to_text(register.Registered(version, new=True))
    assert said == (
        "registered models:/first/1, challenger\n"
        f"look at it    {server}\n"
        "ask about it  siamese lineage models:/first/1\n"
        "promote it    siamese promote models:/first/1\n"
        "use it        siamese verify A B --model models:/first/1\n"
        "serve it      mlflow models serve --model-uri models:/first/1 --env-manager local"
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    local = register.to_text(register.Registered(version, new=True))
    assert "\nlook at it    mlflow ui --backend-store-uri sqlite:///mlflow.db\n" in local


def test_a_challenger_that_was_decided_about_is_not_made_one_again(registered: Project) -> None:
    (version,) = registered.versions()
    registered.registry.tag(version.number, {"siamese.refused.at": "2026-01-01"})
    registered.registry.drop(CHALLENGER)
    try:
        assert registered.register() == 0
        assert registered.registry.alias(CHALLENGER) is None
    finally:
        registered.registry.untag(version.number, "siamese.refused.at")
        registered.registry.point(CHALLENGER, version.number)


def test_a_name_that_looks_the_same_as_another_models_is_refused_before_anything_is_sent(make: Make, capsys) -> None:
    project = make("Looks-Alike")
    client = project.registry.client
    client.create_registered_model("looks-alike")
    assert project.register() == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("siamese: ")]
    assert line.startswith("siamese: registry.name = Looks-Alike: ") and "has a model looks-alike" in line
    assert project.versions() == []
    assert json.loads((project.folder / RUN).read_text())["run_id"] is None
    assert "Looks-Alike" not in {model.name for model in client.search_registered_models()}


def test_another_threshold_is_another_version_of_the_same_run(make: Make, capsys) -> None:
    """And the data folder is elsewhere, and run.json of an older version: a line each says what is unknown for it."""
    project = make("second")
    (project.folder / "data").unlink()
    assert project.register() == 0
    said = capsys.readouterr().err.splitlines()
    assert "no data report: data/sample is not here" in said
    its_run = "it is unknown whether this is the training of artifacts/model: --run names another"
    assert f"artifacts/run.json: {its_run}" in said
    for file, changed in ((THRESHOLD, ["threshold"]), (METRICS, ["threshold"])):
        content = project.json(file) | dict.fromkeys(changed, 0.75)
        (project.folder / file).unlink()
        (project.folder / file).write_text(json.dumps(content))
    assert project.register() == 0
    second, first = project.versions()
    assert (second.run_id, second.number, second.aliases) == (first.run_id, 2, (CHALLENGER,))
    assert (second.tags["siamese.threshold"], first.aliases) == ("0.75", ())
    assert second.source != first.source
    assert project.run(second).data.metrics["threshold"] == 0.75
    assert "data/report.html" not in paths(project, second.run_id)


def test_a_model_that_is_champion_takes_the_place_of_a_refused_challenger(make: Make) -> None:
    """As when data that had been spoiled is put right again; a newer one that waits for a decision keeps its place."""
    project = make("restored")
    assert project.register() == 0
    (first,) = project.versions()
    registry = project.registry
    registry.point(CHAMPION, first.number)
    model_id = first.source.removeprefix("models:/")
    second = registry.add(first.source, first.run_id, {"siamese.model": "of spoiled data"}, model_id)
    registry.point(CHALLENGER, second.number)
    assert project.register() == 0
    assert registry.version(second.number).aliases == (CHALLENGER,)
    registry.tag(second.number, {"siamese.refused.at": "2026-01-01"})
    assert project.register() == 0
    assert registry.version(first.number).aliases == (CHALLENGER, CHAMPION)


def test_a_data_folder_that_has_changed_since_gives_no_report(make: Make, tmp_path: Path, capsys) -> None:
    """It would show images that the model wasn't trained on."""
    project = make("changed")
    (project.folder / "data").unlink()
    (project.folder / "data").mkdir()
    picture = next((Path(os.path.realpath(project.folder / "params.yaml")).parent / "data/sample").glob("*/*"))
    for identity in ("one", "two"):
        (project.folder / "data/sample" / identity).mkdir(parents=True)
        (project.folder / "data/sample" / identity / picture.name).write_bytes(picture.read_bytes())
    values = config.load_params(project.folder / "params.yaml")
    with working_folder(project.folder):
        client = project.registry.client
        run = client.create_run(client.create_experiment("changed"))
        register._log_data_report(client, run, CATALOG, Path(values.data.path), values)
    assert (
        "no data report: data/sample no longer holds the images of artifacts/catalog.parquet" in capsys.readouterr().err
    )
    assert paths(project, run.info.run_id) == set()


class Killed(BaseException):
    """What ends a command between two of its calls."""


def test_interrupted_anywhere_and_run_again_it_completes_one_version(make: Make, monkeypatch) -> None:
    """Ended before each write that matters, one after the other, each time further on."""
    project = make("interrupted")
    client = type(project.registry.client)
    moments = [
        (client, "log_batch"), (client, "log_artifact"), (client, "log_text"),
        (packaging, "save"), (client, "log_model_artifacts"), (client, "finalize_logged_model"),
        (Registry, "add"), (Registry, "point"),
    ]  # fmt: skip
    for owner, name in moments:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(Killed), working_folder(project.folder):
                cli.run(project.command)
        assert len(project.versions()) == (1 if name == "point" else 0), name
    assert project.register() == 0
    assert_registered_once(project)


def killed(*_: object, **__: object) -> None:
    raise Killed


def assert_registered_once(project: Project) -> None:
    (version,) = project.versions()
    assert version.aliases == (CHALLENGER,)
    client, metrics = project.registry.client, project.json(METRICS)
    experiment = project.run(version).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`siamese.training` = 'training-of-{project.name}'")
    assert [run.info.run_id for run in runs] == [version.run_id]
    logged = client.search_logged_models([experiment], f"source_run_id = '{version.run_id}'")
    assert [(one.model_id, one.status.value) for one in logged] == [(version.source.removeprefix("models:/"), "READY")]
    assert [one.value for one in client.get_metric_history(version.run_id, "test.eer")] == [metrics["test"]["eer"]]


# `siamese register` that is killed at a call.
KILLED_AT = """
import os, signal, sys
import mlflow
from siamese import cli
from siamese.registry import client, packaging
owner, name = {"MlflowClient": mlflow.MlflowClient, "packaging": packaging, "Registry": client.Registry}[
    sys.argv[1].split(".")[0]], sys.argv[1].split(".")[1]
setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
cli.main(sys.argv[2:])
"""


@pytest.mark.long
def test_killed_anywhere_and_run_again_it_completes_one_version(make: Make) -> None:
    project = make("killed")
    moments = ["MlflowClient.log_text", "packaging.save", "MlflowClient.finalize_logged_model", "Registry.point"]
    for moment in moments:
        (done,) = ended(processes(project, [[sys.executable, "-c", KILLED_AT, moment, *project.command]]))
        assert done[0] == -signal.SIGKILL, done
    assert project.register() == 0
    assert_registered_once(project)


def test_two_that_register_the_same_model_at_once_make_one_version(make: Make) -> None:
    project = make("contested")
    both = ended(
        processes(project, [[sys.executable, "-c", "from siamese import cli; cli.main()", *project.command]] * 2)
    )
    assert [code for code, _ in both] == [0, 0], both
    assert len(project.versions()) == 1


def processes(project: Project, commands: Sequence[Sequence[str]]) -> list[subprocess.Popen]:
    return [
        subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]


def ended(started: Sequence[subprocess.Popen]) -> list[tuple[int, str]]:
    try:
        said = [one.communicate(timeout=PATIENCE)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    return [(one.returncode, text) for one, text in zip(started, said, strict=True)]


class TestWhatDoesNotBelongTogether:
    """Refused in one line, before the server is asked anything."""

    @pytest.fixture
    def project(self, workspace: Path, tmp_path: Path, monkeypatch) -> Project:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        for path in (*OUTPUTS, *INPUTS):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).symlink_to(workspace / path)
        return Project(tmp_path, "refused")

    def refused(self, project: Project, capsys) -> str:
        capsys.readouterr()
        assert project.register() == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    def changed(self, project: Project, file: Path, **values: object) -> None:
        content = project.json(file) | values
        (project.folder / file).unlink()
        (project.folder / file).write_text(json.dumps(content))

    def test_figures_of_another_model(self, project: Project, capsys) -> None:
        """As after a training without an evaluation."""
        self.changed(project, THRESHOLD, weights="0" * 64)
        assert self.refused(project, capsys) == (
            "siamese: artifacts/threshold.json is not of the model in artifacts/model: run `siamese evaluate` again"
        )

    @pytest.mark.parametrize("figure", ["threshold", "false_accept_rate", "recall"])
    def test_metrics_of_another_evaluation(self, project: Project, capsys, figure: str) -> None:
        """With a fixed threshold, only the error rates on validation pairs differ from model to model."""
        validation = project.json(METRICS)["validation"] | {figure: 0.98765}
        changed = {"threshold": 0.98765} if figure == "threshold" else {"validation": validation}
        self.changed(project, METRICS, **changed)
        assert self.refused(project, capsys) == (
            "siamese: metrics.json and artifacts/threshold.json are of different evaluations: "
            "run `siamese evaluate` again"
        )

    @pytest.mark.parametrize("path", [MODEL, THRESHOLD, METRICS])
    def test_a_part_that_is_missing(self, project: Project, capsys, path: Path) -> None:
        (project.folder / path).unlink()
        assert re.match(rf"siamese: {path}\b.*: run `siamese (train|evaluate)` first", self.refused(project, capsys))

    def test_a_model_without_a_list_of_what_it_has_seen(self, project: Project, workspace: Path, capsys) -> None:
        """Said before the server, which is away, is asked."""
        model = project.folder / MODEL
        model.unlink()
        model.mkdir()
        (model / "servable").symlink_to(workspace / MODEL / "servable")
        capsys.readouterr()
        assert project.register() == 2
        assert capsys.readouterr().err.splitlines()[0] == (
            "artifacts/model: it is unknown whether this model was trained on the images that measure it, so its "
            "figures may be too good"
        )

    def test_a_server_that_is_away(self, project: Project, capsys) -> None:
        assert self.refused(project, capsys).startswith("siamese: tracking server http://127.0.0.1:9 can't be used")


def test_numbers_are_flat_and_what_has_no_value_is_left_out() -> None:
    values = {
        "note": "text",
        "test": {"eer": 0.25, "auc": None},
        "counts": {"test": {"images": 3}},
        "undefined": {"a": "b"},
    }
    assert dict(register.numbers(values)) == {"test.eer": 0.25, "counts.test.images": 3.0}


class TestCard:
    METRICS = {  # noqa: RUF012
        "threshold": 0.4321,
        "test": {"precision": 0.9, "recall": 0.75, "false_accept_rate": 0.125, "eer": 0.2, "tar_at_far_0.01": None,
                 "calibration_error": 0.31},
        "test_low": {"precision": 0.8, "recall": 0.5, "false_accept_rate": 0.05, "eer": 0.1, "calibration_error": 0.2},
        "test_high": {"precision": 1.0, "recall": 0.9, "false_accept_rate": 0.3, "eer": 0.3, "calibration_error": 0.4},
        "one_shot": {"5_way": {"accuracy": 0.6, "low": 0.5, "high": 0.7, "trials": 10, "chance": 0.2}},
        "baseline_raw_pixels": {"eer": 0.45},
        "eer_below_raw_pixels": {"value": 0.25, "low": 0.11, "high": 0.39},
        "counts": {
            split: {"images": 10 * n, "identities": n, "pairs": 60, "positive_pairs": 40, "negative_pairs": 20}
            for split, n in (("train", 1200), ("test", 6), ("validation", 3))
        },
        "undefined": {"tar_at_far_0.01": "needs 1,000 negative pairs, there are 20"},
    }  # fmt: skip
    THRESHOLD = {"threshold": 0.4321, "rule": "far=0.1", "pairs": 60, "warning": None, "chosen_on": "validation"}  # noqa: RUF012
    TAGS = {"siamese.data.hash": "abc.dir", "siamese.data.path": "data/faces", "siamese.git.commit": "c0ffee"}  # noqa: RUF012

    def card(self, metrics: dict | None = None, settings: tuple[str, ...] = (), **tags: str) -> str:
        parameters = flat_params(config.load_params(config.packaged_file(), ["train.epochs=7", *settings]))
        return model_card.render(
            metrics or self.METRICS, self.THRESHOLD, parameters, self.TAGS | tags, "run-1", "faces"
        )

    @pytest.mark.parametrize(
        "line",
        [
            "# Model card: faces",
            "equal error rate 0.200 (95 %: 0.100 to 0.300), precision 0.900 (95 %: 0.800 to 1.000).",
            "- folder: `data/faces`",
            "- DVC hash: `abc.dir`",
            "- split: train 70%, test 20%, validation 10% of the identities, none of which lies in two splits",
            "| train | 1,200 | 12,000 | 40 | 20 |",
            "| equal error rate | 0.200 | 0.100 to 0.300 | 0.450 |",
            "| one-shot, 5 way | 0.600 | 0.500 to 0.700 | - |",
            "Its equal error rate lies 0.250 below that of raw pixels (95 %: 0.110 to 0.390).",
            "- true accept rate at a false accept rate of 0.01: needs 1,000 negative pairs, there are 20",
            "0.4321, by the rule `far=0.1` on 60 validation pairs.",
            "- different identities taken for the same: 0.125 (95 %: 0.050 to 0.300)",
            "- the same identity taken for different ones: 0.250 (95 %: 0.100 to 0.500)",
            "- It was measured on images of 6 identities, few: look at the intervals, not at the values.",
            "- The figures are coarse: one pair more or less moves an error rate by 0.0500.",  # 1 of 20
            "| `train.epochs` | 7 |",
            "- run: run-1",
            "- git commit: `c0ffee`",
            "siamese verify A.png B.png --model models:/faces@champion",
        ],
    )
    def test_says_what_a_reader_must_know(self, line: str) -> None:
        """Missed pairs are what recall leaves: 1 - 0.75, from 1 - 0.9 to 1 - 0.5."""
        assert line in self.card().splitlines()

    def test_says_which_list_gave_the_splits(self) -> None:
        lines = self.card(settings=("catalog.splits=protocol/mine.csv",)).splitlines()
        assert "- split: as `protocol/mine.csv` in that folder lists it" in lines
        assert not any("by a hash" in line for line in lines)

    def test_warns_of_a_stand_in_and_of_changed_code(self) -> None:
        plain, warned = self.card(), self.card(self.METRICS | {"note": "drawn"}, **{"siamese.git.dirty": "true"})
        for warning in ("**Its data is not real: drawn.", "**the code had changes that were not committed**"):
            assert warning in warned and warning not in plain

    def test_claims_unseen_test_images_only_where_they_are_known_to_be(self) -> None:
        known, unknown = self.card(), self.card(self.METRICS | {"trained_on": "unknown"})
        doubt = "**Take care: it is unknown whether this model was trained on the images that measure it, so"
        assert doubt in unknown and "training never saw" not in unknown
        assert doubt not in known and "whose images training never saw" in known

    def test_says_that_a_run_was_recorded_after_training(self) -> None:
        told = "- **recorded after training: code, data and parameters are those of that moment**"
        assert told in self.card(**{"siamese.recorded": "after training"}) and told not in self.card()

    def test_enough_identities_are_not_called_few(self) -> None:
        counts = {split: found | {"identities": 50} for split, found in self.METRICS["counts"].items()}
        assert "- It was measured on images of 50 identities." in self.card(self.METRICS | {"counts": counts})

    def test_every_metric_has_its_name(self) -> None:
        from siamese.evaluation.metrics.verification import METRICS

        assert set(model_card.NAMES) == set(METRICS)


def test_the_weights_make_the_model_not_the_dates_in_its_files(workspace: Path, tmp_path: Path) -> None:
    from siamese.models.artifacts import model_digest, weights_digest

    variables = tmp_path / "servable/variables"
    variables.mkdir(parents=True)
    own = workspace / MODEL / "servable/variables"
    for file in own.iterdir():
        (variables / file.name).write_bytes(file.read_bytes())
    (tmp_path / "servable/fingerprint.pb").write_text("another day")
    weights = weights_digest(workspace / MODEL)
    assert weights_digest(tmp_path) == weights == json.loads((workspace / THRESHOLD).read_text())["weights"]
    data = variables / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    assert weights_digest(tmp_path) != weights
    assert model_digest(weights, 0.5) != model_digest(weights, 0.25)
