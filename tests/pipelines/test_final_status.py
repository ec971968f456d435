"""`notify` says something true of what KFP tells the exit task, whatever became of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from argo_workflow import ArgoWorkflow, Plan
from commands import ROOT
from kfp.dsl.executor import Executor
from listening import Listener
from pipeline_spec import specification

from components.notify import notify
from pipelines.compile import COMPILED
from siamese.orchestration.notify import ADDRESS

SUCCEEDED = "run weekly succeeded"
FAILED = "run weekly ended; a step failed: see the run's page"
UNRECORDED = "run weekly ended; Kubeflow did not record how: see the run's page"
BAD = "main: Error (exit code 1)"


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan(), SUCCEEDED),
        (Plan(cached=("fetch-data", "catalog", "pairs", "preprocess", "train", "evaluate")), SUCCEEDED),
        (Plan(losing={"train": 1}), SUCCEEDED),
        (Plan(failing={"catalog": BAD}), FAILED),
        (Plan(failing={"promote": BAD}), FAILED),
        (Plan(unmet=("condition-2",)), UNRECORDED),
        (Plan(kfp="2.16"), UNRECORDED),
        (Plan(kfp="2.16", failing={"catalog": BAD}), FAILED),
        (Plan(kfp="2.16", failing={"promote": BAD}), UNRECORDED),
        (Plan(kfp="2.16", failing_first={"train": 1}), FAILED),  # and succeeded when it was started again
    ],
)
def test_the_message_is_true(plan: Plan, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Listener() as listener:
        monkeypatch.setenv(ADDRESS, listener.address)
        executed(final_status(plan), tmp_path)
    (message,) = listener.heard
    assert (message["text"], message["run_id"]) == (text, "4f1c")


def test_a_run_that_somebody_ended_is_not_called_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow = ArgoWorkflow(specification(ROOT / COMPILED)[0], "siamese-x7k2p", "kubeflow", Plan(endless="train"))
    while not any(node["phase"] == "Running" and "train(0)" in node["name"] for node in workflow.nodes.values()):
        workflow.go_on()
    workflow.terminate()
    executed(ended(workflow), tmp_path)
    assert UNRECORDED in capsys.readouterr().err


def final_status(plan: Plan) -> dict[str, Any]:
    return ended(ArgoWorkflow(specification(ROOT / COMPILED)[0], "siamese-x7k2p", "kubeflow", plan))


def ended(workflow: ArgoWorkflow) -> dict[str, Any]:
    """What a workflow gives the exit task, once it is at its end."""
    while workflow.phase in ("", "Running"):
        workflow.go_on()
    return workflow.final_status


def executed(status: dict[str, Any], folder: Path) -> None:
    """The component, as kfp executes it in a pod."""
    given = {"status": status, "run": "weekly", "run_id": "4f1c"}
    executor_input = {
        "inputs": {"parameterValues": given},
        "outputs": {"outputFile": str(folder / "output.json")},
    }
    Executor(executor_input, notify.python_func).execute()
