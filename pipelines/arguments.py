"""The run-time arguments of the pipeline: where data comes from and runs go to, and params.yaml section by section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from siamese.errors import InputError

SECTIONS = ("catalog", "pairs", "preprocess", "model", "train", "evaluate", "tracking", "registry", "promote")

ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster", envvar="SIAMESE_CLUSTER", help="Images, resources, secrets.", show_default="cluster.yaml"
    ),
]
Repository = Annotated[
    str | None,
    typer.Option(
        envvar="SIAMESE_REPOSITORY", help="Git repository with the data.", show_default="this one's remote `origin`"
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Commit, branch or tag of the data.", show_default="the commit checked out here")
]
TrackingUri = Annotated[
    str | None, typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow server of the run.")
]
Checkpoints = Annotated[
    str,
    typer.Option(
        envvar="SIAMESE_CHECKPOINTS",
        help="Folder of a volume, or URI, that outlives a step's container.",
        show_default="none: a step that is retried begins anew",
    ),
]


def arguments(
    params_file: Path | None,
    settings: list[str] | None,
    repository: str | None = None,
    revision: str | None = None,
    tracking_uri: str | None = None,
    checkpoints: str = "",
) -> dict[str, Any]:
    """The pipeline's arguments, validated.

    Args:
        params_file, settings: as for `siamese.config.load_params`.
        repository: None: the remote `origin` of the repository here.
        revision: None: the commit checked out here.
        tracking_uri: None: each step's environment says it.
        checkpoints: folder or URI.

    Raises:
        InputError: a parameter isn't allowed, or something is neither given nor to be found.
    """
    from siamese import config
    from siamese.tracking.provenance import git_tags

    values = config.load_params(params_file, settings or [])
    try:
        here = git_tags() if repository is None or revision is None else {}
    except InputError as reason:
        raise InputError(f"{reason}, or give --repository and --revision") from None
    repository = here.get("siamese.git.remote") if repository is None else repository
    revision = here.get("siamese.git.commit") if revision is None else revision
    if not repository:
        raise InputError("no repository to fetch data from: give --repository, or add a git remote `origin` here")
    sections = values.model_dump(include=set(SECTIONS))
    return {
        "repository": repository,
        "revision": revision,
        "data_path": values.data.path,
        "max_pixels": values.data.max_pixels,
        "tracking_uri": tracking_uri or "",
        "checkpoints": checkpoints,
        **{f"{name}_params": sections[name] for name in SECTIONS},
    }
