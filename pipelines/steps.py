"""The steps of a run on Kubeflow Pipelines, read from the Argo workflow that carries it out.

KFP's own list of tasks names Argo's nodes without their place in the pipeline: `executor(0)`, `root(0)`. The workflow
has the full names, such as `siamese-x7k2p(0).root(0).exit-handler-1(0).train(0).executor(1)`: the tasks that contain
each other, each with its attempt in brackets. Up to KFP 2.16, only the executors of tasks with retries have attempts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]  # of `status.nodes`

EXECUTOR, IMPORTER = "system-container-executor", "system-importer"  # templates of steps; the name may go on
STEP_DRIVER, OTHER_DRIVER = "system-container-driver", "system-dag-driver"
BAD = ("Failed", "Error")
ROUTINE = ("", "PodInitializing", "ContainerCreating")  # reasons for which every pod is pending
PULLING = ("ErrImagePull", "ImagePullBackOff")  # follow each other again and again
OF_CANCELLED = re.compile(r"exceeded its deadline|workflow deadline|workflow shutdown|Stopped with strategy")
OF_LAUNCHER = re.compile(r"I\d{4} [\d:.]+ +\d+ \S+:\d+\] |F\d{4} .*: exit status \d+$|.* argo=true\b")
TITLE = re.compile(r"(?P<name>.*?)(?:\((?P<iteration>\d+):[^()]*\))?(?:\((?P<attempt>\d+)\))?")


@dataclass(frozen=True)
class Step:
    """State of one step of a run.

    Attributes:
        name: that of its component; in a loop with the iteration's number, as `train 2`.
        state: pending, running, succeeded, cached, skipped, failed or cancelled.
        retries: how often it has been started again.
        reason: why it failed or waits; may be empty.
        before: why it was started again; may be empty.
        pod: its newest pod; "" if it has none.
        node: the pod's ID in Argo.
    """

    name: str
    state: str
    retries: int = 0
    reason: str = ""
    before: str = ""
    pod: str = ""
    node: str = ""


@dataclass(frozen=True)
class NodePosition:
    """Where a node is in the pipeline: the tasks around it, each with its iteration, and their attempts."""

    names: tuple[str, ...]
    iterations: tuple[int, ...]
    attempts: tuple[int, ...]

    @property
    def task(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The task, whatever the attempt."""
        return self.names, self.iterations

    @property
    def round(self) -> tuple[int, ...]:
        """The attempts of the tasks around it."""
        return self.attempts[:-1]


@dataclass
class Nodes:
    """The nodes of one step, each with its place."""

    drivers: list[tuple[NodePosition, Node]] = field(default_factory=list)
    tasks: list[tuple[NodePosition, Node]] = field(default_factory=list)
    executors: list[tuple[NodePosition, Node]] = field(default_factory=list)


def steps_of(workflow: dict[str, Any]) -> list[Step]:
    """List the steps that have begun or were skipped, and KFP's own pods that failed or can't start.

    Args:
        workflow: Argo's, as JSON.
    """
    nodes = sorted(_nodes(workflow), key=lambda node: (node.get("startedAt") or "", node["name"]))
    gathered: dict[Any, Nodes] = {}
    others = []
    for node in nodes:
        place, template = _place(workflow, node), node.get("templateName") or ""
        if template == STEP_DRIVER:
            of = NodePosition(
                (*place.names[:-1], place.names[-1].removesuffix("-driver")), place.iterations, place.attempts
            )
            gathered.setdefault(of.task, Nodes()).drivers.append((of, node))
        elif EXECUTOR in template or template.startswith(IMPORTER):
            gathered.setdefault(place.task, Nodes()).tasks.append((place, node))
        elif place.names and place.names[-1] == "executor":
            of = NodePosition(place.names[:-1], place.iterations, place.attempts)
            gathered.setdefault(of.task, Nodes()).executors.append((of, node))
        else:
            others.append((place, node))
    steps = [_step(workflow, task, nodes) for task, nodes in gathered.items()]
    return [step for step in (*steps, *_around(workflow, others)) if step]


def was_cancelled(workflow: dict[str, Any]) -> bool:
    """Say whether somebody ended the run: KFP does so by a deadline of zero seconds, Argo by its `shutdown`."""
    spec = workflow.get("spec") or {}
    return spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))


def component_name(task: str) -> str:
    """Return the name of the component: kfp writes `data_version` as `data-version`."""
    return task.replace("-", "_")


def own_words(lines: list[str]) -> list[str]:
    """Return a pod's lines without the regular ones of KFP's launcher and of Argo."""
    return [line for line in lines if line.strip() and not OF_LAUNCHER.match(line)]


