"""The devices that train together: one, all of this machine, or those of several machines.

Each device holds a replica of the network. A step's images are shared out among them, their embeddings gathered, so
that pairs are formed among all of them, and the gradients summed: replicas stay equal, and the weights become what one
device would make of the same images, in float32 to the bit with two, up to the rounding of sums with more.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from siamese import tf_runtime
from siamese.console import log
from siamese.errors import InputError
from siamese.process import handle_signals

HOW_TO_RESUME = "start all of them again: they continue from the newest checkpoint"


class Distribution:
    """The devices of one training, on this worker and on others. Every worker makes the same calls, in the same order.

    Attributes:
        count: number of replicas, over all workers.
        worker, workers: number of this process, from 0 on, and of all; worker 0 is the chief.
    """

    def __init__(self, strategy: Any, worker: int = 0, workers: int = 1) -> None:
        tf = tf_runtime.import_tensorflow()
        self._strategy = strategy
        self.count: int = strategy.num_replicas_in_sync
        self.worker, self.workers = worker, workers

        @tf.function(reduce_retracing=True)
        def sum_over_workers(part: Any) -> Any:
            def of_replica() -> Any:
                context = tf.distribute.get_replica_context()
                # A worker of several devices counts once.
                first = context.replica_id_in_sync_group % (self.count // self.workers) == 0
                return context.all_reduce("sum", tf.where(first, part, tf.zeros_like(part)))

            return self._first(strategy.run(of_replica))

        self._sum = sum_over_workers

    @property
    def chief(self) -> bool:
        """Whether this is the worker that writes."""
        return self.worker == 0

    def scope(self) -> Any:
        """Variables made in this context exist once on each device."""
        return self._strategy.scope()

    def run(self, of_replica: Callable[[], Any]) -> Any:
        """Runs a function of tensors on each device, inside a `tf.function`; gives what the first one returns."""
        return self._first(self._strategy.run(of_replica))

    def shares(self, images: Any, precision: str) -> list[Any]:
        """Which of a step's images the replica that calls embeds, and in which groups: int32 [share], positions, each.

        One device takes two halves, one after the other, which costs some 2 % of a step: float32 sums depend on how
        they are grouped, and the gradient of the L1 distance jumps where two embeddings are equal, so that what begins
        as a rounding error is seen in the weights 20 steps later. So grouped, one device and two give the same bits.
        In bfloat16, whose own rounding is far coarser and where halves would cost 9 %, it takes all at once.

        Args:
            images: int32 scalar, number of images in the step: as many as `fewest_images` or more.
            precision: dtype of the embedding's arithmetic.
        """
        tf = tf_runtime.import_tensorflow()
        if self.count == 1 and precision == "bfloat16":
            return [tf.range(images)]
        parts = self.fewest_images
        own = range(2) if self.count == 1 else [tf.distribute.get_replica_context().replica_id_in_sync_group]
        return [self._share(part, parts, images) for part in own]

    def all_shares(self, images: Any) -> list[Any]:
        """The shares of all replicas, in order: int32 [share], positions, each."""
        return [self._share(part, self.count, images) for part in range(self.count)]

    @property
    def fewest_images(self) -> int:
        """Number of images that a step needs, for each share to have one."""
        return max(self.count, 2)

    def gather(self, embeddings: Any, positions: Any) -> Any:
        """The embeddings of all replicas, in the order of the images: float32 [images, units].

        Differentiable: a replica's embeddings receive the gradients that all replicas sum up for them.

        Args:
            embeddings: float32 [share, units], of the replica that calls.
            positions: int32 [share], of these among the step's images.
        """
        tf = tf_runtime.import_tensorflow()
        context = tf.distribute.get_replica_context()

        # all_gather's own gradient takes no sparse one, and pairs, which pick rows, give such.
        @tf.custom_gradient
        def gathered(own: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                return tf.gather(self.sum_gradients([tf.convert_to_tensor(upstream)])[0], positions)

            return (own if self.count == 1 else context.all_gather(own, axis=0)), gradient

        return gathered(embeddings)

    def sum_gradients(self, gradients: list[Any], equal: Sequence[bool] = ()) -> list[Any]:
        """The gradients of all replicas, summed.

        Args:
            equal: which of them are the same on all replicas, so that nothing need be sent; none: no one is.
        """
        if self.count == 1:
            return gradients
        context = tf_runtime.import_tensorflow().distribute.get_replica_context()
        if not any(equal):
            return context.all_reduce("sum", gradients)
        own = [gradient for gradient, same in zip(gradients, equal, strict=True) if not same]
        summed = iter(context.all_reduce("sum", own))
        return [
            gradient * self.count if same else next(summed) for gradient, same in zip(gradients, equal, strict=True)
        ]

    def sum(self, part: np.ndarray) -> np.ndarray:
        """The sum over the workers of an array of numbers, which has the same shape and dtype on each."""
        return part if self.workers == 1 else np.asarray(self._sum(part))

    def any(self, here: bool) -> bool:
        """Whether something holds on any worker. Workers wait for each other."""
        return self.any_of(here)[0]

    def any_of(self, *here: bool) -> list[bool]:
        """Return for each whether it holds on any worker. Workers wait for each other."""
        return [number > 0 for number in self.sum(np.array(here, np.int32)).tolist()]

    def wait(self) -> None:
        """Returns when every worker has called it."""
        self.any(False)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """The chief's array; on the others, `array` gives shape and dtype."""
        return self.sum(array if self.chief else np.zeros_like(array))

    def broadcast_object(self, content: Any) -> Any:
        """What the chief has to say: anything that JSON can hold. The others' `content` is ignored."""
        if self.workers == 1:
            return content
        encoded = json.dumps(content).encode() if self.chief else b""
        length = int(self.broadcast(np.array([len(encoded)], np.int32))[0])
        signs = np.frombuffer(encoded, np.uint8) if self.chief else np.zeros(length, np.uint8)
        return json.loads(self.broadcast(signs.astype(np.int32)).astype(np.uint8).tobytes())

    @contextmanager
    def reraise_worker_errors(self) -> Iterator[None]:
        """While open, the loss of another worker is one clear line.

        TensorFlow notices within seconds a worker whose process has ended, and within some 10 a silent one.

        Raises:
            InputError: another worker is gone, or doesn't answer any more.
        """
        errors = tf_runtime.import_tensorflow().errors
        try:
            yield
        except (
            errors.UnavailableError,
            errors.AbortedError,
            errors.CancelledError,
            errors.DeadlineExceededError,
            errors.InternalError,
            errors.FailedPreconditionError,
        ) as error:
            if self.workers == 1:
                raise
            raise InputError(
                f"worker {self.worker}: lost another of the {self.workers} workers, see its own output: {HOW_TO_RESUME}"
            ) from error

    def _share(self, part: Any, parts: int, images: Any) -> Any:
        return tf_runtime.import_tensorflow().range(part * images // parts, (part + 1) * images // parts)

    def _first(self, values: Any) -> Any:
        return tf_runtime.import_tensorflow().nest.map_structure(
            lambda value: self._strategy.experimental_local_results(value)[0], values
        )


def start(strategy: str) -> Distribution:
    """The devices that `train.strategy` asks for. To be called before TensorFlow computes anything.

    Args:
        strategy: `auto`: `multi_worker` where TF_CONFIG names several workers, else `mirrored` where there are several
            GPUs, else `one`. `one`: the first GPU, or the processor. `mirrored`: all GPUs of this machine, without any
            all its logical processors. `multi_worker`: the workers that the environment variable TF_CONFIG names.

    Raises:
        InputError: TF_CONFIG is needed and missing, or can't be used; or this worker can't take its place.
    """
    tf = tf_runtime.import_tensorflow()
    cluster = _cluster() if strategy in ("auto", "multi_worker") else None
    if cluster and (strategy == "multi_worker" or len(cluster.addresses) > 1):
        return _several_workers(tf, cluster)
    if strategy == "multi_worker":
        raise InputError(
            "train.strategy multi_worker: the environment variable TF_CONFIG is missing: set it on every worker, "
            'for example to {"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}, or set train.strategy to one'
        )
    gpus = tf.config.list_logical_devices("GPU")
    if strategy == "mirrored" or (strategy == "auto" and len(gpus) > 1):
        devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        log(f"training on {len(devices)} devices: {', '.join(devices)}")
        return Distribution(tf.distribute.MirroredStrategy(devices))
    return Distribution(tf.distribute.get_strategy())


def worker_here() -> int:
    """This process's number among the workers of TF_CONFIG, 0 where it names none: 0 is the chief.

    Raises:
        InputError: TF_CONFIG can't be used.
    """
    cluster = _cluster()
    return cluster.worker if cluster else 0


class _WorkerCluster:
    """TF_CONFIG: the addresses of all workers, the chief's first, and the number of this one."""

    def __init__(self, text: str) -> None:
        try:
            content = json.loads(text)
            members = {kind: list(content["cluster"][kind]) for kind in content["cluster"]}
            if any(isinstance(addresses, str) for addresses in content["cluster"].values()):
                raise TypeError("addresses aren't a list")
            kind, index = str(content["task"]["type"]), int(content["task"]["index"])
            self.addresses = [str(address) for role in ("chief", "worker") for address in members.get(role, [])]
            self.worker = (len(members.get("chief", [])) if kind == "worker" else 0) + index
            inside = kind in ("chief", "worker") and 0 <= index < len(members.get(kind, []))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"TF_CONFIG is not understood ({type(error).__name__}: {error}): it holds cluster, lists of addresses "
                "by chief and worker, and task, the type and index of this process"
            ) from None
        foreign = sorted(set(members) - {"chief", "worker", "evaluator"})
        if foreign:
            raise InputError(
                f"TF_CONFIG names {', '.join(foreign)}: training needs chief and worker alone, each of which computes"
            )
        if not inside:
            raise InputError(
                f"TF_CONFIG: task {kind} {index} isn't among the cluster's {len(self.addresses)} workers: "
                "set type and index to one of them"
            )


def _cluster() -> _WorkerCluster | None:
    text = os.environ.get("TF_CONFIG", "").strip()
    return _WorkerCluster(text) if text and text != "{}" else None


def _several_workers(tf: Any, cluster: _WorkerCluster) -> Distribution:
    workers = len(cluster.addresses)
    log(f"worker {cluster.worker} of {workers} at {cluster.addresses[cluster.worker]}: waiting for the others")
    gpus = tf.config.list_physical_devices("GPU")
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(implementation=kinds.NCCL if gpus else kinds.RING)
    try:
        # Waiting inside TensorFlow, Python can't answer a signal: for this time it ends the process, as by default.
        with handle_signals(signal.SIG_DFL, signal.SIGTERM, signal.SIGINT):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"worker {cluster.worker} can't join the {workers} workers of TF_CONFIG ({reason}): "
            "see that its address is free and that the others can be reached"
        ) from error
    return Distribution(strategy, cluster.worker, workers)
