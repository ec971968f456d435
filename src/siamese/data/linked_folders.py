"""Links to folders in a data folder: DVC follows links to files, but takes a link to a folder for an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

from siamese.console import log
from siamese.data.system_files import reason_left_out
from siamese.errors import InputError
from siamese.storage.object_store import AnyPath, RemotePath

RUN_BY_DVC = "DVC_STAGE"  # DVC sets this variable for the command of a stage


def linked_folders(data_folder: AnyPath) -> list[str]:
    """Return the links that lead to folders outside the data folder, by their paths from it, sorted.

    The data folder itself may be a link, and so may a folder above it: DVC follows these.
    """
    if isinstance(data_folder, RemotePath):
        return []
    root = Path(os.path.realpath(data_folder))
    links = []
    for parent, folders, _ in os.walk(data_folder):
        paths = {name: os.path.relpath(os.path.join(parent, name), data_folder) for name in folders}
        folders[:] = [name for name in folders if not reason_left_out(paths[name])]
        for name in folders:
            entry = os.path.join(parent, name)
            if os.path.islink(entry) and not Path(os.path.realpath(entry)).is_relative_to(root):
                links.append(paths[name])
    return sorted(links)


def refuse_under_dvc(data_folder: AnyPath) -> None:
    """Refuse links to folders in a stage of DVC, which would not run again after a change behind them.

    Raises:
        InputError: DVC runs this process, and the folder contains such a link.
    """
    links = linked_folders(data_folder) if os.environ.get(RUN_BY_DVC) else []
    if links:
        raise InputError(_in_words(data_folder, links))


def warn(data_folder: AnyPath) -> None:
    """Print a line if the folder contains such links: DVC runs no stage after one is added, which would refuse it."""
    links = linked_folders(data_folder)
    if links:
        log(f"warning: {_in_words(data_folder, links)}")


def _in_words(data_folder: AnyPath, links: list[str]) -> str:
    first = os.fsencode(links[0]).decode("utf-8", "backslashreplace")
    return (
        f"{data_folder}/{first}{f' (and {len(links) - 1} more)' if links[1:] else ''}: is a link to a folder, "
        "and DVC does not notice changes behind it: copy the folder here, or set data.path to the folder it is in"
    )
