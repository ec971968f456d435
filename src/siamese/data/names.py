"""Names that are the same to a person although their characters differ.

File systems, keyboards and copied tables spell one name in several ways: "Jürgen" with one character for ü or with u
and a combining mark, another case, a no-break space, a zero-width character. All comparisons use one canonical form.
What is displayed stays as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

_SHOWN = 5  # groups of names in a warning

_DEFAULT_IGNORABLE = (  # Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt: what is not displayed
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{_DEFAULT_IGNORABLE}]")
_PUNCTUATION = str.maketrans(  # what word processors and phones put in the place of ' and -
    dict.fromkeys("\u2018\u2019\u201b\u02bc", "'") | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
)
_ALMOST_ROLES = {
    "anchor": re.compile(r"(anchors?|anc)([ _-]?(images?|imgs?|samples?))?"),
    "positive": re.compile(r"(positives?|pos)([ _-]?(images?|imgs?|samples?))?"),
    "negative": re.compile(r"(negatives?|neg)([ _-]?(images?|imgs?|samples?))?"),
}


def canonical_name(name: str) -> str:
    """Return the form in which two spellings of one name are equal.

    As RFC 8266 compares the names that people go by: NFKC (UAX #15), lower case, spaces of every kind as one space and
    none at the ends. NFC alone would keep full-width and half-width letters apart. Case folding would make Weiß and
    Weiss one name, and they are two. Characters that are not displayed are left out, and typographic apostrophes and
    hyphens count as ' and -. Letters that look alike in different scripts stay different.
    """
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).translate(_PUNCTUATION)
    lower = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).lower())
    return " ".join(lower.split())


def canonical_path(path: str) -> str:
    """Return the form in which two spellings of a file's path are equal: the first folder's canonical name, NFC below.

    `1.png` and `1.PNG` are two files of one folder. A first folder is an identity or a role.
    """
    first, slash, rest = path.partition("/")
    return canonical_name(first) + slash + nfc(rest) if slash else nfc(path)


def first_folders(paths: Iterable[str]) -> set[str]:
    """Return the first folder of each path that has one: the identity's, or the role's."""
    return {path.partition("/")[0] for path in paths if "/" in path}


def one_spelling(names: Iterable[str], kept: Iterable[str] = ()) -> dict[str, str]:
    """Map each name to the spelling displayed for all names that are the same as it.

    Args:
        names: one for each image, in any order.
        kept: spellings that are displayed already and stay, no two the same. For other names it is the spelling of most
            images, so that a stray folder moves nobody to another split, then the shortest, then the first.
    """
    images = Counter(names)
    order = sorted(images, key=lambda name: (-images[name], len(name), name), reverse=True)
    shown = {canonical_name(name): name for name in order}
    shown |= {canonical_name(name): name for name in kept}
    return {name: shown[canonical_name(name)] for name in images}


def look_alikes(names: Iterable[str], form: Callable[[str], str] = canonical_name) -> list[list[str]]:
    """Return the groups of different spellings of one name, sorted."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(form(name), []).append(name)
    return sorted(group for group in groups.values() if len(group) > 1)


def listed(groups: Sequence[Sequence[str]]) -> str:
    """Return the first groups of look-alikes as a line shows them, and how many more there are."""
    first = "; ".join(" and ".join(map(distinctly, group)) for group in groups[:_SHOWN])
    return first + (f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else "")


def distinctly(name: str) -> str:
    """Return a name in quotes, with escapes for what a reader cannot see: spaces of other kinds, loose marks."""
    decomposed = nfc(name) != name

    def shown(sign: str) -> str:
        hidden = not sign.isprintable() or _INVISIBLE.match(sign)
        loose = decomposed and unicodedata.category(sign).startswith("M")
        return sign.encode("unicode_escape").decode() if hidden or loose else sign

    return f"'{''.join(map(shown, name))}'"


def folder_warnings(folders: Iterable[str]) -> list[str]:
    """Return a line on identity folders with look-alike names, and one on folders that may be meant as roles."""
    folders = set(folders)
    lines = []
    groups = look_alikes(folders)
    if groups:
        lines.append(
            f"folders with names that look the same: {listed(groups)}: each group is read as one identity, because one "
            "person in two splits would be a leak; rename the folders of different people (`siamese inspect --json` "
            "lists all groups)"
        )
    almost = almost_roles(folders)
    if almost:
        lines.append(
            f"folders {', '.join(almost)} look like role folders, and are read as identities: role folders are anchor, "
            "positive and negative, all three"
        )
    return lines


def almost_roles(folders: Iterable[str]) -> list[str]:
    """Return the folders named nearly like roles, such as `positives`, sorted; none if they stand for one role only."""
    role_of = {
        folder: role
        for folder in sorted(set(folders))
        for role, pattern in _ALMOST_ROLES.items()
        if pattern.fullmatch(canonical_name(folder))
    }
    return list(role_of) if len(set(role_of.values())) > 1 else []


def nearly_the_same(name: str, others: Iterable[str]) -> list[str]:
    """Return the others with the same letters and digits, whatever their marks, case, spaces and punctuation."""
    return sorted({other for other in others if _letters(other) == _letters(name)})


def nfc(text: str) -> str:
    """Return a text in Unicode's normal form C, in which paths are compared."""
    return unicodedata.normalize("NFC", text)


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", canonical_name(name).casefold())
    return "".join(sign for sign in plain if sign.isalnum())
