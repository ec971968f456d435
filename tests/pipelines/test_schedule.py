"""`python -m pipelines schedule …`, against a server that speaks KFP's API."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from commands import Done, here, process
from kfp_server import Fault, KfpServer, kfp_server

NO_TIMES = (
    "4 * *",
    "0 30 4 * * 1",
    "at four on mondays please",
    "60 4 * * 1",
    "30 24 * * 1",
    "30 4 0 * 1",
    "30 4 * 13 1",
    "30 4 * * 7",
    "30 17-8 * * 1",
    "*/0 4 * * 1",
    "30 jan * * 1",
    "1, 4 * * 1",
)
RECURRING = "/apis/v2beta1/recurringruns"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server(token="good") as started:
        yield started


def schedule(server: KfpServer, *words: str) -> Done:
    return here("schedule", *words, "--host", server.address, KFP_TOKEN="good")


def create(server: KfpServer, *options: str) -> Done:
    return schedule(server, "create", "weekly", "--revision", "main", *options)


def made(server: KfpServer, *options: str) -> dict:
    """What the server holds after `schedule create weekly`."""
    done = create(server, *options)
    assert done.exit_code == 0, done
    (only,) = server.recurring_runs.values()
    return only


def refused(done: Done) -> str:
    assert (done.exit_code, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    return done.line


def test_a_schedule_is_made_shown_paused_resumed_and_deleted(server: KfpServer) -> None:
    where = ("--host", server.address)
    done = process(
        "schedule", "create", "weekly", "--revision", "main", "--cron", "30 4 * * 1", *where, KFP_TOKEN="good"
    )
    assert done.exit_code == 0, done
    (number,) = server.recurring_runs
    url = f"{server.address}/#/recurringrun/details/{number}"
    assert done.out == f"schedule weekly, cron 0 30 4 * * 1: {url}\n"
    for word, said, state in (("pause", "paused", "paused"), ("resume", "resumed", "active")):
        assert schedule(server, word, "weekly").out == f"schedule weekly: {said}\n"
        assert schedule(server, "list").out == f"weekly  {state}  cron 0 30 4 * * 1  {url}\n"
    assert schedule(server, "delete", "weekly").out == "schedule weekly: deleted\n"
    assert server.recurring_runs == {}
    assert schedule(server, "list").out == "no schedules\n"


def test_what_runs_is_the_pipeline_with_its_arguments(server: KfpServer) -> None:
    held = made(server, "--every", "7d", "-S", "train.epochs=3", "--experiment", "faces")
    assert held["runtime_config"]["parameters"]["train_params"]["epochs"] == 3
    assert held["runtime_config"]["parameters"]["revision"] == "main"
    assert held["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "siamese"
    assert server.experiments[held["experiment_id"]]["display_name"] == "faces"


def test_runs_of_one_commit_alone_are_refused(server: KfpServer) -> None:
    line = refused(schedule(server, "create", "weekly", "--every", "7d"))
    assert "Set --revision to a branch" in line
    assert server.asked == []


def test_what_runs_can_be_an_uploaded_version(server: KfpServer) -> None:
    assert here("upload", "--version", "v1", "--host", server.address, KFP_TOKEN="good").exit_code == 0
    held = made(server, "--every", "24h", "--version", "v1")
    (version,) = server.versions
    assert held["pipeline_version_reference"]["pipeline_version_id"] == version


@pytest.mark.parametrize(
    ("options", "trigger"),
    [
        (("--cron", "30 4 * * 1"), {"cron_schedule": {"cron": "0 30 4 * * 1"}}),
        (("--cron", "*/15 8-17 1,15 jan-mar MON-Fri"), {"cron_schedule": {"cron": "0 */15 8-17 1,15 jan-mar MON-Fri"}}),
        (("--every", "90s"), {"periodic_schedule": {"interval_second": "90"}}),
        (("--every", "30m"), {"periodic_schedule": {"interval_second": "1800"}}),
        (("--every", "24h"), {"periodic_schedule": {"interval_second": "86400"}}),
        (("--every", "7d"), {"periodic_schedule": {"interval_second": "604800"}}),
    ],
)
def test_when(server: KfpServer, options: tuple[str, ...], trigger: dict) -> None:
    assert made(server, *options)["trigger"] == trigger


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Set one of --cron and --every"),
        (("--cron", "0 4 * * 1", "--every", "7d"), "Set one of --cron and --every"),
        *((("--cron", cron), "write minute, hour, day, month and weekday") for cron in NO_TIMES),
        (("--every", "a week"), "write it as 90s, 30m, 24h or 7d"),
        (("--every", "0d"), "write it as 90s, 30m, 24h or 7d"),
        (("--every", "7d", "--concurrency", "0"), "concurrency"),
        (("--every", "7d", "-S", "train.epochs=0"), "train.epochs"),
    ],
)
def test_what_is_no_schedule_is_told_before_anybody_is_asked(
    server: KfpServer, options: tuple[str, ...], said: str
) -> None:
    assert said in refused(create(server, *options))
    assert server.asked == []


def test_by_default_runs_follow_one_another_and_what_was_missed_is_left_out(server: KfpServer) -> None:
    held = made(server, "--every", "7d")
    assert (held["max_concurrency"], held["no_catchup"], held["status"]) == ("1", True, "ENABLED")


def test_concurrency_catchup_and_a_paused_beginning_are_choices(server: KfpServer) -> None:
    held = made(server, "--every", "7d", "--concurrency", "3", "--catchup", "--paused")
    assert (held["max_concurrency"], held["no_catchup"], held["status"]) == ("3", False, "DISABLED")


def test_a_name_is_there_once(server: KfpServer) -> None:
    made(server, "--every", "7d")
    assert "schedule weekly is already there" in refused(create(server, "--every", "1h"))
    assert len(server.recurring_runs) == 1


def test_a_lost_answer_makes_no_second_schedule(server: KfpServer) -> None:
    server.faults = [Fault("POST", RECURRING, None, done=True)]
    made(server, "--every", "7d")
    assert len(server.requests("POST", RECURRING)) == 1


def test_what_the_server_refuses_is_told_in_its_words(server: KfpServer) -> None:
    """Such as an older version that doesn't have an input yet."""
    assert here("upload", "--version", "v1", "--host", server.address, KFP_TOKEN="good").exit_code == 0
    (version,) = server.versions.values()
    del version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]["checkpoints"]
    line = refused(create(server, "--every", "7d", "--version", "v1"))
    assert "parameter checkpoints not found in pipeline inputs (HTTP 400)" in line


