"""A Kubeflow Pipelines server: where it is, who asks, and one clear line where it can't be used.

Every call goes through kfp's generated client, with urllib3's retries. Only questions are asked again. What makes
something new is sent once (`made_once`): a lost answer must not become a second run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import kfp_server_api as kfp_api
import urllib3

from pipelines.options import TOKEN
from siamese.errors import InputError

UI = "KF_PIPELINES_UI_ENDPOINT"
POD_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # where kfp's documentation has the pod's token mounted
POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

CONNECT_WITHIN, ANSWER_WITHIN = 10, 60  # seconds
RETRIES = urllib3.Retry(
    total=8,
    connect=3,  # 0, 1, 2 s: nothing was sent, so it holds for every call
    read=3,
    status=6,  # 0, 1, 2, 4, 8, 16 s: a server that starts again
    other=0,  # a certificate doesn't get better
    respect_retry_after_header=False,  # whatever it asks for, the times above are enough
    status_forcelist=(429, 502, 503, 504),
    allowed_methods=("GET",),
    backoff_factor=0.5,
    redirect=False,  # to a login page: that is an answer
    raise_on_status=False,
)
UNSURE = (500, 502, 503, 504)  # what was asked for may have been done
OK, NOT_FOUND, EXISTS = 200, 404, 409
LOGIN = (301, 302, 303, 307, 401)
MOST_A_PAGE = 200
LONGEST_REASON = 300
LONGEST_END = 2**16  # bytes of a log


class Refused(InputError):
    """The server said no, or nothing.

    Attributes:
        status: of HTTP; None: there was no answer.
        unsure: whether what was asked for may have been done all the same.
    """

    def __init__(self, line: str, status: int | None = None, unsure: bool = False) -> None:
        super().__init__(line)
        self.status = status
        self.unsure = unsure


class Kubeflow:
    """One server, as one user in one namespace. Its methods and services raise `Refused`."""

    def __init__(self, client: kfp_api.ApiClient, namespace: str | None) -> None:
        self.host = client.configuration.host
        self._client = client
        self.namespace = namespace
        self.experiments = kfp_api.ExperimentServiceApi(client)
        self.runs = kfp_api.RunServiceApi(client)
        self.recurring_runs = kfp_api.RecurringRunServiceApi(client)
        self.pipelines = kfp_api.PipelineServiceApi(client)
        self.uploads = kfp_api.PipelineUploadServiceApi(client)

    @property
    def of_namespace(self) -> dict[str, str]:
        """The argument that narrows a list; none where there is one user."""
        return {"namespace": self.namespace} if self.namespace else {}

    def url(self, what: str, number: str) -> str:
        """The page of a run, a recurring run or a pipeline in KFP's user interface."""
        return f"{os.environ.get(UI) or self.host}/#/{what}/details/{number}"

    def experiment(self, name: str) -> str | None:
        """Its ID; None: there is none of that name."""
        found = self.named(self.experiments.experiment_service_list_experiments, "experiments", name)
        return found[0].experiment_id if found else None

    def experiment_made(self, name: str) -> str:
        """Its ID, made if there is none of that name: the server holds no two."""

        def make() -> str:
            wanted = kfp_api.V2beta1Experiment(display_name=name, namespace=self.namespace)
            return self.experiments.experiment_service_create_experiment(wanted).experiment_id

        return self.experiment(name) or made_once(
            make, lambda: self.experiment(name), f"experiment {name}", whose_ever=True
        )

    def run(self, experiment: str, name: str) -> Any | None:
        """The newest run of that name in the experiment of that ID."""
        listed = self.runs.run_service_list_runs
        found = self.named(listed, "runs", name, experiment_id=experiment, sort_by="created_at desc")
        return found[0] if found else None

    def workflow(self, run_id: str) -> dict[str, Any]:
        """Return the Argo workflow that carries out a run; {} if the server has no such thing.

        Only the older API, v1beta1, has it; KFP 2.15 to 2.17 answer it for every run.
        """
        try:
            answer = self._client.call_api(
                f"/apis/v1beta1/runs/{run_id}",
                "GET",
                header_params={"Accept": "application/json"},
                response_type="object",
                auth_settings=["Bearer"],
                _return_http_data_only=True,
            )
        except Refused as refused:
            if refused.status not in (OK, NOT_FOUND):  # OK: a page of the user interface
                raise
            return {}
        manifest = (answer.get("pipeline_runtime") or {}).get("workflow_manifest")
        return json.loads(manifest) if manifest else {}

    def log(self, run_id: str, namespace: str, pod: str, node: str) -> list[str]:
        """Return the end of the log of a pod, which may be gone if the server keeps logs; [] if it has none.

        KFP's API server and its user interface have different addresses for it, and neither passes on the other's.

        Args:
            run_id: the run.
            namespace: of the pod.
            pod: its name.
            node: its ID in Argo, by which older servers find the logs that they keep.
        """
        question = urlencode({"podname": pod, "runid": run_id, "podnamespace": namespace})
        of_api = (f"/apis/v1alpha1/runs/{run_id}/nodes/{name}/log" for name in (pod, node))
        for path in (*of_api, f"/k8s/pod/logs?{question}"):
            text = self._end_of(path)
            if text and not _is_page(text) and '{"error_message":' not in text:
                return text.splitlines()
        return []

    def _end_of(self, path: str) -> str:
        """Return the end of a text, of whatever length; "" if there is none."""
        headers = dict(self._client.default_headers)
        self._client.update_params_for_auth(headers, [], ["Bearer"])
        end = b""
        try:
            answer = self._client.rest_client.pool_manager.request(
                "GET",
                self.host + path,
                headers=headers,
                preload_content=False,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_WITHIN, read=ANSWER_WITHIN),
            )
            for part in answer.stream(LONGEST_END):
                end = (end + part)[-LONGEST_END:]
        except urllib3.exceptions.HTTPError:
            return ""
        return _text(end) if answer.status == OK else ""

    def recurring_run(self, name: str) -> Any | None:
        """The recurring run of that name.

        Raises:
            InputError: several have it.
        """
        listed = self.recurring_runs.recurring_run_service_list_recurring_runs
        return only(self.named(listed, "recurring_runs", name), f"recurring runs are named {name}")

    def pipeline(self, name: str) -> Any | None:
        """The uploaded pipeline of that name."""
        found = self.named(self.pipelines.pipeline_service_list_pipelines, "pipelines", name)
        return only(found, f"pipelines are named {name}")

    def version(self, pipeline: str, name: str) -> Any | None:
        """The version of that name of the uploaded pipeline of that ID."""
        listed = self.pipelines.pipeline_service_list_pipeline_versions
        found = all_pages(listed, "pipeline_versions", pipeline_id=pipeline, filter=by_name(name))
        return next(found, None)

    def named(self, listed: Callable[..., Any], field: str, name: str, **narrowed: str) -> list[Any]:
        """What has this name, in the namespace unless narrowed otherwise."""
        return list(all_pages(listed, field, **(narrowed or self.of_namespace), filter=by_name(name)))


