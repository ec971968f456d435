"""Container images and containers for tests, where DOCKER_HOST names an engine (as `.ci/run` does)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

ROOT = Path(__file__).parents[2]
TAG = "test"
ANY_USER = "12345:6789"  # which no image knows

needs_engine = pytest.mark.skipif(
    "DOCKER_HOST" not in os.environ, reason="DOCKER_HOST names no container engine to build and run images with"
)


def docker(*arguments: str, exit_code: int = 0) -> str:
    """What a docker command prints, on either stream."""
    command = [os.environ.get("DOCKER", "docker"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == exit_code, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@cache
def make(target: str, **variables: str) -> None:
    """Runs `make TARGET` for images of the tests' own tag. What has not changed, the engine takes from its cache."""
    command = ["make", "--silent", target, f"TAG={TAG}", *(f"{name}={value}" for name, value in variables.items())]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def image(name: str) -> str:
    """The image of that name as `make images` builds it of the files as they are."""
    make("images")
    return f"{name}:{TAG}"


def inspected(what: str) -> dict[str, Any]:
    """What the engine knows of an image or container."""
    return json.loads(docker("inspect", what))[0]


@contextmanager
def container(*arguments: str) -> Iterator[str]:
    """A running container's id, until the block ends. Arguments: of `docker run`."""
    made = docker("run", "--detach", *arguments).strip()
    try:
        yield made
    finally:
        docker("rm", "--force", made)


def wait_until_in(made: str, happens: Callable[[], object]) -> None:
    """Returns when `happens()` is true; fails when the container has ended."""

    def runs() -> None:
        assert inspected(made)["State"]["Running"], docker("logs", made)

    wait_until(happens, meanwhile=runs)


def wait_until_healthy(made: str) -> None:
    """Returns when the image's own HEALTHCHECK says so; fails where the container ends."""
    wait_until_in(made, lambda: inspected(made)["State"]["Health"]["Status"] == "healthy")
