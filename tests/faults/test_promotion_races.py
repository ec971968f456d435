"""Promotions at the same time, killed or held up at every request: one wins, and there's always a champion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registered
from conftest import ROOT
from mlflow_servers import MlflowServer
from promoting import Leaping
from registered import Uploaded
from waiting import PATIENCE, wait_until

from siamese.errors import InputError
from siamese.registry import lock as locks
from siamese.registry import promote
from siamese.registry.client import Registry
from siamese.registry.lock import LEASE, Lock
from siamese.tracking.client import TRACKING_URI, connect

PROMOTING = [sys.executable, str(ROOT / "tests/helpers/promoting.py")]
INPUTS = [f"artifacts/{name}" for name in ("catalog.parquet", "pairs.parquet", "images")]
LAX = ["-S", "promote.min_precision=0", "-S", "promote.max_eer=1"]

# `siamese` that has scored both models, says so, and promotes when it's told to.
WAITS = """
import sys
from siamese import cli
from siamese.registry import promote
move = promote.move
promote.move = lambda *given: (print("scored", flush=True), sys.stdin.readline(), move(*given))
cli.main()
"""


# The pipeline's step, which waits likewise.
STEP = """
import sys
from kfp import dsl
from components.promote import promote as step
from siamese.config import load_params
from siamese.registry import promote
move = promote.move
promote.move = lambda *given: (print("scored", flush=True), sys.stdin.readline(), move(*given))
limits = load_params().promote.model_dump() | {"min_precision": 0.0, "max_eer": 1.0, "max_p_value": 1.0}
inputs = [dsl.Dataset(uri=f"artifacts/{name}") for name in ("catalog.parquet", "pairs.parquet", "images")]
step.python_func(*inputs, sys.argv[1], limits, "", dsl.Markdown(uri=sys.argv[2]))
"""


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    running = MlflowServer(tmp_path_factory.mktemp("server"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRACKING_URI, running.address)
        try:
            running.start()
            yield running
        finally:
            running.kill()


@pytest.fixture
def files() -> Uploaded:
    """What versions can be made of whose files nobody asks for."""
    client = connect()
    found = client.get_experiment_by_name("no files")
    run = client.create_run(found.experiment_id if found else client.create_experiment("no files"))
    return Uploaded(f"{run.info.artifact_uri}/model", run.info.run_id, {})


def lines_of(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run([*PROMOTING, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# At the same time


@pytest.mark.parametrize("processes", [2, 6])
def test_of_promotions_at_the_same_moment_one_wins_and_the_others_are_told(processes: int) -> None:
    [found] = lines_of("race", f"race-{processes}", str(processes))
    assert sorted(found["codes"]) == [0] + [2] * (processes - 1)
    told = "siamese: another promotion moved the champion from version 1 to version 2 meanwhile: nothing was changed"
    for code, said in zip(found["codes"], found["said"], strict=True):
        assert said[-1:] == ([] if code == 0 else [told])
        assert len(said) <= 2 and all(line.startswith("waiting for ") for line in said[:-1])
    assert (found["champion"], found["previous"], found["replaces"], found["locks"]) == (2, 1, "1", [])


def commands_at_once(workspace: Path, folder: Path, name: str, processes: int) -> list[tuple[int, str]]:
    """`siamese promote` in so many processes, as `at_once`."""
    command = ["-c", WAITS, "promote", *LAX, "-S", f"registry.name={name}"]
    return at_once([command] * processes, linked(workspace, folder))


def linked(workspace: Path, folder: Path) -> Path:
    """The folder, with links to what promotion reads."""
    for file in ("params.yaml", *INPUTS):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).symlink_to(workspace / file)
    return folder


def at_once(programs: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Programs of Python that have all scored before one may go on: exit code and last line of each."""
    running = [
        subprocess.Popen(
            [sys.executable, *program],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for program in programs
    ]
    try:
        for one in running:
            assert one.stdout.readline() == "scored\n", one.communicate()
        for one in running:
            one.stdin.write("go\n" * len(programs))  # a version is judged again for each one that came before it
            one.stdin.flush()
        said = [one.communicate(timeout=PATIENCE) for one in running]
    finally:
        for one in running:
            one.kill()
    return [(one.returncode, (err + out).splitlines()[-1]) for one, (out, err) in zip(running, said, strict=True)]


def models_of_known_order(workspace: Path, folder: Path, name: str) -> None:
    for better, alias in ((False, "champion"), (True, "challenger")):
        made = registered.small_model(folder / alias, workspace, better=better)
        registered.upload(made, workspace / INPUTS[0]).version(name, alias)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, pytest.param(6, marks=pytest.mark.long)])
def test_whole_commands_at_once_fetch_score_and_promote_once(workspace: Path, tmp_path: Path, processes: int) -> None:
    """In one folder: they fetch the same models to the same places."""
    name = f"commands-{processes}"
    models_of_known_order(workspace, tmp_path, name)
    ends = sorted(commands_at_once(workspace, tmp_path / "work", name, processes))
    assert [code for code, _ in ends] == [0] * processes
    lines = sorted(line for _, line in ends)
    assert lines[-1].startswith(f"version 2 of {name} is champion now, in place of version 1: eer 0.")
    assert set(lines[:-1]) == {f"version 2 of {name} is champion already: nothing to do"}
    assert Registry(name).alias("champion").number == 2


