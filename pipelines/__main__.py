"""The command line `python -m pipelines`: compile the pipeline, and run it here or elsewhere."""

from __future__ import annotations

import sys

import typer

from pipelines import compile, local, schedule, submit, upload, vertex
from siamese.process import exit_code_of

app = typer.Typer(
    name="pipelines",
    help="Compiles the pipeline for Kubeflow, and runs it: here, on a cluster, on Vertex AI.",
    epilog="Exit codes: 0 done, 2 wrong input or failure; more with `submit --help`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (compile.compile, local.local, submit.submit, upload.upload):
    app.command()(command)
app.add_typer(schedule.app, name="schedule")
app.add_typer(vertex.app, name="vertex")

if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: app(prog_name="python -m pipelines", standalone_mode=False)))
