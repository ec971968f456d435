"""A Kubeflow Pipelines server for tests: its v2beta1 API over HTTP, with state, and as strict as the real one.

Requests are read by kfp_server_api's models (unknown fields and wrong types are refused), pipelines by kfp's own
specification, run-time parameters by the pipeline's inputs. What runs is made up (`argo_workflow.py`): each time a run
is asked for, it goes on a bit.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api
import yaml
from argo_workflow import ArgoWorkflow, Plan
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

HTML = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Log in with OpenID Connect</body></html>"
INVALID, NOT_FOUND, EXISTS, DENIED, UNAUTHENTICATED = (400, 3), (404, 5), (409, 6), (403, 7), (401, 16)
CODES = {500: 13, 502: 14, 503: 14, 504: 4}  # HTTP status to gRPC code
MOST_A_PAGE = 200
PREFIX = "/pipeline"  # where a whole Kubeflow has the API
WHOLE_NUMBERS = ("max_concurrency", "interval_second")  # int64: JSON has them as a string or as a number
KINDS: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "STRUCT": (dict,),
    "LIST": (list,),
    "BOOLEAN": (bool,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
}


@dataclass
class Asked:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Fault:
    """What goes wrong with the next requests that match.

    Attributes:
        method, path: which requests; the path is a regular expression.
        status: what is answered; None: nothing, the connection is closed.
        times: how many requests.
        done: whether the request has its effect all the same, and only the answer is lost.
    """

    method: str
    path: str
    status: int | None
    times: int = 1
    done: bool = False


class Refused(Exception):
    """An answer that isn't 200."""

    def __init__(self, kind: tuple[int, int], message: str) -> None:
        super().__init__(message)
        self.status, self.code = kind
        self.message = message

    def content(self) -> dict[str, Any]:
        details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": self.code, "message": self.message}]
        return {"error": self.message, "code": self.code, "message": self.message, "details": details}


class UploadRefused(Refused):
    """The upload of files has a handler of its own in KFP, and another shape of errors."""

    def content(self) -> dict[str, Any]:
        return {"error_message": self.message, "error_details": self.message}


