"""`python -m pipelines submit`: one run on a Kubeflow cluster, and with --wait its end."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines import steps
from pipelines.arguments import Checkpoints, ClusterFile, Repository, Revision, TrackingUri
from pipelines.options import (
    Caching,
    CaFile,
    Experiment,
    Host,
    Namespace,
    Preflight,
    RunExitCode,
    ServiceAccount,
    TokenFile,
    Version,
    duration,
)
from siamese.cli.options import AsJson, ParamsFile, Settings, answer
from siamese.console import log
from siamese.errors import InputError

if TYPE_CHECKING:
    from pipelines.cluster import Cluster
    from pipelines.kubeflow import Kubeflow

PIPELINE = "siamese"
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
LAST_LINES = 10  # of a failed step's log


def submit(
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    experiment: Experiment = PIPELINE,
    run_name: Annotated[
        str | None,
        typer.Option(help="The same name again finds the run, and makes no second one.", show_default="a new one"),
    ] = None,
    version: Version = None,
    service_account: ServiceAccount = None,
    caching: Caching = None,
    preflight: Preflight = True,
    repository: Repository = None,
    revision: Revision = None,
    tracking_uri: TrackingUri = None,
    checkpoints: Checkpoints = "",
    cluster_file: ClusterFile = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
    timeout: Annotated[
        int | None, typer.Option(parser=duration, metavar="TIME", help="Wait no longer: 90s, 30m, 24h, 7d.")
    ] = None,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 10,
    as_json: AsJson = False,
) -> int | None:
    """Start a run on a Kubeflow cluster."""
    from pipelines.arguments import arguments
    from pipelines.kubeflow import connect

    given = arguments(params_file, settings, repository, revision, tracking_uri, checkpoints)
    kubeflow = connect(host, namespace, token_file, ca_file)
    source = pipeline_of(kubeflow, version, cluster_file, caching)
    run = started(kubeflow, source, given, experiment, run_name, service_account, preflight)
    url = kubeflow.url("runs", run.run_id)
    if not wait:
        run.state = state_of(run, kubeflow.workflow(run.run_id) if run.state == "FAILED" else {})
        answer(run_as_dict(run, url), f"run {run.display_name}: {url}", as_json)
        return None
    log(f"run {run.display_name}: {url} (it goes on if this command is stopped)")
    run, workflow = followed(kubeflow, run.run_id, poll, timeout)
    answer(run_as_dict(run, url), f"run {run.display_name} {ending(run, workflow)}: {url}", as_json)
    if run.state == "SUCCEEDED":
        return None
    return RunExitCode.RUN_FAILED if run.state in ENDED else RunExitCode.STILL_RUNNING


def pipeline_of(
    kubeflow: Kubeflow, version: str | None, cluster_file: Path | None, caching: bool | None
) -> dict[str, Any]:
    """What to run, as fields of a run: the pipeline of these files, or an uploaded version.

    Raises:
        InputError: there is no such version.
    """
    import kfp_server_api as kfp_api

    from pipelines import cluster

    if version is None:
        return {"pipeline_spec": specification(cluster.load(cluster_file), caching)}
    if caching is not None or cluster_file is not None:
        option = "--cluster (or SIAMESE_CLUSTER)" if cluster_file else "--caching"
        raise InputError(f"{option}: an uploaded version has its own; leave it out, or --version")
    pipeline = kubeflow.pipeline(PIPELINE)
    found = kubeflow.version(pipeline.pipeline_id, version) if pipeline else None
    if found is None:
        raise InputError(f"version {version} isn't on {kubeflow.host}: `python -m pipelines upload` brings it there")
    reference = kfp_api.V2beta1PipelineVersionReference(found.pipeline_id, found.pipeline_version_id)
    return {"pipeline_version_reference": reference}


def specification(cluster: Cluster, caching: bool | None) -> dict[str, Any]:
    """The compiled pipeline as a run carries it: what to do, and what Kubernetes gets besides."""
    import yaml

    from pipelines.compile import compiled

    with TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiled(cluster, file)
        pipeline, *platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    if caching is not None:
        for task in tasks_of(pipeline):
            task.setdefault("cachingOptions", {})["enableCache"] = caching
    return {"pipeline_spec": pipeline, "platform_spec": platform[0]} if platform else pipeline


def tasks_of(pipeline: dict[str, Any]) -> list[dict[str, Any]]:
    """Every task, those within conditions and the exit handler too."""
    graphs = [pipeline["root"], *pipeline.get("components", {}).values()]
    return [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).values()]


def started(
    kubeflow: Kubeflow,
    source: dict[str, Any],
    given: dict[str, Any],
    experiment: str,
    run_name: str | None,
    service_account: str | None,
    preflight: bool,
) -> Any:
    """The run, made if there is none of this name in the experiment.

    KFP lets any number of runs have one name, so this is looked up first: two that ask at the same moment still get
    two runs.

    Raises:
        InputError: a run of this name has other arguments; the cluster could never run it; the server refused; or it is
            unknown whether the run was made.
    """
    import kfp_server_api as kfp_api

    from pipelines.kubeflow import made_once
    from pipelines.preflight import check

    experiment_id = kubeflow.experiment_made(experiment)
    earlier = kubeflow.run(experiment_id, run_name) if run_name else None
    if earlier is not None:
        if earlier.runtime_config.parameters != given:
            url = kubeflow.url("runs", earlier.run_id)
            raise InputError(f"run {run_name} is already there with other arguments ({url}): name another --run-name")
        log(f"run {run_name} is already there: nothing new is submitted")
        return earlier
    if preflight:
        check(kubeflow, source, service_account)
    name = run_name or f"{PIPELINE}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    log(f"submitting run {name}")  # before it is: whoever interrupts this knows what to look for
    run = kfp_api.V2beta1Run(
        experiment_id=experiment_id,
        display_name=name,
        runtime_config=kfp_api.V2beta1RuntimeConfig(parameters=given),
        service_account=service_account,
        **source,
    )
    return made_once(
        lambda: kubeflow.runs.run_service_create_run(run), lambda: kubeflow.run(experiment_id, name), f"run {name}"
    )


def followed(kubeflow: Kubeflow, run_id: str, poll: float, timeout: float | None) -> tuple[Any, dict[str, Any]]:
    """Wait for the run's end, and say each change of a step; return the run and its workflow at the last look.

    Args:
        run_id: the run.
        poll: seconds between two looks.
        timeout: seconds after which not to wait longer; None: however long it takes.
    """
    until = time.monotonic() + timeout if timeout else float("inf")
    changes = steps.Changes()
    while True:
        run = kubeflow.runs.run_service_get_run(run_id)
        workflow = kubeflow.workflow(run_id)  # after the run: if that has ended, this has, too
        for step, line in changes.since(steps.steps_of(workflow)):
            log(line)
            if step.state == "failed" and step.pod:
                say_end_of_log(kubeflow, run_id, workflow, step)
        if run.state in ENDED or time.monotonic() + poll > until:
            run.state = state_of(run, workflow)
            return run, workflow
        time.sleep(poll)


def say_end_of_log(kubeflow: Kubeflow, run_id: str, workflow: dict[str, Any], step: steps.Step) -> None:
    """Say the last lines of a failed step's log, and where the rest is."""
    namespace = workflow["metadata"]["namespace"]
    lines = steps.own_words(kubeflow.log(run_id, namespace, step.pod, step.node))
    for line in lines[-LAST_LINES:]:
        log(f"  {line}")
    log(f"  whole log: kubectl logs --namespace {namespace} {step.pod} --container main")


def state_of(run: Any, workflow: dict[str, Any]) -> str:
    """Return the run's state: KFP calls a run that somebody ended failed, as one that failed by itself."""
    ended = steps.was_cancelled(workflow) or any(one.state == "CANCELING" for one in run.state_history or ())
    return "CANCELED" if run.state == "FAILED" and ended else run.state


def ending(run: Any, workflow: dict[str, Any]) -> str:
    """Say how a run stands: why it failed is the names of its failed steps, or what Argo or KFP says."""
    if run.state not in ENDED:
        return "is still running"
    if run.state != "FAILED":
        return "was cancelled" if run.state == "CANCELED" else run.state.lower()
    failed = [step.name for step in steps.steps_of(workflow) if step.state == "failed"]
    message = (workflow.get("status") or {}).get("message") or (run.error and run.error.message) or ""
    reason = ", ".join(failed) or " ".join(message.split())
    return f"failed ({reason})" if reason else "failed"


def run_as_dict(run: Any, url: str) -> dict[str, Any]:
    """A run as JSON."""
    return {"run_id": run.run_id, "name": run.display_name, "state": run.state, "url": url}
