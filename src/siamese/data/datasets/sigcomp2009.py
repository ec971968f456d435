"""SigComp2009's signatures of 79 writers: 60 train and validate; 19, whose signatures were forged, test.

What another hand wrote is another identity, as in the built-in sample: `writer-002.forged-by-writer-003`. The lists of
splits leave forgeries out, so that no training sees any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from siamese.data.datasets.base import DataSet, by_owner, drawn, owner, pixels_mark, splits
from siamese.data.datasets.sources import Files

VALIDATING = 12  # of the 60 writers
REFERENCES = 5
DRAWS = 5  # of five references of a writer
OTHERS = 2  # signatures of each other writer that are tried against a draw

GENUINE, SKILLED, RANDOM = "", "skilled", "random"

_NAME = re.compile(r"(?:^|/)NFI-(\d{3})\d{2}(\d{3})\.png$", re.IGNORECASE)
_FORGED = ".forged-by-"

Claims = list[tuple[str, Sequence[str], int, str]]  # probe, references, label, kind


def images(files: Files) -> Files:
    """`writer-001/NFI-00101001.png` and `writer-002.forged-by-writer-003/NFI-00301002.png`: who wrote whose."""
    found: Files = {}
    for name, read in files.items():
        matched = _NAME.search(name)
        if matched:
            hand, writer = matched.groups()
            identity = f"writer-{writer}" + ("" if hand == writer else f"{_FORGED}writer-{hand}")
            found[f"{identity}/{name.rpartition('/')[2]}"] = read
    return found


def protocol(contents: Iterable[str], texts: Mapping[str, bytes]) -> dict[str, pd.DataFrame]:
    """Tables:

    - `splits-writers`: who trains, validates, tests;
    - `trials-1`: one reference, every genuine signature in turn, against every other one of its writer, every forgery
      of it (kind skilled), and every signature of the other writers who test (kind random);
    - `trials-5`: five references, drawn five times a writer, against the writer's other signatures, every forgery, and
      two signatures of each other writer.
    """
    of_hand = by_owner(contents)
    genuine = {name: paths for name, paths in of_hand.items() if _FORGED not in name}
    forged: dict[str, list[str]] = {}
    for name, paths in of_hand.items():
        if _FORGED in name:
            forged.setdefault(name.partition(_FORGED)[0], []).extend(paths)
    tested = sorted(forged)
    others = [name for name in genuine if name not in forged]
    validating = drawn(others, VALIDATING, np.random.default_rng(0))
    mine = {name: genuine[name] for name in tested}
    return {
        "splits-writers": splits(
            train=[name for name in others if name not in validating], validation=validating, test=tested
        ),
        "trials-1": table(one_reference(mine, forged)),
        "trials-5": table(several_references(mine, forged, np.random.default_rng(0))),
    }


def one_reference(genuine: Mapping[str, Sequence[str]], forged: Mapping[str, Sequence[str]]) -> Claims:
    """Every two genuine signatures, once; every forgery with every signature of the writer it imitates."""
    every = [path for paths in genuine.values() for path in paths]
    claims: Claims = [
        (a, [b], int(owner(a) == owner(b)), GENUINE if owner(a) == owner(b) else RANDOM)
        for a, b in combinations(every, 2)
    ]
    for writer, paths in genuine.items():
        claims += [(forgery, [path], 0, SKILLED) for forgery in forged[writer] for path in paths]
    return claims


def several_references(
    genuine: Mapping[str, Sequence[str]], forged: Mapping[str, Sequence[str]], rng: np.random.Generator
) -> Claims:
    """References drawn among a writer's signatures, and who claims to be that writer."""
    claims: Claims = []
    for writer, paths in genuine.items():
        for _ in range(DRAWS):
            known = drawn(paths, REFERENCES, rng)
            claims += [(path, known, 1, GENUINE) for path in paths if path not in known]
            claims += [(path, known, 0, SKILLED) for path in forged[writer]]
            for other in genuine:
                if other != writer:
                    tried = rng.choice(genuine[other], OTHERS, replace=False).tolist()
                    claims += [(path, known, 0, RANDOM) for path in tried]
    return claims


def table(claims: Claims) -> pd.DataFrame:
    """Columns claim (its number), probe, reference, label, kind."""
    rows = [
        (number, probe, reference, label, kind)
        for number, (probe, references, label, kind) in enumerate(claims)
        for reference in references
    ]
    return pd.DataFrame(rows, columns=["claim", "probe", "reference", "label", "kind"])


SIGNATURES = DataSet(
    name="signatures",
    title="SigComp2009, NFI offline evaluation set: 940 genuine signatures of 79 writers, 624 skilled forgeries of 19",
    publisher="Netherlands Forensic Institute, given out by IAPR TC11",
    cite="V. L. Blankers, C. E. van den Heuvel, K. Y. Franke, L. G. Vuurpijl: The ICDAR 2009 signature verification "
    "competition, ICDAR 2009, 1403-1407",
    terms="For research, as TC11 gives it out. Signatures of real people: research and testing only",
    page="https://tc11.cvc.uab.es/datasets/SigComp2009_1",
    addresses=(),
    archives=("*sig*2009*.zip", "*sigcomp09*.zip"),
    count=1564,
    digest="256372ec1dfc86f21163d2b5feaef471f01b5624d655a59f2f2734d6d852f8d1",
    images=images,
    protocol=protocol,
    mark=pixels_mark,
)