@dataclass
class KfpServer:
    """The server and what it holds.

    Attributes:
        token: what requests must bring; None: nobody has to log in.
        login: what is answered without it: "json" (KFP's own), "istio" (its gateway), "redirect" and "page"
            (oauth2-proxy: to the login page, or that page at once), "app" (any page, as if all were well).
        namespaces: of a multi-user installation, those that the user may use; None: a single-user one.
        plan: what happens in runs.
        logs: of steps by kfp's names, and of drivers, as `train-driver`; other pods have said nothing.
        is_ui: whether this is KFP's user interface, which passes the API on, all but logs.
        faults: what goes wrong next.
        asked: all requests, as they came.
    """

    token: str | None = None
    login: str = "json"
    namespaces: tuple[str, ...] | None = None
    plan: Plan = field(default_factory=Plan)
    logs: dict[str, str] = field(default_factory=dict)
    is_ui: bool = False
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    experiments: dict[str, dict] = field(default_factory=dict)
    runs: dict[str, dict] = field(default_factory=dict)
    workflows: dict[str, ArgoWorkflow] = field(default_factory=dict)
    recurring_runs: dict[str, dict] = field(default_factory=dict)
    pipelines: dict[str, dict] = field(default_factory=dict)
    versions: dict[str, dict] = field(default_factory=dict)
    address: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def requests(self, method: str, path: str) -> list[Asked]:
        """Those of this method whose path matches."""
        return [asked for asked in self.asked if asked.method == method and re.fullmatch(path, asked.path)]

    def answer(self, asked: Asked) -> Any:
        """What the API says to a request.

        Raises:
            Refused: the API says no.
        """
        for method, path, work in ROUTES:
            found = re.fullmatch(path, asked.path.removeprefix(PREFIX))
            if found and method == asked.method:
                return getattr(self, work.__name__)(asked, *map(unquote, found.groups()))
        raise Refused(NOT_FOUND, "Not Found")

    # Experiments

    def list_experiments(self, asked: Asked) -> dict:
        namespace = self.allowed(asked.query.get("namespace", ""), "experiments", "list")
        return page(asked, "experiments", [one for one in self.experiments.values() if one["namespace"] == namespace])

    def create_experiment(self, asked: Asked) -> dict:
        given = strict("V2beta1Experiment", asked.json)
        namespace = self.allowed(given.get("namespace", ""), "experiments", "create")
        name = required(given, "display_name", "Experiment")
        if any(one["display_name"] == name and one["namespace"] == namespace for one in self.experiments.values()):
            raise Refused(EXISTS, f"Already exist error: Failed to create experiment {name}")
        made = given | {"namespace": namespace, "experiment_id": new_id(), "created_at": now()}
        self.experiments[made["experiment_id"]] = made
        return made

    def get_experiment(self, asked: Asked, number: str) -> dict:
        return existing(self.experiments, number, "Experiment")

    # Runs

    def create_run(self, asked: Asked) -> dict:
        given = strict("V2beta1Run", asked.json)
        existing(self.experiments, given.get("experiment_id", ""), "Experiment")
        required(given, "display_name", "Run")
        spec = self.spec_of(given)
        check_parameters(spec, given.get("runtime_config", {}).get("parameters", {}))
        made = given | {"run_id": new_id(), "created_at": now(), "state": "PENDING"}
        made["state_history"] = [{"update_time": now(), "state": "PENDING"}]
        self.runs[made["run_id"]] = made
        name = f"{spec['pipelineInfo']['name']}-{made['run_id'][:5]}"
        self.workflows[made["run_id"]] = ArgoWorkflow(spec, name, "kubeflow", self.plan)
        return made

    def list_runs(self, asked: Asked) -> dict:
        experiment = asked.query.get("experiment_id")
        found = [one for one in self.runs.values() if experiment in (None, one["experiment_id"])]
        return page(asked, "runs", found)

    def get_run(self, asked: Asked, number: str) -> dict:
        run = existing(self.runs, number, "Run")
        workflow = self.workflows[number]
        workflow.go_on()
        state = workflow.phase.upper() or "PENDING"
        state = "CANCELING" if workflow.is_terminating else "FAILED" if state == "ERROR" else state
        if run["state_history"][-1]["state"] != state:
            run["state_history"].append({"update_time": now(), "state": state})
        run |= {"state": state, "run_details": {"task_details": workflow.task_details(number)}}
        return run

    def get_run_v1(self, asked: Asked, number: str) -> dict:
        """The older API's, which has Argo's workflow."""
        run = existing(self.runs, number, "Run")
        manifest = json.dumps(self.workflows[number].manifest())
        return {"run": {"id": number, "name": run["display_name"]}, "pipeline_runtime": {"workflow_manifest": manifest}}

    def terminate_run(self, asked: Asked, number: str) -> dict:
        existing(self.runs, number, "Run")["state"] = "CANCELING"
        self.workflows[number].terminate()
        return {}

    def read_log(self, asked: Asked, number: str, pod: str) -> Any:
        """Of the API server, where errors come with status 200, too."""
        refused = {"error_message": f"Failed to read logs for run {number}"}
        return HTML if self.is_ui else self._log(number, pod) or refused

    def read_log_by_ui(self, asked: Asked) -> str:
        if not self.is_ui:
            raise Refused(NOT_FOUND, "Not Found")
        return self._log(asked.query["runid"], asked.query["podname"])

    def _log(self, number: str, pod: str) -> str:
        workflow = self.workflows[number]
        nodes = [node for node in workflow.nodes.values() if workflow.pod_name(node) == pod]
        tasks = [part.partition("(")[0] for node in nodes for part in reversed(node["name"].split("."))]
        return next((self.logs[task] for task in tasks if task in self.logs), "")

    # Recurring runs

    def create_recurring_run(self, asked: Asked) -> dict:
        given = strict("V2beta1RecurringRun", asked.json)
        experiment = existing(self.experiments, given.get("experiment_id", ""), "Experiment")
        required(given, "display_name", "Recurring run")
        spec = self.spec_of(given)
        check_parameters(spec, given.get("runtime_config", {}).get("parameters", {}))
        check_trigger(given.get("trigger", {}))
        if not 1 <= int(given.get("max_concurrency", 0)) <= 10:
            raise Refused(INVALID, "Invalid input error: Recurring run max concurrency must be between 1 and 10")
        if given.get("mode") not in ("ENABLE", "DISABLE"):
            raise Refused(INVALID, "Invalid input error: Failed to convert to a recurring run: mode isn't specified")
        status = "ENABLED" if given["mode"] == "ENABLE" else "DISABLED"
        made = given | {"recurring_run_id": new_id(), "status": status, "created_at": now()}
        made |= {"namespace": experiment["namespace"], "max_concurrency": str(given["max_concurrency"])}
        self.recurring_runs[made["recurring_run_id"]] = made
        return made

    def list_recurring_runs(self, asked: Asked) -> dict:
        namespace, experiment = asked.query.get("namespace"), asked.query.get("experiment_id")
        if experiment is None:
            namespace = self.allowed(namespace or "", "jobs", "list")
        found = [
            one
            for one in self.recurring_runs.values()
            if experiment in (None, one["experiment_id"]) and namespace in (None, "", one["namespace"])
        ]
        return page(asked, "recurringRuns", found)

    def get_recurring_run(self, asked: Asked, number: str) -> dict:
        return existing(self.recurring_runs, number, "Recurring run")

    def enable_recurring_run(self, asked: Asked, number: str) -> dict:
        existing(self.recurring_runs, number, "Recurring run")["status"] = "ENABLED"
        return {}

    def disable_recurring_run(self, asked: Asked, number: str) -> dict:
        existing(self.recurring_runs, number, "Recurring run")["status"] = "DISABLED"
        return {}

    def delete_recurring_run(self, asked: Asked, number: str) -> dict:
        existing(self.recurring_runs, number, "Recurring run")
        del self.recurring_runs[number]
        return {}

    # Pipelines and their versions

    def list_pipelines(self, asked: Asked) -> dict:
        namespace = asked.query.get("namespace", "")
        return page(asked, "pipelines", [one for one in self.pipelines.values() if one["namespace"] == namespace])

    def get_pipeline(self, asked: Asked, number: str) -> dict:
        return existing(self.pipelines, number, "Pipeline")

    def create_pipeline(self, asked: Asked) -> dict:
        given = strict("V2beta1Pipeline", asked.json)
        namespace = self.allowed(given.get("namespace", ""), "pipelines", "create") if self.namespaces else ""
        return self._new_pipeline(given.get("name") or required(given, "display_name", "Pipeline"), namespace, Refused)

    def upload_pipeline(self, asked: Asked) -> dict:
        spec = uploaded(asked)
        name = asked.query.get("name") or spec["pipelineInfo"]["name"]
        made = self._new_pipeline(name, asked.query.get("namespace", ""), UploadRefused)
        self._new_version(made["pipeline_id"], name, spec)
        return made

    def upload_version(self, asked: Asked) -> dict:
        spec = uploaded(asked)
        number = asked.query.get("pipelineid", "")
        if number not in self.pipelines:
            raise UploadRefused(INVALID, "Failed to create a pipeline version")
        return self._new_version(number, required(asked.query, "name", "Pipeline version"), spec)

    def list_versions(self, asked: Asked, number: str) -> dict:
        existing(self.pipelines, number, "Pipeline")
        return page(asked, "pipeline_versions", [one for one in self.versions.values() if one["pipeline_id"] == number])

    def get_version(self, asked: Asked, pipeline: str, number: str) -> dict:
        return existing(self.versions, number, "PipelineVersion")

    def _new_pipeline(self, name: str, namespace: str, refused: type[Refused]) -> dict:
        if any(one["display_name"] == name and one["namespace"] == namespace for one in self.pipelines.values()):
            raise refused(EXISTS, f"Already exist error: Failed to create pipeline {name}")
        made = {"pipeline_id": new_id(), "display_name": name, "name": name, "namespace": namespace}
        self.pipelines[made["pipeline_id"]] = made | {"created_at": now()}
        return self.pipelines[made["pipeline_id"]]

    def _new_version(self, pipeline: str, name: str, spec: dict) -> dict:
        if any(one["display_name"] == name and one["pipeline_id"] == pipeline for one in self.versions.values()):
            raise UploadRefused(EXISTS, "Failed to create a pipeline version")
        made = {"pipeline_id": pipeline, "pipeline_version_id": new_id(), "display_name": name, "name": name}
        self.versions[made["pipeline_version_id"]] = made | {"created_at": now(), "pipeline_spec": spec}
        return self.versions[made["pipeline_version_id"]]

    # What all share

    def healthz(self, asked: Asked) -> dict:
        return {"multi_user": self.namespaces is not None}

    def allowed(self, namespace: str, resource: str, verb: str) -> str:
        """The namespace that counts.

        Raises:
            Refused: the installation has many users, and this one may not.
        """
        if self.namespaces is None:
            return ""
        if not namespace:
            raise Refused(INVALID, "Invalid input error: In multi-user mode, a namespace is needed")
        if namespace not in self.namespaces:
            raise Refused(
                DENIED,
                "Failed to authorize with API: PermissionDenied: User 'ada@example.com' is not authorized with reason:"
                f"  (request: &ResourceAttributes{{Namespace:{namespace},Verb:{verb},Group:pipelines.kubeflow.org,"
                f"Version:v1beta1,Resource:{resource},Subresource:,Name:,}}): Unauthorized access",
            )
        return namespace

    def spec_of(self, given: dict) -> dict:
        """The pipeline that a run asks for: brought along, or an uploaded version."""
        reference = given.get("pipeline_version_reference")
        if bool(reference) == bool(given.get("pipeline_spec")):
            raise Refused(INVALID, "Invalid input error: Either a pipeline spec or a pipeline version is needed")
        if reference:
            return existing(self.versions, reference.get("pipeline_version_id", ""), "PipelineVersion")["pipeline_spec"]
        whole = given["pipeline_spec"]
        return checked_spec(whole.get("pipeline_spec", whole), whole.get("platform_spec", {}))


