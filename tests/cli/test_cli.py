"""The command line: quick to answer, one line for what is wrong, one table of exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import working_folder

from siamese import cli
from siamese.errors import ExitCode

STEPS = ["sample", "catalog", "pairs", "preprocess", "train", "evaluate"]
COMMANDS = [
    *STEPS, "register", "promote", "rollback", "models", "lineage", "verify", "score", "trials", "calibrate", "report",
    "enroll", "identify", "watch", "gallery", "serve", "drift",
    "fetch", "inspect", "summary", "metrics", "params", "changes", "sync",
]  # fmt: skip


@pytest.fixture
def here(workspace: Path) -> object:
    with working_folder(workspace):
        yield workspace


@pytest.fixture(scope="module")
def pictures(workspace: Path) -> tuple[Path, Path]:
    catalog = pd.read_parquet(workspace / "artifacts/catalog.parquet")
    return tuple(Path("data/sample") / path for path in catalog.path.iloc[[0, -1]])


def test_help_imports_nothing_that_costs() -> None:
    """What makes `siamese --help` answer in under half a second: neither TensorFlow nor its like is imported."""
    program = (
        "import sys; from siamese import cli; cli.run(['--help'])\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'pandas', 'matplotlib', 'sklearn', 'apache_beam', 'pydantic', 'PIL',"
        " 'fsspec'}"
        "\nprint(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(command in done.stdout for command in COMMANDS)


def test_a_command_starts_tensorflow_without_what_it_does_not_need(workspace: Path) -> None:
    """Keras imports matplotlib and scikit-learn where they are, for functions of its own: a second of five. They are
    there for who needs them afterwards."""
    program = (
        "import sys\nfrom siamese import cli\nsys.argv = ['siamese', 'verify', *sys.argv[1:]]"
        "\ntry:\n    cli.main()\nexcept SystemExit as end:\n    print(end.code)"
        "\nprint('tensorflow' in sys.modules, {'matplotlib', 'sklearn'} & set(sys.modules))"
        "\nimport matplotlib, sklearn\nprint(matplotlib.__name__)"
    )
    image = str(next((workspace / "data/sample").rglob("*.png")))
    done = subprocess.run(
        [sys.executable, "-c", program, image, image], capture_output=True, text=True, check=True, cwd=workspace
    )
    assert done.stdout.splitlines()[1:] == ["0", "True set()", "matplotlib"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys) -> None:
    assert cli.run([command, "--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "name a command"),
        (["nonsense"], "nonsense"),
        (["train", "--nonsense"], "--nonsense"),
        (["params", "-S", "train.epoch=3"], "nearest known key: train.epochs"),
        (["params", "--params", "nowhere.yaml"], "nowhere.yaml: can't be read"),
        (["verify", "nowhere.png", "nowhere.png"], "nowhere.png: can't be read"),
        (["score", "nowhere.csv"], "nowhere.csv: can't be read"),
        (["inspect", "nowhere"], "nowhere"),
        (["catalog", "--data", "nowhere"], "nowhere"),
        (["summary", "--draw", "net.gif"], "net.gif: a drawing is .svg or .png"),
        (["verify", "a.png", "b.png", "--threshold", "2"], "--threshold"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments: list[str], expected: str) -> None:
    with working_folder(tmp_path):
        assert cli.run(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("siamese: ") and expected in last
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_failure_is_one_line_too_and_never_exit_code_1(monkeypatch, capsys) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("siamese.config.load_params", broken)
    assert cli.run(["params"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "siamese: unexpected RuntimeError: two lines (set SIAMESE_TRACEBACK=1 to see where)"
    ]


def test_the_exit_codes_are_those_of_the_help() -> None:
    text = cli.app.info.epilog
    for code, word in zip(ExitCode, ("done", "no", "wrong input", "refused", "retraining"), strict=True):
        assert f"{int(code)} {word}" in text


def test_sigterm_removes_what_is_half_written(tmp_path) -> None:
    program = (
        "import os, signal, pathlib; from siamese import cli, config; from siamese.storage import files\n"
        "def step(*_, **__):\n"
        "    with files.atomic_file(pathlib.Path('out')) as beside:\n"
        "        beside.write_text('half'); os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "config.load_params = step; cli.main(['params'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".coverage")] == []


def test_params_prints_what_is_in_force(here, capsys) -> None:
    assert cli.run(["params", "-S", "train.epochs=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["epochs"] == 3


def test_verify_answers_with_its_exit_code(here, pictures, capsys) -> None:
    """An image is the same as itself: its distance is 0, so its score is the sigmoid of the head's bias."""
    same, other = map(str, pictures)
    assert cli.run(["verify", same, same, "--threshold", "0.4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["same"] is True and answer["threshold"] == 0.4
    assert cli.run(["verify", same, other, "--threshold", "1"]) == 1
    assert capsys.readouterr().out.startswith("different (score 0.")


def test_verify_uses_the_threshold_that_evaluate_chose(here, pictures, capsys) -> None:
    chosen = json.loads(Path("artifacts/threshold.json").read_text())["threshold"]
    cli.run(["verify", *map(str, pictures), "--json"])
    assert json.loads(capsys.readouterr().out)["threshold"] == chosen


def test_verify_refuses_what_is_no_image(here, pictures, tmp_path, capsys) -> None:
    (tmp_path / "text.png").write_text("no image")
    assert cli.run(["verify", str(pictures[0]), str(tmp_path / "text.png")]) == 2
    assert "text.png: " in capsys.readouterr().err


def test_score_adds_score_and_verdict_to_a_list(here, pictures, tmp_path, capsys) -> None:
    a, b = map(str, pictures)
    (tmp_path / "pairs.csv").write_text(f"anchor,other,note\n{a},{b},first\n{a},{a},second\n")
    assert cli.run(["score", str(tmp_path / "pairs.csv"), "-o", str(tmp_path / "out.csv")]) == 0
    scored = pd.read_csv(tmp_path / "out.csv")
    assert scored.columns.tolist() == ["anchor", "other", "note", "score", "same"]
    capsys.readouterr()
    cli.run(["verify", a, b, "--json"])
    assert json.loads(capsys.readouterr().out)["score"] == pytest.approx(scored.score[0], abs=1e-6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n", "lacks the column anchor"),
        ("anchor,other\n", "no rows"),
        ("", "is not CSV"),
        ('anchor,other\n"a,b\n', "is not CSV"),
        ("anchor,other\na,b,c\n", "a row has more values than the header has columns"),
        ("anchor,other\na,b\n\na,\n", "row 4: other without a value"),
        ("anchor,other,score\na,b,human\n", "has a column score already, and none is ever replaced"),
    ],
)
def test_a_list_that_cannot_be_scored(here, tmp_path, capsys, content: str, expected: str) -> None:
    (tmp_path / "pairs.csv").write_text(content)
    assert cli.run(["score", str(tmp_path / "pairs.csv")]) == 2
    assert expected in capsys.readouterr().err


def test_scores_replace_older_scores_alone(here, pictures, tmp_path, capsys) -> None:
    a, b = map(str, pictures)
    listed, photo, out = (tmp_path / name for name in ("pairs.csv", "photo.png", "out.csv"))
    listed.write_text(f"anchor,other\n{a},{b}\n")
    photo.write_bytes(Path(a).read_bytes())
    for mine, reason in ((listed, "is given for two things"), (photo, "isn't what this command writes")):
        before = mine.read_bytes()
        assert cli.run(["score", str(listed), "-o", str(mine)]) == 2
        assert f"siamese: {mine}: " in (said := capsys.readouterr().err) and reason in said
        assert mine.read_bytes() == before
    for _ in range(2):
        assert cli.run(["score", str(listed), "-o", str(out)]) == 0


def test_a_step_replaces_what_a_step_wrote_alone(here, tmp_path, capsys) -> None:
    """Nor does it write over what it reads."""
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    catalog = Path("artifacts/catalog.parquet").read_bytes()
    for named, reason in ((str(notes), "isn't what this command writes"), ("artifacts/catalog.parquet", "two things")):
        assert cli.run(["pairs", "--pairs", named]) == 2
        assert reason in capsys.readouterr().err
    assert notes.read_text() == "mine" and Path("artifacts/catalog.parquet").read_bytes() == catalog


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_change_no_answer(here, closed: str) -> None:
    """What was to be printed there is lost; the exit code still tells, and no file gets it instead."""

    def answered(*arguments: str, closed: str = "") -> tuple[int, str, str]:
        command = f"'{sys.executable}' -c 'from siamese.cli import main; main()' {' '.join(arguments)} {closed}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, printed, _ = answered("params")
    assert code == 0
    code, found, said = answered("params", closed=closed)
    assert (code, found) == (0, "" if ">&-" in closed.split() else printed) and "Traceback" not in said
    code, found, said = answered("params", "--params", "nowhere.yaml", closed=closed)
    assert (code, found) == (2, "")
    assert ("nowhere.yaml: can't be read" in said) == ("2>&-" not in closed)


def test_scores_without_a_file_to_write_are_printed_as_csv_or_json(here, pictures, tmp_path, capsys) -> None:
    a, b = map(str, pictures)
    (tmp_path / "pairs.csv").write_text(f"anchor,other\n{a},{b}\n")
    assert cli.run(["score", str(tmp_path / "pairs.csv")]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head == "anchor,other,score,same" and row.startswith(f"{a},{b},0.")
    assert cli.run(["score", str(tmp_path / "pairs.csv"), "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["anchor"] == a and f"{pair['score']:.6f}" == f"{float(row.split(',')[2]):.6f}"


def test_a_folder_without_a_model_is_named(here, pictures, tmp_path, capsys) -> None:
    assert cli.run(["verify", *map(str, pictures), "--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"siamese: {tmp_path}: no trained model here: run")


def test_the_summary_for_machines_has_the_layers_and_the_total(capsys) -> None:
    assert cli.run(["summary", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"]) == 38_964_545


def test_calibrate_chooses_a_threshold_without_training(here, tmp_path, capsys) -> None:
    model = sorted(Path("artifacts/model").rglob("*"))
    written = [file.stat().st_mtime_ns for file in model]
    out = tmp_path / "threshold.json"
    assert cli.run(["calibrate", "--split", "test", "--threshold-file", str(out), "-S", "evaluate.threshold=0.25"]) == 0
    assert json.loads(out.read_text())["threshold"] == 0.25
    assert [file.stat().st_mtime_ns for file in model] == written


def test_inspect_answers_for_machines(here, capsys) -> None:
    assert cli.run(["inspect", "data/sample", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "identities"


def test_metrics_prints_the_figures_with_their_intervals(here, capsys) -> None:
    assert cli.run(["metrics"]) == 0
    out = capsys.readouterr().out
    measured = json.loads(Path("metrics.json").read_text())["test"]
    assert f"{measured['accuracy']:.3f}" in out and "eer" in out


def test_steps_say_what_they_wrote(here, tmp_path, capsys) -> None:
    assert cli.run(["pairs", "--pairs", str(tmp_path / "pairs.parquet"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "step": "pairs",
        "outputs": {"pairs": str(tmp_path / "pairs.parquet")},
    }


def test_letters_that_a_terminal_lacks_are_escaped(here) -> None:
    command = [sys.executable, "-c", "from siamese.cli import main; main()", "params", "-S", "data.path=dzieło"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert r"path: dzie\u0142o" in done.stdout


def test_a_closed_pipe_is_no_traceback(here) -> None:
    command = f"'{sys.executable}' -c 'from siamese.cli import main; main()' params | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=os.environ)
    assert "Traceback" not in done.stderr and done.stdout.split()[-1] == "2"
