"""Protocols of one's own: what a list means, and that nothing but knowledge gains more than chance.

Real protocols, on real data: real_data/test_published_protocols.py.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from conftest import working_folder

from siamese import cli
from siamese.data.datasets.base import all_pairs, n_way
from siamese.errors import InputError
from siamese.evaluation import trials
from siamese.evaluation.score_fusion import fuse_claim_scores, fused
from siamese.models.scoring import EmbeddingTable
from siamese.params import EvaluateParams

PARAMS = EvaluateParams(threshold="eer", bootstrap=100, one_shot_trials=1, seed=0)


def written(folder: Path, rows: Sequence[Sequence[object]]) -> Path:
    """A list: the first row names the columns."""
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "list.csv"


def verified(
    table: pd.DataFrame, scores: Sequence[float], fuse: Literal["mean", "best"] = "mean", threshold: float = 0.5
) -> dict:
    claimed = fused(np.array(scores), table.claim.to_numpy(), fuse)
    return trials.measured(table, claimed, threshold, True, PARAMS)[0]


def recognised(table: pd.DataFrame, scores: np.ndarray) -> float:
    found = trials.measured(table, scores, None, True, PARAMS)[1]
    assert found is not None
    return found.accuracy


def pairs_of(people: int, images: int) -> pd.DataFrame:
    """All pairs of so many people's images, numbered as `trials.read` numbers them."""
    table = all_pairs(f"who-{person}/{image}.png" for person in range(people) for image in range(images))
    return table.assign(claim=range(len(table)), kind="")


def runs_of(count: int, ways: int) -> pd.DataFrame:
    names = [[f"{run}-{one}" for one in range(ways)] for run in range(count)]
    table = n_way([([f"{one}/p" for one in run], [f"{one}/r" for one in run]) for run in names])
    return table.assign(claim=range(len(table)), kind="", trial=table.trial.astype(str))


def test_rows_are_claims_of_their_own(tmp_path: Path) -> None:
    table = trials.read(written(tmp_path, [("probe", "reference", "label"), ("a", "b", 1), ("a", "c", 0)]))
    assert table[["label", "claim", "kind"]].to_dict("list") == {"label": [1, 0], "claim": [0, 1], "kind": ["", ""]}


def test_references_of_a_claim_become_one_score(tmp_path: Path) -> None:
    """Right 0.9, 0.1: mean 0.5, best 0.9. Wrong 0.6, 0.6: 0.6 both ways. So the best tells them apart, the mean not."""
    rows = [("x", "p", "a", 1), ("x", "p", "b", 1), ("y", "q", "a", 0), ("y", "q", "b", 0)]
    table = trials.read(written(tmp_path, [("claim", "probe", "reference", "label"), *rows]))
    scores = np.array([0.9, 0.1, 0.6, 0.6])
    assert fused(scores, table.claim.to_numpy(), "mean").tolist() == pytest.approx([0.5, 0.6])
    assert fused(scores, table.claim.to_numpy(), "best").tolist() == pytest.approx([0.9, 0.6])
    assert verified(table, scores, "best")["different"]["eer"] == 0
    assert verified(table, scores, "mean")["different"]["eer"] == 1


class OneUnit:
    """A model of one unit whose log-odds are 2 less the distance."""

    def head(self) -> tuple[np.ndarray, float]:
        return np.array([-1], np.float32), 2.0

    def score(self, anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(np.abs(anchors - others)[:, 0] - 2))


def at_places(places: dict[str, float]) -> EmbeddingTable:
    """Images of one unit."""
    return EmbeddingTable(pd.Index(list(places)), np.array(list(places.values()), np.float32)[:, None])


def probability(log_odds: Sequence[float]) -> Any:
    return pytest.approx([1 / (1 + np.exp(-one)) for one in log_odds], abs=1e-6)


