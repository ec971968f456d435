"""ORL, the faces of 40 people: 30 train and validate, 10 others test, all pairs of their images."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from siamese.data.datasets.base import DataSet, all_pairs, by_owner, drawn, natural, pixels_mark, splits
from siamese.data.datasets.sources import DownloadUrl, Files, Read

TESTED, VALIDATING = 10, 3  # people
RANDOM = 5  # splits
LAST_TEN = [f"s{number}" for number in range(31, 41)]

_NAME = re.compile(r"(?:^|/)s(\d{1,2})/(\d{1,2})\.(png|pgm)$", re.IGNORECASE)


def images(files: Files) -> Files:
    """`s1/1.png` … `s40/10.png`, PGM (as published) turned into PNG."""
    found: Files = {}
    for name, read in files.items():
        matched = _NAME.search(name)
        if matched:
            person, number, suffix = matched.groups()
            found[f"s{int(person)}/{int(number)}.png"] = read if suffix.lower() == "png" else _as_png(read)
    return found


def protocol(contents: Iterable[str], texts: Mapping[str, bytes]) -> dict[str, pd.DataFrame]:
    """Of each split of the people, `splits-NAME` and `trials-NAME`: the last ten test, or ten drawn by a seed."""
    images_of = by_owner(contents)
    people = sorted(images_of, key=natural)
    tables = {}
    for number in range(RANDOM + 1):
        rng = np.random.default_rng(number)
        name, tested = ("s31-s40", LAST_TEN) if not number else (f"random-{number}", drawn(people, TESTED, rng))
        others = [person for person in people if person not in tested]
        validating = drawn(others, VALIDATING, rng)
        training = [person for person in others if person not in validating]
        tables[f"splits-{name}"] = splits(train=training, validation=validating, test=tested)
        tables[f"trials-{name}"] = all_pairs(path for person in tested for path in images_of[person])
    return tables


def _as_png(read: Read) -> Read:
    def converted() -> bytes:
        from PIL import Image

        content = io.BytesIO()
        Image.open(io.BytesIO(read())).save(content, "PNG")
        return content.getvalue()

    return converted


ORL = DataSet(
    name="orl",
    title="The ORL (AT&T) Database of Faces: 40 people, 10 images each, 92 x 112 grey",
    publisher="Olivetti Research Laboratory, later AT&T Laboratories Cambridge",
    cite="F. Samaria, A. Harter: Parameterisation of a stochastic model for human face identification, WACV 1994",
    terms="Give credit to AT&T Laboratories Cambridge. Photographs of real people: research and testing only",
    page="https://cam-orl.co.uk/facedatabase.html",
    addresses=(
        DownloadUrl("https://www.cl.cam.ac.uk/research/dtg/attarchive/pub/data/att_faces.zip", "att_faces.zip"),
    ),
    archives=("*orl*.zip", "*att_faces*", "*atnt*.zip", "*orl*.tar*"),
    count=400,
    digest="932db74096e063f6b9724aaadc18a30c9710017a4cedc4122c3bdf7ad06749ae",
    images=images,
    protocol=protocol,
    edition=2,
    mark=pixels_mark,
)
