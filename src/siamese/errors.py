"""The errors a person can mend, and what the process says to the shell."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import TracebackType


class ExitCode(IntEnum):
    """Every exit code of the command line: the one table (README repeats it, a test compares)."""

    DONE = 0  # the command did what it was asked, or the answer is yes
    NO = 1  # the answer is no: different images
    WRONG_INPUT = 2  # input, parameters or usage to mend; also any failure that isn't an answer
    REFUSED = 3  # the gate refused a model
    RETRAIN = 4  # retraining is advised


class InputError(ValueError):
    """Something the user can mend. Its text is one line: what is wrong, where, and what to do."""


@contextmanager
def as_input_error(what: str) -> Iterator[None]:
    """Turns what other libraries raise into one line: `what`, which says what to do, too, and their reason.

    Raises:
        InputError: anything was raised.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} ({summarise_exception(error)})") from error


def exit_in_one_line() -> None:
    """Have this process print an uncaught InputError as one line, as the commands do, without a traceback."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, InputError):
            print(f"siamese: {' '.join(str(error).split())}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


def summarise_exception(error: Exception) -> str:
    """What another library raised, in one line of limited length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
