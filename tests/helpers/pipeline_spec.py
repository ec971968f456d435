"""A compiled pipeline, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def specification(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline, and what Kubernetes is told besides."""
    pipeline, platform = yaml.safe_load_all(file.read_text())
    return pipeline, platform


def executor_of(pipeline: dict[str, Any], step: str) -> dict[str, Any]:
    """What runs a step."""
    label = pipeline["components"][f"comp-{step}"]["executorLabel"]
    return pipeline["deploymentSpec"]["executors"][label]
