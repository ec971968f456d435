"""Names of the files and folders that operating systems and network drives add to a person's images.

Thumbnails, recycle bins and snapshots contain pictures, but no image that a person put there. They are left out, like
hidden files, and counted apart from the files that were rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# Whole names, in small letters. Names that begin with a dot need no line: all hidden files are left out.
NAMES = frozenset(
    {
        "@eadir", "#recycle", "#snapshot", "@sharesnap", "@tmp",  # Synology
        "@recycle", "@recently-snapshot", "@transcode",  # QNAP
        "~snapshot",  # NetApp
        "$recycle.bin", "recycler", "system volume information",  # Windows
        "thumbs.db", "ehthumbs.db", "desktop.ini",
        "__macosx", "network trash folder", "temporary items", "icon\r",  # macOS
        "lost+found",  # Linux
    }
)  # fmt: skip

SYSTEM_FILE = "system file"
HIDDEN = "hidden"


def reason_left_out(path: str) -> str:
    """Return why a file is left out for its name or that of a folder above it; "" if it isn't.

    Args:
        path: from the data folder, with slashes.
    """
    parts = path.split("/")
    for part in parts:
        if part.lower() in NAMES:
            return f"{SYSTEM_FILE}: {part.strip()}"
    return HIDDEN if any(part.startswith(".") for part in parts) else ""


def is_left_out(reason: str) -> bool:
    """Whether a reason is one of `reason_left_out`."""
    return reason == HIDDEN or reason.startswith(f"{SYSTEM_FILE}: ")


def count_left_out(reasons: Iterable[str]) -> dict[str, int]:
    """Count the files left out, by kind; the kinds of other reasons are skipped."""
    return dict(Counter(reason.partition(": ")[0] for reason in reasons if is_left_out(reason)).most_common())


def left_out_in_words(counts: dict[str, int]) -> str:
    """Return for example "files left out: 12 system, 1 hidden"; "" without any."""
    words = {SYSTEM_FILE: "system", HIDDEN: "hidden"}
    return f"files left out: {', '.join(f'{count} {words[kind]}' for kind, count in counts.items())}" if counts else ""
