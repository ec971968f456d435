"""Metadata that a component wrote reach the next one as KFP's backend hands them on: a run on this machine, too.

Expected values follow backend/src/v2/metadata of KFP 2.17.0: `StructValueToMLMDValue`, `toRuntimeArtifact` and
`RecordArtifact`.
"""

import json
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import working_folder
from kfp import dsl

from pipelines import local, pipeline
from pipelines.values_on_cluster import stored
from siamese.errors import InputError

WRITTEN = {"text": "a", "whole": 3, "share": 0.5, "yes": True, "no": False, "list": [1, "b"], "dict": {"keep": "best"}}
STORED = {
    "display_name": "model",
    "store_session_info": "{}",
    "text": "a",
    "whole": 3,
    "share": 0.5,
    "yes": 1,
    "no": 0,
    "list": {"list": [1, "b"]},
    "dict": {"struct": {"keep": "best"}},
}


@dsl.component(base_image="no-image", packages_to_install=[], install_kfp_package=False)
def write(metadata: dict, model: dsl.Output[dsl.Model]) -> None:
    """Write metadata."""
    from pathlib import Path

    Path(model.path).write_text("weights")
    model.metadata.update(metadata)


@dsl.component(base_image="no-image", packages_to_install=[], install_kfp_package=False)
def fail() -> None:
    """Fail as a step does: with an exit code."""
    import sys

    sys.exit(2)


@dsl.component(base_image="no-image", packages_to_install=[], install_kfp_package=False)
def note(status: dsl.PipelineTaskFinalStatus, file: str) -> None:
    """Write what an exit task is given."""
    import json
    from pathlib import Path

    Path(file).write_text(json.dumps([status.state, status.error_code, status.error_message]))


@dsl.component(base_image="no-image", packages_to_install=[], install_kfp_package=False)
def read(model: dsl.Input[dsl.Model], file: str) -> None:
    """Copy metadata and content to a file."""
    import json
    from pathlib import Path

    Path(file).write_text(json.dumps([model.metadata, Path(model.path).read_text()]))


def test_text_and_numbers_come_back_and_lists_and_dicts_come_back_wrapped() -> None:
    model = dsl.Model(name="model", uri="s3://models/1", metadata=WRITTEN)
    kept = stored(model)
    assert kept.metadata == STORED
    assert [type(kept.metadata[name]) for name in ("yes", "whole")] == [float, float]
    assert (type(kept), kept.name, kept.uri) == (dsl.Model, "model", "s3://models/1")
    assert model.metadata == WRITTEN


def test_what_a_component_passes_on_is_wrapped_twice() -> None:
    first = stored(dsl.Model(name="model", metadata={"params": {"seed": 0}}))
    assert stored(first).metadata["params"] == {"struct": {"struct": {"seed": 0}}}


def test_a_value_that_the_backend_cannot_store_is_refused() -> None:
    with pytest.raises(InputError, match=r"model: metadata eer: KFP can't store None; leave it out or write text"):
        stored(dsl.Model(name="model", metadata={"eer": None}))


def test_a_pipeline_on_this_machine_hands_on_metadata_as_a_cluster_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two components in processes of their own, started by `python -m pipelines local`; Python's path has a space."""
    python = tmp_path / "face id/bin/python3"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    @dsl.pipeline(name="metadata")
    def two_steps(file: str, metadata: dict) -> None:
        read(model=write(metadata=metadata).outputs["model"], file=file)

    monkeypatch.setattr(pipeline, "build", lambda *_: two_steps)
    given = {"file": str(tmp_path / "read.json"), "metadata": WRITTEN}
    monkeypatch.setattr("pipelines.arguments.arguments", lambda *_: given)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # put back afterwards
    with working_folder(tmp_path):
        local.local(repository=str(tmp_path), revision="HEAD", tracking_uri="sqlite:///runs.db")
    assert json.loads((tmp_path / "read.json").read_text()) == [STORED, "weights"]


@pytest.mark.parametrize(("step", "state"), [(write, "COMPLETE"), (fail, "FAILED")])
def test_the_exit_task_gets_the_state_of_a_cluster_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any, state: str
) -> None:
    """As `_final_status` of argo_workflow.py, written from driver/resolve.go: kfp's local runners say SUCCEEDED, and
    have a code and a message for FAILED."""

    @dsl.pipeline(name="ending")
    def watched(file: str) -> None:
        with dsl.ExitHandler(note(file=file)):
            step(metadata={}) if step is write else step()

    monkeypatch.setattr(pipeline, "build", lambda *_: watched)
    monkeypatch.setattr("pipelines.arguments.arguments", lambda *_: {"file": str(tmp_path / "status.json")})
    monkeypatch.setenv("PATH", os.environ["PATH"])  # put back afterwards
    with working_folder(tmp_path), pytest.raises(InputError) if step is fail else nullcontext():
        local.local(repository=str(tmp_path), revision="HEAD", tracking_uri="sqlite:///runs.db")
    assert json.loads((tmp_path / "status.json").read_text()) == [state, None, None]
