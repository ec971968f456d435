"""What the checks share, and their report: what each saw, and why one did not run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.endpoint import Ended, Endpoint, missing
from cluster.pods import Pods

Saw = Callable[[str], None]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without an endpoint nothing here is collected."""
    return None if os.environ.get("KFP_HOST") else True


@pytest.fixture(scope="session")
def endpoint() -> Endpoint:
    lacking = missing(os.environ)
    if lacking:
        pytest.exit(f"{', '.join(lacking)}: not set; docs/conformance.md says what each is", returncode=2)
    return Endpoint(dict(os.environ))


@pytest.fixture(scope="session")
def pods(endpoint: Endpoint) -> Pods:
    """Kubernetes behind the endpoint."""
    return Pods(endpoint.namespace)


@pytest.fixture
def saw(record_property: Callable[[str, object], None]) -> Saw:
    """Takes down what a check saw."""
    return lambda what: record_property("saw", what)


@pytest.fixture(scope="session")
def first(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The session's first run: nothing of it can be in the cache but the data."""
    return endpoint.submit(tmp_path_factory.mktemp("first"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each check that ran, with what it saw; one for each that did not, with its reason."""
    stats = terminalreporter.stats
    terminalreporter.section("conformance")
    for outcome, kinds in (("passed", ("passed",)), ("FAILED", ("failed", "error"))):
        for report in [report for kind in kinds for report in stats.get(kind, [])]:
            terminalreporter.write_line(f"{outcome}: {_named(report)}")
            for _, what in (each for each in report.user_properties if each[0] == "saw"):
                terminalreporter.write_line(f"    {what}")
    for report in stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        terminalreporter.write_line(f"NOT RUN: {_named(report)}: {reason}")


def _named(report: pytest.TestReport) -> str:
    return report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
