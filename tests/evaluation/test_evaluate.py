"""Step `evaluate`: a threshold from validation pairs, figures from test pairs, and files that other tools read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_evaluation import (
    IMAGES,
    MANY_IDENTITIES,
    PARAMS,
    Constant,
    Files,
    Means,
    Oracle,
    World,
    network,
    world,
    write,
)

from siamese import config
from siamese.errors import InputError
from siamese.evaluation import choose_threshold, curves, evaluate, measurement
from siamese.evaluation.measurement import measure_model
from siamese.evaluation.metrics.verification import METRICS, same
from siamese.models import trained_on
from siamese.orchestration import kfp_outputs

WORLD = world()


def run(folder: Path, scorer: Means, monkeypatch, made=WORLD, params=PARAMS, note: str | None = None) -> Files:
    files = write(folder, made)
    network(monkeypatch, scorer)
    evaluate.run(**files.arguments(), params=params, note=note)
    return files


def metrics_of(files: Files) -> dict:
    return strict_json(files.folder / "metrics.json")


def strict_json(file: Path) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)


def numbers(tree: dict, prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_metrics_json_holds_plain_numbers_by_name(tmp_path, monkeypatch) -> None:
    """What `dvc metrics show` and `diff` list: numbers; null where there is none; text under `undefined` alone."""
    found = metrics_of(run(tmp_path, Means(), monkeypatch))
    for name, value in numbers(found):
        assert (
            isinstance(value, str) if name.startswith("undefined.") else value is None or isinstance(value, int | float)
        ), name
    assert list(found["test"]) == list(found["test_low"]) == list(found["test_high"]) == list(METRICS)
    for metric in ("precision", "recall", "accuracy", "f1", "auc", "eer", "brier", "calibration_error"):
        assert found["test_low"][metric] <= found["test"][metric] <= found["test_high"][metric], metric
    assert found["baseline_raw_pixels"].keys() == {"eer", "auc", "accuracy", "precision"}
    assert found["seeds"] == {"evaluate": 0}
    assert found["undefined"].keys() == {"tar_at_far_0.01", "tar_at_far_0.001", "20_way"}


def test_a_model_without_a_list_of_what_it_has_seen_is_measured_and_that_is_said(tmp_path, monkeypatch, capsys) -> None:
    """The same figures; metrics.json differs by one entry, and so does the report by a note."""
    files = run(tmp_path, Means(), monkeypatch)
    known, report = metrics_of(files), (tmp_path / "report.html").read_text()
    assert "unknown" not in capsys.readouterr().err and "trained_on" not in known
    (tmp_path / "model" / trained_on.FILE).unlink()
    evaluate.run(**files.arguments(), params=PARAMS, note=None)
    doubt = "it is unknown whether this model was trained on the images that measure it, so its figures may be too good"
    assert f"{tmp_path / 'model'}: {doubt}" in capsys.readouterr().err.splitlines()
    assert metrics_of(files) == known | {"trained_on": "unknown"}
    assert f"Take care: {doubt}." in (tmp_path / "report.html").read_text() and doubt not in report
    limits = config.load_params(config.packaged_file(), ["promote.min_precision=0", "promote.max_eer=1"]).promote
    (reason,) = kfp_outputs.reasons_against(tmp_path / "metrics.json", limits)
    assert reason == f"{doubt}: accept that with -S promote.allow_unknown_training_data=true"
    allowed = limits.model_copy(update={"allow_unknown_training_data": True})
    assert kfp_outputs.reasons_against(tmp_path / "metrics.json", allowed) == []


def test_counts_are_those_of_catalog_and_pairs(tmp_path, monkeypatch) -> None:
    """Six test identities of three images: 18 x 17 / 2 = 153 pairs, 6 x 3 = 18 of them positive."""
    assert metrics_of(run(tmp_path, Means(), monkeypatch))["counts"]["test"] == {
        "images": 18,
        "identities": 6,
        "pairs": 153,
        "positive_pairs": 18,
        "negative_pairs": 135,
    }


def test_figures_are_those_of_the_confusion_table(tmp_path, monkeypatch) -> None:
    files = run(tmp_path, Means(), monkeypatch)
    found, table = metrics_of(files)["test"], pd.read_csv(tmp_path / "plots" / "confusion.csv")
    said, true = table.predicted == "same", table.actual == "same"
    assert found["precision"] == pytest.approx((said & true).sum() / said.sum(), abs=1e-6)
    assert found["recall"] == pytest.approx((said & true).sum() / true.sum(), abs=1e-6)
    assert found["accuracy"] == pytest.approx((said == true).mean(), abs=1e-6)
    assert len(table) == 153 and true.sum() == 18


def test_the_threshold_is_chosen_on_validation_pairs_alone(tmp_path, monkeypatch) -> None:
    """Other test pairs, other figures, the same threshold; other validation pairs, another threshold."""
    folders = [tmp_path / name for name in ("all", "fewer_test", "fewer_validation")]
    for folder in folders:
        folder.mkdir()

    def without(split: str) -> World:
        positive = WORLD.pairs[(WORLD.pairs.split == split) & (WORLD.pairs.label == 1)]
        return replace(WORLD, pairs=WORLD.pairs.drop(positive.index[: len(positive) // 2]))

    made = (WORLD, without("test"), without("validation"))
    found = [metrics_of(run(folder, Means(), monkeypatch, one)) for folder, one in zip(folders, made, strict=True)]
    assert found[0]["threshold"] == found[1]["threshold"] != found[2]["threshold"]
    assert found[0]["test"] != found[1]["test"]
    chosen = strict_json(folders[0] / "threshold.json")
    assert chosen["threshold"] == found[0]["threshold"]
    assert (chosen["rule"], chosen["pairs"], chosen["chosen_on"]) == ("eer", 66, "validation")


def test_a_network_that_knows_is_measured_as_perfect(tmp_path, monkeypatch) -> None:
    found = metrics_of(run(tmp_path, Oracle(), monkeypatch, world(marked=True, identities=MANY_IDENTITIES)))
    assert found["threshold"] == 0.5
    for metric in ("precision", "recall", "accuracy", "f1", "auc", "tar_at_far_0.1", "tar_at_far_0.01"):
        assert found["test"][metric] == found["test_low"][metric] == 1
    assert found["test"]["eer"] == found["test"]["brier"] == 0
    assert found["one_shot"]["5_way"]["accuracy"] == found["one_shot"]["20_way"]["accuracy"] == 1
    assert found["eer_below_raw_pixels"]["value"] == found["baseline_raw_pixels"]["eer"] > 0


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_network_that_gives_all_the_same_score_is_chance_and_breaks_nothing(tmp_path, monkeypatch, value) -> None:
    """Of all or none, the threshold accepts none: half of all decisions are wrong on average over both kinds."""
    found = metrics_of(run(tmp_path, Constant(value), monkeypatch, world(identities=MANY_IDENTITIES)))
    assert found["test"]["eer"] == found["test"]["auc"] == 0.5
    assert found["test"]["precision"] is None and "no pair was judged the same" in found["undefined"]["precision"]
    assert found["test"]["recall"] == found["test"]["false_accept_rate"] == found["test"]["tar_at_far_0.1"] == 0
    assert [found["one_shot"][ways]["accuracy"] for ways in ("5_way", "20_way")] == [0.2, 0.05]


def test_accepting_every_pair_has_the_precision_of_chance(tmp_path, monkeypatch) -> None:
    """18 of the 153 test pairs are positive, so that 18 of 153 accepted ones are right."""
    fixed = PARAMS.model_copy(update={"threshold": 0.5})
    found = metrics_of(run(tmp_path, Constant(0.5), monkeypatch, params=fixed))
    assert found["test"]["precision"] == found["chance"]["precision"] == pytest.approx(18 / 153, abs=1e-6)
    assert found["test"]["recall"] == found["test"]["false_accept_rate"] == 1


def test_shuffled_labels_are_chance() -> None:
    """The labels of the test pairs are dealt out anew 20 times: of n pairs of which p are positive and k accepted, the
    AUC has mean 1/2 and variance (n + 1) / (12 p (n - p)), Mann and Whitney 1947; the number of right ones among the
    accepted is hypergeometric, of mean k p / n. True labels are found."""
    rng = np.random.default_rng(0)
    pairs, of_test = WORLD.pairs.copy(), WORLD.pairs.split == "test"
    n, p = int(of_test.sum()), int(WORLD.pairs.label[of_test].sum())
    true = measure_model(WORLD.catalog, pairs, Means(), WORLD, PARAMS)
    accepted = int(same(true.model.scores, true.model.threshold.threshold).sum())
    auc, right = [], []
    for _ in range(20):
        pairs.loc[of_test, "label"] = rng.permutation(WORLD.pairs.label[of_test])
        shuffled = measure_model(WORLD.catalog, pairs, Means(), WORLD, PARAMS).model
        auc.append((shuffled.values["auc"] - 0.5) / np.sqrt((n + 1) / (12 * p * (n - p))))
        right.append(shuffled.values["precision"] * accepted)
    assert abs(np.mean(auc)) < 4 / np.sqrt(20) and 0.5 < np.std(auc) < 1.5
    spread = np.sqrt(accepted * p / n * (1 - p / n) * (n - accepted) / (n - 1))
    assert abs(np.mean(right) - accepted * p / n) < 4 * spread / np.sqrt(20)
    assert true.model.values["auc"] > 0.9 and true.model.values["precision"] > 2 * p / n


def test_shuffled_identities_gain_chance_in_one_shot_trials() -> None:
    """The test images' names are dealt out anew 20 times, 50 trials each; within 4 deviations of the 20 means."""
    rng = np.random.default_rng(0)
    many = world(identities=MANY_IDENTITIES)
    catalog, of_test = many.catalog.copy(), many.catalog.split == "test"
    gained: dict[int, list[float]] = {5: [], 20: []}
    few_pairs = many.pairs.groupby(["split", "label"]).head(3)
    for seed in range(20):
        catalog.loc[of_test, "identity"] = rng.permutation(many.catalog.identity[of_test])
        found = measure_model(catalog, few_pairs, Means(), many, PARAMS.model_copy(update={"seed": seed}))
        for ways, measured_ways in found.one_shot.items():
            gained[ways].append(measured_ways.accuracy)
    for ways, each in gained.items():
        assert abs(np.mean(each) - 1 / ways) < 4 * np.std(each) / np.sqrt(20), ways
    true = measure_model(many.catalog, few_pairs, Means(), many, PARAMS).one_shot
    assert true[5].accuracy > 3 / 5 and true[20].accuracy > 5 / 20