class Changes:
    """Lines for what has changed in a run, one for each change."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._retries: dict[str, int] = {}

    def since(self, steps: list[Step]) -> Iterator[tuple[Step, str]]:
        """Yield each change since the last call as the step and a line."""
        for step in steps:
            retries = self._retries.get(step.name, 0)
            again = step.retries > retries
            self._retries[step.name] = max(step.retries, retries)
            if again:
                yield step, f"{step.name}: retry {step.retries}" + (f" ({step.before})" if step.before else "")
            waits_for = step.reason.partition(":")[0] if step.state == "pending" else ""
            look = (step.state, step.retries, PULLING[0] if waits_for in PULLING else waits_for)
            if look != self._seen.get(step.name) and not (again and step.state == "pending" and not waits_for):
                yield step, f"{step.name}: {_words(step)}"
            self._seen[step.name] = look


def _words(step: Step) -> str:
    if step.state == "cached":
        return "succeeded (from the cache)"
    if step.state == "skipped":
        return "skipped (its condition is not met)"
    return f"{step.state} ({step.reason})" if step.reason and step.state in ("pending", "failed") else step.state


def _step(workflow: dict[str, Any], task: Any, nodes: Nodes) -> Step | None:
    """Return the step, or None if it has not begun.

    A new attempt of a task around the step repeats the step as a whole. Only the newest such round counts.
    """
    name = _named(*task)
    newest = max(place.round for place, _ in (*nodes.drivers, *nodes.tasks) or nodes.executors)
    drivers = [node for place, node in nodes.drivers if place.round == newest]
    executors = [node for place, node in nodes.executors if place.attempts[: len(newest)] == newest]
    driver, whole = _whole(newest, nodes.drivers), _whole(newest, nodes.tasks)
    pods = _pods([node for _, node in nodes.executors or nodes.tasks])  # of all rounds
    last = next((pod for pod in reversed(pods) if _place(workflow, pod).attempts[: len(newest)] == newest), None)
    phase = whole["phase"] if whole else ""
    again = last is not None and phase == "Running" and last["phase"] in BAD
    retries = len(pods) - (last is not None) + again
    if driver and driver["phase"] in BAD:
        return _failed(workflow, name, driver, (_pods(drivers) or [driver])[-1], retries)
    if whole and phase in BAD:
        bad = [node for node in executors if node["phase"] in BAD] or [whole]
        return _failed(workflow, name, bad[0], last or bad[-1], retries)
    obstacle = _obstacle(last) if last else "".join(map(_obstacle, drivers))
    if phase in ("Succeeded", "Skipped", "Omitted"):  # omitted: a step before it failed
        state = {"Succeeded": "succeeded" if last else "cached", "Skipped": "skipped"}.get(phase, "")
    elif last:
        state = "pending" if again or last["phase"] == "Pending" else "running"
    else:
        state = "pending" if obstacle else ""
    failures = [_reason(pod) for pod in pods if pod["phase"] in BAD]
    before = failures[-1] if failures else ""
    return Step(name, state, retries, obstacle, before, **_pod(workflow, last)) if state else None


def _failed(workflow: dict[str, Any], name: str, whole: Node, pod: Node, retries: int) -> Step:
    """Return a failed or cancelled step, from the node of all its attempts and the last attempt's."""
    reasons = dict.fromkeys(reason for reason in (_reason(pod), _reason(whole)) if reason)
    ended = was_cancelled(workflow) and any(OF_CANCELLED.search(reason) for reason in reasons)
    of_pod = _pod(workflow, pod if pod.get("type") == "Pod" else None)
    return Step(name, "cancelled" if ended else "failed", retries, "; ".join(reasons), "", **of_pod)


def _around(workflow: dict[str, Any], others: list[tuple[NodePosition, Node]]) -> Iterator[Step]:
    """Yield the steps of conditions that are not met, and KFP's own pods that failed or can't start."""
    for place, node in others:
        if node["phase"] == "Skipped":
            for step in _steps_within(workflow, node.get("templateName") or ""):
                yield Step(_named((*place.names, step), place.iterations), "skipped")
        elif node.get("templateName") == OTHER_DRIVER and node.get("type") == "Pod":
            whole = next((n for p, n in others if p.task == place.task and p.round == place.round), node)
            if whole["phase"] in BAD:
                yield _failed(workflow, place.names[-1], whole, node, 0)
            elif _obstacle(node):
                yield Step(place.names[-1], "pending", 0, _obstacle(node), **_pod(workflow, node))


def _steps_within(workflow: dict[str, Any], template: str) -> Iterator[str]:
    templates = {one["name"]: one for one in workflow["spec"]["templates"]}
    for task in (templates.get(template, {}).get("dag") or {}).get("tasks") or ():
        if EXECUTOR in task["template"] or task["template"].startswith(IMPORTER):
            yield task["name"]
        else:
            yield from _steps_within(workflow, task["template"])


def _nodes(workflow: dict[str, Any]) -> list[Node]:
    return list(((workflow.get("status") or {}).get("nodes") or {}).values())


def _place(workflow: dict[str, Any], node: Node) -> NodePosition:
    rest = node["name"].removeprefix(workflow["metadata"]["name"])
    parts = [match for title in rest.split(".") if (match := TITLE.fullmatch(title))]
    return NodePosition(
        tuple(part["name"] for part in parts if part["name"]),
        tuple(int(part["iteration"]) for part in parts if part["iteration"]),
        tuple(-1 if part["attempt"] is None else int(part["attempt"]) for part in parts),
    )


def _whole(newest: tuple[int, ...], nodes: list[tuple[NodePosition, Node]]) -> Node | None:
    """Return the node of all attempts in this round, which has no attempt of its own."""
    return min(((p.attempts[-1], n["name"], n) for p, n in nodes if p.round == newest), default=(0, "", None))[2]


def _named(names: tuple[str, ...], iterations: tuple[int, ...]) -> str:
    return " ".join([component_name(names[-1]), *(str(index + 1) for index in iterations)])


def _pods(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.get("type") == "Pod"]


def _reason(node: Node) -> str:
    return " ".join((node.get("message") or "").split())


def _obstacle(node: Node) -> str:
    """Return what keeps a node's pod from starting; "" if nothing does."""
    return _reason(node) if node["phase"] == "Pending" and _reason(node) not in ROUTINE else ""


def _pod(workflow: dict[str, Any], node: Node | None) -> dict[str, str]:
    """Return the names of a node's pod and of the node, as fields of a step."""
    if node is None:
        return {}
    metadata = workflow["metadata"]
    if (metadata.get("annotations") or {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return {"pod": node["id"], "node": node["id"]}
    number = node["id"].rpartition("-")[2]
    return {"pod": f"{metadata['name']}-{node['templateName']}-{number}", "node": node["id"]}
