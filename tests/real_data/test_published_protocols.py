"""The published data sets become what their protocols say, and nothing but knowledge gains more than chance on them.

Runs where SIAMESE_REAL_DATA names a folder that holds their archives: `*orl*.zip`, `*omniglot*.zip`, …
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese.data.datasets import fetch
from siamese.evaluation import trials
from siamese.evaluation.score_fusion import fused
from siamese.params import EvaluateParams

DATA = Path(os.environ.get("SIAMESE_REAL_DATA", "nowhere"))
PARAMS = EvaluateParams(threshold="eer", bootstrap=100, one_shot_trials=1, seed=0)


def needs(archive: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / archive).exists(), reason=f"SIAMESE_REAL_DATA names no folder with {archive}")


def fetched(name: str, factory: pytest.TempPathFactory) -> Path:
    folder = factory.mktemp(name) / name
    assert fetch.run(name, [DATA], folder, folder.parent)
    return folder


@pytest.fixture(scope="module")
def omniglot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched("omniglot", tmp_path_factory)


@pytest.fixture(scope="module")
def orl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched("orl", tmp_path_factory)


def table(folder: Path, name: str) -> pd.DataFrame:
    return trials.read(folder / f"protocol/trials-{name}.csv")


def splits(folder: Path, name: str) -> dict[str, set[str]]:
    listed = pd.read_csv(folder / f"protocol/splits-{name}.csv")
    return {split: set(rows.identity) for split, rows in listed.groupby("split")}


def one_shot(listed: pd.DataFrame, scores: np.ndarray) -> float:
    found = trials.measured(listed, scores, None, True, PARAMS)[1]
    assert found is not None
    return found.accuracy


def alphabets(characters: set[str]) -> set[str]:
    return {character.rpartition(".")[0] for character in characters}


def recognised_by_nobody(listed: pd.DataFrame) -> None:
    """A constant and one who always answers the first gain 1/20 to the digit, shuffled labels within 3 deviations."""
    right = listed.label.to_numpy(float)
    place = listed.groupby("trial").cumcount().to_numpy()
    count = len(listed) // 20
    assert one_shot(listed, right) == 1
    assert one_shot(listed, np.full(len(listed), 0.5)) == pytest.approx(1 / 20)
    assert all(one_shot(listed, (place == answer).astype(float)) == 1 / 20 for answer in (0, 7, 19))
    shuffled = np.random.default_rng(0).permuted(right.reshape(-1, 20), axis=1).ravel().astype(int)
    assert one_shot(listed.assign(label=shuffled), right) == pytest.approx(1 / 20, abs=3 * (0.05 * 0.95 / count) ** 0.5)


@needs("omniglot_oneshot_runs.zip")
def test_omniglot_s_official_runs(omniglot: Path) -> None:
    """400 trials of 20, each run within one alphabet of the evaluation set, two drawers a run."""
    listed = table(omniglot, "runs")
    assert len(listed) == 20 * 20 * 20 and listed.trial.nunique() == 400
    characters = {path.partition("/")[0] for path in (*listed.probe, *listed.reference)}
    assert len(alphabets(characters)) == 10
    for _, run in listed.groupby(listed.trial.astype(int) // 20):
        asked, known = set(run.probe), set(run.reference)
        assert len(asked) == len(known) == 20 and not asked & known
        assert len(alphabets({path.partition("/")[0] for path in asked | known})) == 1
        assert [len({path[-6:-4] for path in side}) for side in (asked, known)] == [1, 1]
    same = [a.partition("/")[0] == b.partition("/")[0] for a, b in zip(listed.probe, listed.reference, strict=True)]
    assert (listed.label == 1).tolist() == same
    assert all((omniglot / path).exists() for path in {*listed.probe, *listed.reference})
    recognised_by_nobody(listed)


@needs("omniglot_oneshot_runs.zip")
def test_omniglot_is_chosen_on_and_trained_on_background_alphabets_alone(omniglot: Path) -> None:
    runs = table(omniglot, "runs")
    official = alphabets({path.partition("/")[0] for path in (*runs.probe, *runs.reference)})
    choosing, final = splits(omniglot, "choose"), splits(omniglot, "final")
    for held in (choosing, final):
        sets = [alphabets(held[split]) for split in ("train", "validation", "test")]
        assert sum(map(len, sets)) == len(set.union(*sets))  # whole alphabets: none lies in two splits
    assert {split: len(alphabets(names)) for split, names in choosing.items()} == {
        "train": 20, "validation": 5, "test": 5,
    }  # fmt: skip
    assert {split: len(alphabets(names)) for split, names in final.items()} == {
        "train": 28, "validation": 2, "test": 20,
    }  # fmt: skip
    background = set.union(*choosing.values())
    assert len(background) == 964 and not alphabets(background) & official
    assert final["train"] | final["validation"] == background and len(final["test"]) == 659
    for name, split in (("choose", "test"), ("choose-validation", "validation")):
        listed = table(omniglot, name)
        assert listed.trial.nunique() == 5 * 10 * 20
        assert {path.partition("/")[0] for path in (*listed.probe, *listed.reference)} <= choosing[split]
        recognised_by_nobody(listed)


@needs("orl_faces.zip")
@pytest.mark.parametrize("name", ["s31-s40", *(f"random-{number}" for number in range(1, 6))])
def test_orl_s_pairs_are_those_of_people_who_never_trained(orl: Path, name: str) -> None:
    """4,950 pairs, 450 positive. Who knows nothing errs half the time."""
    listed = table(orl, name)
    assert (len(listed), listed.label.sum()) == (4950, 450)
    people = {path.partition("/")[0] for path in (*listed.probe, *listed.reference)}
    assert people == splits(orl, name)["test"] and len(people) == 10
    verified_by_nobody(listed)


def verified_by_nobody(listed: pd.DataFrame) -> None:
    def eers(labels: np.ndarray, scores: np.ndarray) -> list[float]:
        claimed = fused(scores, listed.claim.to_numpy(), "mean")
        found, _ = trials.measured(listed.assign(label=labels), claimed, 0.5, True, PARAMS)
        return [figures["eer"] for figures in found.values()]

    truth = listed.label.to_numpy()
    rng = np.random.default_rng(0)
    assert eers(truth, np.full(len(listed), 0.3)) == pytest.approx([0.5] * len(eers(truth, truth)))
    assert eers(truth, truth.astype(float)) == [0] * len(eers(truth, truth))
    if listed.claim.is_unique and not listed.kind.any():
        assert eers(rng.permutation(truth), truth.astype(float)) == pytest.approx([0.5], abs=0.1)
    assert eers(truth, rng.random(len(listed))) == pytest.approx([0.5] * len(eers(truth, truth)), abs=0.07)


@needs("signatures_sigcomp2009_nfi.zip")
@pytest.mark.parametrize("name", ["1", "5"])
def test_signatures(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """19 writers test, of whom none trains; forgeries of each are tried against that writer."""
    folder = fetched("signatures", tmp_path_factory)
    listed, held = table(folder, name), splits(folder, "writers")
    assert {split: len(writers) for split, writers in held.items()} == {"train": 48, "validation": 12, "test": 19}
    assert {path.partition("/")[0].partition(".")[0] for path in (*listed.probe, *listed.reference)} == held["test"]
    skilled = listed[listed.kind == "skilled"]
    assert skilled.probe.nunique() == 624
    assert all((folder / path).exists() for path in {*listed.probe, *listed.reference})
    verified_by_nobody(listed)


@needs("lfw_view1_only.zip")
def test_lfw_view_1(tmp_path_factory: pytest.TempPathFactory) -> None:
    """1,000 test pairs, half of either label, and nobody in them trains."""
    folder = fetched("lfw", tmp_path_factory)
    held, tested, trained = splits(folder, "view1"), table(folder, "view1"), table(folder, "view1-train")
    assert tested.label.value_counts().to_dict() == {1: 500, 0: 500}
    assert trained.label.value_counts().to_dict() == {1: 1100, 0: 1100}
    of = [{path.partition("/")[0] for path in (*listed.probe, *listed.reference)} for listed in (tested, trained)]
    assert not of[0] & of[1]
    assert held["test"] == of[0] and held["train"] | held["validation"] == of[1]
    assert len(held["validation"]) == 213 and not held["train"] & held["validation"]
    verified_by_nobody(tested)
