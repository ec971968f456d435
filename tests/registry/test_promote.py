"""Promotion, rollback and the list of versions, by the commands, on a real server with two models of known order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import registered
from conftest import ROOT, working_folder
from kfp import dsl
from mlflow_servers import mlflow_server
from registered import Uploaded

from components.promote import promote as promote_component
from siamese import cli, config
from siamese.models import trained_on
from siamese.registry import promote
from siamese.registry.client import Registry, Version
from siamese.tracking.client import TRACKING_URI

LAX = ["-S", "promote.min_precision=0", "-S", "promote.max_eer=1"]
INPUTS = ("catalog.parquet", "pairs.parquet", "images", "transform")


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRACKING_URI, address)
        patch.setenv("SIAMESE_USER", "ann")
        yield address


@pytest.fixture(scope="module")
def folder(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the workspace's inputs. Fetched models stay there from test to test."""
    place = tmp_path_factory.mktemp("promote")
    for name in ("params.yaml", *(f"artifacts/{name}" for name in INPUTS)):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(workspace / name)
    with working_folder(place):
        yield place


@pytest.fixture(scope="module")
def catalog(workspace: Path) -> Path:
    return workspace / "artifacts/catalog.parquet"


@pytest.fixture(scope="module")
def better(workspace: Path, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    made = registered.small_model(tmp_path_factory.mktemp("better"), workspace, better=True)
    tags = {"threshold": "0.4", "test.eer": "0.25", "test.eer.low": "0.2", "test.eer.high": "0.3"}
    return registered.upload(made, catalog, **{f"siamese.{key}": value for key, value in tags.items()})


@pytest.fixture(scope="module")
def worse(workspace: Path, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    made = registered.small_model(tmp_path_factory.mktemp("worse"), workspace, better=False)
    return registered.upload(made, catalog)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own."""
    return re.sub(r"\W+", "-", request.node.name).rstrip("-")


@pytest.fixture
def run(folder: Path, name: str, capsys: pytest.CaptureFixture) -> Any:
    """Runs a command on the test's registered model: its exit code, and what it printed."""

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.run([*arguments, "-S", f"registry.name={name}"])
        printed = capsys.readouterr()
        return code, printed.out.rstrip("\n"), printed.err.rstrip("\n")

    return command


def aliases(name: str) -> dict[str, int]:
    return {alias: version.number for version in Registry(name).versions() for alias in version.aliases}


def state(name: str) -> list[Version]:
    return Registry(name).versions()


def reports(uploaded: Uploaded, name: str) -> list[str]:
    """Those of a registered model in a run: texts of its JSON files."""
    client = Registry(name).client
    there = [one.path for one in client.list_artifacts(uploaded.run_id, "promotion")]
    texts = [Path(client.download_artifacts(uploaded.run_id, path)).read_text() for path in there]
    return [text for text in texts if f'"model": "{name}"' in text or f"# {name}, " in text]


# promote


def test_the_first_model_becomes_champion_by_the_absolute_limits(run, better: Uploaded, name: str) -> None:
    better.version(name, "challenger")
    code, out, _ = run("promote", *LAX)
    assert (code, aliases(name)) == (0, {"challenger": 1, "champion": 1})
    assert out.startswith(f"version 1 of {name} is champion now: eer 0.")
    assert out.endswith("no champion to compare with")
    tags = Registry(name).version(1).tags
    assert tags["siamese.promoted.by"] == "ann"
    assert pd.Timestamp(tags["siamese.promoted.at"]).tzinfo is not None
    assert tags["siamese.promoted.why"] in out
    assert "siamese.replaces" not in tags


def test_the_first_model_must_meet_the_absolute_limits(run, worse: Uploaded, name: str) -> None:
    worse.version(name, "challenger")
    code, out, _ = run("promote", "-S", "promote.min_precision=0")
    assert (code, aliases(name)) == (3, {"challenger": 1})
    assert out.startswith(f"version 1 of {name} refused: eer 0.") and out.endswith("is above promote.max_eer 0.35")


def test_a_better_challenger_takes_the_champions_place(run, better: Uploaded, worse: Uploaded, name: str) -> None:
    """The worse model's ranking is the better one's upside down: EERs of x and 1 - x, of the same pairs."""
    worse.version(name, "champion")
    better.version(name, "challenger")
    code, out, _ = run("promote", *LAX, "--json")
    assert (code, aliases(name)) == (0, {"challenger": 2, "champion": 2, "previous": 1})
    found = json.loads(out)
    ours, theirs = (found["comparison"][who]["values"]["eer"] for who in ("challenger", "champion"))
    assert ours < 0.5 and theirs == pytest.approx(1 - ours, abs=1e-6)
    assert found["comparison"]["difference"] == pytest.approx(ours - theirs, abs=1e-6)
    assert 0 < found["comparison"]["p_value"] <= 1
    tags = Registry(name).version(2).tags
    assert tags["siamese.replaces"] == "1" and tags["siamese.promoted.why"] == found["in_words"]


def test_a_worse_challenger_is_refused_and_nothing_moves(run, better: Uploaded, worse: Uploaded, name: str) -> None:
    better.version(name, "champion")
    worse.version(name, "challenger")
    code, out, _ = run("promote")
    assert (code, aliases(name)) == (3, {"challenger": 2, "champion": 1})
    lines = out.splitlines()
    assert all(line.startswith(f"version 2 of {name} refused: ") for line in lines) and len(lines) >= 2
    assert lines[-1].endswith("more than promote.max_regression 0")
    tags = Registry(name).version(2).tags
    assert tags["siamese.refused.why"] == "; ".join(line.partition("refused: ")[2] for line in lines)
    assert "siamese.promoted.at" not in tags and "siamese.replaces" not in tags


@pytest.mark.parametrize("accepted", [True, False])
def test_a_dry_run_tells_the_verdict_and_writes_nothing(
    run, better: Uploaded, worse: Uploaded, name: str, accepted: bool
) -> None:
    first, second = (worse, better) if accepted else (better, worse)
    first.version(name, "champion")
    second.version(name, "challenger")
    before = state(name)
    code, out, _ = run("promote", *LAX, "--dry-run")
    assert (code, state(name), reports(second, name)) == (0 if accepted else 3, before, [])
    assert ("would become champion, in place of version 1: eer" if accepted else "refused: eer") in out


def test_a_challenger_that_is_champion_already_is_left_alone(run, better: Uploaded, name: str) -> None:
    better.version(name, "champion", "challenger")
    before = state(name)
    code, out, _ = run("promote")
    assert (code, state(name)) == (0, before)
    assert out == f"version 1 of {name} is champion already: nothing to do"


@pytest.mark.parametrize("aliased", [(), ("champion",)])
def test_without_a_challenger_there_is_nothing_to_promote(run, better: Uploaded, name: str, aliased) -> None:
    if aliased:
        better.version(name, *aliased)
    code, out, err = run("promote")
    assert (code, out) == (2, "")
    assert err.startswith(f"siamese: {name} has no challenger on http://127.0.0.1:")
    assert err.endswith("run `siamese register` first") and "\n" not in err


def test_the_gates_report_is_kept_with_the_challengers_run(run, better: Uploaded, worse: Uploaded, name: str) -> None:
    worse.version(name, "champion")
    better.version(name, "challenger")
    _, out, _ = run("promote", *LAX, "--json", "--report", "verdict.md")
    as_json, page = sorted(reports(better, name), reverse=True)
    kept = json.loads(as_json)
    assert kept | {"moved": True} == json.loads(out) | {"by": "ann", "at": kept["at"]}
    assert page.startswith(f"# {name}, version 2: accepted by the gate\n")
    eer = f"{kept['figures']['eer']:.4f}"
    assert f"| eer | {eer} | {eer} | {kept['comparison']['champion']['values']['eer']:.4f} |" in page
    assert f"Asked by ann, {kept['at']}." in page
    assert page.startswith(Path("verdict.md").read_text().rstrip())


# The version that is judged


def test_a_version_that_is_named_is_judged_whatever_the_alias_says(
    run, better: Uploaded, worse: Uploaded, name: str
) -> None:
    """Another run has registered version 3 meanwhile: it stays the challenger, unjudged."""
    worse.version(name, "champion")
    better.version(name)
    worse.version(name, "challenger")
    code, out, _ = run("promote", f"models:/{name}/2", *LAX)
    assert (code, aliases(name)) == (0, {"challenger": 3, "champion": 2, "previous": 1})
    assert out.startswith(f"version 2 of {name} is champion now, in place of version 1: eer 0.")
    assert Registry(name).version(3).tags == {}


def test_a_version_that_is_named_is_refused_by_its_own_figures(
    run, better: Uploaded, worse: Uploaded, name: str
) -> None:
    better.version(name, "champion")
    worse.version(name)
    better.version(name, "challenger")
    code, out, _ = run("promote", f"models:/{name}/2")
    assert (code, aliases(name)) == (3, {"challenger": 3, "champion": 1})
    assert out.startswith(f"version 2 of {name} refused: ")
    assert "siamese.refused.why" in Registry(name).version(2).tags
    assert Registry(name).version(3).tags.keys() == better.tags.keys()


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("models:/{}/7", "models:/{}/7 is not in the registry: `siamese models` lists what is"),
        ("7", "7: write models:/NAME/VERSION or models:/NAME@ALIAS, as models:/siamese@champion"),
    ],
    ids=["no such version", "no reference"],
)
def test_a_version_that_is_not_there_is_one_line(run, better: Uploaded, name: str, reference: str, said: str) -> None:
    better.version(name, "challenger")
    code, out, err = run("promote", reference.format(name), *LAX)
    assert (code, out, err, aliases(name)) == (2, "", f"siamese: {said.format(name)}", {"challenger": 1})


