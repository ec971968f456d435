"""The command line: `siamese <step>`. Commands gather parameters and paths, call one function, and print its result."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from siamese import backend
from siamese.cli import data, drift, gallery, promotion, questions, registry, serving, steps, tracking, use
from siamese.dvc_stage import unchanged_inputs
from siamese.errors import ExitCode, InputError
from siamese.progress import say
from siamese.signals import Interrupted, handled

TERMINATED = 128 + signal.SIGTERM
TRACEBACK = "SIAMESE_TRACEBACK"  # set to anything: an unexpected failure shows where it happened

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
for module in (steps, data, registry, promotion, use, gallery, serving, drift, questions, tracking):
    module.add_to(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console command."""
    _open_closed_streams()
    backend.start_quickly()
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

    return exit_code_of(work)


def exit_code_of(work: Callable[[], int | None]) -> int:
    """Does `work` and gives the exit code of a process that did it, None counting as 0.

    What goes wrong is one line on standard error, an interruption too.
    """
    # SIGTERM unwinds the stack, so that what is half written beside its place is removed.
    with handled(lambda *_: sys.exit(TERMINATED), signal.SIGTERM):
        try:
            code = int(work() or ExitCode.DONE)
            sys.stdout.flush()  # while a closed pipe can still be told
            return code
        except Interrupted as stopped:
            return _failed(str(stopped), stopped.exit_code)
        except (SystemExit, BrokenPipeError) as ended:  # by SIGTERM; or nobody reads what is printed
            if isinstance(ended, SystemExit) and ended.code == TERMINATED:
                return TERMINATED
            return ExitCode.WRONG_INPUT
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            return _failed(_in_one_line(error))
        finally:
            _let_go_of_unwritable_streams()


def _let_go_of_unwritable_streams() -> None:
    """Python flushes both streams once more at exit, and where that fails the exit code would be its own, 120."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # as where the answer goes; steps tell it themselves
        return f"{text}: make room, then run again"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}: see to the path and its permissions"
    if isinstance(error, MemoryError):
        return f"out of memory ({text or 'nothing more is free'}): give less at once, or use a machine with more"
    if hasattr(error, "format_message"):  # Typer's own: an unknown command, option or value
        return f"{error.format_message() or 'name a command'} (`siamese --help` shows what there is)"
    return f"unexpected {type(error).__name__}: {text} (set {TRACEBACK}=1 to see where)"


def _failed(line: str, exit_code: int = ExitCode.WRONG_INPUT) -> int:
    say(f"siamese: {line}")
    return exit_code
