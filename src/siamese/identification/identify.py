"""Who of a gallery an image shows, if anyone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siamese.errors import InputError
from siamese.identification import open_set_threshold
from siamese.identification.gallery import Gallery, How
from siamese.identification.gallery_file import read
from siamese.identification.open_set_threshold import OpenSetThreshold
from siamese.models import scoring
from siamese.models.resolved_model import ResolvedModel
from siamese.models.verifier import Verifier, read_image

_AT_ONCE = 256  # images that are compared with a gallery: of 10,000, their scores take 10 MB


@dataclass(frozen=True)
class Candidate:
    """An identity of the gallery, its score, and the path of its best reference."""

    identity: str
    score: float
    reference: str


@dataclass(frozen=True)
class Answer:
    """Who one image shows.

    Attributes:
        identity: who; None: nobody whose score reaches the threshold.
        candidates: those of the highest scores, the highest first; at least one.
    """

    identity: str | None
    candidates: tuple[Candidate, ...]

    @property
    def score(self) -> float:
        """The highest."""
        return self.candidates[0].score

    def to_text(self, threshold: float) -> str:
        """As a person reads it."""
        first, *others = self.candidates
        then = [f"then {one.identity} {one.score:.3f}" for one in others]
        if self.identity is not None:
            return f"{self.identity} {self.score:.3f}" + (f" ({', '.join(then)})" if then else "")
        nearest = [f"nearest {first.identity} {first.score:.3f}", *then, f"threshold {threshold:.3f}"]
        return f"unknown ({', '.join(nearest)})"


@dataclass(frozen=True)
class Answers:
    """Who each image shows, and by which threshold. `images` are paths, as many as `answers`."""

    threshold: OpenSetThreshold
    images: tuple[str, ...]
    answers: tuple[Answer, ...]

    @property
    def all_known(self) -> bool:
        """Whether every image shows somebody of the gallery."""
        return all(answer.identity is not None for answer in self.answers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        told = zip(self.images, self.answers, strict=True)
        images = [{"image": image, **asdict(answer), "score": answer.score} for image, answer in told]
        return self.threshold.as_dict() | {"images": images}

    def __str__(self) -> str:
        told = zip(self.images, self.answers, strict=True)
        return "\n".join(f"{image}: {answer.to_text(self.threshold.threshold)}" for image, answer in told)


@dataclass(frozen=True, eq=False)
class Identifier:
    """A gallery and the model that it is of, ready to be asked.

    Attributes:
        verifier: the model.
        gallery: with at least one identity.
        threshold: from which score somebody counts as recognised.
        how: how an identity's score is made of its references'.
        top: candidates named an image.
    """

    verifier: Verifier
    gallery: Gallery
    threshold: OpenSetThreshold
    how: How
    top: int

    def of_embeddings(self, embeddings: np.ndarray) -> list[Answer]:
        """Who each shows: float32 [images, units]."""
        answers = []
        for start in range(0, len(embeddings), _AT_ONCE):
            found = self.gallery.scores(embeddings[start : start + _AT_ONCE])
            by_identity = self.gallery.of_identities(found, self.how)
            answers += [self._answer(*scored) for scored in zip(found, by_identity, strict=True)]
        return answers

    def of_encoded(self, images: Sequence[bytes]) -> list[Answer]:
        """Who each encoded image shows, all at once; images as `read_image` gives them."""
        return self.of_embeddings(self.verifier.embed_encoded(images)) if images else []

    def _answer(self, found: np.ndarray, by_identity: np.ndarray) -> Answer:
        top = min(self.top, len(by_identity))
        least = -np.partition(-by_identity, top - 1)[top - 1]
        highest = np.flatnonzero(by_identity >= least)  # of equal scores the first is named
        order = highest[np.argsort(-by_identity[highest], kind="stable")][:top]
        ends = np.append(self.gallery.starts, self.gallery.enrolled)
        candidates = []
        for code in order:
            best = int(ends[code] + np.argmax(found[ends[code] : ends[code + 1]]))
            reference = str(self.gallery.images["path"].iat[best])
            candidates.append(Candidate(self.gallery.identities[code], float(by_identity[code]), reference))
        known = by_identity[order[0]] >= np.float32(self.threshold.threshold)
        return Answer(candidates[0].identity if known else None, tuple(candidates))


def prepare(
    gallery_file: Path, model: ResolvedModel, how: How, top: int, far: float, own_threshold: float | None
) -> Identifier:
    """A gallery and its model, loaded.

    Args:
        gallery_file: what `siamese enroll` wrote.
        model: as `siamese.registry.locator.resolve_model` returns it.
        how, far, own_threshold: as in `siamese.identification.open_set_threshold.open_set_threshold`.
        top: candidates named an image, 1 or more.

    Raises:
        InputError: the gallery is missing, empty or of another model; the model can't be used; or there is no
            threshold.
    """
    there = read(gallery_file, model.weights())
    if not there.identities:
        raise InputError(f"{gallery_file}: nobody is enrolled: `siamese enroll {gallery_file} FOLDER` adds identities")
    threshold = open_set_threshold.open_set_threshold(there, how, far, own_threshold, lambda: model.threshold(None))
    return Identifier(model.load(), there, threshold, how, top)


def identify(identifier: Identifier, images: Sequence[Path], max_pixels: int) -> Answers:
    """Who image files show. They are embedded in batches.

    Raises:
        InputError: one can't be read, or isn't an image that can be taken.
    """
    embeddings = scoring.embed_images(identifier.verifier, images, max_pixels)
    return Answers(identifier.threshold, tuple(map(str, images)), tuple(identifier.of_embeddings(embeddings)))


def check(images: Sequence[Path], max_pixels: int) -> None:
    """Tells of a wrong path before the seconds that a model takes.

    Raises:
        InputError: one isn't there.
    """
    for image in images:
        if image.is_dir() or not image.exists():  # what a pipe gives is read once
            read_image(image, max_pixels)
