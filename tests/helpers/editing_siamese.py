"""The command `siamese`, which writes files at a chosen moment of its own work: its first argument names a JSON file.

That file lists edits, each [command, moment, {file: text}]. The moment is the end of a path, and comes just before a
file or folder is first renamed to it; "start": before the command has read anything.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(edits_file: Path) -> None:
    edits = [edit for edit in json.loads(edits_file.read_text()) if edit[0] == sys.argv[1]]

    def at(moment: str) -> None:
        for edit in [edit for edit in edits if moment.endswith(edit[1])]:
            edits.remove(edit)
            for file, text in edit[2].items():
                Path(file).write_text(text)

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "os.rename" and edits:
            at(os.fspath(details[1]))

    from siamese import cli

    sys.addaudithook(hook)
    at("start")
    cli.main()


if __name__ == "__main__":
    main(Path(sys.argv.pop(1)))
