"""A gallery: the embeddings of enrolled images, whose they are, and which model made them.

Rows are sorted by identity, so that an identity's references lie together. Spellings that are the same to a person are
one identity (`siamese.data.names`), displayed as it was first enrolled. Images without an identity are of people who
aren't to be recognised: they are never an answer, and tell how high the scores of such people go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from siamese.data.names import canonical_name, look_alikes, nearly_the_same, nfc, one_spelling
from siamese.errors import InputError
from siamese.identification.search import scores
from siamese.models.scoring import Head

How = Literal["best", "mean"]

COLUMNS = ["image_id", "identity", "path"]
LOOKED_AT = 1000  # images, for impostors: adding one to 10,000 must not take minutes
_SCORES_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Gallery:
    """Enrolled images.

    Attributes:
        model: digest of the weights of the model that embedded them (`Found.weights`), 64 hexadecimal digits.
        head: that model's last layer.
        images: a row an image, sorted by identity and path, those of no identity last: image_id, its content's SHA-256;
            identity, None where it isn't to be recognised; path, as it was given.
        embeddings: float32 [images, units], in the order of the rows.
        impostors: for either way of scoring an identity the score of the most similar other one, float32 [images]: NaN
            where it wasn't looked at.
    """

    model: str
    head: Head
    images: pd.DataFrame
    embeddings: np.ndarray
    impostors: Mapping[How, np.ndarray]

    @classmethod
    def empty(cls, model: str, head: Head) -> Gallery:
        """A gallery of no image."""
        units = len(head.weights)
        nobody = pd.DataFrame(columns=COLUMNS, dtype=object)
        return cls(model, head, nobody, np.empty((0, units), np.float32), _none_looked_for(0))

    @cached_property
    def enrolled(self) -> int:
        """Images of identities: the first so many rows."""
        return int(self.images["identity"].notna().sum())

    @cached_property
    def identities(self) -> list[str]:
        """Their names, sorted."""
        return self.images["identity"][: self.enrolled].unique().tolist()

    @cached_property
    def starts(self) -> np.ndarray:
        """The first row of each identity, int64 [identities]."""
        names = self.images["identity"][: self.enrolled].to_numpy()
        return np.flatnonzero(np.append(True, names[1:] != names[:-1])) if len(names) else np.empty(0, np.int64)

    def scores(self, probes: np.ndarray) -> np.ndarray:
        """The score of each probe, float32 [probes, units], with each enrolled image: float32 [probes, enrolled]."""
        return scores(self.head, probes, self.embeddings[: self.enrolled])

    def of_identities(self, found: np.ndarray, how: How) -> np.ndarray:
        """What `scores` gave by identity, its best reference's or the mean of all: float32 [probes, identities].

        There must be an identity.
        """
        if how == "best":
            return np.maximum.reduceat(found, self.starts, axis=1)
        sizes = np.diff(np.append(self.starts, self.enrolled)).astype(np.float32)
        return np.add.reduceat(found, self.starts, axis=1) / sizes

    def with_impostors(self) -> Gallery:
        """The gallery with `impostors` looked for: of up to 1,000 enrolled images, evenly spread, and as many others.

        Each is held against all identities but its own.
        """
        found = _none_looked_for(len(self.images))
        owner = np.searchsorted(self.starts, np.arange(self.enrolled), side="right") - 1
        enrolled = _some(0, self.enrolled) if len(self.identities) > 1 else np.empty(0, np.int64)
        rows = np.concatenate([enrolled, _some(self.enrolled, len(self.images))]) if self.enrolled else enrolled
        step = max(1, _SCORES_AT_ONCE // max(1, self.enrolled))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            scored = self.scores(self.embeddings[part])
            own = np.flatnonzero(part < self.enrolled)
            for how, highest in found.items():
                by_identity = self.of_identities(scored, how)
                by_identity[own, owner[part[own]]] = -np.inf
                highest[part] = by_identity.max(axis=1)
        return replace(self, impostors=found)

    def spelled(self, identities: pd.Series) -> pd.Series:
        """Identities, or None, as the gallery displays them, or will once they are in it."""
        shown = one_spelling(identities.dropna(), kept=self.identities)
        return pd.Series([shown.get(name) for name in identities], identities.index, dtype=object)

    def new_among(self, images: pd.DataFrame) -> np.ndarray:
        """Which of some images, columns `COLUMNS`, aren't here yet: bool [images].

        Raises:
            InputError: one is here under another identity.
        """
        here = dict(zip(self.images["image_id"], self.images["identity"], strict=True))
        spelled = self.spelled(images["identity"])
        for image_id, identity, path in zip(images["image_id"], spelled, images["path"], strict=True):
            if here.get(image_id, identity) != identity:
                raise InputError(
                    f"{path}: is enrolled as {shown(here[image_id])}, and can't be {shown(identity)} "
                    f"too: leave it out, or take it from the gallery first (`siamese gallery remove --image`)"
                )
        return ~images["image_id"].isin(list(here)).to_numpy(bool)

    def with_images(self, images: pd.DataFrame, embeddings: np.ndarray) -> Gallery:
        """The gallery with those of some images that aren't here yet; impostors are left to be looked for.

        Args:
            images: columns `COLUMNS`, no image_id twice.
            embeddings: float32 [images, units].

        Raises:
            InputError: one is here under another identity.
        """
        new = self.new_among(images)
        images = images.assign(identity=self.spelled(images["identity"]))
        merged = pd.concat([self.images, images.loc[new, COLUMNS]], ignore_index=True).astype(object)
        order = merged.sort_values(["identity", "path"], na_position="last").index.to_numpy()
        return replace(
            self,
            images=merged.loc[order].reset_index(drop=True),
            embeddings=np.concatenate([self.embeddings, embeddings[new]])[order],
            impostors=_none_looked_for(len(merged)),
        )

    def with_one_spelling(self) -> Gallery:
        """The gallery with one spelling for each identity: files written before may have several."""
        if not look_alikes(self.identities):
            return self
        return Gallery.empty(self.model, self.head).with_images(self.images, self.embeddings).with_impostors()

    def without(self, identities: Collection[str], images: Collection[str], unknown: bool) -> Gallery:
        """The gallery without some images; impostors are left to be looked for.

        Args:
            identities: names, of which all images go. Another spelling of the same name is enough.
            images: paths as given when they were enrolled, or image ids.
            unknown: whether all images of no identity go, too.

        Raises:
            InputError: one isn't here.
        """
        named = {canonical_name(name): name for name in self.identities}
        absent = [name for name in identities if canonical_name(name) not in named]
        paths = self.images["path"].map(nfc)
        known = set(paths) | set(self.images["image_id"])
        absent += [name for name in images if nfc(name) not in known]
        if absent:
            near = nearly_the_same(absent[0], self.identities)
            but = f", but {', '.join(near)} is" if near else ""
            raise InputError(
                f"{absent[0] or repr(absent[0])}: isn't in the gallery{but}: `siamese gallery list` shows what is"
            )
        if unknown and self.enrolled == len(self.images):
            raise InputError("--unknown: no image of nobody's is in the gallery: `siamese gallery list` shows what is")
        gone = self.images["identity"].isin([named[canonical_name(name)] for name in identities])
        gone |= paths.isin([nfc(name) for name in images]) | self.images["image_id"].isin(list(images))
        if unknown:
            gone |= self.images["identity"].isna()
        kept = np.flatnonzero(~gone.to_numpy(bool))
        return replace(
            self,
            images=self.images.loc[kept].reset_index(drop=True),
            embeddings=self.embeddings[kept],
            impostors=_none_looked_for(len(kept)),
        )


@dataclass(frozen=True)
class Summary:
    """What a gallery holds.

    Attributes:
        model: digest of the weights of its model.
        identities: number of images of each.
        unknown: images of no identity.
    """

    model: str
    identities: Mapping[str, int]
    unknown: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @property
    def headline(self) -> str:
        """How many there are."""
        others = f", {self.unknown} images of others" if self.unknown else ""
        return f"the gallery: {sum(self.identities.values())} images of {len(self.identities)} identities{others}"

    def __str__(self) -> str:
        return "\n".join([*(f"{name}  {images}" for name, images in self.identities.items()), self.headline])


def summary(found: Gallery) -> Summary:
    """What a gallery holds."""
    sizes = np.diff(np.append(found.starts, found.enrolled)).tolist()
    each = dict(zip(found.identities, sizes, strict=True))
    return Summary(found.model, each, len(found.images) - found.enrolled)


def shown(identity: str | None) -> str:
    """An identity's name, or what stands for none."""
    return "unknown" if identity is None else identity


def _none_looked_for(images: int) -> dict[How, np.ndarray]:
    return {"best": np.full(images, np.nan, np.float32), "mean": np.full(images, np.nan, np.float32)}


def _some(start: int, stop: int) -> np.ndarray:
    """Up to `LOOKED_AT` rows, evenly spread: int64."""
    count = min(stop - start, LOOKED_AT)
    return np.linspace(start, stop - 1, count).round().astype(np.int64) if count else np.empty(0, np.int64)
