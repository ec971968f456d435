"""Step `notify`: says how a pipeline's run ended, in the log and to the address that is set, if one is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from siamese.errors import InputError
from siamese.progress import say

ADDRESS = "SIAMESE_NOTIFY_URL"  # takes JSON with `text`, as chat systems' incoming webhooks do
RETRIES = 3
SECONDS = 10  # until an answer must have come


def run(status: Mapping[str, str]) -> None:
    """Says what `status` says; does nothing else where no address is set.

    Args:
        status: `pipeline`, `state` (SUCCEEDED, FAILED or CANCELLED) and `error`, which may be empty.

    Raises:
        InputError: the address takes no message.
    """
    text = to_text(status)
    say(text)
    address = os.environ.get(ADDRESS)
    if not address:
        say(f"notify: {ADDRESS} is not set: nobody was told")
        return
    _post(address, {"text": text, **status})
    say(f"notify: told {urlsplit(address).hostname}")


def to_text(status: Mapping[str, str]) -> str:
    """The message, a line."""
    error = " ".join(status["error"].split())
    return f"pipeline {status['pipeline']} {status['state'].lower()}" + (f": {error}" if error else "")


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