Server = TypeVar("Server", bound=KfpServer)
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    (method, f"/apis/v2beta1/{path}", work)
    for method, path, work in (
        ("GET", "healthz", KfpServer.healthz),
        ("GET", "experiments", KfpServer.list_experiments),
        ("POST", "experiments", KfpServer.create_experiment),
        ("GET", "experiments/([^/:]+)", KfpServer.get_experiment),
        ("GET", "runs", KfpServer.list_runs),
        ("POST", "runs", KfpServer.create_run),
        ("GET", "runs/([^/:]+)", KfpServer.get_run),
        ("POST", "runs/([^/:]+):terminate", KfpServer.terminate_run),
        ("GET", "recurringruns", KfpServer.list_recurring_runs),
        ("POST", "recurringruns", KfpServer.create_recurring_run),
        ("GET", "recurringruns/([^/:]+)", KfpServer.get_recurring_run),
        ("POST", "recurringruns/([^/:]+):enable", KfpServer.enable_recurring_run),
        ("POST", "recurringruns/([^/:]+):disable", KfpServer.disable_recurring_run),
        ("DELETE", "recurringruns/([^/:]+)", KfpServer.delete_recurring_run),
        ("GET", "pipelines", KfpServer.list_pipelines),
        ("POST", "pipelines", KfpServer.create_pipeline),
        ("POST", "pipelines/upload", KfpServer.upload_pipeline),
        ("POST", "pipelines/upload_version", KfpServer.upload_version),
        ("GET", "pipelines/([^/:]+)", KfpServer.get_pipeline),
        ("GET", "pipelines/([^/:]+)/versions", KfpServer.list_versions),
        ("GET", "pipelines/([^/:]+)/versions/([^/:]+)", KfpServer.get_version),
    )
]
ROUTES += [
    ("GET", "/apis/v1beta1/runs/([^/:]+)", KfpServer.get_run_v1),
    ("GET", "/apis/v1alpha1/runs/([^/:]+)/nodes/([^/:]+)/log", KfpServer.read_log),
    ("GET", "/k8s/pod/logs", KfpServer.read_log_by_ui),
]