def reports_of(run_id: str) -> list[tuple[int, int]]:
    """Of each of the gate's reports among a run's artifacts: the version that was judged, and the champion."""
    client = connect()
    files = [one.path for one in client.list_artifacts(run_id, "promotion") if one.path.endswith(".json")]
    found = [json.loads(Path(client.download_artifacts(run_id, file)).read_text()) for file in sorted(files)]
    return [(one["challenger"], one["champion"]) for one in found]


@pytest.mark.slow
def test_of_two_pipeline_runs_at_once_each_judges_the_version_that_it_registered(
    workspace: Path, tmp_path: Path
) -> None:
    """Versions 2 and 3 were both scored against version 1. The first one to be promoted is the other's new measure."""
    made = {better: registered.small_model(tmp_path / str(better), workspace, better=better) for better in (0, 1)}
    uploads = [registered.upload(made[better], workspace / INPUTS[0]) for better in (0, 1, 1)]
    uploads[0].version("runs", "champion")
    versions = [uploaded.version("runs", "challenger") for uploaded in uploads[1:]]
    programs = [["-c", STEP, version.uri, f"gate-{version.number}.md"] for version in versions]
    for number, (code, line) in enumerate(at_once(programs, linked(workspace, tmp_path)), start=2):
        assert code == 0, line
        page = (tmp_path / f"gate-{number}.md").read_text()
        assert page.startswith(f"# runs, version {number}: accepted by the gate\n")
    found = {alias: one.number for one in Registry("runs").versions() for alias in one.aliases}
    last, first = found["champion"], found["previous"]
    assert {last, first} == {2, 3} and found["challenger"] == 3
    of_first, of_last = (reports_of(uploads[number - 1].run_id) for number in (first, last))
    assert of_first == [(first, 1)] and of_last == [(last, 1), (last, first)]


def test_a_challenger_registered_meanwhile_is_not_promoted_unseen(files: Uploaded) -> None:
    """The version that was judged is promoted, and the newer one stays the challenger."""
    first, second = files.version("meanwhile", "champion"), files.version("meanwhile", "challenger")
    files.version("meanwhile", "challenger")
    registry = Registry("meanwhile")
    promote.move(registry, second, first, "test")
    assert registry.alias("champion").number == 2
    assert registry.alias("challenger").number == 3
    assert registry.version(3).tags == {}


def test_a_version_taken_back_meanwhile_is_not_promoted_again(files: Uploaded) -> None:
    """The champion is the same as when the slower one scored it; what has happened in between still counts."""
    first, second = files.version("back", "champion"), files.version("back", "challenger")
    registry = Registry("back")
    promote.move(registry, second, first, "test")
    promote.rollback(registry, "test")
    with pytest.raises(InputError, match="version 2 was promoted and rolled back meanwhile"):
        promote.move(registry, second, first, "test")
    assert registry.alias("champion").number == 1


# Killed


