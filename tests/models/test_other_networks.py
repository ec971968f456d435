"""Networks beside the specification's through the whole pipeline, and what training offers to them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SMALL, working_folder
from trained import weights_of

from siamese import cli, config, params, process, tf_runtime
from siamese.errors import InputError
from siamese.models import trained_on
from siamese.models.artifacts import weights_digest
from siamese.models.verifier import Verifier, read_image
from siamese.params import SIZES
from siamese.preprocessing.pixel_store import StoredImages
from siamese.registry import locator
from siamese.training import calibration, distribution, initialization
from siamese.training.checkpoints import Checkpoints, Origin
from siamese.training.dataset import TrainingData, read_data
from siamese.training.identity_augmentation import blended, turned, with_rotations
from siamese.training.sampler import UNKNOWN
from siamese.training.trainer import Trainer

RNG = np.random.default_rng(0)
NETWORK = "convolutional"
SETTINGS = SMALL | {
    "model.network": NETWORK,
    "train.loss": "n_pair",
    "train.average": 0.9,
    "train.augmentation.rotations": True,
    "train.augmentation.elastic": 0.02,
    "train.optimizer.learning_rate": 0.001,
    "tracking.enabled": False,
}


def command(*arguments: str, **more: object) -> int:
    settings = {**SETTINGS, **more}
    return process.exit_code_of(
        lambda: cli.app(
            [*arguments, *(part for key, value in settings.items() for part in ("-S", f"{key}={json.dumps(value)}"))],
            standalone_mode=False,
        )
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all steps ran with another network."""
    folder = tmp_path_factory.mktemp("place")
    with working_folder(folder):
        for step in ("sample", "catalog", "pairs", "preprocess", "train", "evaluate"):
            assert not command(step), step
    return folder


def test_stored_images_and_model_are_of_the_network_s_size(place: Path) -> None:
    assert StoredImages(place / "artifacts/images").image_shape == SIZES[NETWORK].image == (48, 48, 1)
    verifier = Verifier.load(place / "artifacts/model")
    assert verifier.image_shape == (48, 48, 1)
    files = sorted((place / "data/sample").rglob("*.png"))[:3]
    embedded = verifier.embed_encoded([read_image(file, 10**6) for file in files])
    assert embedded.shape == (3, SIZES[NETWORK].units)
    assert json.loads((place / "metrics.json").read_text())["test"]["eer"] is not None


def test_grey_pixels_are_the_luma_of_the_resized_picture(place: Path) -> None:
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B; a picture of one colour stays it, whatever its size."""
    from io import BytesIO

    from PIL import Image

    verifier = Verifier.load(place / "artifacts/model")
    for colour in ((200, 100, 50), (0, 0, 255), (90, 90, 90)):
        png = BytesIO()
        Image.new("RGB", (70, 31), colour).save(png, "PNG")
        pixels = verifier.pixels([png.getvalue()])
        assert pixels.shape == (1, 48, 48, 1)
        assert (pixels == round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])).all()


def test_training_s_measured_network_is_the_saved_one(place: Path) -> None:
    """The report's validation figures, of the saved model, are those of the epoch kept: averaged weights, and running
    statistics with them. Calibration changes no order, so it changes no EER."""
    kept = pd.read_csv(place / "artifacts/history.csv").eer.min()
    found = json.loads((place / "metrics.json").read_text())["validation"]["eer"]
    assert found == pytest.approx(kept, abs=1e-6)


def test_scores_after_n_pair_are_calibrated(place: Path) -> None:
    """Weighed so that both labels are as likely, scores on the validation pairs have the mean of the labels: the
    intercept's condition in logistic regression."""
    pairs = pd.read_parquet(place / "artifacts/pairs.parquet")
    pairs = pairs[pairs.split == "validation"]
    verifier, images = Verifier.load(place / "artifacts/model"), StoredImages(place / "artifacts/images")
    ends = [verifier.embed(images.pixels(pairs[end].tolist())) for end in ("anchor_id", "other_id")]
    scores = verifier.score(*ends)
    by_label = [scores[pairs.label == label].mean() for label in (0, 1)]
    assert sum(by_label) == pytest.approx(1, abs=0.01)
    assert by_label[1] >= by_label[0]


