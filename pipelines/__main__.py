"""The command line `python -m pipelines`: compile the pipeline, and run it here or elsewhere."""

from __future__ import annotations

import sys

import typer

from pipelines import compile, local
from siamese.cli import exit_code_of

app = typer.Typer(
    name="pipelines",
    help="Compiles the pipeline for Kubeflow, and runs it: here, on a cluster, on Vertex AI.",
    epilog="Exit codes: 0 done, 2 wrong input or failure; more with `submit --help`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (compile.compile, local.local):
    app.command()(command)

if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: app(prog_name="python -m pipelines", standalone_mode=False)))
