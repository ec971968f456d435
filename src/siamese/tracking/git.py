"""What git knows of the working folder, by git's own command."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from siamese.errors import InputError

TRUST = re.compile(r"^\s*(git config --global --add safe\.directory .+)$", flags=re.MULTILINE)


class NoRepository(InputError):
    """No git, or no repository in the working folder.

    Attributes:
        problem: what is missing, without what to do.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


def git(*arguments: str) -> str | None:
    """Return what git prints, or None if it has no answer.

    Raises:
        NoRepository: git isn't installed, or finds no repository here.
        InputError: git refuses a folder of another user.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
            env=os.environ | {"LC_ALL": "C"},  # its messages are read below
        )
    except OSError:
        raise NoRepository("git: not installed", "install it") from None
    if done.returncode == 0:
        return done.stdout.rstrip("\n")
    if trust := TRUST.search(done.stderr):
        raise InputError(f"{Path.cwd()}: belongs to another user, so git refuses it; run: {trust[1]}")
    if "not a git repository" in done.stderr:
        raise NoRepository(f"{Path.cwd()}: no git repository", "run: git init && git add . && git commit -m start")
    return None


def is_shallow() -> bool:
    """True if this clone has only the latest commits."""
    return git("rev-parse", "--is-shallow-repository") == "true"
