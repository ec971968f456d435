"""Sweeps: trainings that belong together, nested under one parent run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP = "SIAMESE_SWEEP"  # environment: the name of the sweep that a training belongs to
TAG = "siamese.sweep"  # of the parent alone

_DVC_BASELINE, _DVC_NAME = "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"  # set by `dvc exp run`


def sweep() -> str | None:
    """The sweep that this training belongs to: SIAMESE_SWEEP, else the experiments on the same commit, else none."""
    named, baseline = os.environ.get(SWEEP), os.environ.get(_DVC_BASELINE)
    return named or (f"experiments on {baseline[:7]}" if baseline else None)


def name_in_sweep() -> str | None:
    """The experiment's name, where DVC runs one."""
    return os.environ.get(_DVC_NAME)


def parent_run(client: MlflowClient, experiment: str, name: str, time: int) -> str:
    """The id of a sweep's parent run; made if there is none. Only one process of a project at a time may call it.

    Two machines that begin a sweep at the same moment may make two parents; later trainings go to the older one.

    Args:
        client: of the server.
        experiment: the experiment's id.
        name: the sweep's.
        time: when it begins, milliseconds since 1970.
    """
    value = name.replace('"', "'")  # MLflow's filters know no escapes
    found = client.search_runs([experiment], f'tags.`{TAG}` = "{value}"', order_by=["attributes.start_time ASC"])
    if found:
        return found[0].info.run_id
    run_id = client.create_run(experiment, start_time=time, run_name=name, tags={TAG: value}).info.run_id
    client.set_terminated(run_id, "FINISHED", time)  # nobody tells when a sweep ends
    return run_id