def test_a_network_that_gives_no_numbers_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="no number from 0 to 1"):
        run(tmp_path, Constant(float("nan")), monkeypatch)


def test_each_image_is_embedded_once(tmp_path, monkeypatch) -> None:
    """Four validation and six test identities of three images: 30, though pairs and trials name them many times."""
    scorer = Means()
    run(tmp_path, scorer, monkeypatch)
    assert scorer.embedded == (4 + 6) * IMAGES


def test_equal_runs_write_equal_bytes(tmp_path, monkeypatch) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = run(tmp_path / name, Means(), monkeypatch, note="a note")
        outputs = [files.folder / output for output in ("metrics.json", "threshold.json", "report.html")]
        contents.append([file.read_bytes() for file in [*outputs, *sorted((files.folder / "plots").iterdir())]])
    assert contents[0] == contents[1]


def test_the_seed_moves_intervals_and_trials_but_no_figure(tmp_path, monkeypatch) -> None:
    found = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        params = PARAMS.model_copy(update={"seed": seed})
        found.append(metrics_of(run(tmp_path / str(seed), Means(), monkeypatch, params=params)))
    assert found[0]["test"] == found[1]["test"]
    assert found[0]["test_low"] != found[1]["test_low"]


def test_role_folders_are_resampled_by_image_and_know_one_identity(tmp_path, monkeypatch) -> None:
    """One target of three images against 15 others: 3 + 45 pairs; of one known identity no one-shot trial."""
    made = world(roles=True)
    found = metrics_of(run(tmp_path, Means(), monkeypatch, made))
    assert found["counts"]["test"] == {
        "images": 18,
        "identities": 1,
        "pairs": 48,
        "positive_pairs": 3,
        "negative_pairs": 45,
    }
    assert found["one_shot"]["5_way"]["accuracy"] is None
    assert found["undefined"]["5_way"] == "5-way needs 5 identities, one with 2 images; there are 1, 1 with 2 or more"
    result = measure_model(made.catalog, made.pairs, Means(), made, PARAMS)
    assert not result.by_identity and result.units == 18


def test_targets_and_others_are_resampled_apart() -> None:
    """Images t1, t2 of the target come first, o1, o2, o3 of unknown identity after them."""
    test = pd.DataFrame(
        {
            "anchor_id": ["t1", "o2", "t2", "t1"],
            "other_id": ["t2", "t1", "o1", "o3"],
            "anchor_identity": ["target", None, "target", "target"],
            "other_identity": ["target", "target", None, None],
        }
    )
    units = measurement.resampled_units(test, by_identity=False)
    assert units.strata == (2, 3)
    assert units.pairs.tolist() == [[0, 1], [3, 0], [1, 2], [0, 4]]


def test_a_fixed_threshold_is_the_model_s_and_not_the_baseline_s(tmp_path, monkeypatch) -> None:
    fixed = PARAMS.model_copy(update={"threshold": 0.25})
    files = run(tmp_path, Means(), monkeypatch, params=fixed)
    assert metrics_of(files)["threshold"] == 0.25
    result = measure_model(WORLD.catalog, WORLD.pairs, Means(), WORLD, fixed)
    assert result.model.threshold.rule == "0.25" and result.baseline.threshold.rule == "eer"


def test_raw_pixels_score_one_minus_their_mean_difference() -> None:
    """Black and white differ by 255 in every value: 0. Black and grey 51: 1 - 51/255 = 0.8, in either order."""
    from siamese.models.scoring import raw_pixel_scores

    grey = {"black": 0, "grey": 51, "white": 255}
    images = replace(WORLD, drawn={name: np.full((100, 100, 3), value, np.uint8) for name, value in grey.items()})
    pairs = pd.DataFrame(
        {"anchor_id": ["black", "black", "grey", "white"], "other_id": ["white", "grey", "black", "white"]}
    )
    assert raw_pixel_scores(images, pairs).tolist() == pytest.approx([0, 0.8, 0.8, 1])