def test_a_relative_score_asks_of_each_hand_what_it_does_itself() -> None:
    """The steady hand's references 0, 1, 2 are 1, 1, 2 apart, log-odds 1, 1, 0: mean 2/3. A forgery at 3 is 3, 2, 1
    from them, log-odds -1, 0, 1: mean 0, so 2/3 below. The unsteady hand's 10, 14: 4 apart, log-odds -2; its own
    signature at 17 is 7, 3 from them, -5, -1: mean -3, so 1 below; at 12: 2, 2, so 0, which is 2 above. One reference,
    20, has nobody beside it: log-odds 1 of a probe at 21 stay."""
    embedded = at_places({"a": 0, "b": 1, "c": 2, "f": 3, "u": 10, "v": 14, "w": 17, "x": 12, "s": 20, "t": 21})
    claims = [("f", "abc"), ("w", "uv"), ("x", "uv"), ("t", "s")]
    rows = [(number, probe, one) for number, (probe, known) in enumerate(claims) for one in known]
    table = pd.DataFrame(rows, columns=["claim", "probe", "reference"])
    found = fuse_claim_scores(OneUnit(), embedded, table, "relative", None)  # type: ignore[arg-type]
    assert found.tolist() == probability([-2 / 3, -1, 2, 1])


def test_a_cohort_lowers_those_who_are_like_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the nearest two of a cohort at 0, 1, 8: an image at 0 is 0 and 1 apart, log-odds 2 and 1, mean 1.5;
    at 2: 2 and 1, so 0.5; at 20: 12 and 19, so -13.5; at 22: 14 and 21, so -15.5. The pairs 0, 2 and 20, 22 are both
    2 apart, log-odds 0; less half of each image's they are -1 and 14.5."""
    monkeypatch.setattr("siamese.evaluation.score_fusion.NEAREST", 2)
    embedded = at_places({"a": 0, "b": 2, "y": 20, "z": 22})
    table = pd.DataFrame({"claim": [0, 1], "probe": ["a", "y"], "reference": ["b", "z"]})
    cohort = np.array([[0], [1], [8]], np.float32)
    alone, beside = (fuse_claim_scores(OneUnit(), embedded, table, "mean", one) for one in (None, cohort))  # type: ignore[arg-type]
    assert alone.tolist() == pytest.approx([0.5, 0.5])
    assert beside.tolist() == probability([-1, 14.5])


def test_each_kind_of_impostor_has_figures_of_its_own(tmp_path: Path) -> None:
    """Right 0.8, 0.7; random 0.1, 0.2; skilled 0.75, 0.3. Accepting from 0.72 on, one right and one skilled: EER
    is 0 of random, 1/2 of skilled, 1/4 of all. At threshold 0.5, 2 of 2 right, 2 of 2 random, 1 of 2 skilled are
    judged well."""
    rows = [
        ("a", "b", 1, ""), ("a", "c", 1, ""), ("x", "b", 0, "random"), ("y", "b", 0, "random"),
        ("f", "b", 0, "skilled"), ("g", "b", 0, "skilled"),
    ]  # fmt: skip
    table = trials.read(written(tmp_path, [("probe", "reference", "label", "kind"), *rows]))
    found = verified(table, [0.8, 0.7, 0.1, 0.2, 0.75, 0.3])
    assert list(found) == ["all", "random", "skilled"]
    assert {kind: one["eer"] for kind, one in found.items()} == pytest.approx(
        {"all": 0.25, "random": 0, "skilled": 0.5}
    )
    assert {kind: one["accuracy"] for kind, one in found.items()} == pytest.approx(
        {"all": 5 / 6, "random": 1, "skilled": 3 / 4}
    )
    assert [(one["right"], one["wrong"]) for one in found.values()] == [(2, 4), (2, 2), (2, 2)]


