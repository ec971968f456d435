"""An Argo workflow for tests: what KFP makes of a compiled pipeline, and how Argo's controller fills it in.

Written after KFP 2.15.0, 2.16.1 and 2.17.0 (backend/src/v2/compiler/argocompiler, apiserver/server/api_converter.go,
v2/metadata/client.go, v2/driver/resolve.go) and Argo 3.7.3 and 4.0.5 (workflow/controller: dag.go, operator.go,
exit_handler.go). Nodes have those names, types, templates, phases and messages; nothing is run, and tasks that could
run at the same time run one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import count
from typing import Any

Ended = tuple[str, str]  # phase and message
BAD = ("Failed", "Error")
LATE = "Step exceeded its deadline"
LOST = "pod deleted"
OMITTED = "omitted: depends condition not met"
STATES = {  # apiserver/model/run.go, ToV2; it does not know Omitted
    "Pending": "PENDING", "Running": "RUNNING", "Succeeded": "SUCCEEDED", "Skipped": "SKIPPED", "Failed": "FAILED",
    "Error": "FAILED",
}  # fmt: skip


@dataclass
class Plan:
    """What happens in a run.

    Attributes:
        kfp: version; 2.17 configures Argo so that every template is tried again where its pod is lost.
        cached: steps found in the cache; tasks have kfp's names, as `data-version`.
        failing: steps that fail, and Argo's message.
        failing_first: steps that fail so often before they succeed, with exit code 1.
        losing: steps that lose their pod so often before they succeed.
        pending: steps whose pod waits for a while, and why.
        broken: tasks whose driver fails, and Argo's message; `root` is the whole pipeline.
        unmet: conditions that are not met.
        endless: the step that does not end.
    """

    kfp: str = "2.17"
    cached: tuple[str, ...] = ()
    failing: dict[str, str] = field(default_factory=dict)
    failing_first: dict[str, int] = field(default_factory=dict)
    losing: dict[str, int] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    endless: str = ""


class ArgoWorkflow:
    """The workflow of one run; `go_on` lets the next thing happen."""

    def __init__(self, pipeline: dict[str, Any], name: str, namespace: str, plan: Plan) -> None:
        self.pipeline, self.name, self.plan = pipeline, name, plan
        self.metadata = {"name": name, "namespace": namespace}
        self.spec: dict[str, Any] = {"entrypoint": "entrypoint", "templates": list(templates(pipeline))}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.phase, self.message = "", ""
        self.recorded: dict[str, dict[str, str]] = {}  # ML Metadata: of each DAG, its tasks' states
        self.states: dict[str, str] = {}  # and its own
        self.above: dict[str, tuple[str, str]] = {}  # and which task of which DAG it is
        self.final_status: dict[str, Any] = {}  # what the exit task is given
        self._clock = count()
        self._trials: dict[str, int] = {}  # pods that a step has had
        self._course = self._whole()

    def go_on(self) -> None:
        """Let the next thing happen; nothing after the end."""
        next(self._course, None)

    def terminate(self) -> None:
        """End the run as KFP does: by a deadline of zero seconds (resource_manager.go, TerminateWorkflow)."""
        self.spec["activeDeadlineSeconds"] = 0

    @property
    def is_terminating(self) -> bool:
        return self.spec.get("activeDeadlineSeconds") == 0 and self.phase not in ("Succeeded", *BAD)

    def manifest(self) -> dict[str, Any]:
        """The workflow as Kubernetes has it."""
        status = {"phase": self.phase, "message": self.message, "nodes": self.nodes}
        return {"metadata": self.metadata, "spec": self.spec, "status": status}

    def task_details(self, run_id: str) -> list[dict[str, Any]]:
        """What KFP tells of the nodes: neither their IDs nor messages, pods or places."""
        return [
            {
                "run_id": run_id,
                "task_id": f"{run_id}-{number}",
                "display_name": node["displayName"],
                "state": STATES.get(node["phase"], "RUNTIME_STATE_UNSPECIFIED"),
                "child_tasks": [{"pod_name": child} for child in node["children"]],
            }
            for number, node in sorted(self.nodes.items())
        ]

    def pod_name(self, node: dict[str, Any]) -> str:
        return f"{self.name}-{node['templateName']}-{node['id'].rpartition('-')[2]}"

    # How the nodes come about

    def _whole(self) -> Iterator[None]:
        yield
        self.phase = "Running"
        root = self.pipeline["root"]["dag"]["tasks"]

        def entry(name: str) -> Iterator[Any]:
            def tasks(at: str) -> Iterator[Any]:
                prepared = yield from self._driver(at, "root", "system-dag-driver")
                if prepared[0] in BAD:
                    self._omit(f"{at}.root", "root", at)
                    return prepared
                return (yield from self._tried(f"{at}.root", "root", at, 0, lambda n: self._dag(n, "root", at, root)))

            return (yield from self._group(name, "entrypoint", "", tasks))

        self.phase, self.message = yield from self._tried(self.name, "entrypoint", "", 0, entry)

    def _dag(
        self, name: str, template: str, boundary: str, tasks: dict[str, Any], above: tuple[str, str] | None = None
    ) -> Iterator[Any]:
        """A DAG of the pipeline."""
        if above:
            self.above[name] = above
        hooks = {task["dependentTasks"][0]: other for other, task in tasks.items() if is_exit(task)}

        def within(at: str) -> Iterator[Any]:
            self.recorded[at] = dict.fromkeys(tasks, "")
            phases: dict[str, Ended] = {}
            for task in in_order({key: one for key, one in tasks.items() if not is_exit(one)}):
                if all(phases[dep][0] == "Succeeded" for dep in needed(tasks[task])):
                    phases[task] = yield from self._task(at, task, tasks[task], at)
                    if task in hooks:
                        yield from self._exit(at, task, hooks[task], tasks[hooks[task]])
                else:
                    for omitted in (f"{task}-driver", task):
                        self._omit(f"{at}.{omitted}", self._template(task, tasks[task], omitted), at)
                    phases[task] = ("Omitted", "")
            return next((end for end in phases.values() if end[0] in BAD), ("Succeeded", ""))

        return (yield from self._group(name, template, boundary, within))

    def _task(self, at: str, name: str, task: dict[str, Any], dag: str, item: str = "") -> Iterator[Any]:
        component = task["componentRef"]["name"]
        spec = self.pipeline["components"][component]
        if "parameterIterator" in task and not item:
            return (yield from self._loop(at, name, task, dag))
        if "dag" in spec:
            return (yield from self._graph(at, name, component, (dag, item or name)))
        if spec["executorLabel"].startswith("exec-importer"):
            pod = lambda node: self._pod(node, "system-importer", at, name, dag, False)  # noqa: E731
            return (yield from self._tried(f"{at}.{name}", "system-importer", at, 0, pod))
        return (yield from self._container(at, name, task, dag))

    def _graph(self, at: str, name: str, component: str, above: tuple[str, str]) -> Iterator[Any]:
        """A task that is a DAG: a condition, an exit handler's body, an iteration."""
        met = name not in self.plan.unmet
        prepared = yield from self._driver(at, name, "system-dag-driver")
        if prepared[0] in BAD:
            self._omit(f"{at}.{name}", component, at)
            return prepared
        self._record(*above, "RUNNING" if met else "CANCELED")
        if not met:
            message = "when 'false != false' evaluated false"
            self._add(f"{at}.{name}", "Skipped", component, at, "Skipped", message)
            return "Skipped", message
        tasks = self.pipeline["components"][component]["dag"]["tasks"]
        inside = lambda node: self._dag(node, component, at, tasks, above)  # noqa: E731
        return (yield from self._tried(f"{at}.{name}", component, at, 0, inside))

    def _container(self, at: str, name: str, task: dict[str, Any], dag: str) -> Iterator[Any]:
        """A task that is a step: its driver, and a DAG with the executor."""
        prepared = yield from self._driver(at, name, "system-container-driver")
        if prepared[0] in BAD:
            self._omit(f"{at}.{name}", self._template(name, task, name), at)
            return prepared
        if is_exit(task):
            self.final_status = self._final_status(dag, task["dependentTasks"][0])
        limit = task.get("retryPolicy", {}).get("maxRetryCount", 0)
        prefix = "retry-" if limit else ""

        def executor(node: str) -> Iterator[Any]:
            def pods(within: str) -> Iterator[Any]:
                template = f"{prefix}system-container-impl"
                if name in self.plan.cached:
                    self._record(dag, name, "CACHED")
                    message = "when 'true != true' evaluated false"
                    self._add(f"{within}.executor", "Skipped", template, within, "Skipped", message)
                    return "Succeeded", ""
                pod = lambda n: self._pod(n, template, within, name, dag, is_exit(task))  # noqa: E731
                return (yield from self._tried(f"{within}.executor", template, within, limit, pod))

            return (yield from self._group(node, f"{prefix}system-container-executor", at, pods))

        return (yield from self._tried(f"{at}.{name}", f"{prefix}system-container-executor", at, 0, executor))

    def _loop(self, at: str, name: str, task: dict[str, Any], dag: str) -> Iterator[Any]:
        component = task["componentRef"]["name"]
        items = range(len(json.loads(task["parameterIterator"]["items"]["raw"])))
        loop = f"{at}.{name}"
        self.recorded[loop], self.above[loop] = dict.fromkeys(map(str, items), ""), (dag, name)

        def iterator(node: str) -> Iterator[Any]:
            def within(here: str) -> Iterator[Any]:
                yield from self._driver(here, "iteration", "system-dag-driver")
                group = self._add(
                    f"{here}.iteration-iterations", "TaskGroup", f"{component}-iteration", here, "Running"
                )
                ends = []
                for item in items:
                    title = f"{here}.iteration-iterations({item}:{item})"
                    group["children"].append(self._id(title))

                    def one(node: str, item: int = item) -> Iterator[Any]:
                        inside = lambda at: self._task(at, "iteration-item", task, loop, str(item))  # noqa: E731
                        return (yield from self._group(node, f"{component}-iteration", here, inside))

                    ends.append((yield from self._tried(title, f"{component}-iteration", here, 0, one)))
                group["phase"] = next((end[0] for end in ends if end[0] in BAD), "Succeeded")
                return group["phase"], ""

            return (yield from self._group(node, f"{component}-{name}-iterator", at, within))

        return (yield from self._tried(f"{at}.{name}", f"{component}-{name}-iterator", at, 0, iterator))

    def _exit(self, at: str, handled: str, name: str, task: dict[str, Any]) -> Iterator[Any]:
        template = f"exit-hook-root-{name}"
        tasks = lambda here: self._task(here, name, task, at)  # noqa: E731
        hook = f"{at}.{handled}.onExit"
        yield from self._tried(hook, template, at, 0, lambda node: self._group(node, template, at, tasks))

    def _pod(self, node: str, template: str, boundary: str, step: str, dag: str, is_last: bool) -> Iterator[Any]:
        pod = self._add(node, "Pod", template, boundary, "Pending")
        for message in filter(None, ("PodInitializing", self.plan.pending.get(step))):
            pod["message"] = message
            if message != "PodInitializing":
                yield
        pod |= {"phase": "Running", "message": ""}
        self._record(dag, step, "RUNNING")
        yield
        while self.plan.endless == step and not self.is_terminating:
            yield
        if self.is_terminating and not is_last:
            return self._end(pod, "Failed", LATE)  # the launcher is killed, and records nothing
        trial = self._trials[step] = self._trials.get(step, 0) + 1
        if trial <= self.plan.losing.get(step, 0):
            return self._end(pod, "Error", LOST)
        if step in self.plan.failing or trial <= self.plan.failing_first.get(step, 0):
            self._record(dag, step, "FAILED")
            self._sum_up(dag)
            return self._end(pod, "Failed", self.plan.failing.get(step, "main: Error (exit code 1)"))
        self._record(dag, step, "COMPLETE")
        self._sum_up(dag)
        return self._end(pod, "Succeeded", "")

    def _driver(self, at: str, name: str, template: str) -> Iterator[Any]:
        def pod(node: str) -> Iterator[Any]:
            yield from ()
            ended = ("Failed", self.plan.broken[name]) if name in self.plan.broken else ("Succeeded", "")
            return self._end(self._add(node, "Pod", template, at, "Running"), *ended)

        return (yield from self._tried(f"{at}.{name}-driver", template, at, 0, pod))

    def _omit(self, node: str, template: str, boundary: str) -> None:
        self._add(node, "Skipped", template, boundary, "Omitted", OMITTED)

    def _tried(
        self, node: str, template: str, boundary: str, limit: int, body: Callable[[str], Iterator[Any]]
    ) -> Iterator[Any]:
        """A template with its retry strategy, if it has one."""
        default = 2 if self.plan.kfp == "2.17" else 0
        allowed, retried = limit or default, ("Error",) if default else ("Failed",)
        if not allowed:
            return (yield from body(node))
        whole = self._add(node, "Retry", template, boundary, "Running")
        for attempt in count():
            whole["children"].append(self._id(f"{node}({attempt})"))
            phase, message = yield from body(f"{node}({attempt})")
            if phase not in BAD:
                return self._end(whole, "Succeeded", "")
            if self.is_terminating or phase not in retried:
                return self._end(whole, phase, message)
            if attempt == allowed:
                return self._end(whole, phase, "No more retries left")
            yield
        raise AssertionError

    def _group(self, node: str, template: str, boundary: str, body: Callable[[str], Iterator[Any]]) -> Iterator[Any]:
        """A DAG's node around what is in it."""
        whole = self._add(node, "DAG", template, boundary, "Running")
        phase, _ = yield from body(node)
        return self._end(whole, "Succeeded" if phase == "Skipped" else phase, "")

    def _add(self, name: str, kind: str, template: str, boundary: str, phase: str, message: str = "") -> dict[str, Any]:
        second = next(self._clock)
        display = name.removeprefix(boundary).removeprefix(".") if boundary else name
        node: dict[str, Any] = {"id": self._id(name), "name": name, "displayName": display, "type": kind}
        node |= {"templateName": template, "phase": phase, "message": message, "children": []}
        node["startedAt"] = f"2026-11-30T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        node["boundaryID"] = self._id(boundary) if boundary else ""
        assert node["id"] not in self.nodes, name
        self.nodes[node["id"]] = node
        return node

    def _end(self, node: dict[str, Any], phase: str, message: str) -> Ended:
        node |= {"phase": phase, "message": message}
        return phase, message

    def _id(self, name: str) -> str:
        """Argo's: the workflow's name, and the name's hash (32-bit FNV-1a)."""
        mixed = reduce(lambda seed, byte: (seed ^ byte) * 16777619 % 2**32, name.encode(), 2166136261)
        return name if name == self.name else f"{self.name}-{mixed}"

    def _template(self, name: str, task: dict[str, Any], node: str) -> str:
        component = task["componentRef"]["name"]
        is_dag = "dag" in self.pipeline["components"][component]
        if node != name:
            return "system-dag-driver" if is_dag else "system-container-driver"
        return component if is_dag else f"{'retry-' if 'retryPolicy' in task else ''}system-container-executor"

    # ML Metadata, from which KFP takes what it tells the exit task

    def _record(self, dag: str, task: str, state: str) -> None:
        self.recorded.setdefault(dag, {})[task] = state

    def _sum_up(self, dag: str) -> None:
        """What the launcher does when a step has ended (metadata/client.go, UpdateDAGExecutionsState)."""
        states = list(self.recorded[dag].values())
        if all(state in ("COMPLETE", "CACHED", "CANCELED") for state in states):
            self.states[dag] = "COMPLETE"
        elif "FAILED" in states:
            self.states[dag] = "FAILED"
        else:
            return
        if dag in self.above:
            above, task = self.above[dag]
            self.recorded[above][task] = self.states[dag]
            if self.plan.kfp == "2.17":  # earlier, the DAG around it isn't looked at
                self._sum_up(above)

    def _final_status(self, dag: str, producer: str) -> dict[str, Any]:
        """What the exit task's driver makes of it (driver/resolve.go)."""
        tried = [key for key in self.recorded if strip_attempt(key) == f"{dag}.{producer}"]
        return {
            "state": self.states.get(tried[-1], "RUNNING") if tried else "RUNNING",
            "pipelineJobResourceName": self.name,
            "pipelineTaskName": producer,
            "error": {},
        }