def test_another_network_s_stored_images_are_refused_in_one_line(place: Path, capfd) -> None:
    with working_folder(place):
        assert command("train", **{"model.network": "residual"}) == 2
    assert (
        "artifacts/images: holds images of 48x48x1, model.network residual sees 64x64x1: run" in capfd.readouterr().err
    )


def test_a_model_refuses_images_stored_for_another_network(place: Path) -> None:
    verifier = Verifier.load(place / "artifacts/model")
    with pytest.raises(
        InputError, match=r"^the stored images are 100x100x3, the model sees 48x48x1: run `siamese prep"
    ):
        verifier.embed(np.zeros((1, 100, 100, 3), np.uint8))


def values(*settings: str) -> params.TrainParams:
    given = [f"{key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    return config.load_params(config.packaged_file(), [*given, *settings]).train


def data_of(place: Path, wanted: params.TrainParams) -> TrainingData:
    made = place / "artifacts"
    return read_data(made / "catalog.parquet", made / "pairs.parquet", StoredImages(made / "images"), wanted)


def training_of(place: Path, data: TrainingData, wanted: params.TrainParams, strategy: str = "one") -> Trainer:
    steps = data.plan(wanted, 0).steps
    return Trainer(NETWORK, "float32", place / "artifacts/transform", wanted, steps, distribution.start(strategy))


def test_turned_copies_are_identities_of_their_own(place: Path) -> None:
    plain, turned = (data_of(place, values(f"train.augmentation.rotations={on}")) for on in ("false", "true"))
    assert len(turned.codes) == 4 * len(plain.codes)
    assert len(np.unique(turned.codes)) == 4 * len(np.unique(plain.codes))
    same = turned.codes[:, None] == turned.codes[None]
    by_hand = (np.tile(plain.codes, 4)[:, None] == np.tile(plain.codes, 4)[None]) & (
        turned.turns[:, None] == turned.turns[None]
    )
    np.testing.assert_array_equal(same, by_hand)


def test_a_turn_is_a_quarter_counterclockwise_and_unknown_stays_unknown() -> None:
    codes, rows, turns = with_rotations(np.array([0, UNKNOWN]), np.array([7, 8]))
    assert codes.tolist() == [0, UNKNOWN, 1, UNKNOWN, 2, UNKNOWN, 3, UNKNOWN]
    assert rows.tolist() == [7, 8] * 4 and turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    picture = np.array([[1, 2], [3, 4]], np.uint8)[None, :, :, None]
    found = turned(np.repeat(picture, 4, axis=0), np.arange(4))[..., 0].tolist()
    assert found == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_a_blend_makes_new_identities_of_two() -> None:
    """Images of 0 and 100 (identity 3), 200 (identity 5) and unknown: of two identities each has the other as its
    partner. A share s of all of one identity's images: 0 and 100 become 200 s and 100 + 100 s; 200 becomes 200 - 200 t
    or 200 - 100 t, by which of the two goes into it."""
    pixels = np.array([0, 200, 100, 40], np.uint8)[:, None, None, None]
    codes = np.array([3, 5, 3, UNKNOWN])
    shares = []
    for seed in range(200):
        low, other, high, unknown = blended(pixels, codes, 0.5, np.random.default_rng(seed)).ravel().tolist()
        assert unknown == 40
        share = low / 200
        assert high == pytest.approx(100 + 100 * share, abs=1)
        assert 100 <= other <= 200
        shares.append(share)
    assert 0 <= min(shares) < 0.05 and 0.45 < max(shares) <= 0.5  # uniform from 0 to 0.5
    assert np.mean(shares) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("codes", "most"), [([3, 5, 3], 0.0), ([3, 3, 3], 0.5), ([UNKNOWN, 3, UNKNOWN], 0.5)])
def test_nothing_is_blended_where_none_is_asked_for_or_there_is_no_partner(codes: list[int], most: float) -> None:
    pixels = np.array([0, 200, 100], np.uint8)[:, None, None, None]
    found = blended(pixels, np.array(codes), most, np.random.default_rng(0))
    np.testing.assert_array_equal(found, pixels)