def connect(
    host: str | None, namespace: str | None = None, token_file: Path | None = None, ca_file: Path | None = None
) -> Kubeflow:
    """The server, not asked anything yet.

    Args:
        host: address of its API; None: in a pod, the cluster's own.
        namespace: where there are many users; None: in a pod that its token opens, the pod's own.
        token_file: file with the token, read at each call, as Kubernetes renews it; None: KFP_TOKEN, in a pod what
            Kubernetes mounted.
        ca_file: certificates to trust.

    Raises:
        InputError: a setting is missing or can't be used; says which.
    """
    configuration = kfp_api.Configuration(host=_address(host))
    configuration.retries = RETRIES
    token = _token(token_file)
    if token:
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.api_key["authorization"] = token()
        configuration.refresh_api_key_hook = lambda own: own.api_key.update(authorization=token())
    if ca_file:
        if not ca_file.is_file():
            raise InputError(f"{ca_file} is missing: name the certificates with --ca-file or KFP_CA_FILE")
        configuration.ssl_ca_cert = str(ca_file)
    return Kubeflow(_Client(configuration), namespace or _own_namespace())


def made_once(make: Callable[[], Any], find: Callable[[], Any | None], what: str, *, whose_ever: bool = False) -> Any:
    """Has something made, and never twice: where the answer is lost, what is there counts.

    Args:
        make: asks the server to make it.
        find: looks whether it is there.
        what: its name in messages.
        whose_ever: whether it counts, too, if somebody else made it a moment before.

    Raises:
        InputError: the server refused; or nobody knows whether it did what it was asked.
    """
    try:
        return make()
    except Refused as refused:
        if not (refused.unsure or (whose_ever and refused.status == EXISTS)):
            raise
        with suppress(Refused):  # that it can't even look changes nothing
            found = find()
            if found is not None:
                return found
        line = f"{refused}; {what} may have been made all the same: look before you try again"
        raise InputError(line) from refused


