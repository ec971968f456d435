"""Step `notify`: says how a pipeline's run ended, in the log and to the address that is set, if one is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from siamese.console import log
from siamese.errors import InputError

ADDRESS = "SIAMESE_NOTIFY_URL"  # takes JSON with `text`, as chat systems' incoming webhooks do
RETRIES = 3
SECONDS = 10  # until an answer must have come


@dataclass(frozen=True)
class Ending:
    """How a run of the pipeline ended.

    Attributes:
        run: its name.
        run_id: its ID.
        state: SUCCEEDED, FAILED, CANCELLED, or ENDED if the orchestrator does not say which.
        error: why; may be empty, and is on Kubeflow.
    """

    run: str
    run_id: str
    state: str
    error: str


def state_of(recorded: str) -> str:
    """Translate the state that the orchestrator gives the exit task: Kubeflow takes it from ML Metadata.

    There the steps together are COMPLETE only if each has ended well and a step's pod was the last to end. They are
    still RUNNING if a condition is not met, a pod was lost or somebody ended the run; before KFP 2.17, also if the
    condition is met.
    """
    return {"COMPLETE": "SUCCEEDED", "CANCELED": "CANCELLED", "RUNNING": "ENDED"}.get(recorded, recorded)


def run(ending: Ending) -> None:
    """Say how a run ended, in the log and to the address if one is set.

    Raises:
        InputError: the address takes no message.
    """
    text = to_text(ending)
    log(text)
    address = os.environ.get(ADDRESS)
    if not address:
        log(f"notify: {ADDRESS} is not set: no notification sent")
        return
    _post(address, {"text": text, **asdict(ending)})
    log(f"notify: told {urlsplit(address).hostname}")


def to_text(ending: Ending) -> str:
    """Return the message, a line.

    A step that failed may have succeeded when it was started again, which Kubeflow does not record up to 2.16.
    """
    error = " ".join(ending.error.split())
    if ending.state == "ENDED":
        return f"run {ending.run} ended; Kubeflow did not record how: see the run's page"
    if ending.state == "FAILED" and not error:
        return f"run {ending.run} ended; a step failed: see the run's page"
    return f"run {ending.run} {ending.state.lower()}" + (f": {error}" if error else "")


def _post(address: str, content: Mapping[str, str]) -> None:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    again = Retry(RETRIES, backoff_factor=1, status_forcelist=[429, 500, 502, 503, 504], allowed_methods=["POST"])
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=again))
        try:
            session.post(address, json=dict(content), timeout=SECONDS).raise_for_status()
        except requests.RequestException as error:
            reason = type(error).__name__ if error.response is None else f"status {error.response.status_code}"
            raise InputError(
                f"{ADDRESS}: {urlsplit(address).hostname} took no message ({reason}): see that the address is right"
            ) from None  # the address is a secret, and errors tell it
