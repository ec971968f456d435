"""Values as components read them on a cluster: artifact metadata, and the final status that the exit task gets.

kfp's local runners pass on what a component wrote. KFP's backend passes on what its metadata store kept, as of 2.17.0
(`converter.go` and `client.go` in backend/src/v2/metadata): lists and dicts wrapped, booleans as numbers. It gives the
exit task a state of that store and no error (`resolve.go` in backend/src/v2/driver); kfp's local runners have words of
their own for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from siamese.errors import InputError

if TYPE_CHECKING:
    from kfp import dsl


STATES = {"SUCCEEDED": "COMPLETE"}  # state of kfp's local runners: state of the backend


@contextmanager
def values_as_on_a_cluster() -> Iterator[None]:
    """Inside, kfp's local runners pass on metadata and the final status as the backend does."""
    from kfp.local import executor_input_utils
    from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils

    passed_on, arguments_of = executor_input_utils.dsl_artifact_to_artifact_list, OrchestratorUtils.make_task_arguments

    def stored_and_passed_on(artifact: dsl.Artifact | list[dsl.Artifact]) -> Any:
        return passed_on([*map(stored, artifact)] if isinstance(artifact, list) else stored(artifact))

    def with_final_status(task_inputs_spec: Any, io_store: Any) -> dict[str, Any]:
        arguments = arguments_of(task_inputs_spec, io_store)
        for name, source in task_inputs_spec.parameters.items():
            if source.HasField("task_final_status"):
                arguments[name] = final_status(arguments[name])
        return arguments

    executor_input_utils.dsl_artifact_to_artifact_list = stored_and_passed_on
    OrchestratorUtils.make_task_arguments = with_final_status
    try:
        yield
    finally:
        executor_input_utils.dsl_artifact_to_artifact_list = passed_on
        OrchestratorUtils.make_task_arguments = arguments_of


def final_status(local: Mapping[str, Any]) -> dict[str, Any]:
    """The final status as the backend's driver writes it, from that of a local runner: no error, whatever happened."""
    return {
        "state": STATES.get(local["state"], local["state"]),
        "pipelineJobResourceName": local["pipeline_job_resource_name"],
        "pipelineTaskName": local["pipeline_task_name"],
        "error": {},
    }


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
