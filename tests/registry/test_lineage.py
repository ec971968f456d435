"""`siamese lineage`: where a model came from, by the registry alone, and commands that make the same bits again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Repository, working_folder
from waiting import PATIENCE

from siamese import cli, config
from siamese.errors import InputError
from siamese.models.artifacts import weights_digest
from siamese.registry import lineage
from siamese.registry.client import Version
from siamese.registry.lineage import trace

SERVER = "https://mlflow.example"
TAGS = {
    "siamese.training": "20260102-030405-0badcafe",
    "siamese.data.path": "data/faces",
    "siamese.data.hash": "0123456789abcdef0123456789abcdef.dir",
    "siamese.git.commit": "c0ffee",
    "siamese.git.dirty": "false",
    "siamese.git.remote": "https://git.example/us/project.git",
    "siamese.version": "0.1.0",
}
VERSION = Version("faces", 3, "run-1", "models:/m-1", 0, TAGS, ("champion",))


def with_tags(**changed: str | None) -> Version:
    """The version with some tags changed, None: removed; `_` in a name stands for a dot."""
    tags = TAGS | {f"siamese.{name.replace('_', '.')}": value for name, value in changed.items()}
    return replace(VERSION, tags={name: value for name, value in tags.items() if value is not None})


def test_the_commands_clone_the_commit_and_pull_the_data() -> None:
    found = trace(VERSION, {"train.seed": "0"}, SERVER)
    assert list(found.commands) == [
        "git clone https://git.example/us/project.git faces-3",
        "cd faces-3",
        "git checkout c0ffee",
        "make setup",
        "source .venv/bin/activate",
        "MLFLOW_TRACKING_URI=https://mlflow.example siamese lineage models:/faces/3 --save-params params.yaml",
        "dvc pull data/faces",
        "dvc repro",
    ]
    assert found.warnings == ()
    assert (found.data_path, found.data_hash) == ("data/faces", "0123456789abcdef0123456789abcdef.dir")
    assert (found.run, found.training, found.git_commit) == ("run-1", "20260102-030405-0badcafe", "c0ffee")


def test_names_that_a_shell_would_take_apart_are_quoted() -> None:
    found = trace(with_tags(data_path="data/my faces; ls", git_remote="/srv/my project"), {"a": "1"}, SERVER)
    assert "git clone '/srv/my project' faces-3" in found.commands
    assert "dvc pull 'data/my faces; ls'" in found.commands


def test_the_sample_is_drawn_not_pulled() -> None:
    commands = trace(with_tags(data_path="data/sample"), {"a": "1"}, SERVER).commands
    assert commands[-1] == "dvc repro" and not any(command.startswith("dvc pull") for command in commands)


def test_data_that_a_pod_fetched_is_fetched_from_there() -> None:
    fetched = with_tags(data_path="data/faces", data_repository="https://git.example.com/data.git", data_revision="v1")
    found = trace(fetched, {"a": "1"}, SERVER)
    assert "dvc get https://git.example.com/data.git data/faces --rev v1 --out data/faces" in found.commands
    assert not any(command.startswith("dvc pull") for command in found.commands)
    assert "from https://git.example.com/data.git, revision v1" in lineage.to_text(found)


def test_without_a_remote_the_commands_begin_in_a_clone() -> None:
    found = trace(with_tags(git_remote=None), {"a": "1"}, SERVER)
    assert found.commands[0] == "git checkout c0ffee"
    assert "What makes it again in a clone of the project" in lineage.to_text(found)


@pytest.mark.parametrize(
    ("changed", "parameters", "said"),
    [
        ({"git_dirty": "true"}, {"a": "1"}, "files had changes that were not committed"),
        ({"git_commit": None}, {"a": "1"}, "no git commit was recorded: the code of that time can't be had"),
        ({"data_hash": "catalog:0123"}, {"a": "1"}, "DVC did not know data/faces: put the same images there yourself"),
        ({"data_hash": None}, {"a": "1"}, "DVC did not know data/faces: put the same images there yourself"),
        ({}, {}, "its run is gone: the parameters are not known"),
        ({"recorded": "after training"}, {"a": "1"}, "its run was recorded after training: code, data and parameters"),
    ],
)
def test_what_stands_against_making_it_again_is_said(changed: dict, parameters: dict, said: str) -> None:
    found = trace(with_tags(**changed), parameters, SERVER)
    (warning,) = found.warnings
    assert warning.startswith(said) and f"warning    {said}" in lineage.to_text(found)
    assert bool(found.commands) == ("git_commit" not in changed)
    assert ("dvc pull data/faces" in found.commands) == ("data_hash" not in changed and bool(found.commands))


def test_the_answer_tells_model_run_data_code_and_parameters() -> None:
    text = lineage.to_text(trace(with_tags(git_dirty="true"), {"train.seed": "0", "data.path": "data/faces"}, SERVER))
    assert text.splitlines()[:8] == [
        "model      models:/faces/3 champion",
        "run        run-1",
        "training   20260102-030405-0badcafe",
        "data       data/faces, hash 0123456789abcdef0123456789abcdef.dir",
        "code       git commit c0ffee and changes that were not committed",
        "siamese    0.1.0",
        "parameter  data.path = data/faces",
        "parameter  train.seed = 0",
    ]


# Run by `git clone` when it is done: the new folder's environment is the one that runs the tests, so that `make setup`
# finds everything made and installs nothing.
HAS_ENVIRONMENT = """\
#!/bin/sh
mkdir -p .venv/bin
cp '{bin}/activate' .venv/bin/
printf '#!/bin/sh\\nexec "%s" "$@"\\n' '{bin}/uv' > .venv/bin/uv
chmod +x .venv/bin/uv
touch .venv/for-users
"""


class TestOfARepository:
    """A model made by `dvc repro` in a clone, registered there; then made again from what `lineage` prints."""

    @pytest.fixture(scope="class")
    @classmethod
    def project(cls, repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
        made = repository.sibling(tmp_path_factory.mktemp("lineage") / "project")
        made.run("git", "remote", "set-url", "origin", str(repository.folder))
        made.run("dvc", "checkout")
        made.run("siamese", "register", "-S", "evaluate.seed=7")  # the evaluation was done with seed 0
        return made

    @pytest.fixture(scope="class")
    @classmethod
    def told(cls, project: Repository) -> dict:
        return json.loads(project.run("siamese", "lineage", "models:/siamese@challenger", "--json"))

    def run(self, commands: Sequence[str], place: Path) -> str:
        """What the commands say, run in one shell in a new folder."""
        here = Path(sys.executable).parent
        hook = place / "template/hooks/post-checkout"
        hook.parent.mkdir(parents=True)
        hook.write_text(HAS_ENVIRONMENT.format(bin=here))
        hook.chmod(0o755)
        done = subprocess.run(
            ["bash", "-c", "\n".join(["set -e", *commands])],
            cwd=place,
            env=os.environ | {"GIT_TEMPLATE_DIR": str(place / "template"), "PATH": f"{here}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def test_names_commit_remote_data_and_parameters(
        self, project: Repository, repository: Repository, told: dict
    ) -> None:
        assert told["model"] == "models:/siamese/1" and told["aliases"] == ["challenger"]
        assert told["git_commit"] == repository.run("git", "rev-parse", "HEAD").strip()
        assert (told["git_remote"], told["git_dirty"]) == (str(repository.folder), False)
        assert told["data_path"] == "data/sample"
        assert f"md5: {told['data_hash']}" in (project.folder / "dvc.lock").read_text()
        assert told["parameters"]["train.epochs"] == "2"
        (warning,) = told["warnings"]  # the record of its training is in the other clone
        assert warning.startswith("its run was recorded after training")
        assert told["parameters"]["evaluate.seed"] == "0"

    def test_the_commands_before_the_last_bring_its_code_and_its_parameters(
        self, project: Repository, told: dict, tmp_path: Path
    ) -> None:
        *commands, last = told["commands"]
        assert last == "dvc repro"
        self.run(commands, tmp_path)
        clone = Repository(tmp_path / "siamese-1")
        assert clone.run("git", "rev-parse", "HEAD").strip() == told["git_commit"]
        changed = clone.run("git", "status", "--porcelain").split()
        assert changed in ([], ["M", "params.yaml"])
        ours, theirs = (config.load_params(one.folder / "params.yaml") for one in (clone, project))
        assert ours == theirs

    @pytest.mark.long
    def test_the_commands_make_the_same_weights_to_the_bit(
        self, project: Repository, told: dict, tmp_path: Path
    ) -> None:
        assert "Running stage 'train'" in self.run(told["commands"], tmp_path)
        made, own = tmp_path / "siamese-1/artifacts/model", project.folder / "artifacts/model"
        assert weights_digest(made) == weights_digest(own)
        data = "servable/variables/variables.data-00000-of-00001"
        assert (made / data).read_bytes() == (own / data).read_bytes()


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, capsys) -> None:
    with working_folder(tmp_path):
        assert cli.run(["lineage", "siamese"]) == 2
        assert cli.run(["lineage", "-S", "registry.name=nobodys"]) == 2
    first, second = (line for line in capsys.readouterr().err.splitlines() if line.startswith("siamese: "))
    assert first == "siamese: siamese: write models:/NAME/VERSION or models:/NAME@ALIAS, as models:/siamese@champion"
    assert second.startswith("siamese: models:/nobodys@champion: sqlite:///mlflow.db has no such model or alias")


def test_saved_parameters_are_those_of_training_and_of_the_evaluation(tmp_path: Path, monkeypatch) -> None:
    """While it trained, params.yaml had another threshold than when it was evaluated."""

    class Run:
        def artifact(self, version: Version, path: str, below: Path) -> Path:
            values = config.load_params(config.packaged_file(), ["train.epochs=3", "evaluate.threshold=far=0.01"])
            (below / "params.yaml").write_text(config.to_yaml(values))
            return below / "params.yaml"

        def parameters(self, version: Version) -> dict[str, str]:
            return {"train.epochs": "3", "evaluate.threshold": "eer", "promote.max_eer": "0.2"}

    monkeypatch.setattr(lineage, "resolve", lambda reference: (Run(), VERSION))
    lineage.save_params(VERSION.uri, tmp_path / "saved.yaml")
    saved = config.load_params(tmp_path / "saved.yaml")
    assert (saved.train.epochs, saved.evaluate.threshold, saved.promote.max_eer) == (3, "eer", 0.2)


def test_parameters_that_no_run_holds_are_told(monkeypatch) -> None:
    class Empty:
        def artifact(self, *_: object) -> None:
            return None

    monkeypatch.setattr(lineage, "resolve", lambda reference: (Empty(), VERSION))
    with pytest.raises(InputError, match=r"the run of models:/faces/3 holds no training/params.yaml"):
        lineage.save_params("models:/faces/3", Path("unused.yaml"))