def test_a_step_s_blend_depends_on_seed_epoch_and_number_alone(place: Path) -> None:
    """So a training that goes on in the middle of an epoch sees what it would have seen."""
    data = data_of(place, values("train.augmentation.blend=0.5", "train.augmentation.rotations=false"))
    plan = data.plan(values(), 0)
    whole = [pixels for _, pixels in data.steps(plan, 0, (0, 0))]
    rest = [pixels for _, pixels in data.steps(plan, 1, (0, 0))]
    for one, again in zip(whole[1:], rest, strict=True):
        np.testing.assert_array_equal(one, again)
    other = next(pixels for _, pixels in data.steps(plan, 0, (0, 1)))
    assert (other != whole[0]).any()


def test_averages_are_the_running_mean_of_the_weights_and_outlive_a_checkpoint(place: Path, tmp_path: Path) -> None:
    """After steps 1, 2, 3 the decay is (1 + t) / (10 + t): 2/11, 3/12, 4/13; the first average is the first weight."""
    wanted = values("train.epochs=1")
    data = data_of(place, wanted)
    run = training_of(place, data, wanted)
    mean, weights = run.model.get_weights(), []
    for number in range(3):
        step = data.plan(wanted, 0).step(number)
        pixels = data.images.rows(data.train_rows[step.rows])
        run.step(pixels, step.first, step.second, step.labels, np.array([0, number], np.int32))
        weights = run.model.get_weights()
        decay = (2 + number) / (11 + number)
        mean = [decay * old + (1 - decay) * new for old, new in zip(mean, weights, strict=True)]
    for found, expected in zip(run.measured_weights(), mean, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert any((one != other).any() for one, other in zip(run.measured_weights(), weights, strict=True))

    checkpoints = Checkpoints(tmp_path, Origin({}, {}))
    checkpoints.save(run.state, run.variables(), None)
    other = training_of(place, data, wanted)
    state, last, best = checkpoints.newest(other.shapes()) or pytest.fail("no checkpoint")
    other.restore(state, last, best)
    for one, two in zip(run.measured_weights(), other.measured_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_initial_weights_are_taken_and_those_of_another_network_refused(place: Path) -> None:
    run = training_of(place, data_of(place, values()), values())
    initialization.load_into(run.model, locator.initial_weights(str(place / "artifacts/model")))
    for one, other in zip(run.model.get_weights(), weights_of(place / "artifacts/model"), strict=True):
        np.testing.assert_array_equal(one, other)
    tf_runtime.import_tensorflow()
    from siamese.models.network import build

    with pytest.raises(
        InputError, match=r"siamese\.keras: is of another network \(.+\): set model\.network to its own"
    ):
        initialization.load_into(build("residual"), place / "artifacts/model/siamese.keras")
    with pytest.raises(InputError, match=r"^model\.initial_weights nowhere: no model there: name a model folder"):
        locator.initial_weights("nowhere")


def test_fine_tuning_starts_where_the_model_ended(place: Path) -> None:
    """With a rate too small to change anything, the first epoch measures what the model that it began with had."""
    with working_folder(place):
        files = {"--model": "tuned/model", "--history": "tuned/history.csv", "--run": "tuned/run.json"}
        options = [part for pair in files.items() for part in pair]
        more = {"model.initial_weights": "artifacts/model", "train.epochs": 1, "train.optimizer.learning_rate": 1e-12}
        assert not command("train", *options, **more)
    ours, theirs = (weights_of(place / folder) for folder in ("tuned/model", "artifacts/model"))
    trained = [(one, other) for one, other in zip(ours, theirs, strict=True) if one.ndim > 1][
        :-1
    ]  # no head: calibrated
    assert len(trained) == 5  # four convolutions and a dense layer
    for one, other in trained:
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_fitted_head_scores_equal_embeddings_high_and_those_at_the_mean_distance_a_half() -> None:
    """Distances 1, 3 and 4 have the mean 8 / 3, which the kernel brings from 6 logits down to 0: 6 / (8 / 3) = 2.25."""
    kernel, bias = initialization.fitted_head(np.array([[0, 0], [1, 0], [0, 3]], np.float32))
    np.testing.assert_allclose(kernel, [[-2.25], [-2.25]])
    assert bias == [6] and kernel.dtype == bias.dtype == np.float32
    with pytest.raises(InputError, match=r"model\.initial_head fitted: the images of the first step all look the same"):
        initialization.fitted_head(np.ones((3, 2), np.float32))


def test_training_begins_with_the_head_that_is_asked_for(place: Path) -> None:
    """With a rate too small to change anything, it ends with that head: fitted to the images of the first step."""
    with working_folder(place):
        files = {"--model": "fitted/model", "--history": "fitted/history.csv", "--run": "fitted/run.json"}
        options = [part for pair in files.items() for part in pair]
        more = {"model.initial_head": "fitted", "train.epochs": 1, "train.loss": "binary_cross_entropy"}
        assert not command("train", *options, **more, **{"train.optimizer.learning_rate": 1e-12})
    wanted = values()
    data = data_of(place, wanted)
    run = training_of(place, data, wanted)
    _, pixels = next(data.steps(data.plan(wanted, 0), 0, (wanted.seed, 0)))
    kernel, bias = initialization.fitted_head(run.embedded_as_in_a_step(pixels))
    *_, found_kernel, found_bias = weights_of(place / "fitted/model")
    np.testing.assert_allclose(found_kernel, kernel, rtol=1e-4)
    np.testing.assert_allclose(found_bias, bias, rtol=1e-4)
    assert np.ptp(found_kernel) < 1e-6 and found_kernel.max() < 0
    assert pd.read_csv(place / "fitted/history.csv").loss[0] < 2  # logits about 0: saturated ones would give hundreds


def test_running_means_begin_where_the_weights_do(place: Path) -> None:
    """Not at the weights that were drawn before others were loaded."""
    wanted = values()
    run = training_of(place, data_of(place, wanted), wanted)
    initialization.load_into(run.model, place / "artifacts/model/siamese.keras")
    run.begin_averages()
    for mean, weight in zip(run.measured_weights(), weights_of(place / "artifacts/model"), strict=True):
        np.testing.assert_array_equal(mean, weight)


def test_fine_tuning_begins_at_a_servable_model_as_at_a_keras_file(place: Path, tmp_path: Path) -> None:
    """A version of the registry holds the former alone."""
    shutil.copytree(place / "artifacts/model/servable", tmp_path / "servable")
    found = locator.initial_weights(str(tmp_path))
    assert found == tmp_path / "servable"
    run = training_of(place, data_of(place, values()), values())
    initialization.load_into(run.model, found)
    for one, other in zip(run.model.get_weights(), weights_of(place / "artifacts/model"), strict=True):
        np.testing.assert_array_equal(one, other)
    from siamese.models.network import build

    with pytest.raises(InputError, match=r"servable: is of another network \(.+\): set model\.network to its own"):
        initialization.load_into(build("residual"), found)
    (tmp_path / "servable/variables/variables.index").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"servable: damaged \(.+\): name another"):
        initialization.load_into(run.model, found)


def test_a_model_is_not_measured_on_what_it_was_trained_on(place: Path, tmp_path: Path, capsys) -> None:
    """After a split by another seed, images that trained it are test images: neither it nor a model that begins with
    its weights is measured on them, registered or promoted; where nothing follows from it, it is said. Pairs of another
    split are nobody's, either."""
    shutil.copytree(place, tmp_path / "here")

    def refused(*arguments: str, **more: object) -> str:
        capsys.readouterr()
        assert command(*arguments, **more) == 2, arguments
        return capsys.readouterr().err.splitlines()[-1]

    with working_folder(tmp_path / "here"):
        old = Path("metrics.json").read_bytes()
        seed = {"catalog.seed": 1}
        shutil.copytree("artifacts/model", "unlisted")
        Path("unlisted", trained_on.FILE).unlink()
        assert not command("catalog", **seed)
        assert "lacks in split validation: run `siamese pairs` again" in refused("train", **seed)
        assert "in other splits: run `siamese pairs` again" in refused("evaluate", "--model", "unlisted", **seed)
        assert not command("pairs", **seed)
        seen = r"artifacts/model: was trained with other splits: \d+ test or validation images of artifacts/catalog"
        for step in (["evaluate"], ["register"], ["promote", "--trained", "--dry-run"]):
            assert re.search(seen, refused(*step, **seed)), step
        tuned = refused("train", **seed, **{"model.initial_weights": "artifacts/model"})
        assert re.search(r"model\.initial_weights: that model was trained on \d+ images that test or validate", tuned)
        assert Path("metrics.json").read_bytes() == old
        doubt = "it is unknown whether this model was trained on the images that measure it, so its figures may be too"
        elsewhere = ["--metrics", "other.json", "--report", "other.html", "--plots", "others"]
        elsewhere += ["--threshold-file", "other-threshold.json", "--model", "unlisted"]
        assert not command("evaluate", *elsewhere, **seed)
        assert f"unlisted: {doubt}" in capsys.readouterr().err
        assert json.loads(Path("other.json").read_text())["trained_on"] == "unknown"
        assert not command("calibrate", "--model", "unlisted", **seed)
        assert f"artifacts/pairs.parquet: {doubt}" in capsys.readouterr().err
        assert not command("report", "unlisted", "--threshold", "0.5", "-o", "unlisted.html", **seed)
        assert doubt in Path("unlisted.html").read_text()
        capsys.readouterr()
        assert not command("calibrate", "--split", "all", **seed) and not command("report", "-o", "page.html", **seed)
        assert re.search(r"pairs\.parquet: \d+ of its images trained the model", capsys.readouterr().err)
        assert re.search(r"\d+ of the test images trained this model or chose", Path("page.html").read_text())


def test_a_model_trained_on_has_seen_what_the_one_before_had(place: Path) -> None:
    """`tuned` began with the model of the same catalog, so it has seen the same images and no more."""
    catalog = pd.read_parquet(place / "artifacts/catalog.parquet")
    seen = trained_on.read(place / "artifacts/model")
    assert [len(seen.train), len(seen.validation)] == [
        (catalog.split == split).sum() for split in ("train", "validation")
    ]
    assert seen.among(catalog) == 0
    np.testing.assert_array_equal(seen.saw(catalog.image_id), catalog.split != "test")
    assert seen.among(catalog.assign(split="test")) == len(seen.train) + len(seen.validation)
    assert seen.among(catalog.assign(split="validation")) == len(seen.train)
    other = trained_on.of_catalog(pd.DataFrame({"image_id": ["x"], "split": ["train"]}))
    assert len(other.and_before(seen).train) == len(seen.train) + 1


def test_a_model_that_began_with_one_of_unknown_origin_says_so(place: Path, tmp_path: Path, capsys) -> None:
    """As with a file that the original's interface saved."""
    shutil.copytree(place, tmp_path / "here")
    with working_folder(tmp_path / "here"):
        shutil.copy("artifacts/model/siamese.keras", "saved.keras")
        more = {"model.initial_weights": "saved.keras", "train.epochs": 1}
        assert not command("train", **more)
        said = "model.initial_weights: it is unknown which images trained that model"
        assert any(line.startswith(said) for line in capsys.readouterr().err.splitlines())
        seen = trained_on.read(Path("artifacts/model"))
        catalog = pd.read_parquet("artifacts/catalog.parquet")
        assert not seen.complete and len(seen.train) == (catalog.split == "train").sum()
        assert not command("evaluate")
        assert json.loads(Path("metrics.json").read_text())["trained_on"] == "unknown"


def test_another_model_s_threshold_or_run_is_not_taken(place: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(place, tmp_path / "here")
    with working_folder(tmp_path / "here"):
        pictures = sorted(map(str, Path("data/sample").rglob("*.png")))[:2]
        assert command("verify", *pictures) in (0, 1)
        for file in ("artifacts/run.json", "artifacts/threshold.json"):
            held = json.loads(Path(file).read_text())
            assert held["weights"] == weights_digest(Path("artifacts/model"))
            Path(file).write_text(json.dumps(held | {"weights": "0" * 64}))
            capsys.readouterr()
            if file.endswith("run.json"):
                assert command("register") == 2
                assert "run.json is of another training than the model in artifacts/model" in capsys.readouterr().err
            else:
                assert command("verify", *pictures) == 2
                assert "threshold.json: is the threshold of another model than" in capsys.readouterr().err
                assert command("verify", *pictures, "--threshold", "0.5") in (0, 1)


def test_a_damaged_model_is_told_in_one_line(place: Path, tmp_path: Path) -> None:
    for name, what in (("saved_model.pb", b"x" * 100), ("variables/variables.data-00000-of-00001", b"")):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(place / "artifacts/model", folder)
        (folder / "servable" / name).write_bytes(what)
        with pytest.raises(InputError, match=r": the model is damaged: run `siamese train` again, or .+ \(.+\)"):
            Verifier.load(folder)


def test_two_devices_train_a_network_with_normalisation(place: Path) -> None:
    """Each normalises by its own images, so the weights differ from one device's; both hold the same ones, running
    statistics included."""
    program = f"""
import numpy as np
from pathlib import Path
from siamese.tf_runtime import import_tensorflow
tf = import_tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import sys
sys.path[:0] = {[str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT / "tests/helpers")]!r}
import test_other_networks as here
place = Path({str(place)!r})
wanted = here.values()
data = here.data_of(place, wanted)
run = here.training_of(place, data, wanted, "mirrored")
assert run.replicas.count == 2
for number in range(2):
    step = data.plan(wanted, 0).step(number)
    pixels = data.images.rows(data.train_rows[step.rows])
    assert np.isfinite(float(run.step(pixels, step.first, step.second, step.labels, np.array([0, number], np.int32))))
moved = 0
for variable in [*(one.value for one in run.model.weights), *run.averages]:
    one, other = (np.asarray(copy) for copy in variable.values)
    np.testing.assert_array_equal(one, other)
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]


class TestPlatt:
    """Slope and intercept of logistic regression on one value."""

    def test_where_logits_are_right_already_it_changes_nothing(self) -> None:
        """Pairs of either label in the numbers that logits of -1, 0 and 1 mean: e^z positives on one negative."""
        labels, logits = [], []
        for z in (-1, 0, 1):
            positive = round(1000 / (1 + np.exp(-z)))
            labels += [1] * positive + [0] * (1000 - positive)
            logits += [z] * 1000
        slope, intercept = calibration.fit_line(np.array(labels), np.array(logits))
        assert (slope, intercept) == (pytest.approx(1, abs=0.01), pytest.approx(0, abs=0.01))

    def test_what_was_stretched_and_moved_is_put_right(self) -> None:
        """z = 4 true + 10 has the true value (z - 10) / 4."""
        true = RNG.normal(0, 2, 20_000)
        labels = (RNG.random(20_000) < 1 / (1 + np.exp(-true))).astype(int)
        slope, intercept = calibration.fit_line(labels, 4 * true + 10)
        assert (slope, intercept) == (pytest.approx(1 / 4, rel=0.05), pytest.approx(-10 / 4, rel=0.05))

    def test_pairs_told_apart_without_an_error_leave_scores_with_an_order(self) -> None:
        """Two positives at 1, two negatives at -1: targets 3/4 and 1/4, so log-odds of ln 3 and -ln 3 there."""
        slope, intercept = calibration.fit_line(np.array([1, 1, 0, 0]), np.array([1.0, 1, -1, -1]))
        assert (slope, intercept) == (pytest.approx(np.log(3), rel=1e-3), pytest.approx(0, abs=1e-3))

    def test_order_is_never_turned_round(self) -> None:
        labels = np.array([1, 1, 0, 0])
        assert calibration.fit_line(labels, np.array([-3.0, -2, 2, 3])) == (1.0, 0.0)

    def test_logits_of_scores(self) -> None:
        found = calibration.logits_of(np.array([0, 0.5, 0.8, 1], np.float32))
        assert np.isfinite(found).all() and (np.diff(found) > 0).all()
        assert found[1:3] == pytest.approx([0, np.log(4)], abs=1e-6)
