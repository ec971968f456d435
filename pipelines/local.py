"""`python -m pipelines local`: the whole pipeline on this machine, in processes or in containers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.arguments import Checkpoints, ClusterFile, Repository, Revision, TrackingUri
from siamese.cli.options import ParamsFile, Settings

if TYPE_CHECKING:
    from kfp.local import DockerRunner

ROOT = Path(".siamese/pipeline")
LOG = "last.log"
HANDED_ON = ("MLFLOW_", "AWS_", "GOOGLE_", "SIAMESE_NOTIFY_URL")  # credentials that a cluster's secrets give to steps


def local(
    containers: Annotated[bool, typer.Option("--containers", help="Each step in a container.")] = False,
    repository: Repository = None,
    revision: Revision = None,
    tracking_uri: TrackingUri = None,
    checkpoints: Checkpoints = "",
    root: Annotated[Path, typer.Option("--root", help="Folder for what the steps write.")] = ROOT,
    caching: Annotated[bool, typer.Option(help="Take what the same step made of the same inputs before.")] = True,
    cluster_file: ClusterFile = None,
    params_file: ParamsFile = None,
    settings: Settings = None,
) -> None:
    """Run the pipeline on this machine; without --repository, on the data as it lies here."""
    from kfp import local as kfp_local

    from pipelines import cluster
    from pipelines import containers as in_containers
    from pipelines.arguments import arguments
    from pipelines.log import COLOUR, steps_words
    from pipelines.pipeline import build
    from pipelines.values_on_cluster import values_as_on_a_cluster
    from siamese import config
    from siamese.errors import InputError
    from siamese.tracking.client import tracking_uri as default_uri

    here = Path.cwd()
    given = arguments(
        params_file,
        settings,
        repository if repository is not None else str(here),
        revision if revision is not None or repository is not None else "",
        tracking_uri or default_uri(),
        checkpoints or str(here),
    )
    configured = cluster.load(cluster_file).model_copy(update={"workers": None})  # one machine trains: this one
    pipeline = build(configured, config.load_params(config.packaged_file()))
    with ExitStack() as opened:
        if containers:
            opened.enter_context(in_containers.exit_codes_kept())
            runner = _runner(here)
        else:
            opened.enter_context(_python_by_path())
            runner = kfp_local.SubprocessRunner(use_venv=False)
            os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kfp_local.init(runner, pipeline_root=str(root), enable_caching=caching)
        opened.enter_context(values_as_on_a_cluster())
        opened.enter_context(steps_words(root / LOG))
        try:
            pipeline(**given)
        except RuntimeError as error:  # kfp's word for a step that failed
            text = COLOUR.sub("", " ".join(str(error).split()))
            raise InputError(f"{text} Its words stand above, all that was said in {root / LOG}") from None
    print(f"local: done; what the steps wrote is in {root}, all that was said in {root / LOG}")


@contextmanager
def _python_by_path() -> Iterator[None]:
    """Inside, steps run by the first `python3` in PATH.

    As of 2.17.0, kfp writes the interpreter's path into a shell command without quotes, which spaces would break.
    """
    from kfp.local import subprocess_task_handler

    before = subprocess_task_handler.replace_python_executable
    subprocess_task_handler.replace_python_executable = lambda full_command, new_executable: full_command
    try:
        yield
    finally:
        subprocess_task_handler.replace_python_executable = before


def _runner(project: Path) -> DockerRunner:
    """Steps see the project where it is here, write as the user who runs this, and share the machine's network."""
    from docker.types import Mount
    from kfp.local import DockerRunner

    return DockerRunner(
        mounts=[Mount(str(project), str(project), type="bind")],
        user=f"{os.getuid()}:{os.getgid()}",
        network_mode="host",
        environment={name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)},
    )
