"""Layout of an image folder: identity folders or role folders, which files are considered, and whose they are."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

from siamese.data.images.formats import SUFFIXES
from siamese.data.names import canonical_name
from siamese.data.system_files import reason_left_out
from siamese.errors import InputError
from siamese.storage.object_store import AnyPath, RemotePath

Layout = Literal["identities", "roles"]

ROLES = ("anchor", "positive", "negative")
TARGET = "target"  # the identity of all anchor and positive images

_UNUSABLE_NAMES = {
    re.compile("[\ud800-\udfff]"): "name is not UTF-8",
    re.compile("[\x00-\x1f\x7f-\x9f]"): "name has a control character, such as a line break",
}


def detect_layout(data_folder: AnyPath) -> Layout:
    """`roles` where the folder has subfolders named anchor, positive and negative, in any case; else `identities`.

    Raises:
        InputError: there is no such folder, or it can't be read.
    """
    try:
        folders = _folders_in(data_folder)
    except OSError as error:
        raise InputError(
            f"{data_folder}: can't be read as a folder ({error.strerror or error}): "
            "name the folder of images (data.path)"
        ) from None
    return "roles" if {canonical_name(folder) for folder in folders}.issuperset(ROLES) else "identities"


def files_below(data_folder: AnyPath) -> Iterator[tuple[str, str]]:
    """Each file in the folder and below, in no order: its path from the folder, and why it can't be read or "".

    Links to folders are followed after all real folders, and each folder is read once: a loop ends, and a folder keeps
    its own name. A folder that isn't read stands for its files. A store has neither links nor folders of its own.
    """
    if isinstance(data_folder, RemotePath):
        yield from ((path, "") for path in data_folder.files())
        return
    folders, links = [""], dict[str, tuple[int, int]]()
    known = {_inode(os.stat(data_folder))}
    while folders or links:
        if folders:
            folder = folders.pop()
        else:
            folder = min(links)
            inode = links.pop(folder)
            if inode in known:
                yield folder, "link to a folder already read"
                continue
            known.add(inode)
        try:
            entries = sorted(os.scandir(data_folder / folder), key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"folder can't be read: {error.strerror}"
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                status = os.stat(entry.path)
            except OSError as error:
                what = "broken link" if entry.is_symlink() else "can't be read"
                yield path, f"{what}: {error.strerror}"
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield path, "" if stat.S_ISREG(status.st_mode) else "not a regular file"
            elif entry.is_symlink():
                links[path] = _inode(status)
            else:
                known.add(_inode(status))
                folders.append(path)


def reason_by_name(path: str, layout: Layout, unreachable: str = "") -> str:
    """Why a file isn't taken that need not be opened for it; empty where its name and place are right.

    Args:
        path: from the folder.
        layout: of the folder.
        unreachable: why the file can't be read, which doesn't matter if it is left out anyway.
    """
    parts = path.split("/")
    suffix = PurePosixPath(path).suffix
    unusable = reason_left_out(path) or unreachable or unusable_name(path)
    if unusable:
        return unusable
    if len(parts) == 1:
        return "not in a folder of its identity" if layout == "identities" else "not in a role folder"
    if layout == "roles" and canonical_name(parts[0]) not in ROLES:
        return f"not in a role folder: only {', '.join(ROLES)} are read"
    if suffix.lower().lstrip(".") not in SUFFIXES:
        return f"other suffix: {suffix or 'none'}, not {', '.join(SUFFIXES)}"
    return ""


def unusable_name(path: str) -> str:
    """Why a path can't stand in a table or a line; empty where it can."""
    return next((reason for characters, reason in _UNUSABLE_NAMES.items() if characters.search(path)), "")


def kind_of(reason: str) -> str:
    """A reason without its details: what stands before the colon."""
    return reason.partition(": ")[0]


def _owner(path: str, layout: Layout) -> tuple[str | None, str | None]:
    first = path.partition("/")[0]
    if layout == "identities":
        return first, None
    role = canonical_name(first)
    return (None if role == ROLES[-1] else TARGET), role


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _folders_in(data_folder: AnyPath) -> set[str]:
    if isinstance(data_folder, RemotePath):
        return data_folder.folders()
    return {entry.name for entry in os.scandir(data_folder) if entry.is_dir()}