@pytest.mark.slow
@pytest.mark.parametrize("requests", ["POST|DELETE|PATCH", pytest.param(".", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("work", "before", "after"), [("promote", 1, 2), pytest.param("rollback", 2, 1, marks=pytest.mark.slow)]
)
def test_killed_before_any_request_there_is_a_champion_and_the_next_one_succeeds(
    work: str, before: int, after: int, requests: str
) -> None:
    """Up to one request the champion is the old one, from then on the new one, and the next process, which waits for
    the lease of the dead one, finds nothing in its way and leaves no lock. (Short form: before what changes something.)
    """
    moments = lines_of("kill", work, f"killed-{work}-{len(requests)}", requests)
    assert [moment["died"] for moment in moments] == [True] * (len(moments) - 1) + [False] and len(moments) > 7
    champions = [moment["left"]["champion"] for moment in moments]
    taken = champions.count(before)
    assert champions == [before] * taken + [after] * (len(moments) - taken) and 4 < taken < len(moments)
    for moment in moments[:taken]:
        assert (moment["after"]["champion"], moment["after"]["locks"]) == (after, [])
    ends = [moment["after"] or moment["left"] for moment in moments]
    assert {(end["champion"], end["replaces"]) for end in ends} == {(after, "1" if work == "promote" else None)}
    if work == "promote":
        assert {end["previous"] for end in ends} == {1}


# Held up


@pytest.mark.parametrize(
    ("requests", "late"),
    [
        ("registered-models/(create|alias|delete)", ["POST registered-models/alias"]),
        pytest.param(".", ["GET registered-models/get", "POST registered-models/alias"], marks=pytest.mark.long),
    ],
)
def test_held_up_for_longer_than_its_lease_a_promotion_writes_no_more(requests: str, late: list[str]) -> None:
    """Another one has promoted and rolled back meanwhile: version 1 stays champion. The exception is a process that is
    held up between its last look at the lock and the write of the champion itself: no server would refuse that one."""
    moments = lines_of("stop", "promote", f"held-up-{len(requests)}", requests)
    assert [moment["stopped"] for moment in moments] == [True] * (len(moments) - 1) + [False] and len(moments) > 4
    assert [moment["said"][0] for moment in moments[:-1] if moment["champion"] != 1] == late
    for moment in moments[:-1]:
        if moment["champion"] == 1:
            assert moment["code"] == (2 if moment["had"]["champion"] == 1 else 0), moment
        if moment["code"] == 2:
            assert re.search("rolled back meanwhile|longer than", moment["said"][-1]), moment


# The lock itself


class Clock:
    """The lock's `time`: stands still until a test moves `now`, and counts how often each thread has slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: Counter[str] = Counter()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _: float) -> None:
        self.sleeps[threading.current_thread().name] += 1
        time.sleep(0.01)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(locks, "time", made)
    return made


def test_a_lock_whose_holder_is_gone_is_taken_over_after_its_lease_by_one(clock: Clock) -> None:
    """Four wait for it; each holds it alone."""
    registry = Registry("lease")
    Lock(registry, "the dead").__enter__()
    inside: list[str] = []
    most: list[int] = []

    def hold() -> None:
        who = threading.current_thread().name
        with Lock(Registry("lease"), who) as lock:
            inside.append(who)
            lock.check()
            most.append(len(inside))
            inside.remove(who)

    waiting = [threading.Thread(target=hold) for _ in range(4)]
    for one in waiting:
        one.start()
    wait_until(lambda: len(clock.sleeps) == 4)  # each has seen the lock, and counts from now on
    assert most == []
    clock.now += LEASE
    for one in waiting:
        one.join(PATIENCE)
    assert most == [1] * 4
    assert registry.client.search_registered_models("name LIKE 'lease.promoting%'") == []


def test_a_holder_that_needs_several_leases_keeps_the_lock(clock: Clock) -> None:
    """Another one looks again and again meanwhile, and has it only when the holder is done."""
    order: list[str] = []

    def wait() -> None:
        with Lock(Registry("slow"), "ben"):
            order.append("ben")

    waiting = threading.Thread(target=wait, name="ben")
    with Lock(Registry("slow"), "ann") as lock:
        waiting.start()
        for _ in range(5):
            looks = clock.sleeps["ben"]
            wait_until(lambda looks=looks: clock.sleeps["ben"] >= looks + 2)  # one look at least was at this moment
            clock.now += 0.75 * LEASE
            lock.check()
        order.append("ann")
    waiting.join(PATIENCE)
    assert order == ["ann", "ben"]


def test_a_promotion_whose_every_write_takes_a_lease_succeeds(
    clock: Clock, files: Uploaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = files.version("crawling", "champion"), files.version("crawling", "challenger")
    for name in ("tag", "point"):
        write = getattr(Registry, name)

        def slowly(*given: Any, write: Any = write) -> None:
            write(*given)
            clock.now += LEASE

        monkeypatch.setattr(Registry, name, slowly)
    promote.move(Registry("crawling"), second, first, "test")
    promote.rollback(Registry("crawling"), "test")
    assert Registry("crawling").alias("champion").number == 1
    assert clock.now >= 6 * LEASE


def test_who_waits_is_told_for_whom(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry("told")
    monkeypatch.setattr(locks, "time", Leaping())
    monkeypatch.setattr(locks, "PATIENCE", 0.5)
    with (
        Lock(registry, "ann@office"),
        pytest.raises(InputError, match=r"or, if nobody is, delete the registered model told\.promoting"),
        Lock(registry, "ben"),
    ):
        raise AssertionError("both have it")
    assert "waiting for ann@office, who changes the registry since 20" in capsys.readouterr().err


def test_a_lock_is_given_back_when_the_work_fails() -> None:
    registry = Registry("given-back")
    with pytest.raises(ZeroDivisionError), Lock(registry, "ann"):
        raise ZeroDivisionError
    with Lock(registry, "ben") as lock:
        lock.check()


def test_who_was_silent_for_longer_than_a_lease_may_have_lost_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "time", Leaping())
    with Lock(Registry("silent"), "ann") as first:
        first.check()
        with Lock(Registry("silent"), "ben") as second:
            with pytest.raises(InputError, match="others took over the lock, as this took longer than 60 s"):
                first.check()
            second.check()


def test_a_server_lost_before_the_last_write_is_told_and_nothing_has_happened(
    server: MlflowServer, files: Uploaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back again, it has the old champion still, and the promotion works once the lock's lease is over."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    first, second = files.version("lost", "champion"), files.version("lost", "challenger")
    point = Registry.point

    def lost(registry: Registry, alias: str, number: int) -> None:
        if alias == "champion":
            server.kill()
        point(registry, alias, number)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "point", lost)
        with pytest.raises(InputError, match=r"^tracking server .* can't be used"):
            promote.move(Registry("lost"), second, first, "test")
    server.start()
    assert Registry("lost").alias("champion").number == 1
    monkeypatch.setattr(locks, "time", Leaping())
    promote.move(Registry("lost"), second, first, "test")
    assert Registry("lost").alias("champion").number == 2
