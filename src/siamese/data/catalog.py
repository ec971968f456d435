"""The catalog: which images there are, whose they are, in which split each lies; and every file not taken, with why.

Two layouts are told apart by the folder's own subfolders: `anchor`, `positive` and `negative` make it role folders (one
target identity against others); otherwise each subfolder is an identity. Subfolders with names that look the same are
one identity or role (`siamese.data.names`). A pool of processes reads each file once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from siamese.console import log, track
from siamese.data import image_folder, splits
from siamese.data.image_folder import ROLES, Layout
from siamese.data.images.formats import FileInfo, Rejected, examine
from siamese.data.linked_folders import refuse_under_dvc
from siamese.data.names import first_folders, folder_warnings, one_spelling
from siamese.data.splits import SPLITS, SplitList, split_units
from siamese.data.system_files import count_left_out, is_left_out, left_out_in_words
from siamese.errors import InputError
from siamese.params import CatalogParams
from siamese.storage.files import atomic_file
from siamese.storage.object_store import AnyPath
from siamese.storage.parallel import parallel_map

IDENTITIES_A_SPLIT = 2
TARGET_IMAGES_A_SPLIT = 2
NEGATIVE_IMAGES_A_SPLIT = 1

_TYPES = {
    "image_id": "str",
    "path": "str",
    "identity": "str",
    "role": "str",
    "split": "str",
    "width": "int32",
    "height": "int32",
    "format": "str",
    "bytes": "int64",
}
COLUMNS = list(_TYPES)
UNSPLIT = [name for name in COLUMNS if name != "split"]
_NAMED = 5
_BYTES_WORTH_A_PROCESS = 50_000_000  # a process costs 0.5 s to start; images are checked at 50 to 100 MB/s


@dataclass(frozen=True)
class FolderScan:
    """What a folder holds.

    Attributes:
        layout: which of the two.
        images: one row an image, columns `UNSPLIT`, sorted by path.
        rejected: one row a file not taken, columns path and reason, sorted by path.
        given: the splits that a list gives; None: a hash decides.
    """

    layout: Layout
    images: pd.DataFrame
    rejected: pd.DataFrame
    given: SplitList | None = None

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the names of identity folders, a line each."""
        return folder_warnings(first_folders(self.images["path"])) if self.layout == "identities" else []


def run(data_folder: AnyPath, catalog_file: Path, rejected_file: Path, params: CatalogParams, max_pixels: int) -> None:
    """Reads a folder of images, writes `catalog.parquet` and `rejected.csv`: the step as DVC and Kubeflow call it.

    Raises:
        InputError: no such folder, no usable image, or too few for the splits. The rejected files are written before.
            If DVC runs this step, also a link to a folder; then nothing is written.
    """
    refuse_under_dvc(data_folder)
    found = listed_only(data_folder, collect(data_folder, max_pixels), params)
    for line in found.warnings:
        log(f"{data_folder}: {line}")
    with atomic_file(rejected_file) as beside:
        found.rejected.to_csv(beside, index=False, lineterminator="\n")
    left_out = left_out_in_words(count_left_out(found.rejected["reason"]))
    if left_out:
        log(f"{data_folder}: {left_out}")
    if found.images.empty:
        raise InputError(f"{data_folder}: {nothing_usable(found)}")
    try:
        catalog = with_splits(found, params)
    except InputError as error:
        raise InputError(f"{data_folder}: {error}") from None
    with atomic_file(catalog_file) as beside:
        catalog.to_parquet(beside, index=False)


def collect(data_folder: AnyPath, max_pixels: int) -> FolderScan:
    """Every file of the folder: taken, or rejected with its reason.

    Raises:
        InputError: there is no such folder, or it can't be read.
    """
    layout = image_folder.detect_layout(data_folder)
    paths: list[str] = []
    reasons: dict[str, str] = {}
    for path, unreachable in sorted(image_folder.files_below(data_folder)):
        reason = image_folder.reason_by_name(path, layout, unreachable)
        if reason:
            reasons[os.fsencode(path).decode("utf-8", "backslashreplace")] = reason
        else:
            paths.append(path)
    rows = []
    read = _examined([data_folder / path for path in paths], max_pixels)
    for path, outcome in zip(paths, track(read, "reading images", total=len(paths)), strict=True):
        if isinstance(outcome, Rejected):
            reasons[path] = str(outcome)
        else:
            image = outcome.image
            size = image.width, image.height, image.format, outcome.bytes
            rows.append((outcome.image_id, path, *image_folder._owner(path, layout), *size))
    return scan_files(pd.DataFrame(rows, columns=UNSPLIT), reasons, layout)


def scan_files(images: pd.DataFrame, reasons: Mapping[str, str], layout: Layout) -> FolderScan:
    """What a folder holds, once copies are left out; the same whatever the order of its files.

    Args:
        images: one row an image file that can be taken, columns `UNSPLIT`.
        reasons: path of each other file to why it isn't taken.
        layout: which of the two.
    """
    images = images.assign(identity=images["identity"].map(one_spelling(images["identity"].dropna())))
    images = images.astype({name: _TYPES[name] for name in UNSPLIT}).sort_values("path")
    copies = copies_among(images)
    return FolderScan(
        layout,
        images[~images["path"].isin(list(copies))].reset_index(drop=True),
        pd.DataFrame(sorted({**reasons, **copies}.items()), columns=["path", "reason"], dtype="str"),
    )