def test_who_knows_nothing_gains_chance() -> None:
    """A constant; chance for labels that are shuffled: 1,500 pairs of either label, three deviations are 0.04."""
    table = pairs_of(people=30, images=4)
    assert verified(table, np.full(len(table), 0.3))["different"]["eer"] == 0.5
    rng = np.random.default_rng(0)
    knows = np.where(table.label == 1, rng.uniform(0.5, 1, len(table)), rng.uniform(0, 0.6, len(table)))
    assert verified(table, knows)["different"]["eer"] < 0.2
    shuffled = table.assign(label=rng.permutation(table.label))
    assert verified(shuffled, knows)["different"]["eer"] == pytest.approx(0.5, abs=0.12)


def test_who_recognises_nothing_gains_chance() -> None:
    table = runs_of(20, 20)
    right = table.label.to_numpy(float)
    place = table.groupby("trial").cumcount().to_numpy()
    assert recognised(table, right) == 1
    assert recognised(table, np.full(len(table), 0.3)) == pytest.approx(1 / 20)
    assert recognised(table, (place == 0).astype(float)) == 1 / 20
    assert recognised(table, (place == 19).astype(float)) == 1 / 20
    turned = table.assign(label=np.roll(right.reshape(-1, 20), 1, axis=1).ravel().astype(int))
    assert recognised(turned, right) == 0
    rng = np.random.default_rng(0)
    shuffled = table.assign(label=rng.permuted(right.reshape(-1, 20), axis=1).ravel().astype(int))
    assert recognised(shuffled, right) == pytest.approx(1 / 20, abs=0.035)  # three deviations of 400 trials


def test_the_order_of_rows_means_nothing() -> None:
    """Rows of a trial may be anywhere in the list."""
    table = runs_of(10, 10)
    scores = np.random.default_rng(0).random(len(table)) + 0.5 * table.label.to_numpy()
    order = np.random.default_rng(1).permutation(len(table))
    mixed = table.iloc[order].reset_index(drop=True)
    assert recognised(mixed.assign(claim=pd.factorize(mixed.claim)[0]), scores[order]) == recognised(table, scores)


HEAD = ("probe", "reference", "label")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("probe", "label"), ("a", 1)], "lacks the column reference: write the columns probe, reference, label"),
        ([HEAD], "has no rows: write the columns"),
        ([HEAD, ("a", "b", "yes")], "label yes: must be 1 (same identity) or 0"),
        ([HEAD, ("a", "b", "")], "row 2: label without a value"),
        (
            [HEAD, ("a/1", "a/2", 1), ("a/1", "/b/1", 0)],
            "row 3: reference /b/1: must lie in the data folder: name it by",
        ),
        ([HEAD, ("a/../../b", "a/2", 1)], "row 2: probe a/../../b: must lie in the data folder"),
        ([HEAD, ("", "a/2", 1)], "row 2: probe without a value"),
        ([(*HEAD, "kind"), ("a", "b", 1, ""), ("a", "c", 0, "all")], "kind all: is a word of the answer"),
        ([(*HEAD, "kind"), ("a", "b", 1, ""), ("a", "c", 0, "different")], "kind different: is a word of the answer"),
        (
            [(*HEAD, "kind"), ("a", "b", 1, "own"), ("a", "c", 0, "skilled")],
            "kind skilled has wrong claims (label 0) and",
        ),
        ([(*HEAD, "claim"), ("a", "b", 1, 1), ("c", "b", 1, 1)], "row 2: a claim's rows must share probe, label, kind"),
        ([(*HEAD, "trial"), ("a", "b", 1, 1), ("a", "c", 1, 1)], "one claim be right"),
        ([(*HEAD, "trial"), ("a", "b", 1, 1), ("c", "b", 1, 2)], "a trial needs two claims or more"),
        ([(*HEAD, "score"), ("a", "b", 1, 3), ("a", "c", 0, 4)], "has a column score, which is a word of the answer"),
        ([HEAD, ("x", "a", "b", 1), ("x", "a", "c", 0)], "a row has more values than the header has columns"),
        ([HEAD, ("a", "b", 1), (), ("a", "", 0)], "row 4: reference without a value"),
        ([(), (), HEAD, ("a", "b", 1), ("a", "", 0)], "row 5: reference without a value"),
        ([HEAD, ("a", "b", 1), ("a", "c\0", 0)], "row 3: reference without a value"),
        ([(*HEAD, "trial"), ("a", "b", 1, 1), ("x", "c", 0, 1)], "a trial's rows must share the probe"),
        ([(*HEAD, "trial"), ("a", "b", 1, 1), ("a", "c", 0, 1), ("a", "b", 1, 2)], "all trials alike"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path: Path, rows: list, reason: str) -> None:
    with pytest.raises(InputError) as raised:
        trials.read(written(tmp_path, rows))
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_image_is_one_however_its_path_is_written(tmp_path: Path) -> None:
    """So intervals resample the same identities."""
    table = trials.read(written(tmp_path, [HEAD, ("./a/1", "a//2", 1), ("a/1", "./b/1", 0)]))
    assert table[["probe", "reference"]].to_numpy().tolist() == [["a/1", "a/2"], ["a/1", "b/1"]]


