"""How long commands take from start to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.speed.place import SIAMESE
from benchmarks.speed.rows import Row, seconds
from benchmarks.speed.sides import alternate, command

ROUNDS = 7


def measure(small_run: Path, repository: Path | None) -> list[Row]:
    """The rows of start-up.

    Args:
        small_run: a folder in which the pipeline ran.
        repository: a clone of the project; its row is left out unless `dvc repro` finds nothing to do there.
    """
    a, b = sorted(file for file in (small_run / "data").rglob("*") if file.suffix in (".jpg", ".png"))[:2]
    commands = {
        "siamese --help": (command([SIAMESE, "--help"], small_run), 0.5),
        "import of siamese": (command([sys.executable, "-c", "import siamese"], small_run), 0.3),
        "siamese verify": (command([SIAMESE, "verify", str(a), str(b)], small_run, exit_codes=(0, 1)), 4),
    }
    peers = {
        "python": command([sys.executable, "-c", ""], small_run),
        "tensorflow": command([sys.executable, "-c", "import tensorflow"], small_run),
    }
    dvc = str(Path(sys.executable).with_name("dvc"))
    if repository and subprocess.run([dvc, "status", "--quiet"], cwd=repository, check=False).returncode == 0:
        commands["dvc repro, nothing to do"] = (command([dvc, "repro"], repository), 3)
        peers["dvc"] = command([dvc, "--version"], repository)
    runs = alternate({name: side for name, (side, _) in commands.items()} | peers, ROUNDS)
    beside = {
        "siamese --help": "python", "import of siamese": "python", "siamese verify": "tensorflow",
        "dvc repro, nothing to do": "dvc",
    }  # fmt: skip
    said = {"python": "python alone", "tensorflow": "`import tensorflow` alone", "dvc": "`dvc --version`"}
    return [
        Row(
            f"`{name}`" if name.startswith("siamese") else name,
            f"{seconds(runs[name]):.2f} s",
            f"{said[beside[name]]}: {seconds(runs[beside[name]]):.2f} s",
            f"<= {goal} s",
            seconds(runs[name]) <= goal,
            None,
            {one: runs[one] for one in (name, beside[name])},
        )
        for name, (_, goal) in commands.items()
    ]
