"""The trained network's figures computed again from its weights, the pairs and the pixels, by other means: Keras and
float64 for the scores, counting for the figures, scikit-learn for their resamples. And a training step likewise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import by_counting
import by_formula
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as reference
from small_evaluation import MANY_IDENTITIES, PARAMS, world

from siamese import config, tf_runtime
from siamese.evaluation import results
from siamese.evaluation.measurement import Evaluation, measure_model
from siamese.evaluation.metrics import one_shot
from siamese.evaluation.metrics.verification import METRICS
from siamese.models.trained_on import of_catalog
from siamese.models.verifier import Verifier
from siamese.params import EvaluateParams
from siamese.preprocessing.pixel_store import StoredImages
from siamese.training import distribution
from siamese.training.dataset import read_data
from siamese.training.trainer import Trainer

tf = tf_runtime.import_tensorflow()
import keras  # noqa: E402

import siamese.models.network  # noqa: E402, F401  registers the distance layer

SAID_ABOUT_PIXELS = ("eer", "auc", "accuracy", "precision")


@dataclass(frozen=True)
class Run:
    """An evaluation of the workspace's model.

    `pixels`, `embedded`: of each image, by its id. `said`: the content of metrics.json. `measured`: what is behind it.
    """

    catalog: pd.DataFrame
    pairs: pd.DataFrame
    pixels: Mapping[str, np.ndarray]
    embedded: Mapping[str, np.ndarray]
    params: EvaluateParams
    said: dict
    measured: Evaluation

    def of(self, split: str) -> pd.DataFrame:
        return self.pairs[self.pairs.split == split].reset_index(drop=True)


@pytest.fixture(scope="module")
def model(workspace: Path) -> keras.Model:
    return keras.saving.load_model(workspace / "artifacts/model/siamese.keras")


@pytest.fixture(scope="module")
def verifier(workspace: Path) -> Verifier:
    return Verifier.load(workspace / "artifacts/model")


@pytest.fixture(scope="module")
def runs(workspace: Path, model: keras.Model, verifier: Verifier) -> dict[str, Run]:
    """The workspace's own evaluation; one of 21 identities, for one-shot trials; one of role folders."""
    artifacts = workspace / "artifacts"
    catalog, pairs = (pd.read_parquet(artifacts / f"{name}.parquet") for name in ("catalog", "pairs"))
    own = config.load_params(workspace / "params.yaml").evaluate
    measured = measure_model(catalog, pairs, verifier, StoredImages(artifacts / "images"), own)
    said = json.loads((workspace / "metrics.json").read_text())
    pixels = read_pixels(artifacts / "images")
    found = {"workspace": Run(catalog, pairs, pixels, embed(model, pixels), own, said, measured)}
    for name, made in (("many", world(identities=MANY_IDENTITIES)), ("roles", world(roles=True))):
        measured = measure_model(made.catalog, made.pairs, verifier, made, PARAMS)
        said = results.metrics(measured, PARAMS, None, of_catalog(made.catalog))
        found[name] = Run(made.catalog, made.pairs, made.drawn, embed(model, made.drawn), PARAMS, said, measured)
    return found