def all_pages(listed: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
    """What a list has, page by page."""
    token: str | None = ""
    while token is not None:
        answer = listed(page_size=MOST_A_PAGE, page_token=token, **arguments)
        yield from getattr(answer, field) or []
        token = answer.next_page_token or None


def by_name(name: str) -> str:
    """KFP's filter for this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def only(found: list[Any], which: str) -> Any | None:
    """The one that was found.

    Raises:
        InputError: there are several.
    """
    if len(found) > 1:
        raise InputError(f"{len(found)} {which}: delete those that aren't meant in KFP's user interface")
    return found[0] if found else None


class _Client(kfp_api.ApiClient):
    """kfp's client with a limit of time for each call, that says in one line what went wrong."""

    def request(self, method: str, url: str, **rest: Any) -> Any:
        rest["_request_timeout"] = rest.get("_request_timeout") or (CONNECT_WITHIN, ANSWER_WITHIN)
        asks = method == "GET"
        try:
            answer = super().request(method, url, **rest)
        except kfp_api.ApiException as error:
            unsure = error.status in UNSURE and not asks
            raise Refused(self._line(error.status, _text(error.body)), error.status, unsure) from error
        except urllib3.exceptions.HTTPError as error:
            line, sent = _unreachable(self.configuration.host, error)
            raise Refused(line, unsure=sent and not asks) from error
        if not answer.data.lstrip().startswith((b"{", b"[")):
            raise Refused(self._line(answer.status, _text(answer.data)), answer.status)
        return answer

    def _line(self, status: int, body: str) -> str:
        """What a refusal says, whoever on the way it comes from: KFP, its gateway, or what asks people to log in."""
        host, page, reason = self.configuration.host, _is_page(body), _reason(body)
        if page and status == 200:
            return (
                f"{host} shows a page for people there, not KFP's API: on a whole Kubeflow the API's address ends in "
                f"/pipeline; where the page is to log in, put a token into {TOKEN}"
            )
        if status in LOGIN or (page and status == 403) or "unauthenticated" in reason.lower():
            told = f" ({reason})" if reason else ""
            return (
                f"{host} asks to log in{told}: the token is missing, of another audience, or has expired; "
                f"put a new one into {TOKEN}, or name its file with --token-file"
            )
        if status == 403:
            return f"{host} doesn't allow this ({reason}): see that --namespace is right, or ask for access to it"
        if page or not reason:
            return f"{host} has no KFP API there (HTTP {status}): on a whole Kubeflow its address ends in /pipeline"
        return f"{host}: {reason} (HTTP {status})"


def _address(host: str | None) -> str:
    given = host or (POD_HOST if _in_pod() else None)
    if given is None:
        raise InputError("where is Kubeflow Pipelines? Set --host or KFP_HOST")
    where = urlsplit(given)
    if where.scheme not in ("http", "https") or not where.netloc:
        raise InputError(f"--host {given}: is no address; write it as http://HOST or https://HOST")
    if where.username or where.password:
        raise InputError(f"--host {where.hostname}: leave user and password out; a token goes into {TOKEN}")
    return f"{where.scheme}://{where.netloc}{where.path.rstrip('/')}"


def _token(token_file: Path | None) -> Callable[[], str] | None:
    given = os.environ.get(TOKEN, "").strip()
    mounted = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or POD_TOKEN)
    file = token_file or (mounted if not given and mounted.exists() else None)
    if file:
        return lambda: _read(file)
    return (lambda: given) if given else None


def _read(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{file}: the token can't be read ({reason}): name its file with --token-file") from error
    if not re.fullmatch(r"\S+", token):
        raise InputError(f"{file}: holds no token: put the token alone into it")
    return token


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _own_namespace() -> str | None:
    file = Path(POD_NAMESPACE)
    mounted = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or POD_TOKEN)
    return file.read_text().strip() if mounted.exists() and file.exists() else None


def _unreachable(host: str, error: urllib3.exceptions.HTTPError) -> tuple[str, bool]:
    """What to say, and whether the request may have arrived."""
    reason = getattr(error, "reason", None) or error
    not_sent = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        urllib3.exceptions.SSLError,
    )
    if not isinstance(reason, not_sent):
        return f"{host} gave no answer ({_flat(reason)})", True
    if isinstance(reason, urllib3.exceptions.SSLError):
        advice = "name its certificates with --ca-file, or write http:// where it has none"
    elif isinstance(reason, urllib3.exceptions.NameResolutionError):
        advice = "there is no such name: see that --host is right"
    else:
        advice = "see that it runs and that --host is right (a port-forward ends with its terminal)"
    return f"{host} can't be reached ({_flat(reason)}): {advice}", False


def _flat(error: Exception) -> str:
    told = error.args[-1] if isinstance(error, urllib3.exceptions.ProtocolError) else error
    text = " ".join(str(told).split())
    return re.sub(r"<[^>]*>:? ?|^[A-Za-z]+\([^)]*\): ", "", text)[:LONGEST_REASON]


def _text(body: bytes | str | None) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body or ""


def _is_page(body: str) -> bool:
    return body.lstrip().startswith("<")


def _reason(body: str) -> str:
    """The first line of what the server says: older servers add the places in their own source."""
    if _is_page(body):
        return ""
    try:
        told = json.loads(body)
    except ValueError:
        told = body
    if isinstance(told, dict):
        told = told.get("message") or told.get("error_message") or told.get("error") or ""
    lines = str(told).strip().splitlines()
    return lines[0][:LONGEST_REASON] if lines else ""