def strict(model: str, data: Any, where: str = "") -> dict:
    """`data` if it is what the model says.

    Raises:
        Refused: a field that the model doesn't have, or a value of another type.
    """
    kind = getattr(kfp_server_api, model)
    if hasattr(kind, "allowable_values") and not kind.openapi_types:
        if data not in kind.allowable_values:
            raise Refused(INVALID, f"proto: invalid value for enum field {where}: {data!r}")
        return data
    if not isinstance(data, dict):
        raise Refused(INVALID, f"proto: syntax error: unexpected token {data!r} for {where or model}")
    types = {kind.attribute_map[name]: of for name, of in kind.openapi_types.items()}
    for key, value in data.items():
        if key not in types:
            raise Refused(INVALID, f'proto: unknown field "{key}"')
        strict_value(types[key], value, key)
    return data


def strict_value(of: str, value: Any, key: str) -> None:
    """As `strict`, for one field."""
    listed, mapped = re.fullmatch(r"list\[(.+)\]", of), re.fullmatch(r"dict\(str, (.+)\)", of)
    if listed or mapped:
        if not isinstance(value, list if listed else dict):
            raise Refused(INVALID, f"proto: invalid value for field {key}: {value!r}")
        for one in value if listed else value.values():
            strict_value((listed or mapped)[1], one, key)
    elif of == "datetime":
        try:
            datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise Refused(INVALID, f"proto: invalid google.protobuf.Timestamp value {value!r}") from None
    elif of == "str" and key in WHOLE_NUMBERS:
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
            raise Refused(INVALID, f"proto: invalid value for int64 type: {value!r}")
    elif of in ("str", "bool", "int"):
        if type(value).__name__ != of:
            raise Refused(INVALID, f"proto: invalid value for {of} type: {value!r}")
    elif of != "object":
        strict(of, value, key)


