"""Images of known identities into a gallery; more of them later, or of people who aren't to be recognised."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from siamese.console import log, track
from siamese.data import catalog, image_folder
from siamese.data.images.formats import Rejected, examine
from siamese.data.names import almost_roles, canonical_name, distinctly, first_folders, one_spelling
from siamese.data.system_files import count_left_out, is_left_out, left_out_in_words
from siamese.errors import InputError
from siamese.identification.gallery import COLUMNS, Gallery
from siamese.identification.gallery_file import change, read
from siamese.models import scoring
from siamese.models.resolved_model import ResolvedModel
from siamese.models.scoring import Head

_REJECTED_SHOWN = 10


@dataclass(frozen=True, eq=False)
class EnrolmentBatch:
    """Images to enroll.

    Attributes:
        images: a row an image: image_id, identity (None: not to be recognised), path.
        rejected: a row a file that can't be taken: path, reason.
    """

    images: pd.DataFrame
    rejected: pd.DataFrame


@dataclass(frozen=True)
class Enrolled:
    """What `siamese enroll` did.

    Attributes:
        added, already: images new in the gallery; those that were there.
        identities, images, unknown: identities in the gallery now, their images, and those of no identity.
        rejected: path and reason of each file that couldn't be taken.
    """

    added: int
    already: int
    identities: int
    images: int
    unknown: int
    rejected: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        rejected = [{"path": path, "reason": reason} for path, reason in self.rejected]
        return {name: getattr(self, name) for name in ("added", "already", "identities", "images", "unknown")} | {
            "rejected": rejected
        }

    def __str__(self) -> str:
        rejected = [f"rejected {path}: {reason}" for path, reason in self.rejected if not is_left_out(reason)]
        more = len(rejected) - _REJECTED_SHOWN
        rejected[_REJECTED_SHOWN:] = [f"rejected {more} more (--json lists them)"] if more > 0 else []
        left_out = left_out_in_words(count_left_out(reason for _, reason in self.rejected))
        rejected += [left_out] if left_out else []
        there = f", {self.already} were there already" if self.already else ""
        unknown = f", {self.unknown} images of others" if self.unknown else ""
        return "\n".join(
            [
                *rejected,
                f"enrolled {self.added} images{there}",
                f"the gallery: {self.images} images of {self.identities} identities{unknown}",
            ]
        )


def run(
    gallery_file: Path,
    sources: Sequence[Path],
    identity: str | None,
    unknown: bool,
    model: ResolvedModel,
    max_pixels: int,
) -> Enrolled:
    """Embeds images and adds them to a gallery, which is made where there is none.

    Args:
        gallery_file: the gallery's file; nothing is written unless all goes well.
        sources: one folder `<identity>/*`; with `identity` or `unknown`, images, or folders of them.
        identity: whose images they are; None: the folders' names tell.
        unknown: whether they are of people who aren't to be recognised.
        model: as `siamese.registry.locator.resolve_model` returns it.
        max_pixels: an image of more is rejected.

    Raises:
        InputError: no image can be taken; one is enrolled under another identity; the gallery is of another model; or
            model or gallery can't be used.
    """
    weights = model.weights()
    before = read(gallery_file, weights) if gallery_file.exists() else None
    taken = _taken(sources, identity, unknown, max_pixels)
    _say_other_spellings(taken, before)
    new = before.new_among(taken.images) if before else np.ones(len(taken.images), bool)
    if before is not None and not new.any():
        return _told(before, 0, taken)
    verifier = model.load()
    images = taken.images[new].reset_index(drop=True)
    embeddings = scoring.embed_images(verifier, [Path(path) for path in images["path"]], max_pixels)
    if not np.isfinite(embeddings).all():
        raise InputError(f"{model.place}: gives embeddings that aren't finite: train it again")
    head = Head(*verifier.head())
    added = 0

    def merged(there: Gallery | None) -> Gallery:  # which another process may have changed meanwhile
        nonlocal added
        old = there or Gallery.empty(weights, head)
        if old.model != weights:
            raise InputError(f"{gallery_file}: another process has put a gallery of another model there meanwhile")
        made = old.with_images(images, embeddings)
        added = len(made.images) - len(old.images)
        return made

    return _told(change(gallery_file, merged), added, taken)


def _taken(sources: Sequence[Path], identity: str | None, unknown: bool, max_pixels: int) -> EnrolmentBatch:
    if identity is None and not unknown:
        if len(sources) != 1 or not sources[0].is_dir():
            raise InputError(
                f"{sources[0]}: name one folder <identity>/*; single images go with --identity NAME or --unknown"
            )
        return of_folder(sources[0], max_pixels)
    if identity is not None and unknown:
        raise InputError("--identity and --unknown exclude each other: give one")
    if identity is not None:
        reason = "contains /" if "/" in identity else image_folder.reason_by_name(f"{identity}/image.png", "identities")
        if not canonical_name(identity) or reason:
            raise InputError(f"--identity {identity!r}: can't be a name ({reason or 'empty'}): give another")
    return of_files(sources, identity, max_pixels)


def of_folder(folder: Path, max_pixels: int) -> EnrolmentBatch:
    """The images of a folder `<identity>/*`, as step `catalog` takes them.

    Raises:
        InputError: it can't be read, holds role folders, or no usable image; or its own name isn't UTF-8.
    """
    shown, reason = _in_utf8(str(folder))
    if reason:
        raise InputError(f"{shown}: {reason}, which paths in a gallery are: rename the folder")
    found = catalog.collect(folder, max_pixels)
    roles = image_folder.ROLES if found.layout == "roles" else almost_roles(first_folders(found.images["path"]))
    if roles:
        raise InputError(
            f"{folder}: holds role folders ({', '.join(roles)}), which don't tell who is who: name a folder "
            "<identity>/*, or give images with --identity NAME"
        )
    for line in found.warnings:
        log(f"{folder}: {line}")
    if found.images.empty:
        raise InputError(f"{folder}: {catalog.nothing_usable(found)}")
    prefixed = {"path": [os.path.join(folder, path) for path in found.images["path"]]}
    rejected = found.rejected.assign(path=[os.path.join(folder, path) for path in found.rejected["path"]])
    return EnrolmentBatch(found.images.assign(**prefixed)[COLUMNS].astype(object), rejected)


def of_files(sources: Sequence[Path], identity: str | None, max_pixels: int) -> EnrolmentBatch:
    """Images, and all images in folders and below, as one identity's or of no identity.

    Raises:
        InputError: none can be taken.
    """
    rows: list[tuple[str, str | None, str]] = []
    rejected: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    for path, unreachable in track(_files_of(sources), "reading images"):
        outcome = Rejected(unreachable) if unreachable else examine(Path(path), max_pixels)
        if isinstance(outcome, Rejected):
            rejected.append((path, str(outcome)))
        elif outcome.image_id in first:
            rejected.append((path, f"copy: of {first[outcome.image_id]}"))
        else:
            first[outcome.image_id] = path
            rows.append((outcome.image_id, identity, path))
    if not rows:
        rejected.sort(key=lambda row: is_left_out(row[1]))  # the first of the others, if there is one, tells more
        why = f"{rejected[0][0]}: {rejected[0][1]}" if rejected else f"{sources[0]}: holds no file"
        raise InputError(f"no usable image: {why}: name JPEG, PNG or BMP images, or a folder of them")
    images = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    return EnrolmentBatch(images, pd.DataFrame(rejected, columns=["path", "reason"], dtype=object))


def _files_of(sources: Sequence[Path]) -> list[tuple[str, str]]:
    """Path of each file, and why it can't be taken or ""."""
    found: list[tuple[str, str]] = []
    for source in sources:
        if not source.is_dir():
            shown, odd = _in_utf8(str(source))
            irregular = "no regular file" if source.exists() and not source.is_file() else ""
            found.append((shown, odd or image_folder.unusable_name(shown) or irregular))
            continue
        for path, unreachable in sorted(image_folder.files_below(source)):
            # As if in a folder of its identity: here nobody needs one.
            reason = image_folder.reason_by_name(f"images/{path}", "identities", unreachable)
            shown, odd = _in_utf8(os.path.join(source, path))
            found.append((shown, reason or odd))
    return found


def _say_other_spellings(taken: EnrolmentBatch, there: Gallery | None) -> None:
    identities = taken.images["identity"].dropna()
    shown = one_spelling(identities, kept=there.identities if there else [])
    for name in sorted(set(identities)):
        if shown[name] != name:
            log(
                f"{distinctly(name)}: enrolled as {distinctly(shown[name])}, which is in the gallery and looks the same"
            )


def _in_utf8(path: str) -> tuple[str, str]:
    """A path as text that can be written, and why the file can't be taken or ""."""
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    return shown, "" if shown == path else "name is not UTF-8"


def _told(made: Gallery, added: int, taken: EnrolmentBatch) -> Enrolled:
    return Enrolled(
        added=added,
        already=len(taken.images) - added,
        identities=len(made.identities),
        images=made.enrolled,
        unknown=len(made.images) - made.enrolled,
        rejected=tuple(taken.rejected.itertuples(index=False, name=None)),
    )
