"""What keeps a run from ever starting, found before it is submitted.

Each pod's requests are compared with the nodes' allocatable resources, and the volume, secrets and account that it
names with what is in the namespace. Kubernetes' API is only read. What can't be read is left out, and a line says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import urllib3

from siamese.console import log
from siamese.errors import InputError
from siamese.orchestration.k8s.api import connect

if TYPE_CHECKING:
    from pipelines.kubeflow import Kubeflow

NAMESPACE = "kubeflow"  # of an installation for one user
OF_KFP = (("service", "ml-pipeline"), ("config_map", "metadata-grpc-configmap"))  # profiles have the second alone
PASSING = "node.kubernetes.io/"  # taints that Kubernetes sets and removes by itself, such as not-ready
TIMES: dict[str, Any] = {"_request_timeout": (10, 60)}  # seconds to connect, and to answer
LONGEST = 60.0  # seconds for the whole check
LONGEST_REASON = 300
REFUSED, NOT_FOUND = (401, 403), 404
HINT = "or pass --no-preflight"
UNREAD = object()  # what the user may not read


class Unreadable(Exception):
    """The cluster can't be read; the message says why."""


@dataclass(frozen=True)
class Demand:
    """What a pod asks of a node.

    Attributes:
        step: the pod's, as in the cluster file; "a worker" of `train_on_workers`.
        requests: by resource, such as `cpu`, in Kubernetes' quantities.
        labels: the node must have them.
        tolerations: of taints, as Kubernetes writes them.
    """

    step: str
    requests: dict[str, str]
    labels: dict[str, str]
    tolerations: list[dict[str, Any]]


def check(kubeflow: Kubeflow, source: dict[str, Any], service_account: str | None) -> None:
    """Refuse a run that could never start.

    Args:
        kubeflow: the server that is to run it.
        source: the pipeline, as fields of a run.
        service_account: of the pods; None: the installation's.

    Raises:
        InputError: something is missing or too large. Of several problems, all but the last are printed before.
    """
    try:
        problems = _within(LONGEST, lambda: _problems(kubeflow, source, service_account))
    except Exception as error:  # whatever keeps the look from succeeding, the run may do well
        log(f"preflight: skipped ({' '.join(str(error).split())[:LONGEST_REASON]})")
        return
    for problem in problems[:-1]:
        log(problem)
    if problems:
        raise InputError(problems[-1])


def demands(pipeline: dict[str, Any], platform: dict[str, Any]) -> Iterator[Demand]:
    """Yield what each pod of a compiled pipeline asks of a node.

    Args:
        pipeline, platform: the two documents that kfp compiles.
    """
    from pipelines.submit import tasks_of

    configurations = _executors(platform)
    for label, executor in pipeline["deploymentSpec"]["executors"].items():
        resources = executor.get("container", {}).get("resources", {})
        requests = {
            name.lower(): resources.get(f"resource{name}Request") or resources.get(f"resource{name}Limit")
            for name in ("Cpu", "Memory")
        }
        if accelerator := resources.get("accelerator"):
            requests[accelerator.get("resourceType")] = accelerator.get("resourceCount")
        yield Demand(
            step=label.removeprefix("exec-").replace("-", "_"),
            requests={name: quantity for name, quantity in requests.items() if name and quantity},
            labels=configurations.get(label, {}).get("nodeSelector", {}).get("labels", {}),
            tolerations=configurations.get(label, {}).get("tolerations", []),
        )
    for task in tasks_of(pipeline):
        if workers := task.get("inputs", {}).get("parameters", {}).get("workers"):
            look = workers["runtimeValue"]["constant"]
            yield Demand("a worker", look["requests"], look["node_selector"], look["tolerations"])


def misfit(demand: Demand, nodes: Iterable[Any]) -> str | None:
    """Say why no node could take a pod, however empty; None if one could.

    Args:
        demand: the pod's.
        nodes: `V1Node`.
    """
    nodes = [node for node in nodes if demand.labels.items() <= (node.metadata.labels or {}).items()]
    if not nodes:
        labels = ", ".join(f"{key}={value}" for key, value in demand.labels.items())
        return f"no node has the labels {labels}; change node_selector in the cluster file, {HINT} if one will come"
    open_nodes = [node for node in nodes if not _taints(demand, node)]
    if not open_nodes:
        name, taint = nodes[0].metadata.name, _taints(demand, nodes[0])[0]
        return (
            f"every node repels it, as {name} by {taint}; add tolerations in the cluster file, {HINT} if one will come"
        )
    numbers = {name: _number(quantity) for name, quantity in demand.requests.items()}
    if any(all(_allocatable(node, name) >= number for name, number in numbers.items()) for node in open_nodes):
        return None
    most = {name: max(_allocatable(node, name) for node in open_nodes) for name in numbers}
    asked = [name for name in numbers if most[name] < numbers[name]] or list(numbers)  # or: no node has all of them
    largest = max(open_nodes, key=lambda node: _allocatable(node, asked[0]))
    requested = ", ".join(f"{name} {demand.requests[name]}" for name in asked)
    available = ", ".join(f"{name} {_readable(name, _allocatable(largest, name))}" for name in asked)
    return (
        f"requests {requested}, but the largest node that it may use, {largest.metadata.name}, has {available}; "
        f"request less in the cluster file, {HINT} if a larger one will come"
    )