def listed_only(data_folder: AnyPath, found: FolderScan, params: CatalogParams) -> FolderScan:
    """Without the images that the list named by `catalog.splits` leaves out; the same where there is no such list.

    Raises:
        InputError: as `given_splits.read`.
    """
    given = splits.read_split_list(data_folder, params.splits, found.layout)
    if given is None:
        return found
    images, left_out = given.only(found.images)
    reasons = dict(zip(found.rejected["path"], found.rejected["reason"], strict=True)) | left_out
    rejected = pd.DataFrame(sorted(reasons.items()), columns=["path", "reason"], dtype="str")
    return FolderScan(found.layout, images.reset_index(drop=True), rejected, given)


def copies_among(images: pd.DataFrame) -> dict[str, str]:
    """The paths that byte-identical images leave over, with reasons.

    Of one identity's copies the first path is kept; copies under two identities contradict each other, so none is.

    Args:
        images: columns image_id, path, identity and role, sorted by path.
    """
    reasons: dict[str, str] = {}
    of_image = images[images["image_id"].duplicated(keep=False)].groupby("image_id", sort=False)
    for _, copies in of_image:
        owners = copies["identity"].fillna(ROLES[-1]).unique().tolist()
        paths = copies["path"].tolist()
        if len(owners) > 1:
            named = ", ".join(owners[:_NAMED]) + (f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else "")
            reasons |= dict.fromkeys(paths, f"copies under several identities: {named}")
        else:
            reasons |= dict.fromkeys(paths[1:], f"copy: of {paths[0]}")
    return reasons


def with_splits(found: FolderScan, params: CatalogParams) -> pd.DataFrame:
    """The images with their splits, columns `COLUMNS`.

    Identity folders are split by identity, role folders by image within each role.

    Raises:
        InputError: a split would lack what pairs need, with what is needed.
    """
    shares = params.model_dump(exclude={"splits"})
    images = found.images.copy()
    if found.given:
        images["split"] = found.given.splits(images)
    elif found.layout == "identities":
        identities = images["identity"].unique().tolist()
        if len(identities) < IDENTITIES_A_SPLIT * len(SPLITS):
            raise InputError(_too_few_identities(images))
        split_of = split_units(identities, minimum=IDENTITIES_A_SPLIT, **shares)
        images["split"] = images["identity"].map(split_of)
    else:
        split_of = {}
        for role, minimum in role_minimums(Counter(images["role"].tolist())).items():
            units = images.loc[images["role"] == role, "image_id"].tolist()
            try:
                split_of |= split_units(units, minimum=minimum, **shares)
            except InputError as error:
                raise InputError(f"{role} images: {error}") from None
        images["split"] = images["image_id"].map(split_of)
    for split, rows in images.groupby("split"):
        if not rows["identity"].value_counts().gt(1).any():
            raise InputError(
                f"split '{split}' has no identity with two images, so no positive pair: "
                f"add images, or change {found.given.file if found.given else 'catalog.seed'}"
            )
    return images.astype(_TYPES)[COLUMNS]


def role_minimums(images: Mapping[str, int]) -> dict[str, int]:
    """How many images of each role every split needs, so that it has two of the target and one other.

    Args:
        images: number of images of each role.

    Raises:
        InputError: there are too few.
    """
    anchors, positives, negatives = (images.get(role, 0) for role in ROLES)
    for anchor, positive in ((1, 1), (0, TARGET_IMAGES_A_SPLIT), (TARGET_IMAGES_A_SPLIT, 0)):
        minimums = dict(zip(ROLES, (anchor, positive, NEGATIVE_IMAGES_A_SPLIT), strict=True))
        if all(images.get(role, 0) >= len(SPLITS) * least for role, least in minimums.items()):
            return minimums
    raise InputError(
        f"{anchors} anchor, {positives} positive and {negatives} negative images are too few: needed are 3 of each, "
        "or 6 anchor or positive and 3 negative"
    )


def nothing_usable(found: FolderScan) -> str:
    """One line on a folder without a usable image: what was looked at, and the commonest reason."""
    expected = "expected <identity>/* or anchor/*, positive/*, negative/* with JPEG, PNG or BMP"
    if found.rejected.empty:
        return f"the folder is empty: {expected}"
    reasons = [reason for reason in found.rejected["reason"] if not is_left_out(reason)]
    reasons = reasons or found.rejected["reason"].tolist()
    (kind, count), *_ = Counter(map(image_folder.kind_of, reasons)).most_common(1)
    return f"no usable image: {count} of {len(reasons)} files are rejected as '{kind}': {expected}"


def _too_few_identities(images: pd.DataFrame) -> str:
    identities = images["identity"].unique().tolist()
    needed = IDENTITIES_A_SPLIT * len(SPLITS)
    if len(identities) == 1 and images["path"].str.count("/").ge(2).all():
        return (
            f"all images lie under one folder: if its subfolders are the identities, set data.path to …/{identities[0]}"
        )
    return f"{len(identities)} identities with usable images are too few: {needed} are needed, 2 a split"


def _examined(files: Sequence[AnyPath], max_pixels: int) -> Iterator[FileInfo | Rejected]:
    """`examine` of each file, in order."""
    processes = sum(map(_size, files)) // _BYTES_WORTH_A_PROCESS
    return parallel_map(partial(examine, max_pixels=max_pixels), files, processes)


def _size(file: AnyPath) -> int:
    try:
        return file.stat().st_size
    except OSError:  # `examine` will say so
        return 0