@pytest.mark.parametrize("listed", [pairs_of(2, 2), runs_of(2, 2)])
def test_scores_that_are_no_numbers_are_told(listed: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="a score that is no number"):
        trials.measured(listed, np.full(listed.claim.nunique(), np.nan), 0.5, True, PARAMS)


def test_scores_are_written_by_the_claims_names_and_never_over_the_list(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = pd.read_parquet(workspace / "artifacts/catalog.parquet").groupby("identity").path.apply(list)
    one, other = of.iloc[0], of.iloc[1]
    rows = [(one[0], one[1], 1, "q3"), (one[0], one[2], 1, "q3"), (one[0], other[0], 0, "q1")]
    named = written(tmp_path, [(*HEAD, "claim"), *rows])
    before = named.read_bytes()
    with working_folder(workspace):
        assert cli.run(["trials", str(named), "--scores", str(tmp_path / "scores.csv")]) == 0
        for option in ("--scores", "-o"):
            capsys.readouterr()
            assert cli.run(["trials", str(named), option, str(named)]) == 2
            assert "name another file" in capsys.readouterr().err
        assert named.read_bytes() == before
        assert cli.run(["trials", "nowhere.csv", "-o", str(tmp_path / "out.json")]) == 2
        assert "siamese: nowhere.csv: can't be read" in capsys.readouterr().err
        look = str(tmp_path / "look.csv")
        assert cli.run(["trials", str(named), "--log", look]) == 0
        logged = Path(look).read_bytes()
        for options in (["--log", look, "--scores", look], ["--cohort", look, "-o", look], ["--scores", look]):
            capsys.readouterr()
            assert cli.run(["trials", str(named), *options]) == 2
            assert "name another file" in capsys.readouterr().err
        assert Path(look).read_bytes() == logged
        scored = pd.read_csv(tmp_path / "scores.csv")
        assert scored.claim.tolist() == ["q3", "q1"] and scored.reference.tolist() == [one[1], other[0]]
        plain = written(tmp_path, [HEAD, *(row[:3] for row in rows)])
        assert cli.run(["trials", str(plain), "--scores", str(tmp_path / "scores.csv")]) == 0
    scored = pd.read_csv(tmp_path / "scores.csv")
    assert scored.reference.tolist() == [one[1], one[2], other[0]] and "claim" not in scored


def test_verification_needs_both_labels(tmp_path: Path) -> None:
    for label in (0, 1):
        with pytest.raises(InputError, match=rf"list\.csv: every label is {label}: verification needs right claims"):
            trials.read(written(tmp_path, [HEAD, ("a", "b", label)]))


def test_the_log_names_the_file_that_was_read(tmp_path: Path) -> None:
    """Its digest is that of the bytes that were parsed: `echo -n` of them through sha256sum gives the same."""
    content = b"probe,reference,label\n\na,b,1\na,c,0\n"
    (tmp_path / "list.csv").write_bytes(content)
    table, digest = trials._read(tmp_path / "list.csv")
    assert digest == hashlib.sha256(content).hexdigest()
    assert table.reference.tolist() == ["b", "c"]  # a blank line is none of the list's
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(content))
    assert trials.read(tmp_path / "list.csv.gz").equals(table)


