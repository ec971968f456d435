"""Training away from the project's folder, as in a container: what stands around the step `train` there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siamese.config import params_from_sections
from siamese.models.artifacts import weights_digest
from siamese.paths import CHECKPOINTS
from siamese.registry import locator
from siamese.storage.mirror import working_files
from siamese.tracking.client import use_tracking_uri
from siamese.tracking.provenance import RemoteOrigin
from siamese.tracking.recorder import record_training
from siamese.training import train


def run(
    catalog_file: Path,
    pairs_file: Path,
    images_folder: Path,
    transform_folder: Path,
    model_folder: Path,
    history_file: Path,
    run_file: Path,
    sections: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, Any],
    tracking_uri: str,
    working_folder: str,
    step: str,
) -> None:
    """Trains, recorded as a run of MLflow; begun again in another container, goes on.

    Args:
        catalog_file, pairs_file, images_folder, transform_folder: what the earlier steps wrote.
        model_folder, history_file, run_file: what is written.
        sections: of params.yaml, those that it is recorded with.
        data: where the images came from, by names of `siamese.tracking.provenance.ORIGIN`.
        tracking_uri: of the MLflow server; "": the environment says it.
        working_folder: folder or URI that outlives the container; "": none does.
        step: what all attempts of this step of this run have in common, and no other step.

    Raises:
        InputError, siamese.process.Interrupted: as `siamese.training.train.run`; a section isn't allowed.
    """
    params = params_from_sections(sections)
    inputs = catalog_file, pairs_file, images_folder, transform_folder
    with (
        use_tracking_uri(tracking_uri),
        working_files(working_folder),
        record_training(
            params, catalog_file, history_file, run_file, RemoteOrigin(data, [*sections], step)
        ) as listener,
    ):
        first = locator.initial_weights(params.model.initial_weights)
        written = model_folder, history_file
        made = train.run(
            *inputs, *written, params.train, params.model, CHECKPOINTS, listener=listener, first_weights=first
        )
        if made:
            listener.weights = weights_digest(model_folder)
