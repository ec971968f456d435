"""Runs one compiled pipeline in a process of its own: `python spec_runner.py FOLDER`.

kfp's local runner decides what runs when, and hands artifacts on as the real backend does. What this adds is what Argo
does: each attempt at a step is a pod (here a process with a log of its own), and the installation's policy decides
which losses are retried. FOLDER holds `run.json` (name, pipeline, arguments, policy, root) and gets `events.jsonl`, a
line for each change of a step, and `pods/NAME.log`. A file `pods/NAME.lost` says that a pod was deleted. Executions of
one step, as in a loop, are numbered from 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from kfp import components
from kfp import local as kfp_local
from kfp.local import status, subprocess_task_handler, task_dispatcher
from kfp.local.orchestrator import task_executor

from pipelines.values_on_cluster import values_as_on_a_cluster

RETRIES_LOST, RETRIES_FAILED = ("OnError", "Always"), ("OnFailure", "Always")


class NotRetried(Exception):
    """A step's attempt failed in a way that the policy doesn't retry."""


class Pods:
    """The steps of one run."""

    def __init__(self, folder: Path, name: str, policy: str) -> None:
        self.folder, self.name, self.policy = folder, name, policy
        (folder / "pods").mkdir()
        self._events = (folder / "events.jsonl").open("a")
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._executions: Counter[str] = Counter()
        self._current = threading.local()
        self._execute, self._attempt = task_executor.execute_single_task, task_dispatcher.run_single_task_implementation

    def tell(self, state: str, **more: Any) -> None:
        """Adds a line to the events."""
        with self._lock:
            of = {"task": self._current.task, "execution": self._current.execution}
            self._events.write(json.dumps({**of, "state": state, **more}) + "\n")
            self._events.flush()

    def task(self, task_name: str, *rest: Any, **named: Any) -> tuple[dict[str, Any], status.Status]:
        """A step with all of its attempts."""
        self._current.task, self._current.attempts = task_name, 0
        with self._lock:
            self._current.execution = self._executions[task_name]
            self._executions[task_name] += 1
        try:
            outputs, ended = self._execute(task_name, *rest, **named)
        except NotRetried:
            outputs, ended = {}, status.Status.FAILURE
        cached = ended == status.Status.SUCCESS and not self._current.attempts
        self.tell("CACHED" if cached else "SUCCEEDED" if ended == status.Status.SUCCESS else "FAILED")
        return outputs, ended

    def attempt(self, *rest: Any, **named: Any) -> tuple[dict[str, Any], status.Status]:
        """One attempt at a step: a pod."""
        task = self._current.task
        with self._lock:
            number = self._begun[task]
            self._begun[task] += 1
        self._current.pod = f"{self.name}-{task}-{number}"
        outputs, ended = self._attempt(*rest, **named)
        if ended == status.Status.FAILURE:
            lost = (self.folder / "pods" / f"{self._current.pod}.lost").exists()
            if self.policy not in (RETRIES_LOST if lost else RETRIES_FAILED):
                raise NotRetried
        return outputs, ended

    def process(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """The container's process, up to its exit code."""
        pod, attempt = self._current.pod, self._current.attempts
        self._current.attempts += 1
        with (self.folder / "pods" / f"{pod}.log").open("w") as log:
            environment = {**os.environ, **(env_vars or {})}
            process = subprocess.Popen(full_command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            self.tell("RUNNING", pod=pod, attempt=attempt, pid=process.pid)
            code = process.wait()
        self.tell("ENDED", pod=pod, code=code)
        return code


def main(folder: Path) -> int:
    """Runs the pipeline; gives 1 where a step failed."""
    wanted = json.loads((folder / "run.json").read_text())
    pods = Pods(folder, wanted["name"], wanted["policy"])
    task_executor.execute_single_task = pods.task
    task_dispatcher.run_single_task_implementation = pods.attempt
    subprocess_task_handler.run_local_subprocess = pods.process
    subprocess_task_handler.replace_python_executable = lambda full_command, _: (
        full_command
    )  # by PATH, as in a container
    kfp_local.init(kfp_local.SubprocessRunner(use_venv=False), pipeline_root=wanted["root"], enable_caching=True)
    pipeline = components.load_component_from_text(yaml.safe_dump_all(wanted["pipeline"]))
    try:
        with values_as_on_a_cluster():
            pipeline(**wanted["arguments"])
    except RuntimeError as error:  # kfp's word for a step that failed
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
