"""Runs that a training's run is nested under: that of a sweep, and the one that an orchestrator made for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from siamese.console import log
from siamese.tracking.client import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP = "SIAMESE_SWEEP"  # environment: the name of the sweep that a training belongs to
TAG = "siamese.sweep"  # of the parent alone

RUN_ID = "MLFLOW_RUN_ID"  # environment: the run that an orchestrator made for this process, as Kubeflow Pipelines does
CHILD = "siamese.run"  # tag of that run: the training's own
PARENT = "mlflow.parentRunId"  # tag by which MLflow nests a run under another

_DVC_BASELINE, _DVC_NAME = "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"  # set by `dvc exp run`
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")  # the second: it was deleted


def sweep() -> str | None:
    """The sweep that this training belongs to: SIAMESE_SWEEP, else the experiments on the same commit, else none."""
    named, baseline = os.environ.get(SWEEP), os.environ.get(_DVC_BASELINE)
    return named or (f"experiments on {baseline[:7]}" if baseline else None)


def name_in_sweep() -> str | None:
    """The experiment's name, where DVC runs one."""
    return os.environ.get(_DVC_NAME)


def orchestrators_run() -> str | None:
    """Return the id of the run that an orchestrator made for this process."""
    return os.environ.get(RUN_ID) or None


def nest(client: MlflowClient, run_id: str, parent: str, in_sweep: bool) -> None:
    """Link a training's run and the one that an orchestrator made for it to each other.

    A run that this server doesn't have, as it is another server's, or that this user may not write to is reported.

    Args:
        in_sweep: whether the training's run is nested under its sweep, where it stays.
    """
    from mlflow.exceptions import MlflowException

    if parent == run_id:
        return
    try:
        client.set_tag(parent, CHILD, run_id)
        if not in_sweep:
            client.set_tag(run_id, PARENT, parent)
    except MlflowException as error:
        if error.error_code not in _NOT_THERE:
            raise
        log(
            f"tracking: {RUN_ID} {parent}: not a run of {without_credentials(client.tracking_uri)}, or not one to "
            "write to; "
            "the training's run is not nested"
        )


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
