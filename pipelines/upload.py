"""`python -m pipelines upload`: the pipeline, as of a git tag, to the server's list of pipelines."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pipelines.arguments import ClusterFile
from pipelines.options import CaFile, Host, Namespace, TokenFile
from pipelines.submit import PIPELINE
from siamese.cli.options import AsJson, answer
from siamese.errors import InputError
from siamese.tracking.git import git


def upload(
    version: Annotated[
        str | None, typer.Option(help="The version's name.", show_default="the git tag of these files")
    ] = None,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    cluster_file: ClusterFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a version of the pipeline to a Kubeflow server, for `submit --version` and `schedule create --version`."""
    import kfp_server_api as kfp_api

    from pipelines import cluster
    from pipelines.compile import compiled
    from pipelines.kubeflow import EXISTS, Refused, connect, made_once

    name = version or tag_here()
    kubeflow = connect(host, namespace, token_file, ca_file)
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{PIPELINE}.yaml"
        compiled(cluster.load(cluster_file), file)
        pipeline = kubeflow.pipeline(PIPELINE) or made_once(
            lambda: kubeflow.pipelines.pipeline_service_create_pipeline(
                kfp_api.V2beta1Pipeline(display_name=PIPELINE, name=PIPELINE, namespace=kubeflow.namespace)
            ),
            lambda: kubeflow.pipeline(PIPELINE),
            f"pipeline {PIPELINE}",
        )
        number = pipeline.pipeline_id
        there = InputError(f"version {name} is already on {kubeflow.host}, and stays as it is: tag the new one")
        if kubeflow.version(number, name):
            raise there
        try:
            made = made_once(
                lambda: kubeflow.uploads.upload_pipeline_version(str(file), name=name, pipelineid=number),
                lambda: kubeflow.version(number, name),
                f"version {name}",
            )
        except Refused as refused:
            if refused.status == EXISTS:  # since a moment
                raise there from refused
            raise
    url = f"{kubeflow.url('pipelines', number)}/version/{made.pipeline_version_id}"
    result = {"version": name, "pipeline_id": number, "pipeline_version_id": made.pipeline_version_id, "url": url}
    answer(result, f"version {name}: {url}", as_json)


def tag_here() -> str:
    """The git tag of the commit that the files are at.

    Raises:
        InputError: they are at no tag, at several, or differ from the commit.
    """
    if _git("status", "--porcelain"):
        raise InputError("these files aren't as committed, so no tag names them: commit them, or set --version")
    tags = _git("tag", "--points-at", "HEAD").split()
    if not tags:
        raise InputError(
            "this commit has no tag to name the version after: `git fetch --tags`, `git tag` it, or set --version"
        )
    if len(tags) > 1:
        raise InputError(f"this commit has several tags ({', '.join(tags)}): say which with --version")
    return tags[0]


def _git(*command: str) -> str:
    try:
        return (git(*command) or "").strip()
    except InputError as reason:
        raise InputError(f"{reason}, or set --version") from None
