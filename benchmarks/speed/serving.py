"""Verifications a second under several clients: `siamese serve`, and MLflow's own server with the same model."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.speed.place import SIAMESE
from benchmarks.speed.rows import Row
from benchmarks.speed.sides import alternate

CLIENTS = (1, 8, 64)
SECONDS = 8
ROUNDS = 2
STARTING = 120


def measure(small_run: Path, folder: Path) -> list[Row]:
    """The rows of serving.

    Args:
        small_run: a folder in which the pipeline ran.
        folder: an empty one, for MLflow's form of its model and for what servers say.
    """
    files = sorted(file for file in (small_run / "data").rglob("*") if file.suffix in (".jpg", ".png"))
    anchor, other = (base64.b64encode(file.read_bytes()).decode() for file in (files[0], files[1]))
    pair = {"anchor": anchor, "other": other}
    table = {"dataframe_split": {"columns": list(pair), "data": [list(pair.values())]}}
    model = _for_mlflow(small_run, folder / "model")
    with _siamese(small_run, folder / "siamese.txt") as ours, _mlflow(model, folder / "mlflow.txt") as peer:
        sides = {}
        for clients in CLIENTS:
            sides[f"siamese, {clients}"] = _side(f"{ours}/verify", pair, clients)
            sides[f"mlflow, {clients}"] = _side(f"{peer}/invocations", table, clients)
        sides["embeddings, 8"] = _side(f"{ours}/embed", {"images": [anchor, other]}, 8)
        for side in sides.values():
            side()  # warms up
        runs = alternate(sides, ROUNDS)

    def of(name: str, figure: str) -> float:
        return float(np.median([one[figure] for one in runs[name]]))

    rows = []
    for clients in CLIENTS:
        names = [f"{server}, {clients}" for server in ("siamese", "mlflow")]
        said = [
            f"{of(name, 'rate'):.1f}/s, p50 {of(name, 'p50') * 1e3:.0f} ms, p99 {of(name, 'p99') * 1e3:.0f} ms"
            for name in names
        ]
        ratio = of(names[0], "rate") / of(names[1], "rate")
        goal = ">= 1.5x" if clients > 1 else ""
        rows.append(
            Row(
                f"verifications under {clients} client{'s' if clients > 1 else ''}",
                said[0],
                f"MLflow's server: {said[1]}",
                goal,
                ratio >= 1.5 if goal else None,
                ratio,
                {name: runs[name] for name in names},
            )
        )
    embeddings = 2 * of("embeddings, 8", "rate")
    rows.append(Row("embeddings under 8 clients, 2 images each", f"{embeddings:.1f}/s", "", "", None))
    return rows


def _side(address: str, body: Mapping[str, Any], clients: int) -> Any:
    """Clients that ask one after another for some seconds: answers a second and their times."""
    content, place = json.dumps(body).encode(), urlsplit(address)

    def run() -> dict[str, Any]:
        times: list[float] = []
        until = time.perf_counter() + SECONDS

        def ask() -> None:
            client = HTTPConnection(place.hostname or "", place.port, timeout=60)
            client.connect()
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (began := time.perf_counter()) < until:
                client.request("POST", place.path, content, {"Content-Type": "application/json"})
                answer = client.getresponse()
                said = answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{address} answered {answer.status}: {said!r}")
                times.append(time.perf_counter() - began)

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        p50, p99 = (float(np.quantile(times, share)) for share in (0.5, 0.99))
        return {"seconds": took, "answers": len(times), "rate": len(times) / took, "p50": p50, "p99": p99}

    return run


@contextmanager
def _siamese(small_run: Path, said: Path) -> Iterator[str]:
    arguments = [SIAMESE, "serve", "--port", "0"]
    with _running(arguments, small_run, said) as process:
        yield _address(process, said, r"serving .* at (http://\S+)")


@contextmanager
def _mlflow(model: Path, said: Path) -> Iterator[str]:
    arguments = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    port = _free_port()
    with _running([*arguments, "--host", "127.0.0.1", "--port", str(port)], model.parent, said) as process:
        _address(process, said, r"(Application startup complete)")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(arguments: list[str], folder: Path, said: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with said.open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        yield process
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _address(process: subprocess.Popen[bytes], said: Path, pattern: str) -> str:
    until = time.monotonic() + STARTING
    while not (found := re.search(pattern, said.read_text())):
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"a server didn't start: {said.read_text()}")
        time.sleep(0.2)
    return found[1]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _for_mlflow(small_run: Path, folder: Path) -> Path:
    """The model as `siamese register` gives it to MLflow."""
    from mlflow.models import Model

    from siamese.registry import packaging

    made = small_run / "artifacts"
    packaging.save(made / "model", made / "threshold.json", 100_000_000, folder, Model(run_id="0" * 32))
    return folder
