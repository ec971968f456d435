"""The journal of a training: what MLflow is to be told, written to disk first, whether or not a server is there.

`.siamese/tracking/<training id>/` holds `journal.jsonl`, one record a line, only ever added to; `files/`, what is to
become artifacts of the run; and `sent.json`, how much of it which server has. Every record can be sent twice without
harm.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from siamese.paths import CHECKPOINT, TRACKING
from siamese.storage import files
from siamese.storage.files import only_one, write_json
from siamese.tracking.client import project

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"  # MLflow's names of a run's status

_JOURNAL, _SENT, _FILES = "journal.jsonl", "sent.json", "files"


@dataclass(frozen=True)
class Sent:
    """What one server has of a journal: the run made there, and the bytes of the journal that are in it."""

    run_id: str | None = None
    position: int = 0


class Journal:
    """One training's journal, in the folder named after the training's id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / _FILES
        self._lock = threading.Lock()  # threads add records at any time

    @property
    def training(self) -> str:
        """The training's id."""
        return self.folder.name

    def begun(self) -> bool:
        """Whether anything is recorded."""
        return bool(self.beginning())

    def remove(self) -> None:
        """Removes the journal and its files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, kind: str, **content: Any) -> None:
        """Adds a record, with the time of now unless it brings its own: milliseconds since 1970.

        Raises:
            OSError: it can't be written; the journal is as before.
        """
        record = {"kind": kind, "time": int(time.time() * 1000)} | content
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / _JOURNAL).open("ab", buffering=0) as journal:
                before = journal.tell()
                try:
                    if journal.write(line) != len(line):
                        raise OSError(28, os.strerror(28))
                except OSError:
                    with suppress(OSError):
                        journal.truncate(before)
                    raise

    def mend(self) -> None:
        """Removes the half of a line that a killed process left, so that the next record begins a line of its own.

        Of a journal that is an older copy than what was sent, everything is sent again.

        Raises:
            InputError: that can't be noted.
        """
        with suppress(FileNotFoundError), (self.folder / _JOURNAL).open("r+b") as journal:
            content = journal.read()
            end = journal.truncate(content.rfind(b"\n") + 1)
            for server, sent in self._sent().items():
                if sent.position > end:
                    self.mark(server, Sent(sent.run_id))

    def read(self, position: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """The whole records from a position on, each with the position behind it."""
        records = []
        with suppress(FileNotFoundError), (self.folder / _JOURNAL).open("rb") as journal:
            journal.seek(position)
            for line in journal:
                position += len(line)
                if line.endswith(b"\n"):
                    records.append((position, json.loads(line)))
        return records

    def keep(self, file: Path, name: str) -> None:
        """Copies a file, as it is now, to become the artifact `name`.

        Raises:
            OSError: it can't be copied.
        """
        place = self.files / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        self.add("artifact", file=name)

    def keep_text(self, text: str, name: str) -> None:
        """As `keep`, of a text."""
        place = self.files / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        self.add("artifact", file=name)

    def keep_checkpoint(self, folder: Path) -> None:
        """Keeps a checkpoint that is about to be removed. Where the file system has links, this takes no room.

        Raises:
            OSError: it can't be kept.
        """
        self.drop_checkpoint()
        shutil.copytree(folder, self.files / CHECKPOINT, copy_function=files.hard_link_or_copy)

    def checkpoint_size(self) -> int:
        """Bytes of the checkpoint that is kept; 0 where there is none."""
        return sum(file.stat().st_size for file in (self.files / CHECKPOINT).glob("*"))

    def drop_checkpoint(self) -> None:
        """Frees the room of the checkpoint."""
        shutil.rmtree(self.files / CHECKPOINT, ignore_errors=True)

    def sent(self, server: str) -> Sent:
        """How much a server has."""
        return self._sent().get(server, Sent())

    def mark(self, server: str, sent: Sent) -> None:
        """Notes how much a server has.

        Raises:
            InputError: it can't be written; what was sent will be sent again.
        """
        everywhere = self._sent() | {server: sent}
        write_json(self.folder / _SENT, {name: asdict(one) for name, one in everywhere.items()})

    def left(self, server: str) -> bool:
        """Whether there is something to send to this server: what began to go there, or what no server has whole."""
        end = max((position for position, _ in self.read()), default=0)
        everywhere = self._sent()
        unsent = [name for name, one in everywhere.items() if one.position < end]
        return end > 0 and (server in unsent or len(unsent) == len(everywhere))

    def status(self) -> str:
        """The training's status as recorded last; a training that was killed couldn't say so, and is RUNNING."""
        return next((record["value"] for _, record in reversed(self.read()) if record["kind"] == "status"), RUNNING)

    def machine(self) -> dict[str, str]:
        """The machine that trained last, as `this_machine` gives it; empty if an older version recorded it."""
        return next((record["machine"] for _, record in reversed(self.read()) if "machine" in record), {})

    def beginning(self) -> dict[str, Any]:
        """The first record, of kind `run`; empty where nothing is recorded."""
        with suppress(FileNotFoundError), (self.folder / _JOURNAL).open("rb") as journal:
            line = journal.readline()
            return json.loads(line) if line.endswith(b"\n") else {}
        return {}

    def steps(self, metric: str) -> set[int]:
        """The steps at which a metric is recorded."""
        records = (record for _, record in self.read() if record["kind"] == "metrics")
        return {record["step"] for record in records if metric in record["values"]}

    def held(self) -> ExitStack | None:
        """Marks the training as going on, until the stack is closed; None where another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "training.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return None
        stack = ExitStack()
        stack.enter_context(lock)
        return stack

    def sending(self) -> AbstractContextManager[None]:
        """Keeps other processes from sending the same at once."""
        return only_one(self.folder / "sending.lock")

    @classmethod
    def of(cls, training: str) -> Self:
        """The journal of a training of this project."""
        return cls(project() / TRACKING / training)

    def _sent(self) -> dict[str, Sent]:
        try:
            content: Mapping[str, Any] = json.loads((self.folder / _SENT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {server: Sent(**one) for server, one in content.items()}


def journals() -> list[Journal]:
    """All journals of the project, the oldest first."""
    return [Journal(file.parent) for file in sorted((project() / TRACKING).glob(f"*/{_JOURNAL}"))]


def this_machine() -> dict[str, str]:
    """Return this machine's `host` name, and `boot`, an id that it has until it starts again."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # a system that has none
        boot = ""
    return {"host": platform.node(), "boot": boot}


def new_id() -> str:
    """An id for a training: its time (UTC) and a random part, so that ids sort by time and never meet."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def unfinished(key: str) -> tuple[Journal, ExitStack] | None:
    """The newest journal of a training with this checkpoint key that isn't finished, nor going on elsewhere; held."""
    for journal in reversed(journals()):
        if journal.beginning().get("key") == key and journal.status() != FINISHED:
            holding = journal.held()
            if holding is not None:
                return journal, holding
    return None
