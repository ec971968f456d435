"""Step `calibrate`: a new threshold for a trained model, chosen on other pairs, without training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from siamese.evaluation.threshold import Threshold, choose_threshold
from siamese.models import scoring, trained_on
from siamese.models.artifacts import weights_digest
from siamese.models.scoring import Images, Scorer
from siamese.storage.files import write_json
from siamese.storage.object_store import AnyPath


def run(
    pairs_file: Path,
    images_folder: AnyPath,
    model_folder: Path,
    threshold_file: Path,
    rule: str | float,
    split: str | None,
) -> Threshold:
    """Scores pairs, chooses the threshold by `rule` and writes `threshold_file`.

    Args:
        pairs_file: Parquet, columns anchor_id, other_id, label and, unless all count, split.
        images_folder: the stored pixels of those images, as step `preprocess` writes them.
        rule: `eer`, `far=0.01` or a fixed score.
        split: the split whose pairs count; None: all.

    Raises:
        InputError: an input is missing, or the pairs have no positive or no negative one.
    """
    from siamese.models.verifier import Verifier
    from siamese.preprocessing import pixel_store

    pairs = scoring.read_pairs(pairs_file, split)
    image_ids = pd.unique(pd.concat([pairs.anchor_id, pairs.other_id]))
    trained_on.say_if_seen(trained_on.read(model_folder), image_ids, pairs_file)
    chosen = choose(pairs, Verifier.load(model_folder), pixel_store.open_store(images_folder), rule)
    write_threshold(threshold_file, chosen, split or "all", weights_digest(model_folder))
    return chosen


def choose(pairs: pd.DataFrame, scorer: Scorer, images: Images, rule: str | float) -> Threshold:
    """The threshold that `rule` chooses on these pairs: columns anchor_id, other_id, label."""
    embedded = scoring.embed(scorer, images, np.concatenate([pairs.anchor_id, pairs.other_id]))
    found = scoring.score_pairs(scorer, embedded, embedded.rows(pairs.anchor_id), embedded.rows(pairs.other_id))
    return choose_threshold(pairs.label, found, rule)


def write_threshold(threshold_file: Path, chosen: Threshold, chosen_on: str, weights: str) -> None:
    """Writes threshold.json: threshold, rule, pairs, false_accept_rate, false_reject_rate, warning, chosen_on, weights.

    Args:
        weights: digest of the weights that it was chosen for.
    """
    write_json(threshold_file, asdict(chosen) | {"chosen_on": chosen_on, "weights": weights})
