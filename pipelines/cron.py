"""Times that come again, as cron writes them: minute, hour, day of the month, month, day of the week."""

from __future__ import annotations

import re

from siamese.errors import InputError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Of each field: the smallest and the largest number, and names for numbers from the smallest on.
FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, MONTHS),
    (0, 6, DAYS),
)


def checked(cron: str) -> list[str]:
    """The five fields.

    Raises:
        InputError: it isn't five fields of numbers, ranges, steps and lists.
    """
    fields = cron.split()
    if len(fields) != len(FIELDS) or not all(_allowed(one, *rule) for one, rule in zip(fields, FIELDS, strict=True)):
        raise InputError(f"--cron '{cron}': write minute, hour, day, month and weekday, such as '30 4 * * 1'")
    return fields


def _allowed(field: str, smallest: int, largest: int, names: tuple[str, ...]) -> bool:
    for item in field.lower().split(","):
        found = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", item)
        if not found:
            return False
        ends = [_number(end, smallest, names) for end in found.group(1, 2) if end]
        if any(not smallest <= end <= largest for end in ends) or ends != sorted(ends):
            return False
    return True


def _number(text: str, smallest: int, names: tuple[str, ...]) -> int:
    """Of a number or a name; -1: it is neither."""
    if text in names:
        return smallest + names.index(text)
    return int(text) if re.fullmatch(r"\d+", text, flags=re.ASCII) else -1