def test_plots_are_tables_of_the_test_pairs(tmp_path, monkeypatch) -> None:
    files = run(tmp_path, Means(), monkeypatch)
    table = {file.stem: pd.read_csv(file) for file in (tmp_path / "plots").iterdir()}
    assert table.keys() == {"roc", "det", "scores", "calibration", "confusion"}
    roc = table["roc"]
    assert roc.columns.tolist() == ["false_accept_rate", "true_accept_rate", "threshold"]
    assert roc.iloc[0, :2].tolist() == [0, 0] and roc.iloc[-1, :2].tolist() == [1, 1]
    assert np.isfinite(roc).all(axis=None) and (roc.threshold.diff()[1:] < 0).all()
    assert np.trapezoid(roc.true_accept_rate, roc.false_accept_rate) == pytest.approx(
        metrics_of(files)["test"]["auc"], abs=1e-6
    )
    assert (table["det"].false_reject_rate == 1 - roc.true_accept_rate).all()
    assert table["scores"].columns.tolist() == ["bin", "same", "different"]
    assert table["scores"][["same", "different"]].sum().tolist() == [18, 135]
    assert table["calibration"].pairs.sum() == 153
    assert (table["calibration"].share_same * table["calibration"].pairs).sum() == pytest.approx(18)


def test_a_long_roc_curve_is_thinned_between_its_ends() -> None:
    rng = np.random.default_rng(0)
    labels = pd.Series(np.repeat([1, 0], 4000))
    scores = rng.permutation(8000).astype(np.float32) / 8000
    table = curves.roc_table(labels, scores)
    assert 900 < len(table) <= curves.ROC_ROWS
    assert table.iloc[0, :2].tolist() == [0, 0] and table.iloc[-1, :2].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("argument", "made_by"),
    [("catalog_file", "catalog"), ("pairs_file", "pairs"), ("images_folder", "preprocess")],
)
def test_a_missing_input_names_the_command_that_makes_it(tmp_path, monkeypatch, argument, made_by) -> None:
    arguments = write(tmp_path, WORLD).arguments() | {argument: tmp_path / "nowhere"}
    network(monkeypatch, Means())
    with pytest.raises(InputError, match=f"nowhere is missing: run `siamese {made_by}` first"):
        evaluate.run(**arguments, params=PARAMS, note=None)


