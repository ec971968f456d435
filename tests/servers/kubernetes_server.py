"""The part of Kubernetes' API that this project needs, over HTTP on loopback, with state and real processes.

It stands for the API server, its garbage collector, Kubeflow Trainer's and JobSet's controllers, DNS and the nodes: a
TrainJob's pods are processes of this machine, run by their own command with the variables that a real pod would have.
Where a pod would find another by name, addresses of loopback are put in the name's place. Everything else that a test
puts into the cluster (`add`) is only read.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client
from storage_servers import free_port
from waiting import PATIENCE

TOKEN = "of-the-launcher"
NAMESPACE = "team-a"
PREFIX = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}"
CORE = re.compile(rf"/api/v1(?:/namespaces/{NAMESPACE})?/([a-z]+)(?:/([^/]+))?")
READ_ONLY = {
    "configmaps": client.V1ConfigMap,
    "nodes": client.V1Node,
    "pods": client.V1Pod,
    "persistentvolumeclaims": client.V1PersistentVolumeClaim,
    "secrets": client.V1Secret,
    "serviceaccounts": client.V1ServiceAccount,
    "services": client.V1Service,
}
FOREIGN = ("TF_CONFIG", "SIAMESE_", "MLFLOW_", "KUBERNETES_", "JOB_COMPLETION_INDEX")


class Attempt:
    """The pods of one attempt: a process each."""

    def __init__(self, job: str, number: int, spec: dict[str, Any], count: int, server: KubernetesServer) -> None:
        (container,) = spec["containers"]
        ports = [free_port() for _ in range(count)]
        known = {f"{job}-node-0-{index}.{job}:2222": f"127.0.0.1:{port}" for index, port in enumerate(ports)}
        self.names = [f"{job}-node-0-{index}-{number:05}" for index in range(count)]
        self.ended = [""] * count
        self.logs = [server.folder / f"{name}.log" for name in self.names]
        self.processes = []
        for index, log in enumerate(self.logs):
            environment = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
            environment["JOB_COMPLETION_INDEX"] = str(index)
            environment |= {variable["name"]: variable["value"] for variable in container["env"]}
            addresses = environment["SIAMESE_WORKERS"].split(",")
            environment["SIAMESE_WORKERS"] = ",".join(known[address] for address in addresses)
            command = server.program(index, number) or container["command"]
            assert command[0] == "python3"
            with log.open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *command[1:], *([] if "-m" in command else container["command"][3:])],
                        env=environment,
                        cwd=server.folder,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

    def codes(self) -> list[int | None]:
        codes = [process.poll() for process in self.processes]
        for index, code in enumerate(codes):
            if code is not None and not self.ended[index]:
                self.ended[index] = now()
        return codes

    def end(self) -> None:
        """As Kubernetes ends a job's pods: they are told to."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def pods(self, job: str) -> list[dict[str, Any]]:
        return [self._pod(job, index, code) for index, code in enumerate(self.codes())]

    def _pod(self, job: str, index: int, code: int | None) -> dict[str, Any]:
        phase = "Running" if code is None else "Failed" if code else "Succeeded"
        state: dict[str, Any] = {"running": {}}
        if code is not None:
            tail = "".join(self.logs[index].read_text().splitlines(keepends=True)[-80:])
            exit_code = code if code >= 0 else 128 - code
            state = {"terminated": {"exitCode": exit_code, "message": tail, "finishedAt": self.ended[index]}}
        status = {"name": "node", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": state}
        metadata = {
            "name": self.names[index],
            "labels": {"jobset.sigs.k8s.io/jobset-name": job},
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
        }
        return {
            "metadata": metadata,
            "spec": {"containers": [{"name": "node"}]},
            "status": {"phase": phase, "containerStatuses": [status]},
        }


class Job:
    """A TrainJob at work."""

    def __init__(self, name: str, runtime: dict[str, Any], count: int, server: KubernetesServer) -> None:
        job_set = runtime["spec"]["template"]["spec"]
        (replicated,) = job_set["replicatedJobs"]
        assert replicated["template"]["metadata"]["labels"] == {
            "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"
        }
        assert_known(replicated["template"]["spec"], client.V1JobSpec)
        self._pod_spec = replicated["template"]["spec"]["template"]["spec"]
        self._restarts_left = job_set["failurePolicy"]["maxRestarts"]
        self._name, self._count, self._server = name, count, server
        self.attempts = [self._attempt()]

    def _attempt(self) -> Attempt:
        number = len(getattr(self, "attempts", []))
        return Attempt(self._name, number, self._pod_spec, self._count, self._server)

    def conditions(self) -> list[dict[str, str]]:
        """As a controller would find it now."""
        codes = self.attempts[-1].codes()
        if all(code == 0 for code in codes):
            return [{"type": "Complete", "status": "True", "message": "jobset completed successfully"}]
        if not any(codes):
            return []
        # A real one takes its time, too, in which the others find out for themselves.
        if any(code is None for code in codes) and self._server.patience > 0:
            self._server.patience -= 1
            return []
        self.attempts[-1].end()
        for process in self.attempts[-1].processes:
            process.wait(timeout=PATIENCE)
        if self._restarts_left:
            self._restarts_left -= 1
            self.attempts.append(self._attempt())
            return []
        return [{"type": "Failed", "status": "True", "message": "jobset failed due to one or more job failures"}]


class KubernetesServer:
    """One namespace.

    Attributes:
        folder: for the configuration, and the output of pods.
        asked: method and path of every request.
        made: names of the TrainJobs that were really made.
        refuses: status and message by method and kind, as {("POST", "trainjobs"): (403, "no")}.
        away: number of requests to come that get no answer.
        after: what happens between the end of a request and its answer, by method and kind.
        patience: number of questions until a job's controller sees a pod that failed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.jobs: dict[str, Job] = {}
        self.ended: dict[str, Job] = {}
        self.asked: list[tuple[str, str]] = []
        self.made: list[str] = []
        self.refuses: dict[tuple[str, str], tuple[int, str]] = {}
        self.after: dict[tuple[str, str], Callable[[], object]] = {}
        self.core: dict[tuple[str, str], dict[str, Any]] = {}
        self.away = self.patience = 0
        self.program: Callable[[int, int], Sequence[str] | None] = lambda _index, _attempt: None
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                if outer.take_over(self):
                    return
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                with outer.lock:
                    if outer.away:
                        outer.away -= 1
                        self.close_connection = True
                        return
                    code, content = outer.answer(self.command, self.path, self.headers, body)
                    outer.after.get((self.command, kind_of(urlsplit(self.path).path)), lambda: None)()
                data = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.configuration = folder / "kubeconfig"
        self.configuration.write_text(json.dumps(self._kubeconfig()))

    def __enter__(self) -> KubernetesServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for job in [*self.jobs.values(), *self.ended.values()]:
            for process in job.attempts[-1].processes:
                process.kill()
                process.wait()

    def add(self, kind: str, name: str, **fields: Any) -> None:
        """Put an object into the cluster, in the fields that Kubernetes' own model has."""
        metadata = {"name": name, **fields.pop("metadata", {})}
        assert_known({"metadata": metadata, **fields}, READ_ONLY[kind])
        self.core[kind, name] = {"metadata": metadata, **fields}

    def answer(self, method: str, path: str, headers: Any, body: Any) -> tuple[int, dict[str, Any]]:
        where = urlsplit(path)
        self.asked.append((method, where.path))
        self._sweep()
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Unauthorized")
        kind = kind_of(where.path)
        if (method, kind) in self.refuses:
            return refusal(*self.refuses[method, kind])
        if core := CORE.fullmatch(where.path):
            assert method == "GET"
            return self._read(*core.groups(), parse_qs(where.query))
        name = body["metadata"]["name"] if body and method == "POST" else where.path.rpartition("/")[2]
        if method == "POST":
            return self._make(kind, name, body)
        if (kind, name) not in self.objects:
            return refusal(404, f'{kind} "{name}" not found')
        acts = {
            "GET": lambda: self._show(kind, name),
            "PATCH": lambda: self._merge(kind, name, headers, body),
            "DELETE": lambda: self._end(kind, name, where.query),
        }
        return acts[method]()

    def take_over(self, handler: BaseHTTPRequestHandler) -> bool:
        """Whether a request was answered otherwise than by HTTP alone."""
        return False

    def empty(self) -> bool:
        """Whether all that was made is gone."""
        with self.lock:
            self._sweep()
            return not self.objects

    def _sweep(self) -> None:
        """Removes what was deleted: a job when its pods and what blocks it are gone, its runtime when no job uses it.

        What has owners, of which none is left, is deleted too. An owner is known by its uid, not by its name.
        """
        for kind, name in sorted(self.objects, reverse=True):  # jobs come first
            content = self.objects[kind, name]["metadata"]
            owners = {owner["uid"] for owner in content.get("ownerReferences", [])}
            if owners and owners.isdisjoint(one["metadata"]["uid"] for one in self.objects.values()):
                content.setdefault("deletionTimestamp", now())
            if "deletionTimestamp" not in content:
                continue
            if kind == "trainjobs" and None not in self.jobs[name].attempts[-1].codes() and not self._blocked(content):
                self.ended[name] = self.jobs.pop(name)
            if name not in self.jobs:
                self.objects.pop((kind, name))

    def _blocked(self, owner: dict[str, Any]) -> bool:
        """Whether what is deleted in the foreground has to wait for what belongs to it."""
        references = [ref for one in self.objects.values() for ref in one["metadata"].get("ownerReferences", [])]
        return any(ref["uid"] == owner["uid"] and ref.get("blockOwnerDeletion") for ref in references)

    def _read(self, kind: str, name: str | None, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if name and (kind, name) not in self.core:
            return refusal(404, f'{kind} "{name}" not found')
        if name:
            return 200, self.core[kind, name]
        every = [content for (other, _), content in self.core.items() if other == kind]
        if kind == "pods":
            every += [pod for job, of_job in self.jobs.items() for pod in of_job.attempts[-1].pods(job)]
        for label, _, value in (one.partition("=") for one in query.get("labelSelector", [])):
            every = [one for one in every if one["metadata"].get("labels", {}).get(label) == value]
        return 200, {"kind": f"{READ_ONLY[kind].__name__.removeprefix('V1')}List", "apiVersion": "v1", "items": every}

    def _merge(self, kind: str, name: str, headers: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert headers["Content-Type"] == "application/merge-patch+json"
        assert set(body) == {"metadata"} and set(body["metadata"]) == {"ownerReferences"}
        for reference in body["metadata"]["ownerReferences"]:
            assert_known(reference, client.V1OwnerReference)
        self.objects[kind, name]["metadata"] |= body["metadata"]
        return 200, self.objects[kind, name]

    def _show(self, kind: str, name: str) -> tuple[int, dict[str, Any]]:
        status = {"conditions": self.jobs[name].conditions()} if kind == "trainjobs" else {}
        return 200, {**self.objects[kind, name], "status": status}

    def _end(self, kind: str, name: str, query: str) -> tuple[int, dict[str, Any]]:
        assert parse_qs(query)["propagationPolicy"] == ["Foreground"]
        self.objects[kind, name]["metadata"].setdefault("deletionTimestamp", now())
        if kind == "trainjobs":
            self.jobs[name].attempts[-1].end()
        return 200, self.objects[kind, name]

    def _make(self, kind: str, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        expected = {"trainjobs": "TrainJob", "trainingruntimes": "TrainingRuntime"}[kind]
        assert (body["kind"], body["apiVersion"]) == (expected, "trainer.kubeflow.org/v1alpha1")
        if (kind, name) in self.objects:
            return refusal(409, f'{kind} "{name}" already exists')
        if kind == "trainjobs":
            wanted = body["spec"]["runtimeRef"]
            assert (wanted["apiGroup"], wanted["kind"]) == ("trainer.kubeflow.org", "TrainingRuntime")
            runtime = self.objects.get(("trainingruntimes", wanted["name"]))
            if runtime is None:
                return refusal(422, "specified trainingRuntime must be created before the TrainJob is created")
            self.jobs[name] = Job(name, runtime, body["spec"]["trainer"]["numNodes"], self)
            self.made.append(name)
        self.objects[kind, name] = {**body, "metadata": {**body["metadata"], "uid": str(uuid.uuid4())}}
        return 201, self.objects[kind, name]

    def _kubeconfig(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }


def kind_of(path: str) -> str:
    """What a request is about, such as trainjobs or pods."""
    core = CORE.fullmatch(path)
    return core[1] if core else path.removeprefix(f"{PREFIX}/").split("/")[0]


def now() -> str:
    return datetime.now(UTC).isoformat()


def refusal(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "message": message}


def assert_known(content: dict[str, Any], kind: type) -> None:
    """Kubernetes' own model reads all of it: no field is missing, unknown or of another type."""

    class Answer:
        data = json.dumps(content)

    api = client.ApiClient()
    read = api.sanitize_for_serialization(api.deserialize(Answer, kind))
    assert json.loads(json.dumps(read).replace("+00:00", "Z")) == content  # the package writes times in another way
