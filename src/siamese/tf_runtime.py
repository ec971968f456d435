"""TensorFlow as this project starts it: silent about what it lacks, growing on a GPU, in a known precision."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UNUSED = ("matplotlib", "sklearn")  # Keras imports them, a second long, for functions that no command calls
_left_out: list[str] = []


def start_quickly() -> None:
    """For the process of a command, in which nobody else uses Keras: TensorFlow will leave out what none needs, and no
    search for garbage interrupts its import."""
    _left_out[:] = _UNUSED


def import_tensorflow() -> Any:
    """The TensorFlow module, imported without its start-up lines; GPU memory grows as needed instead of all at once."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _without_start_up_lines(), _hidden(_left_out), _without_collection():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # its warnings are about its own deprecated insides
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:
                break  # the devices are in use already: their settings stand
    return tf


def resolve_precision(wanted: str) -> str:
    """`float32`, `bfloat16` or `float16`: what `auto` means on this machine; any other value is returned as it is.

    A GPU of compute capability 8.0 computes bfloat16 at full speed, one of 7.0 float16; a processor needs AVX512_BF16
    or AMX.
    """
    if wanted != "auto":
        return wanted
    tf = import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & _processor_flags() else "float32"


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


@contextmanager
def _without_collection() -> Iterator[None]:
    if not _left_out or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _hidden(modules: Sequence[str]) -> Iterator[None]:
    """Importing one of these fails meanwhile, as if it weren't installed; those imported already stay as they are."""
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None is how the import system knows it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _without_start_up_lines() -> Iterator[None]:
    # Lines written before absl's logging is set up obey no log level: only the file descriptor silences them.
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
