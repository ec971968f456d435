"""A Kubeflow installation whose runs are real: the stand-in servers, with the steps of each run as processes.

`ExecutingKfp` begins a run that is submitted (`spec_runner.py`), fires schedules, and ends the processes of a run that
is terminated. `ExecutingKubernetes` shows the steps' pods: their logs, a command in one, and the loss of one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from argo_workflow import LATE, LOST, ArgoWorkflow, Plan, is_exit
from kfp_server import Asked, KfpServer
from kubernetes_server import NAMESPACE, KubernetesServer
from kubernetes_server import PREFIX as TRAINER
from waiting import PATIENCE, wait_until

SPEC_RUNNER = Path(__file__).with_name("spec_runner.py")
POLICIES = {"2.17": "OnError", "2.16": "OnFailure"}  # Argo's, as each version of KFP has it configured
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows"
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455
STDOUT, STATUS = b"\x01", b"\x03"  # channels of Kubernetes' v4.channel.k8s.io


class Execution:
    """A run's steps at work."""

    def __init__(self, folder: Path, wanted: dict[str, Any], environment: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(wanted))
        self.folder = folder
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SPEC_RUNNER), str(folder)],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def events(self) -> list[dict[str, Any]]:
        """What has happened to steps, as `spec_runner` writes it down."""
        file = self.folder / "events.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def of(self, step: str, execution: int) -> list[dict[str, Any]]:
        """What has happened to one execution of a step."""
        return [event for event in self.events() if (event["task"], event["execution"]) == (step, execution)]

    def ended(self) -> list[dict[str, Any]]:
        """The ends of pods."""
        return [event for event in self.events() if event["state"] == "ENDED"]

    def steps(self) -> set[str]:
        """Those of which something is known."""
        return {event["task"] for event in self.events()}

    def is_lost(self, pod: str) -> bool:
        """Whether a pod was deleted."""
        return (self.folder / "pods" / f"{pod}.lost").exists()

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def end(self, asks: Callable[[], bool] = lambda: True) -> None:
        """End all of its processes: by a signal, and by another as soon as `asks` is true."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=PATIENCE)
            wait_until(lambda: asks() or not self._goes_on())
            os.killpg(self.process.pid, signal.SIGKILL)

    def _goes_on(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def log(self, pod: str) -> str:
        file = self.folder / "pods" / f"{pod}.log"
        return file.read_text(errors="replace") if file.exists() else ""


class Following(ArgoWorkflow):
    """A workflow whose steps do what the processes of an execution do.

    Attributes:
        pods: what the execution has of each pod, by Argo's name of it.
    """

    def __init__(self, pipeline: dict[str, Any], name: str, plan: Plan, execution: Execution) -> None:
        super().__init__(pipeline, name, NAMESPACE, plan)
        self.execution = execution
        self.pods: dict[str, dict[str, Any]] = {}
        self._waits = False
        self._executions: Counter[str] = Counter()
        self._attempts: Counter[tuple[str, int]] = Counter()

    def go_on(self) -> None:
        """Let all happen that the processes have got to."""
        self._waits = False
        while not self._waits and self.phase not in ("Succeeded", "Failed", "Error"):
            super().go_on()

    def _until(self, happened: Callable[[], Any]) -> Iterator[Any]:
        """Wait for an event, or for the end of all processes, after which there are no more."""
        while True:
            over = self.execution.is_over()
            if (found := happened()) or over:
                return found
            self._waits = True
            yield

    def _graph(self, at: str, name: str, component: str, above: tuple[str, str]) -> Iterator[Any]:
        inside = self.pipeline["components"][component]["dag"]["tasks"]
        last = [task for graph in self._graphs() for task, one in graph.items() if is_exit(one)]
        begun = yield from self._until(lambda: self.execution.steps() & {*inside, *last})
        if begun and not begun & set(inside):
            self.plan.unmet = (*self.plan.unmet, name)
        return (yield from super()._graph(at, name, component, above))

    def _graphs(self) -> list[dict[str, Any]]:
        whole = [self.pipeline["root"], *self.pipeline["components"].values()]
        return [spec["dag"]["tasks"] for spec in whole if "dag" in spec]

    def _container(self, at: str, name: str, task: dict[str, Any], dag: str) -> Iterator[Any]:
        of = name
        events = yield from self._until(lambda: self.execution.of(of, self._executions[of]))
        self.plan.cached = (of,) if events and events[0]["state"] == "CACHED" else ()
        ended = yield from super()._container(at, name, task, dag)
        self._executions[of] += 1
        return ended

    def _pod(self, node: str, template: str, boundary: str, step: str, dag: str, is_last: bool) -> Iterator[Any]:
        pod = self._add(node, "Pod", template, boundary, "Pending")
        execution = (step, self._executions[step])
        attempt = self._attempts[execution]
        self._attempts[execution] += 1

        def begun() -> dict[str, Any] | None:
            found = [event for event in self.execution.of(*execution) if event["state"] in ("RUNNING", "CACHED")]
            return found[attempt] if len(found) > attempt else None

        event = yield from self._until(begun)
        if event is None and not self.is_terminating:
            return self._end(pod, "Error", "its process never began")
        pod |= {"phase": "Running", "message": ""}
        self._record(dag, step, "RUNNING")
        code = 0
        if event and event["state"] == "RUNNING":
            self.pods[self.pod_name(pod)] = event
            of = event["pod"]
            ended = yield from self._until(lambda: [e for e in self.execution.ended() if e["pod"] == of])
            code = ended[0]["code"] if ended else -signal.SIGKILL
        if self.is_terminating and not is_last:
            return self._end(pod, "Failed", LATE)
        if code and event and self.execution.is_lost(event["pod"]):
            return self._end(pod, "Error", LOST)
        self._record(dag, step, "FAILED" if code else "COMPLETE")
        self._sum_up(dag)
        return self._end(pod, *(("Failed", "main: Error (exit code 1)") if code else ("Succeeded", "")))


@dataclass
class ExecutingKfp(KfpServer):
    """A server whose runs are executed.

    Attributes:
        folder: for what runs leave.
        environment: of the steps.
        kfp: the version, which decides what is retried.
        job_deletions: how often Kubernetes was asked to delete a TrainJob.
    """

    folder: Path = field(default_factory=Path)
    environment: dict[str, str] = field(default_factory=dict)
    kfp: str = "2.17"
    job_deletions: Callable[[], int] = lambda: 0
    fired: dict[str, datetime] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Any:
        for number in [*self.recurring_runs]:
            self._fire(self.recurring_runs[number])
        return super().answer(asked)

    def create_run(self, asked: Asked) -> dict:
        made = super().create_run(asked)
        spec = made["pipeline_spec"]
        pipeline = spec.get("pipeline_spec", spec)
        platform = [spec["platform_spec"]] if "platform_spec" in spec else []
        name = f"{pipeline['pipelineInfo']['name']}-{made['run_id'][:5]}"
        wanted = {
            "name": name, "pipeline": [pipeline, *platform], "arguments": made["runtime_config"]["parameters"],
            "policy": POLICIES[self.kfp], "root": str(self.folder / "artifacts"),
        }  # fmt: skip
        execution = Execution(self.folder / made["run_id"], wanted, self.environment)
        self.workflows[made["run_id"]] = Following(pipeline, name, Plan(kfp=self.kfp), execution)
        return made

    def get_run(self, asked: Asked, number: str) -> dict:
        run = super().get_run(asked, number)
        return {key: value for key, value in run.items() if key != "pipeline_spec"}

    def terminate_run(self, asked: Asked, number: str) -> dict:
        """End the pods as was seen on a real cluster: a launcher has the time for one request."""
        answer = super().terminate_run(asked, number)
        launches, before = "train-on-workers" in self.execution(number).steps(), self.job_deletions()
        self.execution(number).end(lambda: not launches or self.job_deletions() > before)
        return answer

    def execution(self, run: str) -> Execution:
        workflow = self.workflows[run]
        assert isinstance(workflow, Following)
        return workflow.execution

    def end(self) -> None:
        """End all runs."""
        for run in self.workflows:
            self.execution(run).end()

    def _fire(self, schedule: dict[str, Any]) -> None:
        """Begin a schedule's next run, if its time has come and the one before has ended."""
        number = schedule["recurring_run_id"]
        seconds = int(schedule["trigger"]["periodic_schedule"]["interval_second"])
        since = self.fired.setdefault(number, datetime.now(UTC))
        own = [run for run in self.runs.values() if run.get("recurring_run_id") == number]
        if schedule["status"] == "DISABLED" or (datetime.now(UTC) - since).total_seconds() < seconds:
            return
        if any(not self.execution(run["run_id"]).is_over() for run in own):
            return
        self.fired[number] = datetime.now(UTC)
        kept = {key: schedule[key] for key in ("experiment_id", "pipeline_spec", "runtime_config")}
        wanted = {**kept, "display_name": f"Run of {schedule['display_name']} ({len(own) + 1})"}
        made = self.create_run(Asked("POST", "/apis/v2beta1/runs", {}, json.dumps(wanted).encode(), {}))
        made["recurring_run_id"] = number


