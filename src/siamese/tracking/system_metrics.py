"""How busy the machine is while it trains: MLflow's system metrics, written to the journal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

PREFIX = "system/"

_INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_SECONDS = 10.0  # as MLflow's own, unless the variable above says otherwise


def watch(
    counting: Iterable[Any], record: Callable[[int, Mapping[str, float]], None], first: int, ended: threading.Event
) -> None:
    """Takes a sample now, then every 10 s, and a last one when `ended` is set.

    Args:
        counting: as `collectors` gives them.
        record: takes a sample's number, which is its metrics' step, and its values by metric.
        first: number of the first sample.
        ended: set when training has ended.
    """
    number = first
    while True:
        last = ended.is_set()
        values: dict[str, float] = {}
        for collector in counting:
            with suppress(Exception):  # a counter that this machine lacks
                collector.collect_metrics()
                values |= {f"{PREFIX}{name}": float(value) for name, value in collector.aggregate_metrics().items()}
            collector.clear_metrics()
        record(number, values)
        number += 1
        if last:
            return
        ended.wait(float(os.environ.get(_INTERVAL) or _SECONDS))


def collectors() -> list[Any]:
    """MLflow's own, as far as the machine has what they count."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    found = []
    for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # no GPU, or no library that reads it
            found.append(kind())
    return found
