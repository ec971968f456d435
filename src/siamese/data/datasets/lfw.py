"""LFW's View 1: train on the people of pairsDevTrain.txt, test on the 1,000 pairs of pairsDevTest.txt.

Only the 4,992 images that these two files name are taken, of the deep-funneled (aligned) version. No person is in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from siamese.data.datasets.base import DataSet, drawn, owner, splits
from siamese.data.datasets.sources import DownloadUrl, Files, read

VALIDATING = 0.1  # of the people who train
TRAIN, TEST = "pairsDevTrain.txt", "pairsDevTest.txt"

_IMAGE = re.compile(r"(?:^|/)(?P<person>[^/]+)/(?P<file>(?P=person)_\d{4}\.jpg)$")


def images(files: Files) -> Files:
    """`Aaron_Peirsol/Aaron_Peirsol_0001.jpg`: the images that the pairs name."""
    named = {path for name, get in texts(files).items() for pair in pairs(read(name, get)) for path in pair[:2]}
    found: Files = {}
    for name, get in files.items():
        matched = _IMAGE.search(name)
        if matched and (path := f"{matched['person']}/{matched['file']}") in named:
            found[path] = get
    return found


def texts(files: Files) -> Files:
    """The lists of pairs."""
    return {file: get for name, get in files.items() if (file := name.rpartition("/")[2]) in (TRAIN, TEST)}


def pairs(text: bytes) -> list[tuple[str, str, int]]:
    """The pairs that a list names: two images and a label. A line of three is one person and two numbers; lines of
    something else name none."""
    found = []
    for line in text.decode(errors="replace").split("\n"):
        match line.split():
            case [person, one, other] if one.isdecimal() and other.isdecimal():
                found.append((_path(person, one), _path(person, other), 1))
            case [person, one, another, other] if one.isdecimal() and other.isdecimal():
                found.append((_path(person, one), _path(another, other), 0))
    return found


def protocol(contents: Iterable[str], texts: Mapping[str, bytes]) -> dict[str, pd.DataFrame]:
    """Tables: `splits-view1`, a tenth of the people of pairsDevTrain validating; `trials-view1`, pairsDevTest; and
    `trials-view1-train`, pairsDevTrain."""
    training, testing = pairs(texts[TRAIN]), pairs(texts[TEST])
    people = people_of(training)
    validating = drawn(people, round(VALIDATING * len(people)), np.random.default_rng(0))
    return {
        "splits-view1": splits(
            train=[person for person in people if person not in validating],
            validation=validating,
            test=people_of(testing),
        ),
        "trials-view1": _table(testing),
        "trials-view1-train": _table(training),
    }


def people_of(listed: Iterable[tuple[str, str, int]]) -> list[str]:
    """Who occurs in pairs, each once, sorted."""
    return sorted({owner(path) for pair in listed for path in pair[:2]})


def _table(listed: Iterable[tuple[str, str, int]]) -> pd.DataFrame:
    return pd.DataFrame(listed, columns=["probe", "reference", "label"])


def _path(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04}.jpg"


_FROM = "http://vis-www.cs.umass.edu/lfw"

LFW = DataSet(
    name="lfw",
    title="Labeled Faces in the Wild, deep-funneled: the 4,992 images of View 1, 250 x 250",
    publisher="University of Massachusetts, Amherst",
    cite="G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller: Labeled Faces in the Wild, Technical Report 07-49, 2007; "
    "G. B. Huang, M. Mattar, H. Lee, E. Learned-Miller: Learning to align from scratch, NIPS 2012",
    terms="For research on face recognition; the photographs' rights stay with their owners",
    page="http://vis-www.cs.umass.edu/lfw/ (at times not reachable)",
    addresses=(
        DownloadUrl(f"{_FROM}/{TRAIN}", TRAIN, "1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa"),
        DownloadUrl(f"{_FROM}/{TEST}", TEST, "7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c"),
        DownloadUrl(f"{_FROM}/lfw-deepfunneled.tgz", "lfw-deepfunneled.tgz", "68331da3eb755a505a502b5aacb3c201"),
    ),
    archives=("*lfw*.zip", "*lfw*.tgz", "*lfw*.tar.gz"),
    count=4992,
    digest="aeeb8b775b4e534c15dd30f480bd92df70d14f193a9a0e2444f27a73e47cdb31",
    images=images,
    texts=texts,
    lists=(TRAIN, TEST),
    protocol=protocol,
)
