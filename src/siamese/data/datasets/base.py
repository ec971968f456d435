"""What `siamese fetch` must know of a data set, and protocols as tables: splits and trials, pure functions of names.

A table of splits is what `catalog.splits` takes, a table of trials what `siamese trials` takes (docs/protocols.md).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from siamese.data.datasets.sources import DownloadUrl, Files


def content_mark(content: bytes) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def pixels_mark(content: bytes) -> str:
    """SHA-256 of an image's size and grey values: equal in whatever lossless format."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return hashlib.sha256(repr(image.size).encode() + image.convert("L").tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A published data set, and how it becomes identity folders with their protocol.

    Attributes:
        name: what `siamese fetch` calls it.
        title, publisher, cite, terms: for people, kept beside the data.
        page: where a person finds it.
        addresses: the publisher's files; none: it has to be asked for.
        archives: patterns of the names that its archives have, in small letters.
        count: images.
        digest: of all images and of `texts`, as `siamese.data.datasets.fetch.digest_of` makes it.
        images: files to its images: path in the identity folders to what reads it, in the files' order.
        texts: files to those other files that the protocol is made from.
        lists: their names, where there must be some.
        edition: of the protocol's tables; another number where they are drawn otherwise than they were.
        protocol: the images' contents by path, and those texts, to tables by name: what is written as
            `protocol/<name>.csv`.
        mark: an image's content to what identifies it, equal for equal pixels or equal bytes.
    """

    name: str
    title: str
    publisher: str
    cite: str
    terms: str
    page: str
    addresses: tuple[DownloadUrl, ...]
    archives: tuple[str, ...]
    count: int
    digest: str
    images: Callable[[Files], Files]
    protocol: Callable[[Mapping[str, bytes], Mapping[str, bytes]], Mapping[str, pd.DataFrame]]
    texts: Callable[[Files], Files] = field(default=lambda files: {})
    lists: tuple[str, ...] = ()
    edition: int = 1
    mark: Callable[[bytes], str] = content_mark


def owner(path: str) -> str:
    """The identity of an image in identity folders."""
    return path.partition("/")[0]


def natural(name: str) -> list[str | int]:
    """A key that sorts s2 before s10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def by_owner(paths: Iterable[str]) -> dict[str, list[str]]:
    """The images of each identity, both in natural order."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths, key=natural):
        found.setdefault(owner(path), []).append(path)
    return found


def drawn(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """So many of some names, drawn without order, in natural order."""
    return sorted(rng.permutation(names)[:count].tolist(), key=natural)


def splits(**identities: Iterable[str]) -> pd.DataFrame:
    """A table of splits: columns identity and split.

    Args:
        identities: of each split, by its name.
    """
    rows = [(identity, split) for split, listed in identities.items() for identity in listed]
    return pd.DataFrame(rows, columns=["identity", "split"])


def all_pairs(paths: Iterable[str]) -> pd.DataFrame:
    """Every two of these images, once: columns probe, reference, label (1: same identity)."""
    rows = [(a, b, int(owner(a) == owner(b))) for a, b in combinations(sorted(paths, key=natural), 2)]
    return pd.DataFrame(rows, columns=["probe", "reference", "label"])


def n_way(runs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> pd.DataFrame:
    """Runs of one-shot recognition: each probe is compared with all references of its run.

    Args:
        runs: of each the probes and, in the same order, the references of the same identities.

    Returns:
        Columns trial (its number), probe, reference, label: 1 for the reference of the probe's identity.
    """
    rows = []
    trial = 0
    for probes, references in runs:
        for right, probe in enumerate(probes):
            rows += [(trial, probe, reference, int(right == n)) for n, reference in enumerate(references)]
            trial += 1
    return pd.DataFrame(rows, columns=["trial", "probe", "reference", "label"])


def drawn_runs(
    groups: Mapping[str, Sequence[Sequence[str]]], *, ways: int, runs: int, rng: np.random.Generator
) -> list[tuple[list[str], list[str]]]:
    """Runs as Lake et al. made theirs: identities of one group, all references by one hand, all probes by another.

    Args:
        groups: of each group, such as an alphabet, its identities, each with its images in the order of the hands.
        ways: identities a run; each group has as many at least.
        runs: of each group.

    Returns:
        What `n_way` takes.
    """
    made = []
    for identities in groups.values():
        hands = min(map(len, identities))
        for _ in range(runs):
            chosen = rng.choice(len(identities), ways, replace=False)
            asked, known = rng.choice(hands, 2, replace=False)
            made.append(([identities[one][asked] for one in chosen], [identities[one][known] for one in chosen]))
    return made
