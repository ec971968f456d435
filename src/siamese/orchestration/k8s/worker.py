"""What each worker runs: the training of the shared folder, as one of several."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from siamese.console import log
from siamese.errors import InputError
from siamese.orchestration.k8s.job import Shared
from siamese.orchestration.k8s.manifests import ADDRESSES, INDEX
from siamese.training import distribution

TF_CONFIG = "TF_CONFIG"
LONGEST_WAIT = 1800.0  # seconds for the others' names: until then they may wait for a node


def work(folder: Path) -> None:
    """Trains by the order in `folder`. The chief writes, and records the run; the others compute alone.

    Raises:
        InputError: what `siamese.training.train.run` raises; no order; or TF_CONFIG can't be made.
        siamese.process.Interrupted: as of `siamese.training.train.run`.
    """
    from siamese.orchestration import container

    shared = Shared(folder)
    order = shared.order()
    take_place()
    chief = distribution.worker_here() == 0
    place = order.checkpoints or str(folder / "working") if chief else ""
    files = *shared.inputs, shared.model, shared.history, shared.run
    container.run(*files, order.sections, order.data, order.tracking_uri, place, folder.name)


def take_place(longest: float = LONGEST_WAIT) -> None:
    """Sets TF_CONFIG from the addresses and the index that the job gives; where it is set already, it stays.

    Returns when each address has a name that is known: a pod's is, once it has a node.

    Raises:
        InputError: something is missing, or a name stays unknown.
    """
    if os.environ.get(TF_CONFIG):
        return
    addresses, index = os.environ.get(ADDRESSES, "").split(","), os.environ.get(INDEX, "")
    if not index.isdecimal() or int(index) >= len(addresses) or not all(addresses):
        line = f"no place among the workers: {ADDRESSES} is to list their addresses, {INDEX} to be one's number"
        raise InputError(f"{line}; or set {TF_CONFIG}")
    deadline = time.monotonic() + longest
    for address in addresses:
        _known(address.rpartition(":")[0], deadline)
    task = {"type": "worker", "index": int(index)}
    os.environ[TF_CONFIG] = json.dumps({"cluster": {"worker": addresses}, "task": task})


def _known(host: str, deadline: float) -> None:
    said = False
    while True:
        try:
            socket.getaddrinfo(host, None)
            return
        except OSError:
            if time.monotonic() > deadline:
                line = f"worker {host} has no address yet: is there room on the cluster for all workers at once?"
                raise InputError(line) from None
        if not said:
            said = True
            log(f"waiting for {host} to have an address")
        time.sleep(1)