class ExecutingKubernetes(KubernetesServer):
    """The Kubernetes behind it.

    Attributes:
        kfp: whose runs' pods it shows.
    """

    kfp: ExecutingKfp

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, dict[str, Any]]:
        where = urlsplit(path)
        label = parse_qs(where.query).get("labelSelector", [""])[0].partition("=")
        kind, _, name = where.path.removeprefix(f"{TRAINER}/").partition("/")
        if where.path == PODS and label[0] == "pipeline/runid":
            return 200, {"kind": "PodList", "apiVersion": "v1", "items": self._pods_of(label[2])}
        if method == "DELETE" and where.path.startswith(f"{PODS}/"):
            name = where.path.split("/")[6]
            found = self._pod(name)
            return self._lose(*found) if found else self._lose_worker(name)
        if where.path == WORKFLOWS:
            return 200, {"items": [self._workflow(label[2])]}
        if method == "GET" and where.path.startswith(TRAINER) and not name:
            self._sweep()
            return 200, {"items": [content for (other, _), content in self.objects.items() if other == kind]}
        return super().answer(method, path, headers, body)

    def take_over(self, handler: BaseHTTPRequestHandler) -> bool:
        where = urlsplit(handler.path)
        if not where.path.startswith(f"{PODS}/") or not where.path.endswith(("/exec", "/log")):
            return False
        name = where.path.split("/")[6]
        if where.path.endswith("/log"):
            self._say(handler, self._log(name))
            return True
        found = self._pod(name)
        assert found
        python, option, program = parse_qs(where.query)["command"]
        assert (python, option) == ("python3", "-c")
        # In its own container a command sees the step's processes alone: here, those that its shell began.
        said = killed_within(found[1], program)
        key = handler.headers["Sec-WebSocket-Key"] + GUID
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        handler.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        handler.end_headers()
        for message in (STDOUT + said.encode(), STATUS + b'{"status":"Success"}'):
            handler.wfile.write(b"\x82" + bytes([len(message)]) + message)
        handler.wfile.write(b"\x88\x00")
        handler.close_connection = True
        return True

    def _say(self, handler: BaseHTTPRequestHandler, text: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    def _log(self, name: str) -> str:
        """What a step's pod, or a worker, has said."""
        if found := self._pod(name):
            return found[0].log(found[2])
        attempts = [attempt for job in (*self.jobs.values(), *self.ended.values()) for attempt in job.attempts]
        logs = [log for attempt in attempts for of, log in zip(attempt.names, attempt.logs, strict=True) if of == name]
        return logs[0].read_text() if logs else ""

    def _workflow(self, run: str) -> dict[str, Any]:
        manifest = self.kfp.workflows[run].manifest()
        defaults = {"retryStrategy": {"limit": "2", "retryPolicy": "OnError"}} if self.kfp.kfp == "2.17" else {}
        return {**manifest, "spec": {**manifest["spec"], "templateDefaults": defaults}}

    def _pods_of(self, run: str) -> list[dict[str, Any]]:
        workflow = self.kfp.workflows[run]
        assert isinstance(workflow, Following)
        with self.kfp.lock:
            workflow.go_on()
        nodes = [node for node in workflow.nodes.values() if node["type"] == "Pod"]
        return [
            {
                "metadata": {
                    "name": workflow.pod_name(node),
                    "labels": {"pipeline/runid": run},
                    "annotations": {"workflows.argoproj.io/node-name": node["name"]},
                    "creationTimestamp": node["startedAt"],
                },
                "spec": {"containers": [{"name": "main"}]},
                "status": {"phase": {"Error": "Failed"}.get(node["phase"], node["phase"])},
            }
            for node in nodes
        ]

    def _pod(self, name: str) -> tuple[Execution, int, str] | None:
        """The execution of a pod, its process, and the execution's name of it."""
        for run in self.kfp.workflows.values():
            assert isinstance(run, Following)
            if name in run.pods:
                event = run.pods[name]
                return run.execution, event["pid"], event["pod"]
        return None

    def _lose(self, execution: Execution, pid: int, pod: str) -> tuple[int, dict[str, Any]]:
        (execution.folder / "pods" / f"{pod}.lost").touch()
        for process in (pid, *descendants(pid)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return 200, {"kind": "Status", "status": "Success"}

    def _lose_worker(self, name: str) -> tuple[int, dict[str, Any]]:
        attempt = next(job.attempts[-1] for job in self.jobs.values() if name in job.attempts[-1].names)
        attempt.processes[attempt.names.index(name)].kill()
        return 200, {"kind": "Status", "status": "Success"}


def descendants(pid: int) -> list[int]:
    """The processes that a process began, and those that they began."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        found += (more := children.get(todo.pop(), []))
        todo += more
    return found


def killed_within(pid: int, program: str) -> str:
    """Run a program that looks for processes in /proc, which there are those of one pod."""
    pids = [pid, *descendants(pid)]
    only = f"import pathlib; pathlib.Path.glob = lambda *_: map(pathlib.Path, {[f'/proc/{one}' for one in pids]!r})\n"
    return subprocess.run([sys.executable, "-c", only + program], stdout=subprocess.PIPE, text=True, check=True).stdout
