"""Artifact metadata as a component reads them on a cluster.

kfp's local runners hand on what a component wrote. KFP's backend hands on what its metadata store kept, as of 2.17.0
(`converter.go` and `client.go` in backend/src/v2/metadata): lists and dicts wrapped, booleans as numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from siamese.errors import InputError

if TYPE_CHECKING:
    from kfp import dsl


@contextmanager
def stored_as_on_a_cluster() -> Iterator[None]:
    """Inside, kfp's local runners hand on metadata as the backend does."""
    from kfp.local import executor_input_utils

    handed_on = executor_input_utils.dsl_artifact_to_artifact_list

    def stored_and_handed_on(artifact: dsl.Artifact | list[dsl.Artifact]) -> Any:
        return handed_on([*map(stored, artifact)] if isinstance(artifact, list) else stored(artifact))

    executor_input_utils.dsl_artifact_to_artifact_list = stored_and_handed_on
    try:
        yield
    finally:
        executor_input_utils.dsl_artifact_to_artifact_list = handed_on


def stored(artifact: dsl.Artifact) -> dsl.Artifact:
    """The artifact as the next component reads it.

    Raises:
        InputError: the backend can't store a value.
    """
    metadata = {key: _stored(value, f"{artifact.name}: metadata {key}") for key, value in artifact.metadata.items()}
    added = {"display_name": artifact.name, "store_session_info": "{}"}
    return type(artifact)(name=artifact.name, uri=artifact.uri, metadata=added | metadata)


def _stored(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        return {"struct": dict(value)}
    if isinstance(value, list):
        return {"list": value}
    if isinstance(value, bool | int | float):
        return float(value)
    if not isinstance(value, str):
        raise InputError(f"{what}: KFP can't store {value!r}; leave it out or write text")
    return value
