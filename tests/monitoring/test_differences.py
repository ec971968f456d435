"""What counts as a difference: significant among all tests, and large; effects by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from siamese.monitoring import differences, two_sample_tests
from siamese.monitoring.differences import LOOKS, SIZES, Sample
from siamese.params import DriftParams

PARAMS = DriftParams(significance=0.01, min_effect=0.2, size_tolerance=0.1, permutations=1000, images=2000, seed=0)
MANY_PERMUTATIONS = PARAMS.model_copy(update={"permutations": 9999})


def sample(images: int, **values: np.ndarray) -> Sample:
    """Lone images, all alike but for `values`."""
    table = pd.DataFrame({name: np.full(images, 100.0) for name in (*SIZES, *LOOKS)}).assign(**values)
    return Sample(table, np.arange(images))


def found(reference: Sample, new: Sample, **changed: float) -> dict[str, differences.Difference]:
    compared = differences.compare(reference, new, None, PARAMS.model_copy(update=changed))
    return {one.what: one for one in compared}


def test_statistics_by_hand() -> None:
    """Grey 100; and columns of 0 and 200 in turn, whose Laplacian is 400 up and down: 16 times the variance."""
    plain = np.full((100, 100, 3), 100, np.uint8)
    columns = np.zeros((100, 100, 3), np.uint8)
    columns[:, ::2] = 200
    table = differences.statistics_of(np.stack([plain, columns]), [300, 50], [200, 100])
    assert table.columns.tolist() == [*SIZES, *LOOKS]
    assert table.to_numpy().tolist() == [[300, 200, 1.5, 100, 0, 0], [50, 100, 0.5, 100, 100, 16]]


def test_grey_is_luminance() -> None:
    """Pure green weighs 0.587 (ITU-R BT.601): 150 of 255."""
    green = np.zeros((1, 100, 100, 3), np.uint8)
    green[..., 1] = 255
    assert differences.statistics_of(green, [1], [1])["brightness"].tolist() == [150]


def test_a_difference_has_its_effect_medians_and_quartiles() -> None:
    """0 to 39 against 20 to 59: half of the new lie above all of the reference."""
    by_name = found(sample(40, brightness=np.arange(40.0)), sample(40, brightness=np.arange(20.0, 60)))
    brightness = by_name["brightness"]
    assert brightness.effect == pytest.approx(0.5)
    assert brightness.reference == differences.Spread(19.5, 9.75, 29.25)
    assert brightness.new == differences.Spread(39.5, 29.75, 49.25)
    assert [one.what for one in by_name.values() if one.drift] == ["brightness"]
    assert str(brightness.new) == "39.5 (29.75 to 49.25)"


def test_equal_values_never_differ() -> None:
    assert {(one.effect, one.p_value, one.drift) for one in found(sample(30), sample(500)).values()} == {(0, 1, False)}


def test_a_small_difference_is_no_drift_however_significant() -> None:
    """1,000 against 1,000, shifted by a tenth of their range: D is 0.1."""
    values = np.linspace(0, 1, 1000)
    sides = sample(1000, contrast=values), sample(1000, contrast=values + 0.1)
    contrast = found(*sides)["contrast"]
    assert contrast.adjusted <= 0.01 and contrast.effect == pytest.approx(0.1, abs=0.002) and not contrast.drift
    assert found(*sides, min_effect=0.09)["contrast"].drift


def test_a_large_difference_of_few_is_no_drift() -> None:
    """Six against six, entirely apart: one of 924 arrangements and its mirror, 2/924 x 6 tests = 0.013."""
    sharpness = found(sample(6), sample(6, sharpness=np.full(6, 200.0)), permutations=50_000)["sharpness"]
    assert sharpness.effect == 1 and not sharpness.drift
    assert sharpness.p_value == pytest.approx(2 / 924, rel=0.3)


def test_p_values_are_holms() -> None:
    rng = np.random.default_rng(0)
    sides = [sample(20, **{name: rng.normal(size=20) for name in LOOKS}) for _ in range(2)]
    by_name = found(*sides)
    expected = two_sample_tests.holm(np.array([one.p_value for one in by_name.values()]))
    assert [one.adjusted for one in by_name.values()] == expected.tolist()


def test_sizes_within_the_tolerance_are_no_drift() -> None:
    reference = sample(50)
    for width, effect in ((109.0, 0), (112.0, 1), (92.0, 0), (90.0, 1)):
        compared = found(reference, sample(50, width=np.full(50, width)))["width"]
        assert compared.adjusted <= 0.01 and (compared.effect, compared.drift) == (effect, effect == 1)


def test_images_of_one_identity_do_not_count_for_many() -> None:
    """Ten images of each of six people a side, the new ones brighter: as six against six, not as 60 against 60."""
    unit = np.repeat(np.arange(6), 10)
    brighter = sample(60, brightness=np.full(60, 150.0))
    as_people = found(Sample(sample(60).values, unit), Sample(brighter.values, unit))["brightness"]
    as_images = found(sample(60), brighter)["brightness"]
    assert as_people.effect == as_images.effect == 1
    assert as_images.drift and not as_people.drift


def test_embeddings_by_hand() -> None:
    """At 0 and 2 against 10 and 12: effect the root of 16/20. Each is that far from the reference's others: 2 and 2, 9
    and 11. Of 6 arrangements 2 are as far apart."""
    points = np.array([[0.0], [2]], np.float32)
    sides = Sample(points, np.arange(2)), Sample(points + 10, np.arange(2))
    *_, embeddings = differences.compare(
        sample(10), sample(10), sides, PARAMS.model_copy(update={"permutations": 9999})
    )
    assert embeddings.what == "embeddings"
    assert embeddings.effect == pytest.approx(0.8**0.5)
    assert (embeddings.reference.median, embeddings.new.median) == (2, 10)
    assert embeddings.p_value == pytest.approx(1 / 3, abs=0.02)


def test_why_nothing_could_be_significant() -> None:
    """Seven tests at 1 % need p-values of 1/700: not below 699 permutations, not in 70 arrangements, but in 924."""
    why = differences.why_undecidable
    assert why(6, 6, 7, PARAMS) is None
    assert why(4, 4, 7, PARAMS) == "4 identities against 4 are too few"
    assert why(1, 500, 7, PARAMS) == "1 identity is too few"
    few = PARAMS.model_copy(update={"permutations": 698})
    assert why(6, 6, 7, few) == "698 permutations are too few: 700 are needed, see drift.permutations"
    assert why(6, 6, 7, few.model_copy(update={"permutations": 699})) is None