def embed(model: keras.Model, pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As Keras does it, of pixels / 255: float64 [4096] each."""
    images = np.stack(list(pixels.values())).astype(np.float32) / 255
    found = model.get_layer("embedding").predict(images, verbose=0)
    return dict(zip(pixels, found.astype(np.float64), strict=True))


@pytest.fixture(params=["workspace", "many", "roles"])
def run(runs: dict[str, Run], request: pytest.FixtureRequest) -> Run:
    return runs[request.param]


def read_pixels(images_folder: Path) -> dict[str, np.ndarray]:
    """As any TensorFlow program reads TFRecord."""
    content = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image_id", "pixels")}
    found = {}
    for record in tf.data.TFRecordDataset(sorted(map(str, images_folder.glob("*.tfrecord")))):
        example = tf.io.parse_single_example(record, content)
        pixels = np.frombuffer(example["pixels"].numpy(), np.uint8).reshape(100, 100, 3)
        found[example["image_id"].numpy().decode()] = pixels
    return found


def test_the_scores_are_the_network_s(run: Run, model: keras.Model) -> None:
    """Every test pair by the formula from Keras's embeddings; of some the whole network, both branches, by Keras."""
    test = run.of("test")
    head = model.get_layer("dense_1").get_weights()
    expected = [
        by_formula.score(run.embedded[a], run.embedded[b], head)
        for a, b in zip(test.anchor_id, test.other_id, strict=True)
    ]
    np.testing.assert_allclose(run.measured.model.scores, expected, atol=1e-6)
    assert np.std(expected) > 1e-3

    some = test.sample(8, random_state=0)
    branches = [
        np.stack([run.pixels[one] for one in some[end]]).astype(np.float32) / 255 for end in ("anchor_id", "other_id")
    ]
    whole = model.predict(branches, verbose=0)[:, 0]
    np.testing.assert_allclose(run.measured.model.scores[some.index], whole, atol=1e-6)


def test_raw_pixels_score_by_their_mean_difference(run: Run) -> None:
    assert run.measured.baseline.scores.tolist() == pixel_scores(run, run.of("test"))


def pixel_scores(run: Run, pairs: pd.DataFrame) -> list[float]:
    found = []
    for a, b in zip(pairs.anchor_id, pairs.other_id, strict=True):
        apart = abs(run.pixels[a].astype(int) - run.pixels[b].astype(int))
        found.append(float(np.float32(1 - apart.sum() / apart.size / 255)))
    return found


def test_the_threshold_is_the_best_on_the_validation_pairs(run: Run, verifier: Verifier) -> None:
    validation = run.of("validation")
    labels, scores = validation.label.tolist(), validation_scores(run, verifier)
    far, frr, lowest_accepted, next_lower = by_counting.threshold(labels, scores, "eer")
    chosen = run.measured.model.threshold
    assert run.said["threshold"] == chosen.threshold == pytest.approx((lowest_accepted + next_lower) / 2, rel=1e-6)
    assert next_lower < chosen.threshold <= lowest_accepted
    assert (chosen.false_accept_rate, chosen.false_reject_rate) == pytest.approx((float(far), float(frr)))
    assert run.said["validation"] == rounded(by_counting.figures(labels, scores, chosen.threshold))


def validation_scores(run: Run, verifier: Verifier) -> list[float]:
    """In the batches in which `evaluate` makes them: other batches may round otherwise."""
    validation, test = run.of("validation"), run.of("test")
    ids = sorted({*validation.anchor_id, *validation.other_id, *test.anchor_id, *test.other_id})
    parts = [ids[start : start + 64] for start in range(0, len(ids), 64)]
    embedded = np.concatenate([verifier.embed(np.stack([run.pixels[one] for one in part])) for part in parts])
    rows = [[ids.index(one) for one in validation[end]] for end in ("anchor_id", "other_id")]
    return verifier.score(embedded[rows[0]], embedded[rows[1]]).tolist()


def test_every_figure_is_that_of_counting(run: Run) -> None:
    labels = run.of("test").label.tolist()
    model, pixels = run.measured.model, run.measured.baseline
    of_model = by_counting.figures(labels, model.scores.tolist(), run.said["threshold"])
    assert run.said["test"] == rounded(of_model)

    validation = run.of("validation")
    lowest_accepted, next_lower = by_counting.threshold(
        validation.label.tolist(), pixel_scores(run, validation), "eer"
    )[2:]
    assert pixels.threshold.threshold == pytest.approx((lowest_accepted + next_lower) / 2)
    of_pixels = by_counting.figures(labels, pixels.scores.tolist(), pixels.threshold.threshold)
    assert run.said["baseline_raw_pixels"] == rounded({name: of_pixels[name] for name in SAID_ABOUT_PIXELS})
    assert run.said["eer_below_raw_pixels"]["value"] == pytest.approx(of_pixels["eer"] - of_model["eer"], abs=1e-6)
    positive = sum(labels) / len(labels)
    chance = {"precision": positive, "accuracy": max(positive, 1 - positive), "auc": 0.5, "eer": 0.5}
    assert run.said["chance"] == rounded(chance)


def rounded(figures: Mapping[str, float | None]) -> object:
    return pytest.approx(dict(figures), abs=1e-6)  # metrics.json has six decimals


def test_every_interval_is_that_of_resampling_by_hand(run: Run) -> None:
    """Identities, or in role folders the target's images and the others, are drawn and their pairs written out."""
    test, model, pixels = run.of("test"), run.measured.model, run.measured.baseline
    who = run.catalog.set_index("image_id").identity
    if who.isna().any():
        ids = sorted({*test.anchor_id, *test.other_id})
        strata = [[one for one in ids if pd.notna(who[one])], [one for one in ids if pd.isna(who[one])]]
        joined = list(zip(test.anchor_id, test.other_id, strict=True))
    else:
        joined = [(who[a], who[b]) for a, b in zip(test.anchor_id, test.other_id, strict=True)]
        strata = [sorted({*(a for a, _ in joined), *(b for _, b in joined)})]
    copied = list(by_counting.resamples(strata, joined, run.params.bootstrap, run.params.seed))

    labels = test.label.to_numpy()
    found = {}
    for name, judged in (("test", model), ("baseline_raw_pixels", pixels)):
        found[name] = [figures_of(labels[one], judged.scores[one], judged.threshold.threshold) for one in copied]
        for metric, value in run.said[name].items():
            ends = None if value is None else by_counting.interval([one[metric] for one in found[name]], value, 0.0)
            said = run.said[f"{name}_low"][metric], run.said[f"{name}_high"][metric]
            assert said == ((None, None) if ends is None else pytest.approx(ends, abs=3e-6)), (name, metric)
    gains = [
        None if of_model["eer"] is None else of_pixels["eer"] - of_model["eer"]
        for of_model, of_pixels in zip(*found.values(), strict=True)
    ]
    gain = run.said["eer_below_raw_pixels"]
    ends = by_counting.interval(gains, gain["value"], -1.0)
    assert (gain["low"], gain["high"]) == ((None, None) if ends is None else pytest.approx(ends, abs=3e-6))


def figures_of(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float | None]:
    """scikit-learn's figures of a resample, None where it leaves none of the pairs that a figure is a share of."""
    scores = scores.astype(np.float64)
    (tn, fp), (fn, tp) = reference.confusion_matrix(labels, scores >= np.float32(threshold), labels=[0, 1])

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    error = scores - labels
    bins = np.digitize(scores, [float(np.float32(edge / 10)) for edge in range(1, 10)])
    found = {
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "accuracy": share(tp + tn, len(labels)),
        "f1": share(2 * tp, 2 * tp + fp + fn),
        "false_accept_rate": share(fp, fp + tn),
        "brier": np.mean(error**2) if len(labels) else None,
        "calibration_error": share(sum(abs(error[bins == one].sum()) for one in range(10)), len(labels)),
    }
    if not (tp + fn and fp + tn):
        return dict.fromkeys(METRICS) | found
    far, tar, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    return found | {
        "auc": reference.auc(far, tar),
        "eer": np.interp(0, far + tar - 1, far),
        **{f"tar_at_far_{target:g}": tar[far <= target].max() for target in (0.1, 0.01, 0.001)},
    }


def test_counts_are_those_of_the_tables(run: Run) -> None:
    for split, counted in run.said["counts"].items():
        images, pairs = run.catalog[run.catalog.split == split], run.of(split)
        assert counted == {
            "images": len(images),
            "identities": len(set(images.identity.dropna())),
            "pairs": len(pairs),
            "positive_pairs": list(pairs.label).count(1),
            "negative_pairs": list(pairs.label).count(0),
        }


@pytest.mark.parametrize("ways", one_shot.WAYS)
def test_one_shot_accuracy_is_that_of_the_trials_one_by_one(
    runs: dict[str, Run], model: keras.Model, ways: int
) -> None:
    run = runs["many"]
    known = run.catalog[run.catalog.split == "test"].sort_values("image_id")
    names = sorted(set(known.identity))
    codes = np.array([names.index(one) for one in known.identity])
    trials = one_shot.draw_trials(codes, ways=ways, trials=run.params.one_shot_trials, seed=run.params.seed)
    ids = known.image_id.tolist()
    head = model.get_layer("dense_1").get_weights()
    earned = []
    for probe, references in zip(trials.probes, trials.references, strict=True):
        score = {row: by_formula.score(run.embedded[ids[probe]], run.embedded[ids[row]], head) for row in references}
        (right,) = [row for row in references if known.identity.iloc[row] == known.identity.iloc[probe]]
        earned.append(by_counting.credit(score.pop(right), list(score.values())))
    said = run.said["one_shot"][f"{ways}_way"]
    assert said["accuracy"] == pytest.approx(float(sum(earned)) / len(earned), abs=1e-6)
    ends = stats.binomtest(int(sum(earned)), len(earned)).proportion_ci(method="wilson")
    assert (said["low"], said["high"]) == pytest.approx((ends.low, ends.high), abs=1e-6)
    assert (said["trials"], said["chance"]) == (50, 1 / ways)


def test_training_steps_change_the_weights_as_the_formulas_say(workspace: Path) -> None:
    """Two steps, their loss by both branches of the whole network on every pair of the batch, Adam in float64.

    The losses are equal to 1e-6, the changes of each layer's weights to 1 % of their length: not to more, as Adam
    divides a gradient by its own size, which for gradients near 0 is a matter of rounding.
    """
    artifacts = workspace / "artifacts"
    values = config.load_params(workspace / "params.yaml").train
    images = StoredImages(artifacts / "images")
    data = read_data(artifacts / "catalog.parquet", artifacts / "pairs.parquet", images, values)
    plan = data.plan(values, 0)
    run = Trainer("specification", "float32", artifacts / "transform", values, plan.steps, distribution.start("one"))
    start = run.model.get_weights()
    gradients = []
    for number in (0, 1):
        step = plan.step(number)
        pixels = images.rows(data.train_rows[step.rows])
        loss, gradient = loss_and_gradient(run.model, pixels.astype(np.float32) / 255, data.codes[step.rows])
        gradients.append(gradient)
        told = run.step(pixels, step.first, step.second, step.labels, np.array([0, number], np.int32))
        assert float(told) == pytest.approx(loss, rel=1e-6)
    for variable, weight, *each in zip(run.model.trainable_variables, start, *gradients, strict=True):
        adam = by_formula.Adam(weight, rate=1e-4)
        for gradient in each:
            adam.update(gradient.astype(np.float64))
        moved, apart = adam.weight - weight, variable.numpy() - adam.weight
        assert np.linalg.norm(apart) < 0.01 * np.linalg.norm(moved), variable.path
        assert 1e-4 < abs(moved).max() < 3e-4


def loss_and_gradient(model: keras.Model, images: np.ndarray, codes: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Of all pairs of a batch: half of the mean over those of one identity, half of the mean over the others."""
    first, second = np.array(list(combinations(range(len(codes)), 2))).T
    same = codes[first] == codes[second]
    weights = np.where(same, 1 / (2 * same.sum()), 1 / (2 * (~same).sum())).astype(np.float32)
    with tf.GradientTape() as tape:
        score = model([images[first], images[second]])[:, 0]
        loss = -tf.reduce_sum(weights * tf.where(same, tf.math.log(score), tf.math.log(1 - score)))
    return float(loss), [gradient.numpy() for gradient in tape.gradient(loss, model.trainable_variables)]
