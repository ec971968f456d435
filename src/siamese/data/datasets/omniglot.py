"""Omniglot, characters of 50 alphabets drawn by 20 people each: 30 train, the 20 official one-shot runs test.

A character is an identity, `<alphabet>.<character>`. What is chosen is chosen on background alphabets held out
(`splits-choose`, `trials-choose`); the official runs (`trials-runs`) are for the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from siamese.data.datasets.base import DataSet, by_owner, drawn_runs, n_way, owner, pixels_mark, splits
from siamese.data.datasets.sources import DownloadUrl, Files
from siamese.errors import InputError

WAYS = 20
RUNS = 20  # official ones
HELD_OUT = 5  # alphabets to validate and as many to test on, while choosing
RUNS_DRAWN = 10  # of each of them

_IMAGE = re.compile(r"(?:^|/)images_(?:background|evaluation)/([^/]+)/(character\d\d)/(\d{4}_\d\d\.png)$")
_RUN = re.compile(r"(?:^|/)(run\d\d/(?:class_labels\.txt|(?:test|training)/[a-z]+\d\d\.png))$")
_FIRST_EVALUATED = 965  # the number of the first character that isn't of the background set


def images(files: Files) -> Files:
    """`<alphabet>.<character>/<number>_<hand>.png` of both sets."""
    found: Files = {}
    for name, read in files.items():
        matched = _IMAGE.search(name)
        if matched:
            alphabet, character, file = matched.groups()
            found[f"{alphabet}.{character}/{file}"] = read
    return found


def texts(files: Files) -> Files:
    """The official runs: `run01/class_labels.txt`, `run01/test/item01.png`, `run01/training/class01.png`, …"""
    return {matched[1]: read for name, read in files.items() if (matched := _RUN.search(name))}


def protocol(contents: Mapping[str, bytes], texts: Mapping[str, bytes]) -> dict[str, pd.DataFrame]:
    """Tables:

    - `splits-choose`: of the background alphabets with 20 characters or more 5 validate and 5 test, all others train;
    - `trials-choose`, `trials-choose-validation`: 10 runs like the official ones in each of those that test, and in
      each of those that validate;
    - `splits-final`: the two smallest background alphabets (14 characters each) validate, that is, give a threshold,
      the other 28 train; the 20 alphabets of the evaluation set test;
    - `trials-runs`: the official runs.
    """
    characters = by_owner(contents)
    background = [name for name, paths in characters.items() if _number(paths[0]) < _FIRST_EVALUATED]
    sets = by_alphabet(background)
    large = sorted(alphabet for alphabet, of_it in sets.items() if len(of_it) >= WAYS)
    drawn = np.random.default_rng(0).permutation(large)[: 2 * HELD_OUT].tolist()
    validating, testing = sorted(drawn[:HELD_OUT]), sorted(drawn[HELD_OUT:])
    smallest = sorted(sets, key=lambda alphabet: (len(sets[alphabet]), alphabet))[:2]
    return {
        "splits-choose": _splits(sets, validating, [name for alphabet in testing for name in sets[alphabet]]),
        **{
            f"trials-{name}": n_way(
                drawn_runs(
                    {alphabet: [characters[one] for one in sets[alphabet]] for alphabet in alphabets},
                    ways=WAYS,
                    runs=RUNS_DRAWN,
                    rng=np.random.default_rng(number),
                )
            )
            for number, (name, alphabets) in enumerate((("choose", testing), ("choose-validation", validating)))
        },
        "splits-final": _splits(sets, smallest, [name for name in characters if name not in set(background)]),
        "trials-runs": n_way(official_runs(contents, texts)),
    }


def by_alphabet(characters: Sequence[str]) -> dict[str, list[str]]:
    """The characters of each alphabet."""
    found: dict[str, list[str]] = {}
    for character in characters:
        found.setdefault(character.rpartition(".")[0], []).append(character)
    return found


def official_runs(contents: Mapping[str, bytes], texts: Mapping[str, bytes]) -> list[tuple[list[str], list[str]]]:
    """The official runs' probes and references as images of the evaluation set, which show the same pixels.

    Raises:
        InputError: a run's image isn't there, its labels are no matching, or it isn't within one alphabet.
    """
    shown = {pixels_mark(content): path for path, content in contents.items() if _number(path) >= _FIRST_EVALUATED}
    runs = []
    for run in sorted({name.partition("/")[0] for name in texts}):
        lines = texts.get(f"{run}/class_labels.txt", b"").decode().split("\n")
        labels = [line.split() for line in lines if line.strip()]
        try:
            probes, references = (
                [shown[pixels_mark(texts[name])] for name in side] for side in zip(*labels, strict=True)
            )
        except (KeyError, ValueError) as error:
            raise InputError(f"{run}: an image of it is not there ({error}): get its archive again") from None
        asked, known = [owner(path) for path in probes], [owner(path) for path in references]
        if asked != known or len(set(asked)) != WAYS or len({name.rpartition(".")[0] for name in asked}) != 1:
            raise InputError(f"{run}: isn't {WAYS} characters of one alphabet, each drawn twice: get its archive again")
        runs.append((probes, references))
    if len(runs) != RUNS:
        raise InputError(f"{len(runs)} of {RUNS} one-shot runs are there: name all_runs.zip with --from, too")
    return runs


def _splits(sets: Mapping[str, Sequence[str]], validating: Sequence[str], test: Sequence[str]) -> pd.DataFrame:
    """Background alphabets that don't validate and of which nothing tests train."""
    tested = {character.rpartition(".")[0] for character in test}
    training = [alphabet for alphabet in sets if alphabet not in {*validating, *tested}]
    return splits(
        train=[name for alphabet in training for name in sets[alphabet]],
        validation=[name for alphabet in validating for name in sets[alphabet]],
        test=test,
    )


def _number(path: str) -> int:
    return int(path.rpartition("/")[2][:4])


_FROM = "https://github.com/brendenlake/omniglot/raw/master/python"

OMNIGLOT = DataSet(
    name="omniglot",
    title="Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people, 105 x 105 black and white",
    publisher="Brenden M. Lake, Ruslan Salakhutdinov, Joshua B. Tenenbaum",
    cite="B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum: Human-level concept learning through probabilistic program "
    "induction, Science 350 (2015) 1332-1338",
    terms="MIT licence, Copyright (c) 2015 Brenden Lake",
    page="https://github.com/brendenlake/omniglot",
    addresses=(
        DownloadUrl(f"{_FROM}/images_background.zip", "images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
        DownloadUrl(f"{_FROM}/images_evaluation.zip", "images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
        DownloadUrl(f"{_FROM}/one-shot-classification/all_runs.zip", "all_runs.zip"),
    ),
    archives=("*omniglot*.zip", "images_background.zip", "images_evaluation.zip", "all_runs.zip"),
    count=32_460,
    digest="4c58ef58a4c9dec00e04deaab6b1d4bce8a2f94dafaf5dc833d3aed0f27a186d",
    images=images,
    texts=texts,
    protocol=protocol,
)
