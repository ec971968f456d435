"""The command line: `siamese <step>`. Commands gather parameters and paths, call one function, and print its result."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from siamese import process, tf_runtime
from siamese.cli import datasets, identification, info, model, monitoring, promotion, registry, serving, steps, tracking
from siamese.tracking.dvc_stage import unchanged_inputs

app = typer.Typer(
    name="siamese",
    help="Tells whether two images show the same thing: from image folders to a measured model, step by step.",
    epilog="Exit codes: 0 done or yes, 1 no, 2 wrong input or failure, 3 refused by the gate, 4 retraining advised; "
    "128 + N: stopped by signal N, run again to continue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (steps, datasets, registry, promotion, model, identification, serving, monitoring, info, tracking):
    module.add_to(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console command."""
    _open_closed_streams()
    tf_runtime.start_quickly()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that a terminal lacks must not cost the answer
    code = run(arguments)
    gc.freeze()  # or Python would search all that TensorFlow has made for cycles before it ends, a second long
    sys.exit(code)


def _open_closed_streams() -> None:
    """A shell's `>&-` leaves a descriptor free, which the next file that is opened would take: nobody's messages would
    go into it. What is printed there is lost, as whoever closed it wished."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code; what went wrong is one line on standard error."""

    def work() -> int | None:
        with unchanged_inputs():
            return app(args=arguments, prog_name="siamese", standalone_mode=False)

    return process.exit_code_of(work)