def checked_spec(spec: dict, platform: dict) -> dict:
    """The pipeline, if it is one by kfp's own specification."""
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        if not spec["pipelineInfo"]["name"] or not spec["root"]["dag"]["tasks"]:
            raise KeyError("root.dag.tasks")
    except (json_format.ParseError, KeyError, TypeError) as error:
        raise Refused(INVALID, f"Invalid input error: Failed to parse the pipeline spec: {error}") from error
    check_importers(spec)
    return spec


def check_importers(spec: dict) -> None:
    """Refuse importers that the real server accepts and then runs wrongly.

    As of KFP 2.17.0 (backend/src/v2/component/importer_launcher.go), an importer is recorded under its display name,
    where the driver of the next task doesn't look for it, and placeholders in its metadata are stored as they are.
    """
    executors = spec["deploymentSpec"]["executors"]
    components = {name: executors.get(one.get("executorLabel"), {}) for name, one in spec["components"].items()}
    for graph in (spec["root"], *spec["components"].values()):
        for name, task in graph.get("dag", {}).get("tasks", {}).items():
            importer = components[task["componentRef"]["name"]].get("importer")
            if importer and task["taskInfo"]["name"] != name:
                raise Refused(INVALID, f'failed to resolve inputs: cannot find producer task "{name}"')
            if importer and "{{$." in json.dumps(importer.get("metadata", {})):
                raise Refused(INVALID, f"{name}: metadata are taken literally: {importer['metadata']}")


def check_parameters(spec: dict, given: dict) -> None:
    """Refuses values that the pipeline has no input for, values of another type, and inputs without a value."""
    wanted = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in given.items():
        if name not in wanted:
            raise Refused(INVALID, f"Invalid input error: parameter {name} not found in pipeline inputs")
        kind = wanted[name]["parameterType"]
        if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
            raise Refused(INVALID, f"Invalid input error: input parameter {name} requires type {kind}")
    missing = [name for name, one in wanted.items() if name not in given and "defaultValue" not in one]
    missing = [name for name in missing if not wanted[name].get("isOptional")]
    if missing:
        raise Refused(INVALID, f"Invalid input error: pipeline requiring input has no parameter(s) provided: {missing}")


def check_trigger(trigger: dict) -> None:
    """Refuses what KFP's scheduler (Go's robfig/cron, with seconds) doesn't take."""
    if len(trigger) != 1:
        raise Refused(INVALID, "Invalid input error: Exactly one of a cron and a periodic schedule is needed")
    cron, periodic = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    if cron is not None and not re.fullmatch(r"@\w+( \S+)?|([\d*/,?A-Za-z-]+ ){5}[\d*/,?A-Za-z-]+", cron["cron"]):
        raise Refused(INVALID, f"Invalid input error: Schedule cron is not a supported format: {cron['cron']}")
    if periodic is not None and int(periodic["interval_second"]) < 1:
        raise Refused(INVALID, "Invalid input error: Found invalid period schedule interval")


def page(asked: Asked, name: str, found: list[dict]) -> dict:
    """One page of those that the filter lets through, in the order of their making, or against it."""
    order = asked.query.get("sort_by", "")
    if order not in ("", "created_at desc"):
        raise Refused(INVALID, f"Invalid input error: Invalid sorting field: {order}")
    found = found[::-1] if order else found
    wanted = json.loads(asked.query.get("filter") or "{}")
    for predicate in wanted.get("predicates", []):
        if predicate["operation"] not in ("EQUALS", 1) or predicate["key"] not in ("display_name", "name"):
            raise Refused(INVALID, f"Invalid input error: Failed to parse the filter {predicate}")
        value = predicate.get("string_value", predicate.get("stringValue"))
        found = [one for one in found if one[predicate["key"]] == value]
    size = int(asked.query.get("page_size") or 0) or 20
    size = min(size, MOST_A_PAGE)
    token = asked.query.get("page_token")
    start = int(base64.b64decode(token)) if token else 0
    answer: dict[str, Any] = {"total_size": len(found)}
    if found[start : start + size]:
        answer[name] = found[start : start + size]
    if start + size < len(found):
        answer["next_page_token"] = base64.b64encode(str(start + size).encode()).decode()
    return answer


