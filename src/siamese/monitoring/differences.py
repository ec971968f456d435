"""How two sets of images differ: sizes, what the network sees of them, and where it puts them.

Each is a two-sample test that permutes units (`two_samples`); Holm's correction keeps the false alarms of all together
at `drift.significance`. A difference counts as drift where it is significant and also large: with enough images, any
difference is significant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from siamese.data.inspection import image_statistics
from siamese.monitoring import two_sample_tests
from siamese.params import DriftParams

SIZES = ("width", "height", "aspect ratio")
LOOKS = ("brightness", "contrast", "sharpness")
EMBEDDINGS = "embeddings"


@dataclass(frozen=True, eq=False)
class Sample:
    """Images of one side.

    Attributes:
        values: statistics, a table with columns `SIZES` and `LOOKS`; or embeddings, float [images, values].
        unit: int [images]: equal for images of one identity.
    """

    values: Any
    unit: np.ndarray

    @property
    def units(self) -> int:
        return len(np.unique(self.unit))


@dataclass(frozen=True)
class Spread:
    """Median, and the quartiles below and above it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True)
class Difference:
    """One thing compared.

    Attributes:
        what: a statistic, or `embeddings`.
        reference, new: the values; of embeddings, the mean distance from the reference's images of other units.
        effect: 0 for equal distributions, at most 1. Of a statistic D, the largest share of images that lie too high or
            too low, of sizes by more than the tolerance; of embeddings, the root of the coefficient of inhomogeneity.
        p_value, adjusted: of this test alone, and by Holm's correction among all.
        drift: whether it is significant and large enough.
    """

    what: str
    reference: Spread
    new: Spread
    effect: float
    p_value: float
    adjusted: float
    drift: bool


@dataclass(frozen=True)
class _Tested:
    what: str
    reference: Spread
    new: Spread
    effect: float
    p_value: float


def statistics_of(pixels: np.ndarray, widths: Sequence[int], heights: Sequence[int]) -> pd.DataFrame:
    """The statistics of images, float64, a row each, columns `SIZES` and `LOOKS`.

    Args:
        pixels: uint8 [images, 100, 100, 3], as the transform graph gives them.
        widths, heights: of the image files, in pixels.
    """
    greys = [image_statistics.grey(one) for one in pixels]
    looks = {name: np.array([getattr(image_statistics, name)(grey) for grey in greys], np.float64) for name in LOOKS}
    return with_aspect(pd.DataFrame({"width": widths, "height": heights, **looks}, dtype=np.float64))


def with_aspect(statistics: pd.DataFrame) -> pd.DataFrame:
    """Statistics with their aspect ratio, width by height, in the order of `SIZES` and `LOOKS`."""
    return statistics.assign(**{"aspect ratio": statistics["width"] / statistics["height"]})[[*SIZES, *LOOKS]]


def compare(
    reference: Sample, new: Sample, embeddings: tuple[Sample, Sample] | None, params: DriftParams
) -> tuple[Difference, ...]:
    """All that differs, or doesn't.

    Args:
        reference, new: statistics.
        embeddings: of the reference and of the new images; None: not compared.
        params: section `drift`.
    """
    tested = [_compare_statistic(name, reference, new, params) for name in (*SIZES, *LOOKS)]
    if embeddings:
        tested.append(_compare_embeddings(*embeddings, params))
    adjusted = two_sample_tests.holm(np.array([one.p_value for one in tested]))
    return tuple(
        Difference(
            what=one.what,
            reference=one.reference,
            new=one.new,
            effect=one.effect,
            p_value=one.p_value,
            adjusted=float(p_value),
            drift=bool(p_value <= params.significance and one.effect >= params.min_effect),
        )
        for one, p_value in zip(tested, adjusted, strict=True)
    )


def why_undecidable(reference_units: int, new_units: int, tests: int, params: DriftParams) -> str | None:
    """Why no difference, however large, could be significant; None where one could.

    Args:
        reference_units, new_units: identities, or lone images, of either side.
        tests: how many are corrected for.
        params: section `drift`.
    """
    needed = math.ceil(tests / params.significance)
    if params.permutations + 1 < needed:
        return f"{params.permutations} permutations are too few: {needed} are needed, see drift.permutations"
    if min(reference_units, new_units) < 2:
        return f"{min(reference_units, new_units)} identity is too few"
    if two_sample_tests.possible_arrangements(reference_units + new_units, new_units) < needed:
        return f"{reference_units} identities against {new_units} are too few"
    return None


def _compare_statistic(name: str, reference: Sample, new: Sample, params: DriftParams) -> _Tested:
    theirs, ours = (side.values[name].to_numpy(np.float64) for side in (reference, new))
    unit, is_new = _joined(reference, new)
    sides = two_sample_tests.arrangements(is_new, params.permutations, params.seed)
    distances = two_sample_tests.largest_distances(np.append(theirs, ours), unit, sides)
    if name in SIZES:  # a relative difference is a difference of logarithms
        effect = two_sample_tests.distance_beyond(np.log(theirs), np.log(ours), math.log1p(params.size_tolerance))
    else:
        effect = two_sample_tests.distance_beyond(theirs, ours, 0)
    return _Tested(name, _spread(theirs), _spread(ours), effect, two_sample_tests.p_value(distances))


def _compare_embeddings(reference: Sample, new: Sample, params: DriftParams) -> _Tested:
    unit, is_new = _joined(reference, new)
    between = two_sample_tests.Between(np.concatenate([reference.values, new.values]), unit, len(is_new))
    energy, apart = between.energy(two_sample_tests.arrangements(is_new, params.permutations, params.seed))
    away = np.split(between.to_reference(is_new), [len(reference.unit)])
    effect = two_sample_tests.energy_effect(energy[0], apart[0])
    return _Tested(EMBEDDINGS, _spread(away[0]), _spread(away[1]), effect, two_sample_tests.p_value(energy))


def _joined(reference: Sample, new: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The units of both sides, numbered from 0, int [images of both]; and which of them are new, bool [units]."""
    theirs, ours = (np.unique(side.unit, return_inverse=True)[1] for side in (reference, new))
    units = theirs.max() + 1
    return np.append(theirs, ours + units), np.arange(units + ours.max() + 1) >= units


def _spread(values: np.ndarray) -> Spread:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Spread(median, low, high)