def test_a_damaged_table_is_told_in_one_line(tmp_path, monkeypatch) -> None:
    files = write(tmp_path, WORLD)
    network(monkeypatch, Means())
    (tmp_path / "pairs.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match=r"pairs\.parquet: can't be read as Parquet") as refusal:
        evaluate.run(**files.arguments(), params=PARAMS, note=None)
    assert "\n" not in str(refusal.value)
    WORLD.pairs.drop(columns="split").to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match=r"pairs\.parquet: lacks column split"):
        evaluate.run(**files.arguments(), params=PARAMS, note=None)


def test_pairs_of_images_that_the_catalog_lacks_are_refused() -> None:
    lost = WORLD.catalog[WORLD.catalog.image_id != WORLD.pairs.anchor_id[0]]
    with pytest.raises(InputError, match="pairs name images that the catalog lacks: run `siamese pairs` again"):
        measure_model(lost, WORLD.pairs, Means(), WORLD, PARAMS)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_positive_pairs_is_named(split: str) -> None:
    pairs = WORLD.pairs[(WORLD.pairs.split != split) | (WORLD.pairs.label == 0)]
    with pytest.raises(InputError, match=f"split '{split}' has 0 positive and .* negative pairs"):
        measure_model(WORLD.catalog, pairs, Means(), WORLD, PARAMS)


def test_identities_that_lie_in_two_splits_are_counted() -> None:
    assert measure_model(WORLD.catalog, WORLD.pairs, Means(), WORLD, PARAMS).shared_identities == 0
    leaking = WORLD.catalog.replace({"identity": {"who-0": "who-12"}})  # a training identity, named as one to test with
    assert measure_model(leaking, WORLD.pairs, Means(), WORLD, PARAMS).shared_identities == 1


class TestCalibrate:
    def test_chooses_as_evaluate_does_and_writes_the_same_file(self, tmp_path, monkeypatch) -> None:
        files = run(tmp_path, Means(), monkeypatch)
        again = self.calibrated(tmp_path, files, rule="eer", split="validation")
        assert again == strict_json(tmp_path / "threshold.json")

    def test_takes_other_pairs_and_rules(self, tmp_path, monkeypatch) -> None:
        """All pairs: 9, 12 and 18 images a split have 36 + 66 + 153 = 255."""
        files = run(tmp_path, Means(), monkeypatch)
        strict = self.calibrated(tmp_path, files, rule="far=0.1", split="test")
        assert strict["false_accept_rate"] <= 0.1 and strict["pairs"] == 153 and strict["chosen_on"] == "test"
        every = self.calibrated(tmp_path, files, rule="eer", split=None)
        assert every["pairs"] == 255 and every["chosen_on"] == "all"

    def test_a_split_without_pairs_is_named(self, tmp_path, monkeypatch) -> None:
        files = run(tmp_path, Means(), monkeypatch)
        with pytest.raises(InputError, match=r"pairs\.parquet: has no pair of split tset"):
            self.calibrated(tmp_path, files, rule="eer", split="tset")

    @staticmethod
    def calibrated(folder: Path, files: Files, *, rule: str, split: str | None) -> dict:
        given = {name: files.arguments()[name] for name in ("pairs_file", "images_folder", "model_folder")}
        chosen = choose_threshold.run(**given, threshold_file=folder / "other.json", rule=rule, split=split)
        written = strict_json(folder / "other.json")
        assert written["threshold"] == chosen.threshold
        return written