@pytest.fixture
def component(folder: Path, server: str, tmp_path: Path) -> Callable[[str], tuple[tuple[bool, bool], str]]:
    """Runs the pipeline's step `promote` on a version: its outputs, and the first line of the gate's report."""

    def step(version: str) -> tuple[tuple[bool, bool], str]:
        inputs = [dsl.Dataset(name=name, uri=str(folder / "artifacts" / name)) for name in INPUTS[:3]]
        report = dsl.Markdown(name="gate_report", uri=str(tmp_path / "gate.md"))
        limits = config.load_params(folder / "params.yaml").promote.model_dump() | {
            "min_precision": 0.0,
            "max_eer": 1.0,
        }
        outputs = promote_component.python_func(*inputs, version, limits, server, report)
        return outputs, (tmp_path / "gate.md").read_text().splitlines()[0]

    return step


def test_the_pipelines_step_judges_the_version_that_its_run_registered(
    component, better: Uploaded, worse: Uploaded, name: str
) -> None:
    """Another run registered version 3 before this one promotes version 2."""
    worse.version(name, "champion")
    registered_here = better.version(name, "challenger").uri
    worse.version(name, "challenger")
    outputs, told = component(registered_here)
    assert (outputs, told) == ((True, True), f"# {name}, version 2: accepted by the gate")
    assert aliases(name) == {"challenger": 3, "champion": 2, "previous": 1}


