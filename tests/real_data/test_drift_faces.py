"""Drift among real faces: no alarm where nothing has changed, one where the light has.

Runs where SIAMESE_REAL_DATA names a folder with `orl_faces` in it (40 people of 10 images). The place of embeddings is
taken by the faces themselves, in 10 x 10 grey.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from siamese.monitoring import differences
from siamese.monitoring.differences import Difference, Sample
from siamese.params import DriftParams

ORL = Path(os.environ.get("SIAMESE_REAL_DATA", "nowhere")) / "orl_faces"
PARAMS = DriftParams(significance=0.05, min_effect=0.2, size_tolerance=0.1, permutations=499, images=2000, seed=0)
ROUNDS = 60

pytestmark = pytest.mark.skipif(not (ORL / "s1").is_dir(), reason="SIAMESE_REAL_DATA names no folder with orl_faces")

Faces = tuple[pd.DataFrame, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def faces() -> Callable[[int], Faces]:
    """All faces, so many levels brighter: statistics, grey values and whose they are."""
    files = sorted(ORL.glob("s*/*.png"))
    person = np.unique([file.parent.name for file in files], return_inverse=True)[1]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB").resize((100, 100))) for file in files])

    def brighter(levels: int) -> Faces:
        seen = np.minimum(pixels.astype(int) + levels, 255).astype(np.uint8)
        grey = seen[..., 0].reshape(-1, 10, 10, 10, 10).mean(axis=(2, 4)).reshape(-1, 100)
        return differences.statistics_of(seen, [92] * len(files), [112] * len(files)), grey, person

    return brighter


def halves(before: Faces, after: Faces, seed: int, whole_people: bool = True) -> tuple[Difference, ...]:
    """Twenty people before against the other twenty after."""
    statistics, grey, person = before
    of_new = np.isin(person, np.random.default_rng(seed).permutation(40)[:20])
    unit = person if whole_people else np.arange(len(person))
    theirs, ours = ~of_new, of_new
    return differences.compare(
        Sample(statistics[theirs], unit[theirs]),
        Sample(after[0][ours], unit[ours]),
        (Sample(grey[theirs], unit[theirs]), Sample(after[1][ours], unit[ours])),
        PARAMS.model_copy(update={"seed": seed}),
    )


def test_people_drawn_at_random_raise_no_more_alarms_than_allowed(faces: Callable) -> None:
    """At 5 %, 3 of 60, or up to 8 by chance; were each image taken for itself, most of the 60 would."""
    same = faces(0)
    whole, torn = (
        sum(min(one.adjusted for one in halves(same, same, seed, whole_people)) <= 0.05 for seed in range(ROUNDS))
        for whole_people in (True, False)
    )
    assert whole <= 8 and torn > ROUNDS / 2, (whole, torn)


def test_brighter_light_is_noticed(faces: Callable) -> None:
    """40 levels always, and by nothing that has to do with size or sharpness."""
    same, brighter = faces(0), faces(40)
    found = [{one.what for one in halves(same, brighter, seed) if one.drift} for seed in range(10)]
    assert all("brightness" in because for because in found)
    assert not set.union(*found) & {"width", "height", "aspect ratio"}
