"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("tensorflow", "keras", "tensorflow-transform", "apache-beam", "mlflow", "dvc", "numpy", "numba")


def described() -> dict[str, object]:
    """Processor, memory, versions and the project's commit."""
    processor = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    flags = next((line.split(":")[1].split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), [])
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "avx512_bf16": "avx512_bf16" in flags,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    } | {name: version(name) for name in PACKAGES}


def own_memory(which: str) -> int:
    """Of this process, in bytes: `VmHWM`, the most it held; `RssAnon`, what it holds now that no file backs."""
    return next(int(line.split()[1]) * 1024 for line in _lines("/proc/self/status") if line.startswith(which))


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []
