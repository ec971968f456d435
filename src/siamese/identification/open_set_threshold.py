"""The threshold of an identification: how high do scores go for people whom the gallery doesn't know?

Whoever isn't enrolled is accepted if any identity's score reaches the threshold: what counts is the highest of them,
which grows with the gallery. `Gallery.with_impostors` looks at it as often as there are images to ask with: it holds
each enrolled image against all identities but its own, and each image of no identity against all. Of n such scores and
that of another person of the same kind, any is as likely as another to be among the k highest; so a threshold just
above the k-th highest of the n is reached with a probability of k / (n + 1) at most, however scores are distributed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from siamese.identification.gallery import LOOKED_AT, Gallery, How


@dataclass(frozen=True)
class OpenSetThreshold:
    """A score from which somebody counts as recognised.

    Attributes:
        threshold: the score.
        false_accept_rate: how many people whom the gallery doesn't know are expected to reach it; None: not known.
        chosen_on: `unknown images`, `enrolled images`, `the model's own` or `given`.
        impostors: how many images it was chosen on.
        warning: what to know, or None.
    """

    threshold: float
    false_accept_rate: float | None
    chosen_on: str
    impostors: int
    warning: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def open_set_threshold(
    gallery: Gallery, how: How, far: float, own: float | None, of_model: Callable[[], float]
) -> OpenSetThreshold:
    """The threshold for a false-accept rate.

    Images of no identity decide alone where there are any. Where there are too few images for so low a rate, the
    threshold is that of the lowest rate that they can tell of, with a warning; where there are none, the model's own.

    Args:
        gallery: as read from its file.
        how: how an identity's score is made.
        far: share of people not enrolled that may be accepted, above 0 and below 1.
        own: a score, instead.
        of_model: gives the model's own threshold, for pairs. May raise InputError.
    """
    if own is not None:
        return OpenSetThreshold(own, None, "given", 0, None)
    highest = gallery.impostors[how]
    unknown = len(highest) > gallery.enrolled
    found = highest[gallery.enrolled :] if unknown else highest[: gallery.enrolled]
    found = np.sort(found[~np.isnan(found)])[::-1]
    count = len(found)
    if not count:
        warning = (
            "nobody else is in the gallery to set a threshold by: the model's own for pairs is used; enroll others, "
            "or images of people who aren't to be recognised (`siamese enroll --unknown`)"
        )
        return OpenSetThreshold(of_model(), None, "the model's own", 0, warning)
    rank = min(math.floor(far * (count + 1) + 1e-9), count)
    told = None
    if not rank:
        needed = math.ceil(1 / far - 1e-9) - 1
        rate = math.ceil(1e4 / (count + 1)) / 1e4  # rounded up, so that it can be told
        more = needed <= LOOKED_AT  # no more are ever looked at
        told = (
            f"{count} images of others can't tell of a false-accept rate of {far:g}"
            f"{f' (that takes {needed})' if more else ''}: the threshold is that of {rate:g}; "
            f"{'add images (`siamese enroll --unknown`), or ' if more else ''}give --far {rate:g}"
        )
        rank = 1
    score = float(np.nextafter(found[rank - 1], np.float32(2)))
    return OpenSetThreshold(score, rank / (count + 1), "unknown images" if unknown else "enrolled images", count, told)
