"""Which test pairs a model has never seen: what a comparison of models from different splits may use.

With fewer than 100 identities a split moves when data is added, and another seed makes another one: what is a test
identity today may have trained the champion, which would then win by memory.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from siamese.trained_on import TrainedOn


def seen_units(catalog: pd.DataFrame, seen: TrainedOn, by_identity: bool) -> pd.Index:
    """The identities of which a model saw an image; in role folders, where identities are unknown, the images.

    Args:
        catalog: as it is now: image_id, identity.
        seen: what the model saw.
        by_identity: whether all identities are known.
    """
    rows = catalog[seen.saw(catalog.image_id)]
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
