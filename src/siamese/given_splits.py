"""Splits that a person gives: a list in the data folder says what trains, tests and validates, and what is left out.

For data whose publisher says what is compared with what, or that must be held out by what a hash can't know: whole
alphabets, a hospital, a year. The list is a CSV: in identity folders with the columns identity and split, in role
folders path and split. It travels with the images, so that DVC and Kubeflow see it change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import pandas as pd

from siamese.errors import InputError
from siamese.names import canonical_name, canonical_path, distinctly, look_alikes
from siamese.progress import say
from siamese.remote import Place
from siamese.splits import HASH, SPLITS
from siamese.tables import parsed

COLUMN = {"identities": "identity", "roles": "path"}  # what a row gives a split to, by layout
_FORM = {"identity": canonical_name, "path": canonical_path}  # in which what is listed is compared with what is there


@dataclass(frozen=True)
class Given:
    """A list of splits.

    Attributes:
        file: as named in params.yaml.
        column: of the catalog, `identity` or `path`, whose values the list names.
        split_of: each name as listed to its split. It may be another spelling than the catalog's.
    """

    file: str
    column: str
    split_of: dict[str, str]

    def only(self, images: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
        """The images that the list gives a split, and the path of each other one to why it is left out.

        What it lists and isn't there is said.
        """
        form = _FORM[self.column]
        there = images[self.column].map(form)
        known = set(there)
        listed = there.isin([form(name) for name in self.split_of])
        lacking = sorted(name for name in self.split_of if form(name) not in known)
        if lacking:
            say(f"{self.file}: {len(lacking)} of {len(self.split_of)} listed have no usable image: {lacking[0]} …")
        return images[listed], dict.fromkeys(images.loc[~listed, "path"], f"left out: not in {self.file}")

    def splits(self, images: pd.DataFrame) -> pd.Series:
        """The split of each image of `only`.

        Raises:
            InputError: there is a split without any.
        """
        form = _FORM[self.column]
        found = images[self.column].map(form).map({form(name): split for name, split in self.split_of.items()})
        for split in SPLITS:
            if not (found == split).any():
                raise InputError(f"{self.file}: gives no usable image the split {split}: list some")
        return found


def read(data_folder: Place, splits: str, layout: Literal["identities", "roles"]) -> Given | None:
    """The list that `catalog.splits` names; None where it asks for the hash.

    Args:
        data_folder: the folder of images.
        splits: `hash`, or a CSV file's path from that folder.
        layout: of the folder.

    Raises:
        InputError: the file is missing, outside the folder, or no such list.
    """
    if splits == HASH:
        return None
    column = COLUMN[layout]
    wants = f"write the columns {column} and split"
    if PurePosixPath(splits).is_absolute() or ".." in PurePosixPath(splits).parts:
        raise InputError(f"catalog.splits = {splits}: must lie in {data_folder}: name it by its path from there")
    try:
        content = (data_folder / splits).read_bytes()
    except OSError as error:
        raise InputError(
            f"{data_folder / splits}: can't be read ({error.strerror}): "
            "catalog.splits must be hash, or name a CSV file in the data folder"
        ) from None
    listed = parsed(content, data_folder / splits, (column, "split"), wants)
    unknown = listed["split"][~listed["split"].isin(SPLITS)]
    if len(unknown):
        what = f"row {unknown.index[0]}: split {unknown.iloc[0] or 'without a name'}"
        raise InputError(f"{data_folder / splits}: {what}: must be {', '.join(SPLITS)}")
    twice = [name for name, count in Counter(listed[column]).items() if count > 1]
    if twice:
        raise InputError(f"{data_folder / splits}: lists {twice[0]} more than once: give each {column} one split")
    split_of = dict(zip(listed[column], listed["split"], strict=True))
    for group in look_alikes(split_of, _FORM[column]):
        told = " and ".join(f"{distinctly(name)} ({split_of[name]})" for name in group)
        if len({split_of[name] for name in group}) > 1:
            raise InputError(f"{data_folder / splits}: {told} look the same: give both one split")
    return Given(splits, column, split_of)