def uploaded(asked: Asked) -> dict:
    """The pipeline in a form's field `uploadfile`."""
    form = message_from_bytes(b"Content-Type: " + asked.headers["Content-Type"].encode() + b"\r\n\r\n" + asked.body)
    files = [part for part in form.walk() if part.get_param("name", header="Content-Disposition") == "uploadfile"]
    if len(files) != 1:
        raise UploadRefused(INVALID, "Failed to read pipeline from file")
    spec, *platform = yaml.safe_load_all(files[0].get_payload(decode=True))
    try:
        return checked_spec(spec, platform[0] if platform else {})
    except Refused as refused:
        raise UploadRefused(INVALID, refused.message) from refused


def existing(held: dict[str, dict], number: str, what: str) -> dict:
    """The one of this ID.

    Raises:
        Refused: there is none.
    """
    if number not in held:
        raise Refused(NOT_FOUND, f"ResourceNotFoundError: {what} {number} not found")
    return held[number]


def required(given: Mapping[str, Any], key: str, what: str) -> str:
    """The field's value.

    Raises:
        Refused: it is empty.
    """
    if not given.get(key):
        raise Refused(INVALID, f"Invalid input error: {what} must have a non-empty name")
    return given[key]


def new_id() -> str:
    return str(uuid.uuid4())


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def kfp_server(certificate: Path | None = None, kind: type[Server] = KfpServer, **settings: Any) -> Iterator[Server]:
    """A server on the loopback interface until the block ends.

    Args:
        certificate: with its key in one file: the server speaks https.
        kind: of server.
        settings: attributes of `KfpServer`.
    """
    state = kind(**settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state))
    if certificate:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(certificate)
        server.socket = secure.wrap_socket(server.socket, server_side=True)
    state.address = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def handler_of(state: KfpServer) -> type[BaseHTTPRequestHandler]:
    """What http.server needs: a class."""

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            where = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(where.query).items()}
            asked = Asked(self.command, where.path, query, self.rfile.read(length), dict(self.headers.items()))
            with state.lock:
                state.asked.append(asked)
                self.respond(asked)

        do_GET = do_POST = do_DELETE = do_any

        def respond(self, asked: Asked) -> None:
            if asked.path == "/dex/auth":
                self.reply(200, HTML, "text/html")
            elif state.token is not None and self.headers.get("Authorization") != f"Bearer {state.token}":
                self.ask_to_log_in()
            else:
                fault = next((one for one in state.faults if one.times and matches(one, asked)), None)
                if fault is None or fault.done:
                    status, content = self.answered(asked)
                if fault is not None:
                    fault.times -= 1
                    if fault.status is None:
                        self.close_connection = True
                        return
                    status, content = fault.status, f"upstream connect error: {fault.status}"
                self.reply(status, content if isinstance(content, str) else json.dumps(content))

        def answered(self, asked: Asked) -> tuple[int, Any]:
            try:
                return 200, state.answer(asked)
            except Refused as refused:
                return refused.status, refused.content()
            except json.JSONDecodeError as error:
                return 400, Refused(INVALID, f"proto: syntax error: {error}").content()

        def ask_to_log_in(self) -> None:
            if state.login == "redirect":
                self.reply(302, "", "text/html", Location="/dex/auth?client_id=kubeflow-oidc-authservice")
            elif state.login in ("page", "app"):
                self.reply(403 if state.login == "page" else 200, HTML, "text/html")
            elif state.login == "istio":
                self.reply(401, "Jwt is expired", "text/plain")
            else:
                refused = Refused(UNAUTHENTICATED, "Unauthenticated: Request header error: token review failed")
                self.reply(refused.status, json.dumps(refused.content()))

        def reply(self, status: int, content: str, kind: str = "application/json", **headers: str) -> None:
            body = content.encode()
            self.send_response(status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def matches(fault: Fault, asked: Asked) -> bool:
    return fault.method == asked.method and re.fullmatch(fault.path, asked.path) is not None
