"""`siamese changes`: what a retraining changed, in Markdown, against what git has."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import working_folder

from siamese import cli, paths
from siamese.errors import InputError
from siamese.monitoring import diff, diff_curves
from siamese.monitoring.diff import ProjectState

METRICS: dict[str, Any] = {
    "threshold": 0.25,
    "test": {"precision": 0.8, "eer": 0.2, "tar_at_far_0.01": None},
    "test_low": {"precision": 0.7, "eer": 0.125, "tar_at_far_0.01": None},
    "test_high": {"precision": 0.9, "eer": 0.3, "tar_at_far_0.01": None},
    "baseline_raw_pixels": {"eer": 0.35},
    "eer_below_raw_pixels": {"value": 0.15, "low": 0.05, "high": 0.25},
    "one_shot": {},
    "counts": {"train": {"images": 60, "identities": 12, "pairs": 90}, "test": {"identities": 12, "pairs": 340}},
    "undefined": {"tar_at_far_0.01": "needs 1,000 negative pairs, there are 170"},
}
PARAMS = {"data.path": "data/faces", "train.epochs": 50, "promote.max_eer": 0.35}
DATA = {"path": "data/faces", "hash": "abc.dir", "files": 60}
REFUSED = {
    "accepted": False,
    "reasons": ["eer 0.4000 is above promote.max_eer 0.35", "precision 0.5000 is below promote.min_precision 0.6"],
    "in_words": "eer 0.400, precision 0.500 on 340 test pairs; no champion to compare with",
    "moved": False,
}


def better() -> ProjectState:
    """The state after: EER from 0.200 to 0.150, precision from 0.800 to 0.750, threshold from 0.250 to 0.300."""
    metrics = copy.deepcopy(METRICS)
    metrics["test"] |= {"eer": 0.15, "precision": 0.75}
    metrics["threshold"] = 0.3
    return ProjectState(metrics, PARAMS, DATA)


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_each_figure_stands_beside_the_one_before_with_its_interval_and_which_way_it_went() -> None:
    text = diff.render(ProjectState(METRICS, PARAMS, DATA), better(), None, None)
    assert lines(text)[lines(text).index("| metric | before | now | difference |") :][:6] == [
        "| metric | before | now | difference |",
        "| --- | ---: | ---: | ---: |",
        "| precision | 0.800 (0.700 to 0.900) | 0.750 (0.700 to 0.900) | −0.050 worse |",
        "| eer | 0.200 (0.125 to 0.300) | 0.150 (0.125 to 0.300) | −0.050 better |",
        "| tar_at_far_0.01 | – | – | – |",
        "| threshold | 0.250 | 0.300 |  |",
    ]
    assert "tar\\_at\\_far\\_0.01 has no value: needs 1,000 negative pairs, there are 170." in lines(text)


def test_the_first_training_has_no_figures_before() -> None:
    text = diff.render(ProjectState(None), better(), None, None)
    assert "| eer | – | 0.150 (0.125 to 0.300) | – |" in lines(text)
    assert "> **Note:** there are no figures from before." in lines(text)


def test_the_verdict_comes_first_and_a_refusal_names_every_reason() -> None:
    text = diff.render(ProjectState(METRICS, PARAMS, DATA), better(), REFUSED, None)
    assert lines(text)[:7] == [
        "# Retraining",
        "",
        "**The gate refuses this model.** The champion stays.",
        "",
        "- eer 0.4000 is above promote.max\\_eer 0.35",
        "- precision 0.5000 is below promote.min\\_precision 0.6",
        "",
    ]
    assert f"The gate's figures: {REFUSED['in_words']}." in lines(text)


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        ({"accepted": True, "reasons": [], "moved": True}, "**The gate accepts this model.** It is champion now."),
        ({"accepted": True, "reasons": [], "moved": False}, "**The gate accepts this model.** Nothing was promoted."),
        ({"champion": 3, "moved": False}, "**This model is the champion already.**"),
        (None, "The gate was not asked."),
    ],
)
def test_other_verdicts(judged: dict[str, Any] | None, said: str) -> None:
    assert lines(diff.render(ProjectState(None), better(), judged, None))[2] == said


def test_parameters_that_were_changed_added_or_removed_and_no_others() -> None:
    old = PARAMS | {"train.old": None}
    new = PARAMS | {"train.epochs": 80, "train.new": [1, 2]}
    text = diff.render(ProjectState(METRICS, old, DATA), ProjectState(METRICS, new, DATA), None, None)
    assert text.split("## Parameters\n\n")[1].splitlines() == [
        "| parameter | before | now |",
        "| --- | --- | --- |",
        "| train.epochs | 50 | 80 |",
        "| train.new | – | \\[1, 2\\] |",
        "| train.old | – | – |",
    ]
    same = diff.render(ProjectState(METRICS, old, DATA), ProjectState(METRICS, old, DATA), None, None)
    assert same.endswith("## Parameters\n\nNo parameter has changed.\n")


def test_changed_data_is_named_by_its_hash_and_the_reader_told_that_columns_may_not_compare() -> None:
    text = diff.render(
        ProjectState(METRICS, PARAMS, DATA),
        ProjectState(METRICS, PARAMS, DATA | {"hash": "def.dir", "files": 90}),
        None,
        None,
    )
    assert "| DVC hash | abc.dir | def.dir |" in lines(text)
    assert "| files | 60 | 90 |" in lines(text)
    assert "| identities to train on | 12 | 12 |" in lines(text)
    assert any("the test pairs may not be those from before" in line for line in lines(text))
    unchanged = diff.render(ProjectState(METRICS, PARAMS, DATA), ProjectState(METRICS, PARAMS, DATA), None, None)
    assert "the test pairs" not in unchanged


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"note": "drawn, a stand-in for real data"}, "the data is drawn, a stand-in for real data."),
        (
            {"trained_on": "unknown"},
            "it is unknown whether this model was trained on the images that measure it, "
            "so its figures may be too good.",
        ),
        ({"counts": {"test": {"identities": 9}}}, "only 9 identities were tested: all figures are coarse."),
        (
            {"eer_below_raw_pixels": {"low": -0.01, "value": 0.1}},
            "the model isn't clearly better than comparing raw pixels.",
        ),
    ],
)
def test_what_makes_figures_doubtful_is_said(change: dict[str, Any], told: str) -> None:
    assert told not in diff.warnings(ProjectState(METRICS, PARAMS, DATA), ProjectState(METRICS, PARAMS, DATA))
    assert told in diff.warnings(ProjectState(METRICS, PARAMS, DATA), ProjectState(METRICS | change, PARAMS, DATA))


def test_data_of_which_no_hash_is_known_may_be_other_data() -> None:
    """But for the built-in sample, which its parameters make."""
    told = "DVC has no hash of the data: it is unknown whether the test pairs are those from before."
    faces, sample = ({"path": path, "hash": None} for path in ("data/faces", "data/sample"))
    assert told in diff.warnings(ProjectState(METRICS, PARAMS, faces), ProjectState(METRICS, PARAMS, faces))
    assert diff.warnings(ProjectState(METRICS, PARAMS, sample), ProjectState(METRICS, PARAMS, sample)) == []
    drawn = PARAMS | {"sample.seed": 1}
    (other,) = diff.warnings(ProjectState(METRICS, PARAMS, sample), ProjectState(METRICS, drawn, sample))
    assert other.startswith("the test pairs may not be those from before")


def test_a_value_cannot_break_out_of_its_cell() -> None:
    nasty = {"data.path": "a|b\n## Merged <img src=x> @somebody `x` [l](u)"}
    cell = diff.render(ProjectState(None), ProjectState(METRICS, nasty), None, None).splitlines()[-1]
    assert cell == ("| data.path | – | a\\|b \\#\\# Merged &#60;img src=x&#62; &#64;somebody \\`x\\` \\[l\\](u) |")


def test_a_picture_is_shown_where_its_address_is_one_and_else_linked() -> None:
    shown = diff.render(ProjectState(None), better(), None, "https://host/curves.png")
    assert "[![The curves: ROC, scores, training](https://host/curves.png)](https://host/curves.png)" in lines(shown)
    linked = diff.render(ProjectState(None), better(), None, "https://host/run#artifacts")
    assert "[The curves: ROC, scores, training](https://host/run#artifacts)" in lines(linked)


@pytest.fixture
def versioned(tmp_path: Path) -> Path:
    """A git repository: first without figures, then with; its working folder is a step further. No DVC, no .venv."""
    environment = os.environ | {
        f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }

    def commit() -> None:
        for command in (["add", "--all"], ["commit", "-q", "-m", "state"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True, env=environment)

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "params.yaml").write_text("data:\n  path: data/faces\ntrain:\n  epochs: 50\n")
    (tmp_path / "data/faces.dvc").write_text("outs:\n- md5: abc.dir\n  nfiles: 60\n  path: faces\n")
    commit()
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    commit()
    (tmp_path / "metrics.json").write_text(json.dumps(better().metrics))
    (tmp_path / "params.yaml").write_text("data:\n  path: data/faces\ntrain:\n  epochs: 80\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    with working_folder(folder):
        return cli.run(["changes", *arguments])


def test_the_command_compares_the_working_folder_with_git(versioned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(versioned) == 0
    said = capsys.readouterr().out
    assert "| eer | 0.200 (0.125 to 0.300) | 0.150 (0.125 to 0.300) | −0.050 better |" in said
    assert "| train.epochs | 50 | 80 |" in said and "| DVC hash | abc.dir | abc.dir |" in said
    assert run(versioned, "--since", "HEAD~1") == 0
    assert "there are no figures from before" in capsys.readouterr().out


def test_it_is_asked_from_a_folder_below_the_top_of_the_repository(tmp_path: Path, versioned: Path) -> None:
    with working_folder(versioned / "data"):
        assert diff.at("HEAD").metrics is None  # data/metrics.json there is none


@pytest.mark.parametrize("revision", ["nowhere", "--output=x", "HEAD:metrics.json"])
def test_a_revision_that_is_none_is_one_line(
    versioned: Path, revision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(versioned, f"--since={revision}") == 2
    said = capsys.readouterr().err
    assert said == f"siamese: git has no revision {revision} here: name one with --since\n"
    assert not (versioned / "x").exists()


def test_outside_git_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", "{"])
def test_a_verdict_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "verdict.json"
    file.write_text(content)
    with pytest.raises(InputError, match="isn't what `siamese promote --json` prints"):
        diff.verdict(file)


def test_the_report_of_a_real_run_names_its_picture_from_where_it_lies(workspace: Path, tmp_path: Path) -> None:
    for name in ("metrics.json", "params.yaml", "plots", "artifacts"):
        (tmp_path / name).symlink_to(workspace / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("*\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "empty"], cwd=tmp_path, check=True)
    out = ["--output", "out/report.md", "--picture", "out/curves.png", "--earlier-plots", "nowhere"]
    assert run(tmp_path, *out) == 0
    text = (tmp_path / "out/report.md").read_text()
    assert "[![The curves: ROC, scores, training](curves.png)](curves.png)" in text
    eer = json.loads((workspace / "metrics.json").read_text())["test"]["eer"]
    assert f"| eer | – | {eer:.3f}" in text
    first = (tmp_path / "out/curves.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert run(tmp_path, *out) == 0
    assert (tmp_path / "out/curves.png").read_bytes() == first


def test_the_picture_draws_what_the_tables_hold(tmp_path: Path) -> None:
    """The ROC curve of a perfect model runs along the left and the upper edge; an earlier, worse one lies below it."""
    from PIL import Image

    def tables(name: str, *points: tuple[float, float]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = "".join(f"{far},{tar},0\n" for far, tar in points)
        (folder / "roc.csv").write_text(f"false_accept_rate,true_accept_rate,threshold\n{rows}")
        (folder / "scores.csv").write_text("bin,same,different\n0.0,0,3\n0.5,3,0\n")
        return folder

    perfect = tables("perfect", (0, 0), (0, 1), (1, 1))
    guessing = tables("guessing", (0, 0), (1, 1))
    pictures = {}
    for name, earlier in (("alone", None), ("compared", guessing)):
        diff_curves.draw(tmp_path / f"{name}.png", perfect, tmp_path / "history.csv", earlier)
        pictures[name] = Image.open(tmp_path / f"{name}.png").convert("RGB")
    blue = [count for count, colour in pictures["alone"].getcolors(1 << 24) if colour == (11, 98, 196)]
    assert blue and blue[0] > 400  # some 300 pixels across and up, 2 wide
    assert pictures["alone"].size == pictures["compared"].size == (1300, 400)
    assert pictures["alone"].tobytes() != pictures["compared"].tobytes()


def test_a_table_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "roc.csv").write_text("other\n1\n")
    with pytest.raises(InputError, match=r"roc\.csv"):
        diff_curves.draw(tmp_path / "picture.png", tmp_path, paths.HISTORY)
    assert not (tmp_path / "picture.png").exists()