def is_exit(task: dict[str, Any]) -> bool:
    return task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"


def needed(task: dict[str, Any]) -> set[str]:
    return set(task.get("dependentTasks", ()))


def in_order(tasks: dict[str, dict[str, Any]]) -> list[str]:
    """The tasks, each after those it depends on."""
    order: list[str] = []
    while len(order) < len(tasks):
        order.append(next(name for name, task in tasks.items() if name not in order and needed(task) <= set(order)))
    return order


def strip_attempt(name: str) -> str:
    return name.rpartition("(")[0] if name.endswith(")") else name


def templates(pipeline: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The templates that KFP makes, each with the names and templates of its tasks."""
    yield template("entrypoint", [("root-driver", "system-dag-driver"), ("root", "root")])
    graphs = {"root": pipeline["root"], **pipeline["components"]}
    for graph, spec in graphs.items():
        tasks: list[tuple[str, str]] = []
        for name, task in spec.get("dag", {}).get("tasks", {}).items():
            component = task["componentRef"]["name"]
            label = graphs[component].get("executorLabel")
            if "parameterIterator" in task:
                parts = [(name, f"{component}-{name}-iterator")]
                yield template(
                    f"{component}-{name}-iterator",
                    [("iteration-driver", "system-dag-driver"), ("iteration-iterations", f"{component}-iteration")],
                )
                yield template(
                    f"{component}-iteration",
                    [("iteration-item-driver", "system-dag-driver"), ("iteration-item", component)],
                )
            elif label is None:
                parts = [(f"{name}-driver", "system-dag-driver"), (name, component)]
            elif label.startswith("exec-importer"):
                parts = [(name, "system-importer")]
            else:
                prefix = "retry-" if "retryPolicy" in task else ""
                parts = [(f"{name}-driver", "system-container-driver"), (name, f"{prefix}system-container-executor")]
            if is_exit(task):
                yield template(f"exit-hook-{graph}-{name}", parts)
            else:
                tasks += parts
        if "dag" in spec:
            yield template(graph, tasks)


def template(name: str, tasks: list[tuple[str, str]]) -> dict[str, Any]:
    return {"name": name, "dag": {"tasks": [{"name": task, "template": of} for task, of in tasks]}}
