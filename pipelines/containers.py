"""kfp's DockerRunner, mended: a step that fails is seen to fail.

As of kfp 2.17.0 it lets Docker remove a container as soon as it has ended, and takes one that is gone before its exit
code was asked for as a success. Here the container is removed afterwards, by us.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from siamese.errors import InputError

if TYPE_CHECKING:
    import docker


@contextmanager
def exit_codes_kept() -> Iterator[None]:
    """Inside, DockerRunner goes by the container's own exit code."""
    from kfp.local import docker_task_handler

    before = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = run_container
    try:
        yield
    finally:
        docker_task_handler.run_docker_container = before


def run_container(
    client: docker.DockerClient, image: str, command: list[str], volumes: dict[str, Any], **arguments: Any
) -> int:
    """Runs a step's container to its end, prints what it says, removes it, and gives its exit code.

    Raises:
        InputError: there is no such image here: none is pulled, so that what runs is what was built.
    """
    import docker

    try:
        container = client.containers.create(image, command, volumes=volumes, detach=True, **arguments)
    except docker.errors.ImageNotFound:
        raise InputError(f"image {image} is not here: run `make images`, or name another with --cluster") from None
    try:
        container.start()
        for line in container.logs(stream=True, follow=True):
            print(line.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
