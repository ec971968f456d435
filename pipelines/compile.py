"""`python -m pipelines compile`: the pipeline as YAML, for any server that speaks Kubeflow Pipelines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.arguments import ClusterFile

if TYPE_CHECKING:
    from pipelines.cluster import Cluster

COMPILED = Path("pipelines/siamese.yaml")
HEADER = "# Compiled from pipelines/pipeline.py and components/ by `python -m pipelines compile`: change those.\n"


def compile(
    output: Annotated[Path, typer.Option("--output", help="File to write.")] = COMPILED,
    cluster_file: ClusterFile = None,
) -> None:
    """Write the pipeline as YAML."""
    from pipelines import cluster

    compiled(cluster.load(cluster_file), output)
    print(f"compile: wrote {output}")


def compiled(cluster: Cluster, file: Path) -> None:
    """Writes the pipeline for a cluster, its parameters' defaults those of the repository; always the same.

    Args:
        cluster: how the steps run.
        file: YAML to write.
    """
    from siamese.storage.files import atomic_file

    with atomic_file(file) as beside:
        beside.write_text(_yaml(cluster.model_dump_json()), encoding="utf-8")


@cache
def _yaml(cluster: str) -> str:
    """The pipeline for a cluster, which is given as JSON."""
    # For each setting of a step kfp reads the source of every function on the stack, which takes seconds on a deep one:
    # a thread of its own has a stack of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_compile, cluster).result()


def _compile(cluster: str) -> str:
    from tempfile import TemporaryDirectory

    from kfp.compiler import Compiler

    from pipelines.cluster import Cluster
    from pipelines.pipeline import build
    from siamese import config

    with TemporaryDirectory() as folder:
        made = Path(folder) / "pipeline.yaml"  # KFP looks at the name's suffix
        Compiler().compile(
            build(Cluster.model_validate_json(cluster), config.load_params(config.packaged_file())), str(made)
        )
        # kfp's comment on top lists the parameters' defaults in an order that changes from run to run.
        lines = made.read_text(encoding="utf-8").splitlines(keepends=True)
    return HEADER + "".join(dropwhile(lambda line: line.startswith("#"), lines))
