"""A file system whose size can be set, in a mount namespace of its own, and commands that run where it is seen.

As a program, this is the process that holds it: it reads requests, a line of JSON each, and answers in the same way.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

MS_RDONLY, MS_REMOUNT = 1, 32  # mount(2)
ROOMY = 3_000_000_000  # a limit: memory is taken by what is written


@dataclass(frozen=True)
class Answer:
    """A command's exit code, and the lines it wrote to standard error."""

    code: int
    said: list[str]


class SmallDisk:
    """The file system as a test sees it: `inside` is its folder as commands name it."""

    def __init__(self, inside: Path) -> None:
        inside.mkdir()
        self.inside = inside
        program = [sys.executable, __file__, inside]
        # The user namespace lets those mount who may not elsewhere.
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", *program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.place = Path(f"/proc/{self._holder.pid}/root{inside}")  # the same folder as this process reaches it
        if not self._holder.stdout.readline():
            raise OSError(self._holder.stderr.read().strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()

    def room(self, size: int) -> None:
        """Leaves room for so many bytes more, rounded down to whole pages."""
        self._ask("remount", room=size)

    def inodes(self, left: int) -> None:
        """Leaves room for so many files more."""
        self._ask("remount", inodes=left)

    def read_only(self, on: bool) -> None:
        self._ask("remount", read_only=on)

    def siamese(self, *arguments: str | Path, folder: Path, **environment: str) -> Answer:
        """Runs a command in the process that holds the disk, where TensorFlow is loaded once."""
        return Answer(
            **self._ask("run", arguments=list(map(str, arguments)), folder=str(folder), environment=environment)
        )

    def process(
        self, *command: str | Path, folder: Path, when: str = "", room: int = ROOMY, output: Path | None = None
    ) -> Answer:
        """Runs a command as a process of its own.

        Args:
            when: how the line begins at which the disk is left `room` bytes; then the command gets a line of input.
            output: the file that standard output goes to.
        """
        asked = dict(
            command=list(map(str, command)), folder=str(folder), when=when, room=room, output=str(output or os.devnull)
        )
        return Answer(**self._ask("process", **asked))

    def content(self) -> dict[str, str]:
        """All that lies there, hidden files too: a digest a file, "" a folder."""
        return {
            str(path.relative_to(self.place)): "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.place.rglob("*"))
        }

    def _ask(self, what: str, **how: Any) -> Any:
        self._holder.stdin.write(json.dumps({"what": what, **how}) + "\n")
        self._holder.stdin.flush()
        answer = self._holder.stdout.readline()
        assert answer, self._holder.stderr.read()
        return json.loads(answer)


class Holder:
    """The process that holds the disk."""

    def __init__(self, inside: str) -> None:
        self.inside = inside
        self._mount(f"size={ROOMY}")

    def remount(self, room: int = ROOMY, inodes: int = 100_000, read_only: bool = False) -> None:
        now = os.statvfs(self.inside)
        blocks = max(1, now.f_blocks - now.f_bfree + room // now.f_frsize)  # 0 would mean no limit
        options = f"size={blocks * now.f_frsize},nr_inodes={now.f_files - now.f_ffree + inodes}"
        self._mount(options, MS_REMOUNT | (MS_RDONLY if read_only else 0))

    def _mount(self, options: str, flags: int = 0) -> None:
        # mount(8) doesn't remount for those who are root in their own namespace alone; mount(2) does.
        system = ctypes.CDLL(None, use_errno=True)
        if system.mount(b"tmpfs", os.fsencode(self.inside), b"tmpfs", ctypes.c_ulong(flags), options.encode()):
            raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())} (mounting with {options})")

    def run(self, arguments: list[str], folder: str, environment: dict[str, str]) -> dict[str, Any]:
        from siamese import cli

        os.chdir(folder)
        kept = os.dup(2)
        with tempfile.TemporaryFile("w+") as said:
            os.dup2(said.fileno(), 2)
            before = {name: os.environ.get(name) for name in environment}
            os.environ.update(environment)
            tempfile.tempdir = None  # so that it looks at TMPDIR again
            try:
                code = cli.run(arguments)
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                for name, value in before.items():
                    os.environ.pop(name) if value is None else os.environ.update({name: value})
                tempfile.tempdir = None
            said.seek(0)
            return {"code": code, "said": said.read().splitlines()}

    def process(self, command: list[str], folder: str, when: str, room: int, output: str) -> dict[str, Any]:
        said = []
        with open(output, "w") as opened:
            given = subprocess.PIPE if when else subprocess.DEVNULL
            process = subprocess.Popen(
                command, cwd=folder, stdin=given, stderr=subprocess.PIPE, stdout=opened, text=True
            )
            for line in process.stderr or ():
                said.append(line.rstrip("\n"))
                if process.stdin and line.startswith(when):
                    self.remount(room=room)
                    process.stdin.write("\n")
                    process.stdin.flush()
            return {"code": process.wait(), "said": said}


def main(inside: str) -> None:
    holder = Holder(inside)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print("null", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(holder, request.pop("what"))(**request)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
