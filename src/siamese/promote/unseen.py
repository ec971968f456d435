"""Which test pairs a model has never seen: what a comparison of models from different splits may use.

With fewer than 100 identities a split moves when data is added, and another seed makes another one: what is a test
identity today may have trained the champion, which would then win by memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from siamese.splits import SPLITS

NOT_TEST = [split for split in SPLITS if split != "test"]


def trained_on(catalog: pd.DataFrame) -> pd.Index:
    """The image ids that a model saw: they trained it, or chose its epoch and threshold.

    Args:
        catalog: of the model's own training: image_id, split.
    """
    return pd.Index(catalog.image_id[catalog.split.isin(NOT_TEST)])


def seen_units(catalog: pd.DataFrame, seen: Iterable[str], by_identity: bool) -> pd.Index:
    """The identities of which a model saw an image; in role folders, where identities are unknown, the images.

    Args:
        catalog: as it is now: image_id, identity.
        seen: image ids, from `trained_on`.
        by_identity: whether all identities are known.
    """
    rows = catalog[catalog.image_id.isin(pd.Index(seen))]
    return pd.Index(rows.identity.unique() if by_identity else rows.image_id)


def without(test: pd.DataFrame, units: pd.Index, by_identity: bool) -> np.ndarray:
    """Which pairs have nothing of these identities, or images: bool [pairs].

    Args:
        test: anchor_id, other_id, anchor_identity, other_identity.
        units: from `seen_units`.
        by_identity: as there.
    """
    kind = "identity" if by_identity else "id"
    return ~(test[f"anchor_{kind}"].isin(units) | test[f"other_{kind}"].isin(units)).to_numpy()