def test_the_command_measures_what_the_pairs_step_measured(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test pairs as a list give the EER and accuracy that `siamese evaluate` found, and the log tells of each."""
    catalog = pd.read_parquet(workspace / "artifacts/catalog.parquet").set_index("image_id").path
    pairs = pd.read_parquet(workspace / "artifacts/pairs.parquet").query("split == 'test'")
    rows = zip(pairs.anchor_id.map(catalog), pairs.other_id.map(catalog), pairs.label, strict=True)
    listed, log = written(tmp_path, [HEAD, *rows]), tmp_path / "log.csv"
    with working_folder(workspace):
        assert cli.run(["trials", str(listed), "--json", "--log", str(log)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert cli.run(["trials", str(listed), "--log", str(log), "-o", str(tmp_path / "made.json")]) == 0
        expected = json.loads(Path("metrics.json").read_text())["test"]
    measured = found["verification"]["different"]
    for metric in ("eer", "auc", "accuracy"):
        assert measured[metric] == pytest.approx(expected[metric], abs=1e-4), metric
    assert json.loads((tmp_path / "made.json").read_text()) == found
    logged = pd.read_csv(log)
    assert logged.sha256.tolist() == [found["sha256"]] * 2
    assert logged.weights.tolist() == [found["weights"]] * 2
    assert logged.figures.tolist() == [f"eer of different {measured['eer']:.4f}"] * 2


def test_images_that_trained_the_model_or_may_have_are_said(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the four trained it; of a model without a list of them nobody knows."""
    catalog = pd.read_parquet(workspace / "artifacts/catalog.parquet")
    seen, new = (catalog.path[catalog.split == split].tolist() for split in ("train", "test"))
    listed = written(tmp_path, [HEAD, (new[0], new[1], 1), (new[2], seen[0], 0)])
    (tmp_path / "model").mkdir()
    for name in ("model/servable", "threshold.json"):
        (tmp_path / "model" / Path(name).name).symlink_to(workspace / "artifacts" / name)

    def said(*options: str) -> list[str]:
        with working_folder(workspace):
            assert cli.run(["trials", str(listed), *options]) == 0
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{listed}: ")]

    assert said() == [f"{listed}: 1 of its images trained the model, which tells them apart better than new ones"]
    assert said("--model", str(tmp_path / "model")) == [
        f"{listed}: it is unknown whether this model was trained on the images that measure it, so its figures may be "
        "too good"
    ]


def test_a_list_may_spell_a_path_otherwise_than_its_folder_does(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decomposed on the disk, composed in the list: the same images, and the answers keep the list's names."""
    nfc, nfd = "J\u00fcrgen", "Ju\u0308rgen"
    one, other = sorted((workspace / "data/sample").glob("*/"))[:2]
    first, second, third = (f"{nfc}/{file.name}" for file in sorted(one.iterdir())[:3])
    ben = f"ben/{sorted(other.iterdir())[0].name}"
    listed = written(tmp_path, [HEAD, (first, second, 1), (first, third, 1), (first, ben, 0)])
    scores = {}
    for number, spelling in enumerate((nfd, nfc)):
        data, output = tmp_path / f"data-{number}", tmp_path / f"{number}.csv"
        shutil.copytree(one, data / spelling)
        shutil.copytree(other, data / "ben")
        with working_folder(workspace):
            command = ["trials", str(listed), "--data", str(data), "--scores", str(output)]
            assert cli.run(command) == 0, capsys.readouterr().err
        scores[spelling] = pd.read_csv(output)
        assert scores[spelling].probe.tolist() == [first] * 3
    pd.testing.assert_frame_equal(scores[nfd], scores[nfc])


def test_intervals_resample_people_and_not_the_spellings_of_their_names() -> None:
    paths = pd.Series(["J\u00fcrgen/1.png", "Ju\u0308rgen/2.png", "ann/1.png", "Ann /2.png"])
    assert trials._identity(paths).nunique() == 2


def test_the_command_holds_images_against_those_of_training(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures change, and the result and the log say why; a catalog that isn't one is told in a line."""
    catalog = pd.read_parquet(workspace / "artifacts/catalog.parquet").query("split == 'test'")
    listed = all_pairs(catalog.path)
    listed.to_csv(tmp_path / "list.csv", index=False)
    made, log = workspace / "artifacts/catalog.parquet", tmp_path / "log.csv"
    with working_folder(workspace):
        assert cli.run(["trials", str(tmp_path / "list.csv"), "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert cli.run(["trials", str(tmp_path / "list.csv"), "--json", "--cohort", str(made), "--log", str(log)]) == 0
        beside = json.loads(capsys.readouterr().out)
        assert cli.run(["trials", str(tmp_path / "list.csv"), "--cohort", str(tmp_path / "nowhere.parquet")]) == 2
        assert f"{tmp_path / 'nowhere.parquet'} is missing" in capsys.readouterr().err
    assert (alone["cohort"], beside["cohort"]) == (None, "catalog.parquet")
    assert alone["verification"]["different"]["auc"] != beside["verification"]["different"]["auc"]
    assert pd.read_csv(log).fuse.tolist() == ["mean, cohort catalog.parquet"]


RESULT = trials.TrialResult("list.csv", "ab", "cd", "mean", None, 0.5, 2, 1, {"different": {"eer": 0.25}}, None)


def test_of_many_looks_at_once_each_is_noted(tmp_path: Path) -> None:
    log = tmp_path / "new/log.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: trials.note(log, RESULT), range(40)))
    noted = pd.read_csv(log)
    assert noted.columns.tolist() == ["time", "trials", "sha256", "weights", "fuse", "figures"]
    assert noted.figures.tolist() == ["eer of different 0.2500"] * 40


def test_a_log_whose_last_line_lacks_its_end_keeps_it(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    trials.note(log, RESULT)
    log.write_text(log.read_text().rstrip("\n"))
    trials.note(log, RESULT)
    assert len(pd.read_csv(log)) == 2


@pytest.mark.parametrize("content", [b"name,score\nann,1\n", b"\xff\xfe"])
def test_a_file_that_is_no_log_is_left_alone(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """It is told before anything is scored: here there isn't even a model."""
    theirs = tmp_path / "theirs.csv"
    theirs.write_bytes(content)
    listed = written(tmp_path, [HEAD, ("a/1.png", "a/2.png", 1), ("a/1.png", "b/1.png", 0)])
    with working_folder(workspace):
        assert cli.run(["trials", str(listed), "--log", str(theirs), "--model", str(tmp_path / "nowhere")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"siamese: {theirs}: ") and "log" in told and told.count("\n") == 1
    assert theirs.read_bytes() == content


def test_the_command_tells_what_it_cannot_do(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = written(tmp_path, [HEAD, ("nobody/1.png", "nobody/2.png", 1), ("nobody/1.png", "nobody/3.png", 0)])
    with working_folder(workspace):
        assert cli.run(["trials", str(listed)]) == 2
        assert "nobody/1.png: can't be read" in capsys.readouterr().err
        assert cli.run(["trials", str(listed), "--fuse", "worst"]) == 2
        assert "--fuse worst: must be one of mean, best, relative" in capsys.readouterr().err
