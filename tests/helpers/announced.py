"""`siamese`, announcing what it's at: `python announced.py DESCRIPTOR ARGUMENT...` writes a line a moment there.

The moments: start (a module is imported), step, validation (images are read for them), and checkpoint, history, model,
prune (a file or folder of these is opened, made, renamed or removed).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from siamese import cli
from siamese.preprocessing import pixel_store

WRITING = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def main(descriptor: int, arguments: list[str]) -> None:
    reading = pixel_store.StoredImages

    def announce(moment: str) -> None:
        os.write(descriptor, f"{moment}\n".encode())

    def announcing(moment: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def announced(images: Any, *wanted: Any) -> Any:
            announce(moment)
            return method(images, *wanted)

        return announced

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "import":
            announce("start")
        elif event in WRITING and isinstance(details[0], str | os.PathLike) and not reads(event, details):
            moment = moment_of(event, os.fspath(details[0]))
            if moment:
                announce(moment)

    rows = reading.rows
    reading.rows = announcing("step", rows)
    reading.pixels = announcing("validation", lambda images, ids: rows(images, images.rows_of(ids)))
    sys.addaudithook(hook)
    cli.main(arguments)


def reads(event: str, details: tuple[Any, ...]) -> bool:
    return event == "open" and isinstance(details[1], str) and details[1] in ("r", "rb")


def moment_of(event: str, path: str) -> str | None:
    if "/epoch-" in path or "/.epoch-" in path:
        return "prune" if ".unneeded" in path or event == "os.rmdir" else "checkpoint"
    if "artifacts/.model" in path or path == "artifacts/model":
        return "model"
    return "history" if "history.csv" in path else None


main(int(sys.argv[1]), sys.argv[2:])