def test_the_pipelines_step_does_not_promote_again_what_a_person_took_back(
    component, better: Uploaded, worse: Uploaded, name: str
) -> None:
    """A schedule registers the same version again as long as the data stay the same."""
    worse.version(name, "champion")
    registered_here = better.version(name, "challenger").uri
    assert component(registered_here)[0] == (True, True)
    promote.rollback(Registry(name), "complaints")
    outputs, told = component(registered_here)
    assert outputs == (False, False)
    assert told.startswith("version 2 was rolled back by ")
    assert aliases(name)["champion"] == 1


# A champion that can't be compared


@pytest.fixture(scope="module")
def of_another_network(workspace: Path, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    made = registered.model_of_another_network(tmp_path_factory.mktemp("another"), workspace)
    return registered.upload(made, catalog)


@pytest.fixture(scope="module")
def damaged(workspace: Path, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    """A model whose graph this code can't read, as one of a later TensorFlow may be."""
    made = registered.small_model(tmp_path_factory.mktemp("damaged"), workspace, better=True)
    (made / "servable/saved_model.pb").write_bytes(b"of another time")
    return registered.upload(made, catalog)


ANOTHER_NETWORK = (
    "version 1, the champion, sees images of 64x64x1, and the test images are stored as 100x100x3; "
    "set registry.name to another name for models of this network"
)


def test_a_champion_of_another_network_is_one_line(
    run, of_another_network: Uploaded, better: Uploaded, name: str
) -> None:
    of_another_network.version(name, "champion")
    better.version(name, "challenger")
    code, out, err = run("promote", *LAX)
    assert (code, out, err) == (2, "", f"siamese: {ANOTHER_NETWORK}")
    assert aliases(name) == {"champion": 1, "challenger": 2}


def test_a_champion_that_cannot_be_loaded_is_one_line(run, damaged: Uploaded, better: Uploaded, name: str) -> None:
    damaged.version(name, "champion")
    better.version(name, "challenger")
    code, out, err = run("promote", *LAX)
    assert (code, out) == (2, "")
    assert "\n" not in err
    assert err.startswith(f"siamese: models:/{name}/1: this version of siamese can't load its files (")
    assert err.endswith("); take it back with `siamese rollback`, or set registry.name to another name")


def test_the_pipelines_step_ends_with_one_line_where_the_champion_is_of_another_network(
    folder: Path, server: str, of_another_network: Uploaded, better: Uploaded, name: str, tmp_path: Path
) -> None:
    """As kfp runs it in a pod: no traceback follows what TensorFlow and kfp log."""
    of_another_network.version(name, "champion")
    inputs = {file: folder / "artifacts" / file for file in INPUTS[:3]}
    given = {
        "inputs": {
            "artifacts": {
                file.removesuffix(".parquet"): {
                    "artifacts": [{"name": file, "type": {"schemaTitle": "system.Dataset"}, "uri": str(place)}]
                }
                for file, place in inputs.items()
            },
            "parameterValues": {
                "version": better.version(name, "challenger").uri,
                "params": config.load_params(folder / "params.yaml").promote.model_dump(),
                "tracking_uri": server,
            },
        },
        "outputs": {
            "artifacts": {
                "gate_report": {
                    "artifacts": [
                        {"name": "g", "type": {"schemaTitle": "system.Markdown"}, "uri": str(tmp_path / "gate.md")}
                    ]
                }
            },
            "outputFile": str(tmp_path / "outputs.json"),
        },
    }
    command = [
        sys.executable,
        "-m",
        "kfp.dsl.executor_main",
        "--component_module_path",
        str(ROOT / "components/promote.py"),
    ]
    command += ["--function_to_execute", "promote", "--executor_input", json.dumps(given)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"siamese: {ANOTHER_NETWORK}"
    assert "Traceback" not in done.stdout + done.stderr


# What a model was trained on


def without_tests(catalog: Path, place: Path, identities: int) -> Path:
    """The catalog of a training that had so many of today's test identities in its training split."""
    table = pd.read_parquet(catalog)
    names = sorted(table.identity[table.split == "test"].unique())
    table.loc[table.identity.isin(names[:identities]), "split"] = "train"
    table.to_parquet(place / "catalog.parquet")
    return place / "catalog.parquet"


def test_a_champion_trained_on_every_test_identity_is_no_measure(
    run, better: Uploaded, worse: Uploaded, name: str, catalog: Path, workspace: Path, tmp_path: Path
) -> None:
    """Nor is its better figure: the challenger is refused for want of a comparison, and told what to do."""
    model = registered.small_model(tmp_path / "model", workspace, better=False)
    registered.upload(model, without_tests(catalog, tmp_path, 99)).version(name, "champion")
    better.version(name, "challenger")
    code, out, err = run("promote", *LAX)
    assert (code, aliases(name)) == (3, {"champion": 1, "challenger": 2})
    assert "set catalog.seed back to what it was for the champion" in out
    assert "test pairs are left out: version 1 was trained on their identities" in err


def test_a_champion_that_began_with_a_model_of_every_test_identity_is_no_measure(
    run, better: Uploaded, name: str, catalog: Path, workspace: Path, tmp_path: Path
) -> None:
    """Its own run's catalog has none of them in training: what stands beside the model tells."""
    model = registered.small_model(tmp_path / "model", workspace, better=False)
    images = pd.read_parquet(catalog)
    trained_on.write(model, trained_on.of_catalog(images.assign(split="train")))
    registered.upload(model, catalog).version(name, "champion")
    better.version(name, "challenger")
    code, out, err = run("promote", *LAX)
    assert (code, aliases(name)) == (3, {"champion": 1, "challenger": 2})
    assert "there are not pairs of both labels left that neither model was trained on" in out
    assert "test pairs are left out: version 1 was trained on their identities" in err


ALLOW = ["-S", "promote.allow_unknown_training_data=true"]
DOUBT = "it is unknown whether version {} was trained on the images that measure it, so its figures may be too good"


def test_a_champion_of_which_nobody_knows_what_trained_it_is_replaced_only_if_that_is_allowed(
    run, better: Uploaded, name: str, workspace: Path, tmp_path: Path
) -> None:
    """Nothing beside it, no catalog in its run."""
    registered.upload(registered.small_model(tmp_path, workspace, better=False)).version(name, "champion")
    better.version(name, "challenger")
    doubt = DOUBT.format("1, the champion,")
    code, out, _ = run("promote", *LAX)
    assert (code, aliases(name)) == (3, {"champion": 1, "challenger": 2})
    assert out == (
        f"version 2 of {name} refused: {doubt}: `siamese rollback` to a version of which it is known, or accept that "
        "with -S promote.allow_unknown_training_data=true"
    )
    assert Registry(name).version(2).tags["siamese.refused.why"] == out.partition("refused: ")[2]
    code, _, err = run("promote", *LAX, *ALLOW)
    assert (code, aliases(name)["champion"]) == (0, 2)
    assert err.endswith(f"note: {doubt}")


@pytest.mark.parametrize("origin", ["no catalog", "recorded after training", "began with other weights", "incomplete"])
def test_a_challenger_of_which_nobody_knows_what_trained_it_is_refused(
    run, worse: Uploaded, name: str, catalog: Path, workspace: Path, tmp_path: Path, origin: str
) -> None:
    """A run that was recorded afterwards has a catalog, but of that moment; and what other weights had seen that a
    model began with is in no catalog of its own run."""
    model = registered.small_model(tmp_path / "model", workspace, better=True)
    if origin == "incomplete":
        seen = trained_on.of_catalog(pd.read_parquet(catalog)).and_before(trained_on.UNKNOWN)
        trained_on.write(model, seen)
    tags = {"siamese.recorded": "after training"} if origin.startswith("recorded") else {}
    uploaded = registered.upload(model, None if origin == "no catalog" else catalog, **tags)
    if origin.startswith("began"):
        Registry(name).client.log_param(uploaded.run_id, "model.initial_weights", "trained/trained.keras")
    worse.version(name, "champion")
    uploaded.version(name, "challenger")
    code, out, _ = run("promote", *LAX)
    assert (code, aliases(name)) == (3, {"champion": 1, "challenger": 2})
    assert out == (
        f"version 2 of {name} refused: {DOUBT.format(2)}: train and register a model again, or accept that with "
        "-S promote.allow_unknown_training_data=true"
    )
    code, _, err = run("promote", *LAX, *ALLOW)
    assert (code, aliases(name)["champion"]) == (0, 2)
    assert err.endswith(f"note: {DOUBT.format(2)}")


def test_a_version_s_threshold_must_be_its_own(run, name: str, workspace: Path, tmp_path: Path) -> None:
    model = registered.small_model(tmp_path / "model", workspace, better=True)
    found = json.loads((model / "threshold.json").read_text())
    (model / "threshold.json").write_text(json.dumps(found | {"weights": "0" * 64}))
    registered.upload(model).version(name, "challenger")
    code, _, err = run("promote", *LAX)
    assert code == 2 and "threshold.json: is the threshold of another model than" in err


# rollback


def history(name: str, uploaded: Uploaded, count: int) -> None:
    """So many versions, each promoted over the one before."""
    for _ in range(count):
        made = uploaded.version(name, "challenger")
        promote.move(Registry(name), made, Registry(name).alias("champion"), "test")


def test_rolling_back_twice_walks_back_two_versions(run, better: Uploaded, name: str) -> None:
    history(name, better, 3)
    assert aliases(name) == {"challenger": 3, "champion": 3, "previous": 2}
    code, out, _ = run("rollback", "--why", "too many false accepts")
    assert (code, aliases(name)) == (0, {"challenger": 3, "champion": 2, "previous": 1})
    assert out == f"version 2 of {name} is champion again, in place of version 3"
    tags = Registry(name).version(3).tags
    assert tags["siamese.rolled_back.by"] == "ann" and tags["siamese.rolled_back.why"] == "too many false accepts"
    assert run("rollback", "--json")[1] == json.dumps({"model": name, "champion": 1, "rolled_back": 2}, indent=2)
    assert aliases(name) == {"challenger": 3, "champion": 1}


def test_the_first_champion_cannot_be_rolled_back(run, better: Uploaded, name: str) -> None:
    assert run("rollback")[0] == 2
    history(name, better, 1)
    code, out, err = run("rollback")
    assert (code, out, aliases(name)["champion"]) == (2, "", 1)
    assert err == f"siamese: version 1 of {name} replaced no champion: nothing to roll back to"


def test_a_version_that_was_taken_back_can_be_promoted_again(run, better: Uploaded, name: str) -> None:
    history(name, better, 2)
    run("rollback")
    assert run("promote", *LAX)[0] == 0
    assert aliases(name) == {"challenger": 2, "champion": 2, "previous": 1}
    assert run("rollback")[0] == 0 and aliases(name)["champion"] == 1


def test_two_versions_promoted_over_each_other_are_not_rolled_back_for_ever(run, better: Uploaded, name: str) -> None:
    """1, then 2, then by hand 1 as challenger again: back to 2, to 1, and no further."""
    history(name, better, 2)
    Registry(name).point("challenger", 1)
    assert run("promote", *LAX)[0] == 0 and aliases(name) == {"challenger": 1, "champion": 1, "previous": 2}
    champions = [(run("rollback")[0], aliases(name)["champion"]) for _ in range(3)]
    assert champions == [(0, 2), (0, 1), (2, 1)]


def test_a_version_that_is_gone_cannot_be_gone_back_to(run, better: Uploaded, name: str) -> None:
    history(name, better, 2)
    Registry(name).client.delete_model_version(name, "1")
    code, _, err = run("rollback")
    assert (code, aliases(name)["champion"]) == (2, 2)
    assert "version 1 of" in err and "is no longer in the registry" in err and "\n" not in err


# models


def test_an_empty_registry_says_how_to_register(run, name: str) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert out.startswith(f"no version of {name} on http://") and out.endswith(
        "`siamese register` adds the trained model"
    )
    assert json.loads(run("models", "--json")[1]) == {"model": name, "versions": []}


def test_versions_are_listed_with_aliases_figures_and_what_came_of_them(
    run, better: Uploaded, worse: Uploaded, name: str
) -> None:
    history(name, better, 1)
    worse.version(name, "challenger")
    assert run("promote")[0] == 3
    head, _, newest, oldest = run("models")[1].splitlines()
    assert " ".join(head.split()) == "version aliases eer (95 %) precision threshold created what came of it"
    assert newest.split()[:5] == ["2", "challenger", "-", "-", "-"] and "refused 20" in newest
    assert oldest.split()[:3] == ["1", "champion", "0.250"] and "(0.200 to 0.300)" in oldest and "0.400" in oldest
    assert "promoted 20" in oldest and oldest.endswith("Z by ann")
    second, first = json.loads(run("models", "--json")[1])["versions"]
    assert (second["version"], second["test"], first["aliases"]) == (2, {}, ["champion"])
    assert first["test"] == {"eer": 0.25, "eer.low": 0.2, "eer.high": 0.3} and first["threshold"] == 0.4


def test_asking_an_absent_file_makes_none(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv(TRACKING_URI)
    with working_folder(tmp_path):
        assert cli.run(["models"]) == 0
        assert "on sqlite:///mlflow.db yet" in capsys.readouterr().out
        assert [cli.run([command]) for command in ("promote", "rollback")] == [2, 2]
        assert cli.run(["verify", "a.png", "b.png", "--model", "models:/siamese@champion"]) == 2
    assert list(tmp_path.iterdir()) == []


# verify and score


@pytest.fixture(scope="module")
def pictures(workspace: Path) -> list[str]:
    table = pd.read_parquet(workspace / "artifacts/catalog.parquet")
    return [str(workspace / "data/sample" / path) for path in table.path.iloc[[0, -1]]]


def test_a_version_is_used_with_its_own_threshold_and_fetched_once(
    run, better: Uploaded, worse: Uploaded, name: str, pictures: list[str], folder: Path
) -> None:
    """Equal images have distance 0: these models score them 0.5, whichever way their score goes."""
    worse.version(name)
    better.version(name, "champion")
    code, out, _ = run("verify", *pictures, "--model", f"models:/{name}@champion", "--json")
    of_better = json.loads(out)
    [fetched] = folder.glob(f".siamese/models/{name}-2-*")
    assert of_better["threshold"] == json.loads((fetched / "threshold.json").read_text())["threshold"]
    assert code == (0 if of_better["score"] >= of_better["threshold"] else 1)
    written = [file.stat().st_mtime_ns for file in sorted(fetched.rglob("*"))]
    found = json.loads(run("verify", pictures[0], pictures[0], "--model", f"models:/{name}/2", "--json")[1])
    assert found == {"same": True, "score": 0.5, "threshold": of_better["threshold"]}
    assert [file.stat().st_mtime_ns for file in sorted(fetched.rglob("*"))] == written
    of_worse = json.loads(run("verify", *pictures, "--model", f"models:/{name}/1", "--threshold", "0.3", "--json")[1])
    assert of_worse["score"] == pytest.approx(1 - of_better["score"], abs=1e-6) and of_worse["threshold"] == 0.3


def test_a_folder_that_was_fetched_is_used_with_the_threshold_in_it(
    run, better: Uploaded, name: str, pictures: list[str], folder: Path
) -> None:
    better.version(name, "champion")
    by_reference = run("verify", *pictures, "--model", f"models:/{name}@champion")[:2]
    [fetched] = folder.glob(f".siamese/models/{name}-1-*")
    assert run("verify", *pictures, "--model", str(fetched))[:2] == by_reference


def test_a_list_is_scored_by_a_version(run, better: Uploaded, name: str, pictures: list[str]) -> None:
    better.version(name, "champion")
    Path("pairs.csv").write_text(f"anchor,other\n{','.join(pictures)}\n")
    [row] = json.loads(run("score", "pairs.csv", "--model", f"models:/{name}@champion", "--json")[1])["pairs"]
    verified = json.loads(run("verify", *pictures, "--model", f"models:/{name}@champion", "--json")[1])
    assert row["score"] == pytest.approx(verified["score"], abs=1e-6) and row["same"] == verified["same"]


def test_what_the_original_interface_saved_is_used_at_a_threshold_that_is_given(
    run, workspace: Path, pictures: list[str], tmp_path: Path
) -> None:
    """A copy of `siamese.keras` outside its folder is just that: its scores are those of the folder's model."""
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/trained.keras").write_bytes((workspace / "artifacts/model/siamese.keras").read_bytes())
    whole = json.loads(
        run("verify", *pictures, "--model", str(workspace / "artifacts/model"), "--threshold", "0.5", "--json")[1]
    )
    for place in (tmp_path / "trained", tmp_path / "trained/trained.keras"):
        found = json.loads(run("verify", *pictures, "--model", str(place), "--threshold", "0.5", "--json")[1])
        assert found == pytest.approx(whole, abs=1e-5)
    code, _, err = run("verify", *pictures, "--model", str(tmp_path / "trained"))
    assert code == 2 and "trained.keras carries no threshold: give one, as --threshold 0.5" in err


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("models:/nothing@champion", "has no such model or alias: `siamese models` lists what there is"),
        ("models:/nothing/7", "models:/nothing/7 is not in the registry: `siamese models` lists what is"),
        ("models:/nothing", "write models:/NAME/VERSION or models:/NAME@ALIAS, as models:/siamese@champion"),
        ("nowhere", "nowhere: no trained model here: run `siamese train` first, or name its folder"),
        ("nowhere/trained.keras", "name a file that save_compiled_model wrote"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(run, pictures: list[str], reference: str, said: str) -> None:
    code, out, err = run("verify", *pictures, "--model", reference, "--threshold", "0.5")
    assert (code, out) == (2, "")
    assert said in err and "\n" not in err


def test_a_folder_is_used_without_a_thought_of_the_registry(folder: Path) -> None:
    """What keeps `siamese verify` as quick as it was: MLflow takes seconds to import."""
    program = (
        "import sys; from siamese.registry.locator import resolve_model\n"
        "resolve_model('artifacts/model'); print('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


# The server, or what it keeps, is away


@pytest.mark.parametrize("command", [["promote"], ["rollback"], ["models"], ["verify", "models:/siamese@champion"]])
def test_a_server_that_is_away_is_one_line(run, pictures: list[str], monkeypatch, command: list[str]) -> None:
    monkeypatch.setenv(TRACKING_URI, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    rest = ["verify", *pictures, "--model", command[1]] if command[0] == "verify" else command
    code, out, err = run(*rest)
    assert (code, out) == (2, "")
    assert err.startswith("siamese: tracking server http://127.0.0.1:9 can't be used (") and "\n" not in err


def test_a_champion_whose_files_are_gone_stops_the_promotion_and_stays(run, better: Uploaded, name: str) -> None:
    gone = Uploaded(f"{better.source}-gone", better.run_id, {})
    gone.version(name, "champion")
    better.version(name, "challenger")
    code, out, err = run("promote", *LAX)
    assert (code, out, aliases(name)) == (2, "", {"champion": 1, "challenger": 2})
    assert err.startswith("siamese: ") and "\n" not in err


def test_a_version_of_something_else_is_told(run, better: Uploaded, name: str, pictures: list[str]) -> None:
    """Its source is the folder above: files are there, but not where `register` puts them."""
    Uploaded(better.source.removesuffix("/model"), better.run_id, {}).version(name)
    code, _, err = run("verify", *pictures, "--model", f"models:/{name}/1")
    assert code == 2 and err.endswith(f"models:/{name}/1 holds no servable: it isn't what `siamese register` makes")
    assert not list(Path(".siamese/models").glob(f"*{name}-1-*"))