def _problems(kubeflow: Kubeflow, source: dict[str, Any], service_account: str | None) -> list[str]:
    """Every problem, in a line each.

    Raises:
        Unreadable: there are no credentials, KFP isn't there, or there is no answer.
    """
    cluster = _Cluster(kubeflow.namespace or NAMESPACE)
    signs = [cluster.get(kind, name) for kind, name in OF_KFP]
    if UNREAD in signs:
        raise Unreadable(f"you may not read {cluster.place}")
    if signs == [None, None]:
        raise Unreadable(f"{cluster.place} has no Kubeflow Pipelines; is it another cluster than {kubeflow.host}?")
    pipeline, platform = _specification(kubeflow, source)
    problems = []
    if nodes := cluster.nodes():
        misfits: dict[str, list[str]] = {}
        for demand in demands(pipeline, platform):
            if line := misfit(demand, nodes):
                misfits.setdefault(line, []).append(demand.step)
        problems += [f"{', '.join(sorted(steps))}: {line}" for line, steps in misfits.items()]
    for kind, name, keys, key in _named(platform, service_account):
        there = cluster.get(kind, name)
        if there is None:
            problems.append(f"{key}: no {kind.replace('_', ' ')} {name} in {cluster.place}; create it, {HINT}")
        elif there is not UNREAD and (missing := sorted(keys - set(there.data or {}) if keys else ())):
            problems.append(f"{key}: secret {name} in {cluster.place} has no key {', '.join(missing)}; add it, {HINT}")
    if cluster.unread:
        log(f"preflight: not checked, since you may not read them: {', '.join(cluster.unread)}")
    return problems


def _named(platform: dict[str, Any], service_account: str | None) -> list[tuple[str, str, set[str], str]]:
    """What must be in the namespace: kind, name, keys of a secret, and the setting that names it."""
    secrets: dict[str, set[str]] = {}
    others = set()
    for configuration in _executors(platform).values():
        for secret in configuration.get("secretAsEnv", []):
            keys = {key["secretKey"] for key in secret["keyToEnv"]}
            secrets.setdefault(secret["secretName"], set()).update(keys)
        for mount in configuration.get("pvcMount", []):
            others.add(("persistent_volume_claim", mount["constant"], "volume.claim"))
        for secret in configuration.get("imagePullSecret", []):
            others.add(("secret", secret["secretName"], "pull_secrets"))
    if service_account:
        others.add(("service_account", service_account, "--service-account"))
    return [
        *((kind, name, set(), key) for kind, name, key in sorted(others)),
        *(("secret", name, keys, "secrets") for name, keys in sorted(secrets.items())),
    ]


class _Cluster:
    """One namespace and the nodes, read with the user's own credentials.

    Attributes:
        place: the namespace and the API's address, for messages.
        unread: what the user may not read.
    """

    def __init__(self, namespace: str) -> None:
        from kubernetes.client import CoreV1Api

        try:
            client, _ = connect()
        except Exception as error:  # of the package, of YAML, of a login program
            raise Unreadable(f"no credentials for Kubernetes: {error}") from error
        self.place = f"namespace {namespace} of {client.configuration.host}"
        self.unread: list[str] = []
        self._api, self._namespace = CoreV1Api(client), namespace

    def nodes(self) -> list[Any]:
        """The nodes; none if they can't be read."""
        listed = self._read("nodes", lambda: self._api.list_node(**TIMES))
        return [] if listed is UNREAD else listed.items

    def get(self, kind: str, name: str) -> Any:
        """An object, `UNREAD`, or None if there is none."""
        read = getattr(self._api, f"read_namespaced_{kind}")
        return self._read(f"{kind.replace('_', ' ')} {name}", lambda: read(name, self._namespace, **TIMES))

    def _read(self, what: str, call: Callable[[], Any]) -> Any:
        from kubernetes.client import ApiException

        try:
            return call()
        except ApiException as error:
            if error.status in REFUSED:
                self.unread.append(what)
                return UNREAD
            if error.status == NOT_FOUND:
                return None
            raise Unreadable(f"{self.place} answers HTTP {error.status} {error.reason}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreadable(f"{self.place} gives no answer: {error}") from error


def _specification(kubeflow: Kubeflow, source: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two documents of a pipeline, which may be an uploaded version."""
    if reference := source.get("pipeline_version_reference"):
        get = kubeflow.pipelines.pipeline_service_get_pipeline_version
        documents = get(reference.pipeline_id, reference.pipeline_version_id).pipeline_spec
    else:
        documents = source["pipeline_spec"]
    return documents.get("pipeline_spec", documents), documents.get("platform_spec", {})


def _executors(platform: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})


def _taints(demand: Demand, node: Any) -> list[str]:
    """The node's lasting taints that keep the pod away."""
    return [
        f"{taint.key}{f'={taint.value}' if taint.value else ''}:{taint.effect}"
        for taint in node.spec.taints or []
        if taint.effect in ("NoSchedule", "NoExecute")
        and not taint.key.startswith(PASSING)
        and not any(_tolerates(toleration, taint) for toleration in demand.tolerations)
    ]


def _tolerates(toleration: dict[str, Any], taint: Any) -> bool:
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return exists
    return toleration["key"] == taint.key and (exists or toleration.get("value", "") == (taint.value or ""))


def _allocatable(node: Any, resource: str) -> Decimal:
    return _number((node.status.allocatable or {}).get(resource, "0"))


def _number(quantity: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity

    return parse_quantity(quantity)


def _readable(resource: str, amount: Decimal) -> str:
    return f"{amount / 2**30:.1f}Gi" if resource == "memory" else f"{amount.normalize():f}"


def _within(seconds: float, call: Callable[[], list[str]]) -> list[str]:
    """Return what `call` returns.

    Raises:
        Unreadable: it takes longer, which a login program may.
    """
    results: list[list[str]] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise Unreadable(f"no answer within {seconds:.0f} s")
    return results[0]
