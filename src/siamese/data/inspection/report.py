"""The data report: what a folder holds before anything is trained on it, and whether anything can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from siamese.data.catalog import FolderScan, collect, listed_only, nothing_usable, with_splits
from siamese.data.image_folder import ROLES, kind_of
from siamese.data.inspection.image_statistics import measure_images
from siamese.data.inspection.outliers import OutlierReport, find
from siamese.data.linked_folders import linked_folders
from siamese.data.names import first_folders, look_alikes
from siamese.data.splits import SPLITS, STABLE_FROM, is_stable
from siamese.data.system_files import count_left_out, is_left_out
from siamese.errors import InputError
from siamese.params import CatalogParams
from siamese.storage.object_store import AnyPath

SHOWN = 10  # rejected files by name
SMALL_SIDE = 32  # pixels; an image is enlarged three times and more to the network's 100
LONG_SHAPE = 4  # longer to shorter side; an image is squeezed to a square
UNEVEN = 10  # most to median
MANY_REJECTED = 0.1  # of all files
FEW_TO_MEASURE = 10  # identities in the test split


@dataclass(frozen=True)
class DataReport:
    """What `siamese inspect` says of a folder. Every field is JSON-able.

    Attributes:
        folder, layout: the folder, and `identities` or `roles`.
        images: usable images, each counted once.
        identities: number of identities; 1 in role folders, where others are unknown.
        images_an_identity: fewest, median and most; in role folders, images of each role.
        sizes: [width, height] in pixels of the smallest, median and largest image, by area.
        formats: images of each format.
        duplicates: `copies` left over, and `contradictory` ones under several identities; both are among the rejected.
        rejected, reasons, rejected_files: number of files not taken; by kind of reason; path and reason of the first.
            Files left out aren't among them.
        left_out: files of the system and hidden ones, by kind.
        split: images (and identities, or images of the target and others) a split; None where there can't be one.
        stable: whether images keep their split when others are added.
        warnings: one line each.
        trainable, why_not: whether every split allows both kinds of pairs; if not, what is missing.
        look_alikes: names of identity folders that look the same, a list for each identity they are read as.
        near_duplicates, outliers: what a look at the pixels found, as `siamese.data.inspection.outliers` counts it;
            None: not looked.
    """

    folder: str
    layout: str
    images: int
    identities: int
    images_an_identity: dict[str, float]
    sizes: dict[str, list[int]]
    formats: dict[str, int]
    duplicates: dict[str, int]
    rejected: int
    reasons: dict[str, int]
    rejected_files: list[dict[str, str]]
    left_out: dict[str, int]
    split: dict[str, dict[str, int]] | None
    stable: bool
    warnings: list[str]
    trainable: bool
    why_not: str | None
    look_alikes: list[list[str]] = field(default_factory=list)
    near_duplicates: dict[str, Any] | None = None
    outliers: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Survey:
    """A folder as read once.

    Attributes:
        folder, found: the folder, and what it holds.
        images: one row an image, the catalog's columns; split is missing everywhere if there can't be one.
        split: images (and identities, or images of the target and others) a split, or None.
        why_not: why there can't be a split, or None.
    """

    folder: AnyPath
    found: FolderScan
    images: pd.DataFrame
    split: dict[str, dict[str, int]] | None
    why_not: str | None

    @property
    def folders(self) -> set[AnyPath]:
        """All folders that files were found in, and those above them up to the folder itself."""
        below = {Path(path).parent for path in (*self.images["path"], *self.found.rejected["path"])}
        return {self.folder / part for folder in below for part in (folder, *folder.parents)}


def survey(data_folder: AnyPath, params: CatalogParams, max_pixels: int) -> Survey:
    """Reads a folder of images as the step `catalog` does, and writes nothing.

    Raises:
        InputError: there is no such folder, or it can't be read. What it holds is never an error.
    """
    found = collect(data_folder, max_pixels)
    try:
        found = listed_only(data_folder, found, params)
        if found.images.empty:
            raise InputError(nothing_usable(found))
        images = with_splits(found, params)
        return Survey(data_folder, found, images, _split(images, found.layout), None)
    except InputError as error:
        return Survey(data_folder, found, found.images.assign(split=None), None, str(error))


def look(read: Survey, max_pixels: int) -> OutlierReport:
    """Decodes every image, and finds near-duplicates and images much unlike the others."""
    files = [read.folder / path for path in read.images["path"]]
    return find(read.images, measure_images(files, int(read.images["bytes"].sum()), max_pixels))


def report(read: Survey, odd: OutlierReport | None) -> DataReport:
    """What the folder holds; what is odd about the pixels, too, if they were looked at."""
    made = _report(read)
    if odd is None:
        return made
    return replace(
        made,
        near_duplicates=odd.near_duplicates(),
        outliers=odd.outlying(),
        warnings=made.warnings + [_flat(line) for line in odd.warnings()],
    )


def _report(read: Survey) -> DataReport:
    found, images, split, why_not = read.found, read.found.images, read.split, read.why_not
    rejected = _rejected(found)
    reasons = Counter(map(kind_of, rejected["reason"]))
    stable = _stable(found)
    return DataReport(
        folder=str(read.folder),
        layout=found.layout,
        images=len(images),
        identities=images["identity"].nunique(),
        images_an_identity=_images_an_identity(found),
        sizes=_sizes(images),
        formats=dict(sorted(Counter(images["format"]).items())),
        duplicates={"copies": reasons["copy"], "contradictory": reasons["copies under several identities"]},
        rejected=len(rejected),
        reasons=dict(reasons.most_common()),
        rejected_files=[
            {"path": str(row.path), "reason": str(row.reason)} for row in rejected.head(SHOWN).itertuples()
        ],
        left_out=count_left_out(found.rejected["reason"]),
        split=split,
        stable=stable,
        warnings=[*_link_warnings(read.folder), *_warnings(found, split, stable)],
        trainable=why_not is None,
        why_not=why_not,
        look_alikes=look_alikes(first_folders(images["path"])) if found.layout == "identities" else [],
    )


def to_text(report: DataReport) -> str:
    """The report for a person to read, a fact a line."""
    return "\n".join(f"{name:<12}{text}".rstrip() for name, text in facts(report))


def facts(report: DataReport) -> list[tuple[str, str]]:
    """The report as names and what is to be said of each; no name: of the one before."""
    lines = [
        ("folder", report.folder),
        ("layout", _layout_in_words(report)),
        ("images", _images_in_words(report)),
        ("sizes", ", ".join(f"{name} {width} x {height}" for name, (width, height) in report.sizes.items()) or "none"),
        ("formats", _counts(report.formats) or "none"),
        ("duplicates", _counts(report.duplicates)),
        ("rejected", f"{report.rejected}: {_counts(report.reasons)}" if report.rejected else "none"),
        *(("", f"{_flat(one['path'])}: {_flat(one['reason'])}") for one in report.rejected_files),
    ]
    if report.rejected > len(report.rejected_files):
        lines.append(
            ("", f"and {report.rejected - len(report.rejected_files)} more (`siamese catalog` lists them all)")
        )
    if report.left_out:
        lines.append(("left out", _counts(report.left_out)))
    if report.near_duplicates and report.outliers:
        lines.append(("alike", _alike_in_words(report.near_duplicates)))
        lines.append(("outliers", _counts({kind: found["images"] for kind, found in report.outliers.items()})))
    for split, numbers in (report.split or {}).items():
        lines.append((split, _counts(numbers)))
    if report.split:
        lines.append(("stable", "yes: data may be added, no image changes its split" if report.stable else "no"))
    lines += [("warning", warning) for warning in report.warnings]
    lines.append(("trainable", "yes" if report.trainable else f"no: {report.why_not}"))
    return lines


def _rejected(found: FolderScan) -> pd.DataFrame:
    return found.rejected.loc[[not is_left_out(reason) for reason in found.rejected["reason"]]]


def _images_an_identity(found: FolderScan) -> dict[str, float]:
    images = found.images
    if found.layout == "roles":
        return {role: int((images["role"] == role).sum()) for role in ROLES}
    counts = images["identity"].value_counts()
    if counts.empty:
        return {}
    return {"fewest": int(counts.min()), "median": float(counts.median()), "most": int(counts.max())}


def _sizes(images: pd.DataFrame) -> dict[str, list[int]]:
    if images.empty:
        return {}
    area = images["width"].astype("int64") * images["height"]
    by_area = images.loc[area.sort_values(kind="stable").index, ["width", "height"]]
    places = {"smallest": 0, "median": len(by_area) // 2, "largest": len(by_area) - 1}
    return {name: [int(side) for side in by_area.iloc[place]] for name, place in places.items()}


def _split(catalog: pd.DataFrame, layout: str) -> dict[str, dict[str, int]]:
    numbers = {}
    for split in SPLITS:
        rows = catalog[catalog["split"] == split]
        known = int(rows["identity"].notna().sum())
        of = {"identities": rows["identity"].nunique()}
        if layout == "roles":
            of = {"target": known, "negative": len(rows) - known}
        numbers[split] = {**of, "images": len(rows)}
    return numbers


def _stable(found: FolderScan) -> bool:
    if found.given:
        return True
    if found.layout == "identities":
        return is_stable(found.images["identity"].nunique())
    return all(is_stable(count) for count in found.images["role"].value_counts())


def _warnings(found: FolderScan, split: dict[str, dict[str, int]] | None, stable: bool) -> Iterator[str]:
    images = found.images
    units = "identities" if found.layout == "identities" else "images in a role"
    if split and not stable:
        yield f"fewer than {STABLE_FROM} {units}: added data may change the split of what is there"
    if found.layout == "identities":
        yield from _identity_warnings(found)
        if split and split["test"]["identities"] < FEW_TO_MEASURE:
            yield f"only {split['test']['identities']} identities to test on: the measured figures will be coarse"
    elif not images.empty:
        known = int(images["identity"].notna().sum())
        if max(known, len(images) - known) > UNEVEN * min(known, len(images) - known):
            yield f"uneven: {known} images of the target, {len(images) - known} of others"
    sides = images[["width", "height"]]
    small = int((sides.min(axis=1) < SMALL_SIDE).sum())
    if small:
        yield f"images with a side of fewer than {SMALL_SIDE} pixels, which show little: {small}"
    long = int((sides.max(axis=1) > LONG_SHAPE * sides.min(axis=1)).sum())
    if long:
        yield f"images more than {LONG_SHAPE} times as long as wide, which are squeezed to a square: {long}"
    rejected = len(_rejected(found))
    files = len(images) + rejected
    if rejected > MANY_REJECTED * files:
        yield f"many files are rejected: {rejected} of {files}"


def _identity_warnings(found: FolderScan) -> Iterator[str]:
    counts = found.images["identity"].value_counts()
    yield from found.warnings
    single = int((counts == 1).sum())
    if single:
        yield f"identities with one image, which gives no positive pair: {single}"
    if not counts.empty and counts.max() > UNEVEN * counts.median():
        yield f"uneven: {counts.max()} images of '{counts.idxmax()}', a median of {counts.median():g} an identity"
    empty = sorted(first_folders(_rejected(found)["path"]) - first_folders(found.images["path"]))
    if empty:
        yield f"folders without a usable image: {len(empty)}, the first is '{_flat(empty[0])}'"


def _link_warnings(folder: AnyPath) -> Iterator[str]:
    links = linked_folders(folder)
    if links:
        yield f"links to folders, which `dvc repro` refuses: {len(links)}, the first is '{_flat(links[0])}'"


def _layout_in_words(report: DataReport) -> str:
    words = {"identities": "identity folders, <identity>/*", "roles": f"role folders, {', '.join(ROLES)}"}
    return words[report.layout]


def _images_in_words(report: DataReport) -> str:
    numbers = _counts(report.images_an_identity)
    if report.layout == "roles":
        return f"{report.images}: {numbers}"
    return f"{report.images} of {report.identities} identities" + (
        f", images an identity: {numbers}" if numbers else ""
    )


def _alike_in_words(found: dict[str, Any]) -> str:
    across = {two: groups for two, groups in found["across_splits"].items() if groups}
    return ", ".join(
        [
            f"{found['images']} near-duplicates in {found['groups']} {'group' if found['groups'] == 1 else 'groups'}",
            *(f"{groups} across {two}" for two, groups in across.items()),
            f"{found['across_identities']} under different identities",
        ]
    )


def _counts(numbers: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {count:g}" if isinstance(count, float) else f"{name} {count}" for name, count in numbers.items()
    )


def _flat(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
