"""`python -m pipelines schedule …`: runs that come again, by KFP's own scheduler (recurring runs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.arguments import Checkpoints, ClusterFile, Repository, Revision, TrackingUri
from pipelines.cron import checked
from pipelines.options import (
    Caching,
    CaFile,
    Experiment,
    Host,
    Namespace,
    Preflight,
    ServiceAccount,
    TokenFile,
    Version,
    duration,
)
from pipelines.submit import PIPELINE, pipeline_of
from siamese.cli.options import AsJson, ParamsFile, Settings, answer
from siamese.errors import InputError

if TYPE_CHECKING:
    from pipelines.kubeflow import Kubeflow

app = typer.Typer(help="Runs that come again: create, list, pause, resume, delete.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name; no two have the same.")],
    cron: Annotated[
        str | None,
        typer.Option(
            help="When: minute, hour, day, month, weekday, such as '30 4 * * 1'. The clock is the server's: UTC, "
            "unless its scheduler is given CRON_SCHEDULE_TIMEZONE."
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option(parser=duration, metavar="TIME", help="Or how often: 30m, 24h, 7d.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=10, help="Runs that may go on at the same time.")] = 1,
    catchup: Annotated[bool, typer.Option("--catchup", help="Run later what was missed, not only the newest.")] = False,
    paused: Annotated[bool, typer.Option("--paused", help="Not to begin before `resume`.")] = False,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    experiment: Experiment = PIPELINE,
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
    as_json: AsJson = False,
) -> None:
    """Have the pipeline run again and again."""
    import kfp_server_api as kfp_api

    from pipelines.arguments import arguments
    from pipelines.kubeflow import connect, made_once
    from pipelines.preflight import check

    trigger = trigger_of(cron, every)
    moving(revision)
    given = arguments(params_file, settings, repository, revision, tracking_uri, checkpoints)
    kubeflow = connect(host, namespace, token_file, ca_file)
    if kubeflow.recurring_run(name) is not None:
        raise InputError(f"schedule {name} is already there: name another, or `schedule delete {name}` first")
    source = pipeline_of(kubeflow, version, cluster_file, caching)
    if preflight:
        check(kubeflow, source, service_account)
    wanted = kfp_api.V2beta1RecurringRun(
        display_name=name,
        experiment_id=kubeflow.experiment_made(experiment),
        mode=kfp_api.RecurringRunMode.DISABLE if paused else kfp_api.RecurringRunMode.ENABLE,
        trigger=trigger,
        max_concurrency=str(concurrency),
        no_catchup=not catchup,
        runtime_config=kfp_api.V2beta1RuntimeConfig(parameters=given),
        service_account=service_account,
        **source,
    )
    made = made_once(
        lambda: kubeflow.recurring_runs.recurring_run_service_create_recurring_run(wanted),
        lambda: kubeflow.recurring_run(name),
        f"schedule {name}",
    )
    url = kubeflow.url("recurringrun", made.recurring_run_id)
    answer(schedule_as_dict(made, url), f"schedule {name}, {when(made)}{', paused' if paused else ''}: {url}", as_json)


@app.command("list")
def list_(
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the schedules of the namespace."""
    from pipelines.kubeflow import all_pages, connect

    kubeflow = connect(host, namespace, token_file, ca_file)
    listed = kubeflow.recurring_runs.recurring_run_service_list_recurring_runs
    found = list(all_pages(listed, "recurring_runs", **kubeflow.of_namespace))
    schedules = [schedule_as_dict(one, kubeflow.url("recurringrun", one.recurring_run_id)) for one in found]
    lines = [f"{one['name']}  {one['state']}  {one['when']}  {one['url']}" for one in schedules]
    answer({"schedules": schedules}, "\n".join(lines or ["no schedules"]), as_json)


@app.command()
def pause(
    name: Name,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Start no more runs until `resume`; those that go on end as usual."""
    kubeflow, number = _found(name, host, namespace, token_file, ca_file)
    kubeflow.recurring_runs.recurring_run_service_disable_recurring_run(number)
    print(f"schedule {name}: paused")


@app.command()
def resume(
    name: Name,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Go on with a schedule that was paused."""
    kubeflow, number = _found(name, host, namespace, token_file, ca_file)
    kubeflow.recurring_runs.recurring_run_service_enable_recurring_run(number)
    print(f"schedule {name}: resumed")


@app.command()
def delete(
    name: Name,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
) -> None:
    """Remove a schedule; its runs stay."""
    kubeflow, number = _found(name, host, namespace, token_file, ca_file)
    kubeflow.recurring_runs.recurring_run_service_delete_recurring_run(number)
    print(f"schedule {name}: deleted")


def trigger_of(cron: str | None, every: int | None) -> Any:
    """KFP's trigger.

    Args:
        cron: five fields; KFP's scheduler wants seconds before them.
        every: seconds.

    Raises:
        InputError: neither or both, or no times that cron knows.
    """
    import kfp_server_api as kfp_api

    if (cron is None) == (every is None):
        raise InputError("when? Set one of --cron and --every")
    if every is not None:
        periodic = kfp_api.V2beta1PeriodicSchedule(interval_second=str(every))
        return kfp_api.V2beta1Trigger(periodic_schedule=periodic)
    with_seconds = " ".join(["0", *checked(cron or "")])
    return kfp_api.V2beta1Trigger(cron_schedule=kfp_api.V2beta1CronSchedule(cron=with_seconds))


def moving(revision: str | None) -> None:
    """Refuses what `submit` would take, the commit checked out here: every run would find the same data.

    Raises:
        InputError: no revision is given.
    """
    if revision is None:
        raise InputError("which data is each run to fetch? Set --revision to a branch, such as main")


def when(schedule: Any) -> str:
    """A recurring run's trigger in words."""
    trigger = schedule.trigger
    if trigger.cron_schedule:
        return f"cron {trigger.cron_schedule.cron}"
    seconds = int(trigger.periodic_schedule.interval_second)
    return f"every {seconds} s"


def schedule_as_dict(schedule: Any, url: str) -> dict[str, Any]:
    """A recurring run as JSON."""
    state = "paused" if schedule.status == "DISABLED" else "active"
    return {"name": schedule.display_name, "state": state, "when": when(schedule), "url": url}


def _found(name: str, *where: Any) -> tuple[Kubeflow, str]:
    """The server and the schedule's ID.

    Raises:
        InputError: there is no such schedule.
    """
    from pipelines.kubeflow import connect

    kubeflow = connect(*where)
    found = kubeflow.recurring_run(name)
    if found is None:
        raise InputError(f"schedule {name} isn't on {kubeflow.host}: `schedule list` shows what there is")
    return kubeflow, found.recurring_run_id
