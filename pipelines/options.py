"""Options that the commands for a Kubeflow server share. Each can stand in the environment, except what is per call."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer

TOKEN = "KFP_TOKEN"  # on the command line, every user of the machine could read it
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class RunExitCode(IntEnum):
    """What `--wait` adds to the exit codes of the command line."""

    RUN_FAILED = 5  # the run ended otherwise than well
    STILL_RUNNING = 6  # the time given has passed; the run goes on


def duration(text: str) -> int:
    """Seconds in a duration such as 90s, 30m, 24h or 7d."""
    found = re.fullmatch(r"([1-9]\d*)([smhd])", text)
    if not found:
        raise typer.BadParameter(f"{text} is no duration; write it as 90s, 30m, 24h or 7d")
    return int(found[1]) * UNITS[found[2]]


Host = Annotated[
    str | None,
    typer.Option(
        envvar=["KFP_HOST", "KF_PIPELINES_ENDPOINT"],
        help="Address of KFP's API, with http:// or https://.",
        show_default="in a pod, its cluster's",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        envvar="KFP_NAMESPACE",
        help="Namespace, where the installation has many users.",
        show_default="in a pod with a token, its own",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="KFP_TOKEN_FILE",
        help=f"File with the token; {TOKEN} may hold the token itself.",
        show_default="in a pod, what Kubernetes mounted",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        envvar=["KFP_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"],
        help="Certificates to trust, where the host's are private.",
    ),
]
Experiment = Annotated[
    str, typer.Option(envvar="KFP_EXPERIMENT", help="Experiment in KFP that groups the runs; made if it isn't there.")
]
Preflight = Annotated[
    bool,
    typer.Option(
        "--preflight/--no-preflight",
        help="Refuse what no node could take, and names of secrets and volumes that aren't there; needs KUBECONFIG.",
    ),
]
ServiceAccount = Annotated[
    str | None,
    typer.Option(
        envvar="KFP_SERVICE_ACCOUNT", help="Kubernetes service account of the pods.", show_default="the installation's"
    ),
]
Version = Annotated[
    str | None,
    typer.Option(help="Run this uploaded version, as `upload` named it.", show_default="compile these files"),
]
Caching = Annotated[
    bool | None,
    typer.Option("--caching/--no-caching", help="For every step.", show_default="as the pipeline says for each"),
]
