"""Whether new images still look like those that a model was trained on; retraining is advised where they don't.

Embeddings of new images are held against those of the validation and test split: the network has pulled apart what it
was trained on, so that images of its training lie elsewhere than others of the same kind.

From every identity as many images are drawn as the side with fewer has of each (medians): identities of both sides must
be alike in number of images for their permutation to be fair. A name on both sides is taken for two identities: names
may be equal by chance, and where it is one person, the sides are the more alike, which makes no false alarms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from siamese.console import track
from siamese.data.system_files import left_out_in_words
from siamese.errors import InputError
from siamese.models import scoring
from siamese.monitoring import sampling
from siamese.monitoring.differences import (
    LOOKS,
    SIZES,
    Difference,
    Sample,
    compare,
    statistics_of,
    why_undecidable,
    with_aspect,
)
from siamese.monitoring.sampling import NewImage, NewImages
from siamese.params import DriftParams
from siamese.storage.files import require_exists
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_table
from siamese.tf_runtime import import_tensorflow

if TYPE_CHECKING:
    from siamese.models.verifier import Verifier
    from siamese.preprocessing.pixel_store import StoredImages

HELD_OUT = ("validation", "test")
FEWEST = 10  # images a side, below which nothing can be said
MANY_REJECTED = 0.1  # of all files, or of those opened
TESTS = len(SIZES) + len(LOOKS) + 1

_SIDES = {"reference": "reference", "held_out": "held out from training, for embeddings", "new": "new"}


@dataclass(frozen=True)
class Drift:
    """What `siamese drift` says.

    Attributes:
        retrain: whether retraining is advised.
        because: what differs too much.
        differences: all that was compared; none where no image is new.
        images, units: how many were compared, by side: reference, held_out (the reference's for embeddings), new. A
            unit is an identity, or an image of an unknown one.
        rejected: new files that couldn't be taken, by kind of reason.
        notes: what else should be known, one line each.
    """

    retrain: bool
    because: tuple[str, ...]
    differences: tuple[Difference, ...]
    images: Mapping[str, int]
    units: Mapping[str, int]
    rejected: Mapping[str, int]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def of_folder(
    folder: AnyPath,
    flat: bool,
    catalog: pd.DataFrame,
    images: StoredImages,
    verifier: Verifier,
    params: DriftParams,
    max_pixels: int,
) -> Drift:
    """Compares a folder of images with the model's data; images that the catalog has already are left out.

    Args:
        folder: identity folders, role folders, or images without folders.
        flat: whether subfolders are no identities.
        catalog: of the model's training, from `read_catalog`.
        images: that training's stored pixels.
        verifier: the model.
        params: section `drift`.
        max_pixels: an image of more can't be taken.

    Raises:
        InputError: there is no such folder, or too few images or identities to tell.
    """
    found = sampling.find(folder, flat)
    stored, unit, notes = _stored(catalog, images)
    each = min(sampling.typical_size(unit), sampling.typical_size(found.unit))
    new, new_embedded = _read_new(found, each, set(catalog["image_id"]), verifier, params, max_pixels)
    notes += _notes_on(found, len(new.unit))
    rejected = dict(found.misnamed + found.unreadable)
    if found.known and not len(new.unit):
        return _verdict([], {}, rejected, notes)
    if not len(new.unit):
        why = f" ({', '.join(f'{count} {kind}' for kind, count in rejected.items())})" if rejected else ""
        raise InputError(f"{folder}: holds no usable image{why}: name a folder of JPEG, PNG or BMP images")
    reference = _read_stored(stored, unit, each, images, params)
    _check(reference, new, TESTS, params, str(folder))

    held_out = np.flatnonzero(stored["split"].isin(HELD_OUT))
    rows = held_out[sampling.draw(unit[held_out], each, params.images, _rng(params, 2))]
    why_not = why_undecidable(len(np.unique(unit[rows])), new_embedded.units, TESTS, params)
    if why_not:
        notes.append(f"embeddings aren't compared: held out from training, {why_not}")
        return _verdict(compare(reference, new, None, params), {"reference": reference, "new": new}, rejected, notes)
    ids = stored["image_id"].iloc[rows].tolist()
    embedded = scoring.in_batches(lambda part: verifier.embed(images.pixels(ids[part])), len(ids))
    reference_embedded = Sample(embedded, unit[rows])
    sides = {"reference": reference, "held_out": reference_embedded, "new": new}
    return _verdict(compare(reference, new, (reference_embedded, new_embedded), params), sides, rejected, notes)


def of_log(log: pd.DataFrame, catalog: pd.DataFrame, images: StoredImages, params: DriftParams, name: str) -> Drift:
    """Compares the images of a log of predictions. It holds statistics alone, so embeddings are left out.

    The two images of a prediction are one unit, as they may show one identity. An image that was sent again, which its
    statistics tell, counts once.

    Args:
        log: from `siamese.monitoring.prediction_log.read`.
        catalog, images, params: as in `of_folder`.
        name: what to call the log in an error.

    Raises:
        InputError: there are too few images to tell.
    """
    asked = of_predictions(log)
    stored, unit, notes = _stored(catalog, images)
    each = min(sampling.typical_size(unit), sampling.typical_size(asked.unit))
    rows = sampling.draw(asked.unit, each, params.images, _rng(params, 0))
    new = Sample(asked.values.iloc[rows], asked.unit[rows])
    reference = _read_stored(stored, unit, each, images, params)
    _check(reference, new, TESTS - 1, params, name)
    notes.append("a log of predictions holds no images: embeddings aren't compared")
    return _verdict(compare(reference, new, None, params), {"reference": reference, "new": new}, {}, notes)


def of_predictions(log: pd.DataFrame) -> Sample:
    """The statistics of a log's images, those without left out."""
    columns = ["width", "height", *LOOKS]
    sides = [log[[f"{side}_{name}" for name in columns]].set_axis(columns, axis=1) for side in ("anchor", "other")]
    told = pd.concat(sides).dropna().drop_duplicates()
    return Sample(with_aspect(told.astype(np.float64)), told.index.to_numpy(np.int64))


def read_catalog(catalog_file: Path) -> pd.DataFrame:
    """What is needed of a catalog: image_id, identity, role, split, width, height.

    Raises:
        InputError: it is missing or no catalog.
    """
    columns = ["image_id", "identity", "role", "split", "width", "height"]
    return read_table(require_exists(catalog_file, "siamese catalog"), columns)


def to_text(drift: Drift) -> str:
    """The comparison as a table that a person reads, and the advice as its last line."""
    lines: list[str] = []
    if drift.differences:
        rows = [("", "reference", "new", "effect", "p (Holm)", "")]
        for one in drift.differences:
            figures = str(one.reference), str(one.new), f"{one.effect:.3f}", f"{one.adjusted:.4f}"
            rows.append((one.what, *figures, "drift" if one.drift else "-"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        lines += [f"{_SIDES[side]}: {_many(drift.images[side], units)}" for side, units in drift.units.items()]
    advice = f"retraining advised: {', '.join(drift.because)}" if drift.retrain else "no drift found"
    return "\n".join([*lines, *drift.notes, advice])


def _stored(catalog: pd.DataFrame, images: StoredImages) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """The catalog's images whose pixels are there; the unit of each, in role folders itself; and what is to be told."""
    there = catalog[catalog["image_id"].isin(images.image_ids)].reset_index(drop=True)
    if there.empty:
        raise InputError("none of the catalog's images are stored: run `siamese preprocess`, or name another folder")
    absent = len(catalog) - len(there)
    notes = [f"{absent} of the {len(catalog)} images of the model's data aren't stored here"] if absent else []
    alone = there["role"].notna() | there["identity"].isna()
    identities = [None if lone else name for name, lone in zip(there["identity"], alone, strict=True)]
    return there, sampling.units_of(identities)[0], notes


def _read_stored(
    stored: pd.DataFrame, unit: np.ndarray, each: int, images: StoredImages, params: DriftParams
) -> Sample:
    """Statistics of images drawn from the reference."""
    rows = sampling.draw(unit, each, params.images, _rng(params, 1))
    tables = []
    for start in track(range(0, len(rows), scoring.IMAGES_AT_ONCE), "reading stored images, in batches"):
        part = stored.iloc[rows[start : start + scoring.IMAGES_AT_ONCE]]
        pixels = images.pixels(part["image_id"].tolist())
        tables.append(statistics_of(pixels, part["width"].tolist(), part["height"].tolist()))
    return Sample(pd.concat(tables, ignore_index=True), unit[rows])


def _read_new(
    found: NewImages, each: int, known: Collection[str], verifier: Verifier, params: DriftParams, max_pixels: int
) -> tuple[Sample, Sample]:
    """Statistics and embeddings of images drawn from a folder."""
    drawn = found.draw(each, params.images, known, max_pixels, _rng(params, 0))
    drawn = track(drawn, "reading new images", min(len(found.paths), params.images))
    tables = [statistics_of(np.empty((0, *verifier.image_shape), np.uint8), [], [])]
    embedded: list[np.ndarray] = []
    unit: list[int] = []
    while batch := list(islice(drawn, scoring.IMAGES_AT_ONCE)):
        pixels, taken = _pixels(verifier, batch)
        found.unreadable["TensorFlow can't decode it"] += len(batch) - len(taken)
        if taken:
            tables.append(statistics_of(pixels, [one.width for one in taken], [one.height for one in taken]))
            embedded.append(verifier.embed(pixels))
            unit += [one.unit for one in taken]
    of = np.array(unit, np.int64)
    return Sample(pd.concat(tables, ignore_index=True), of), Sample(np.concatenate(embedded or [np.empty((0, 0))]), of)


def _pixels(verifier: Verifier, batch: Sequence[NewImage]) -> tuple[np.ndarray, Sequence[NewImage]]:
    """Stored pixels, uint8 [taken, *image_shape], and the images that they are of: those that TensorFlow decodes."""
    undecodable = import_tensorflow().errors.InvalidArgumentError
    try:
        return verifier.pixels([one.encoded for one in batch]), batch
    except undecodable:  # of a batch it doesn't say which
        if len(batch) == 1:
            return np.empty((0, *verifier.image_shape), np.uint8), []
    parts = [_pixels(verifier, [one]) for one in batch]
    return np.concatenate([pixels for pixels, _ in parts]), [one for _, taken in parts for one in taken]


def _notes_on(found: NewImages, taken: int) -> list[str]:
    """What should be known about the new folder."""
    notes = []
    misnamed, unreadable = found.misnamed.total(), found.unreadable.total()
    if found.known:
        notes.append(f"{found.known} of {found.opened} images looked at are in the model's data already: left out")
    if misnamed or unreadable:
        kinds = ", ".join(f"{count} {kind}" for kind, count in (found.misnamed + found.unreadable).most_common())
        many = misnamed > MANY_REJECTED * (misnamed + len(found.paths)) or unreadable > MANY_REJECTED * found.opened
        notes.append(f"{'warning: many ' if many else ''}files not taken: {kinds}")
    if found.left_out:
        notes.append(left_out_in_words(found.left_out))
    if taken and not found.identities:
        notes.append("identities of the new images are unknown: many images of a few would look like drift")
    return notes


def _check(reference: Sample, new: Sample, tests: int, params: DriftParams, name: str) -> None:
    """Raises InputError where nothing can be said."""
    if new.units == 1 < len(new.unit):
        raise InputError(
            f"{name}: all new images lie in one subfolder, as one identity's: give --flat if it is none, "
            "or add other identities"
        )
    fewest = min(len(reference.unit), len(new.unit))
    if fewest < FEWEST:
        whose = "the model's data" if fewest == len(reference.unit) else name
        raise InputError(f"{whose}: {fewest} images are too few to tell: add images, {FEWEST} at least")
    why_not = why_undecidable(reference.units, new.units, tests, params)
    if why_not:
        raise InputError(f"{name}: nothing can be said with {params.significance:g} of false alarms: {why_not}")


def _verdict(
    differences: Sequence[Difference], sides: Mapping[str, Sample], rejected: Mapping[str, int], notes: Sequence[str]
) -> Drift:
    because = tuple(one.what for one in differences if one.drift)
    return Drift(
        retrain=bool(because),
        because=because,
        differences=tuple(differences),
        images={name: len(side.unit) for name, side in sides.items()},
        units={name: side.units for name, side in sides.items()},
        rejected=dict(Counter(rejected)),
        notes=tuple(notes),
    )


def _many(images: int, units: int) -> str:
    return f"{images} images" if images == units else f"{images} images of {units} identities"


def _rng(params: DriftParams, draw: int) -> np.random.Generator:
    return np.random.default_rng([params.seed, draw])
