"""What the command `fetch` must know of a data set."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from siamese.fetch.archive import Files
from siamese.fetch.download import Address


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
        digest: of all images and of `texts`, as `siamese.fetch.digest_of` makes it.
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
    addresses: tuple[Address, ...]
    archives: tuple[str, ...]
    count: int
    digest: str
    images: Callable[[Files], Files]
    protocol: Callable[[Mapping[str, bytes], Mapping[str, bytes]], Mapping[str, pd.DataFrame]]
    texts: Callable[[Files], Files] = field(default=lambda files: {})
    lists: tuple[str, ...] = ()
    edition: int = 1
    mark: Callable[[bytes], str] = content_mark