@pytest.mark.parametrize("word", ["pause", "resume", "delete"])
def test_a_schedule_that_is_not_there_is_told(server: KfpServer, word: str) -> None:
    assert "schedule weekly isn't on" in refused(schedule(server, word, "weekly"))


def test_a_schedule_of_another_namespace_is_not_there(server: KfpServer) -> None:
    server.namespaces = ("team-a", "team-b")
    made(server, "--every", "7d", "--namespace", "team-a")
    assert "isn't on" in refused(schedule(server, "delete", "weekly", "--namespace", "team-b"))
    assert json.loads(schedule(server, "list", "--namespace", "team-b", "--json").out) == {"schedules": []}
    assert len(json.loads(schedule(server, "list", "--namespace", "team-a", "--json").out)["schedules"]) == 1


def test_two_of_one_name_are_left_to_the_user(server: KfpServer) -> None:
    held = made(server, "--every", "7d")
    server.recurring_runs["other"] = held | {"recurring_run_id": "other"}  # as KFP's user interface would make it
    assert "2 recurring runs are named weekly" in refused(schedule(server, "delete", "weekly"))
    assert len(server.recurring_runs) == 2


def test_more_than_a_page_is_shown_whole(server: KfpServer) -> None:
    held = made(server, "--every", "7d")
    for number in range(449):
        server.recurring_runs[f"{number}"] = held | {"recurring_run_id": f"{number}", "display_name": f"n{number}"}
    shown = schedule(server, "list").out.splitlines()
    assert len(shown) == 450
    assert len({line.split()[0] for line in shown}) == 450
    assert len(server.requests("GET", RECURRING)) == 1 + 3  # one looked whether there is such a name
