"""Random access to stored pixels: mapped into memory from a local folder, by byte ranges from an object store.

The index beside the files says which record is where, and which checksum it has. It is the object that is written last,
so a set without it isn't whole; and a record of another run than the index's is found out by its checksum.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from siamese.errors import InputError
from siamese.preprocessing import records
from siamese.preprocessing.records import (
    _ID_BYTES,
    IN_INDEX,
    INDEX,
    crc_of,
    damaged,
    images_in,
    record_type,
    shape_of,
    sizes_of,
    to_records,
)
from siamese.storage.files import digest
from siamese.storage.object_store import AnyPath, RemotePath, overlapped

_MAPPED_AT_ONCE = 256  # each map holds a file descriptor


def open_store(images_folder: AnyPath) -> StoredImages:
    """The stored images of a folder, here or in a store.

    Raises:
        InputError: a file is missing, truncated, damaged or of another kind; or the store can't be used.
    """
    if isinstance(images_folder, Path):
        return StoredImages(images_folder)

    return RemoteStoredImages(images_folder)


class StoredImages:
    """The pixels of a folder of such files; rows are numbered over all files, in order of image_id.

    Attributes:
        image_shape: height, width and channels.
    """

    image_shape: tuple[int, int, int]

    def __init__(self, images_folder: Path) -> None:
        """Opens the folder: reads the image_ids, no pixels.

        Raises:
            InputError: a file is missing, truncated, damaged or of another kind.
        """
        sizes = records.sizes_of(images_folder)
        self._files = [images_folder / name for name in sizes]
        self.image_shape = _shape_in(self._files[0])
        records.images_in(images_folder, sizes, records.record_type(self.image_shape).itemsize)
        self._records = lru_cache(_MAPPED_AT_ONCE)(self._map)
        self._number(images_folder, [self._ids(file) for file in range(len(self._files))])
        self._checked = np.zeros(len(self), bool)

    def _number(self, images_folder: AnyPath, ids: Sequence[np.ndarray]) -> None:
        """Numbers the rows by the image_ids of each file."""
        self._first_row = np.cumsum([0, *map(len, ids)])
        self._sorted_ids = np.concatenate(ids)
        if (self._sorted_ids[1:] <= self._sorted_ids[:-1]).any():
            raise InputError(f"{images_folder} isn't in order of image_id: run `siamese preprocess` again")

    def __len__(self) -> int:
        return len(self._sorted_ids)

    @cached_property
    def image_ids(self) -> list[str]:
        """All image_ids, in order of row."""
        return self._sorted_ids.astype(f"U{records._ID_BYTES}").tolist()

    def digest(self) -> str:
        """SHA-256 of all image_ids and checksums: equal for equal images, however many of them lie in a file."""
        return digest([self._sorted_ids.tobytes(), self._checksums()])

    def rows_of(self, image_ids: Sequence[str]) -> np.ndarray:
        """The row of each image: int64 [n].

        Raises:
            InputError: one isn't here.
        """
        wanted = np.asarray(image_ids, f"U{records._ID_BYTES}").astype(f"S{records._ID_BYTES}")
        rows = np.searchsorted(self._sorted_ids, wanted)
        absent = self._sorted_ids[np.minimum(rows, len(self) - 1)] != wanted
        if absent.any():
            image_id = image_ids[int(absent.argmax())]
            raise InputError(f"no stored pixels of image {image_id}: run `siamese preprocess` on the same catalog")
        return rows

    def pixels(self, image_ids: Sequence[str]) -> np.ndarray:
        """The images' pixels: uint8 [n, *image_shape].

        Raises:
            InputError: one isn't here, or its record is damaged.
        """
        return self.rows(self.rows_of(image_ids))

    def rows(self, rows: Any) -> np.ndarray:
        """The pixels in these rows, an array or sequence of n numbers: uint8 [n, *image_shape].

        Raises:
            InputError: a record is damaged.
        """
        rows = np.asarray(rows, np.int64)
        pixels = np.empty((len(rows), *self.image_shape), np.uint8)
        files = np.searchsorted(self._first_row, rows, side="right") - 1
        for place, (row, file) in enumerate(zip(rows.tolist(), files.tolist(), strict=True)):
            record = self._records(file)[row - self._first_row[file]]
            if not self._checked[row]:
                self._check(record, file)
                self._checked[row] = True
            pixels[place] = record["pixels"]
        return pixels

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`rows` of each, in order. From a store, those that come next are read meanwhile."""
        return map(self.rows, batches)

    def _checksums(self) -> bytes:
        """Those of all records."""
        return b"".join(self._records(file)["crc"].tobytes() for file in range(len(self._files)))

    def _map(self, file: int) -> np.ndarray:
        path = self._files[file]
        try:
            return np.memmap(path, records.record_type(self.image_shape), mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise records.damaged(path, f"can't be mapped: {error}") from None

    def _ids(self, file: int) -> np.ndarray:
        path = self._files[file]
        records = self._records(file)
        sound = to_records(["0" * _ID_BYTES], np.zeros((1, *self.image_shape), np.uint8))[0]
        for name in ("length", "length_crc", "before_id", "before_pixels"):
            if (records[name] != sound[name]).any():
                raise damaged(path, "not the records that preprocess writes")
        return records["image_id"].copy()

    def _check(self, record: np.void, file: int) -> None:
        if record["crc"] != records.crc_of(record):
            image_id = record["image_id"].decode("ascii", "replace")
            raise records.damaged(self._files[file], f"wrong checksum at image {image_id}")


def _shape_in(file: Path) -> tuple[int, int, int]:
    with file.open("rb") as opened_file:
        length = int.from_bytes(opened_file.read(8), "little")
    shape = records.shape_of(length + records._HEAD_BYTES + 4)
    if shape is None:
        raise records.damaged(file, "not the records that preprocess writes")
    return shape


KEPT_BYTES = 2**29  # of pixels that were read: 17,000 images
AHEAD = 4  # batches that are read while one is used


class RemoteStoredImages(StoredImages):
    """`StoredImages` of a folder in a store. Threads may share one."""

    def __init__(self, images_folder: RemotePath, kept_bytes: int = KEPT_BYTES) -> None:
        """Opens the folder: lists it and reads the index, 36 bytes an image; no pixels.

        Args:
            images_folder: what `siamese preprocess` wrote, or a copy of a folder that it wrote.
            kept_bytes: most memory for pixels that were read and may be asked for again.

        Raises:
            InputError: a file is missing, truncated or of another run than the index; or the store can't be used.
        """
        sizes = sizes_of(images_folder)
        index = _read_index(images_folder)
        ids = np.array(index["image_id"].to_pylist(), IN_INDEX["image_id"])
        images = np.bincount(index["file"].to_numpy(), minlength=len(sizes)).tolist()
        shape = shape_of(sum(sizes.values()) / max(len(ids), 1))
        if shape is None or images != images_in(images_folder, sizes, record_type(shape).itemsize):
            raise InputError(f"{images_folder}: {INDEX} is of another run: run `siamese preprocess` again")
        self.image_shape, self._record = shape, record_type(shape)
        self._folder, self._names = images_folder, [*sizes]
        self._crcs = index["crc"].to_numpy()
        self._number(images_folder, np.split(ids, np.cumsum(images)[:-1]))
        self._most_kept = kept_bytes // int(np.prod(shape))
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()  # by row, the one used last at the end
        self._lock = threading.Lock()

    def rows(self, rows: Any) -> np.ndarray:
        """The pixels in these rows: uint8 [n, *image_shape].

        Raises:
            InputError: a record is damaged or of another run, or the store can't be used.
        """
        rows = np.asarray(rows, np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows are 0 to {len(self) - 1}")
        wanted = set(rows.tolist())
        with self._lock:
            found = {row: self._kept[row] for row in wanted if row in self._kept}
            for row in found:
                self._kept.move_to_end(row)
        found |= self._read(sorted(wanted - found.keys()))
        pixels = np.empty((len(rows), *self.image_shape), np.uint8)
        for place, row in enumerate(rows.tolist()):
            pixels[place] = found[row]
        return pixels

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return overlapped(self.rows, batches, AHEAD)

    def _checksums(self) -> bytes:
        return self._crcs.tobytes()

    def _read(self, rows: list[int]) -> dict[int, np.ndarray]:
        """The pixels of these rows, which rise; neighbours in a file are one request."""
        runs: list[list[int]] = []
        starts = set(self._first_row.tolist())
        for row in rows:
            if runs and runs[-1][-1] == row - 1 and row not in starts:
                runs[-1].append(row)
            else:
                runs.append([row])
        files = np.searchsorted(self._first_row, [run[0] for run in runs], side="right") - 1
        ranges = []
        for run, file in zip(runs, files.tolist(), strict=True):
            first = (run[0] - int(self._first_row[file])) * self._record.itemsize
            ranges.append((self._names[file], first, first + len(run) * self._record.itemsize))
        try:
            contents = self._folder.read_ranges(ranges) if ranges else []
        except FileNotFoundError:
            raise InputError(f"{self._folder}: a file vanished meanwhile: run `siamese preprocess` again") from None
        found = {}
        for run, (name, _, _), content in zip(runs, ranges, contents, strict=True):
            if len(content) != len(run) * self._record.itemsize:
                raise damaged(self._folder / name, "truncated")
            for row, record in zip(run, np.frombuffer(content, self._record), strict=True):
                self._check_of(row, record, name)
                found[row] = record["pixels"].copy()
        with self._lock:
            self._kept |= found
            while len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        return found

    def _check_of(self, row: int, record: np.void, name: str) -> None:
        if record["image_id"] != self._sorted_ids[row] or not crc_of(record) == record["crc"] == self._crcs[row]:
            image_id = self._sorted_ids[row].decode("ascii", "replace")
            raise damaged(self._folder / name, f"wrong checksum at image {image_id}")


def _read_index(images_folder: RemotePath) -> pa.Table:
    file = images_folder / INDEX
    try:
        return pa.parquet.read_table(pa.BufferReader(file.read_bytes()), columns=["image_id", "file", "crc"])
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing, so the set isn't whole or is an older version's: run `siamese preprocess` again"
        ) from None
    except pa.ArrowException as error:
        raise damaged(file, f"no index ({' '.join(str(error).split())[:120]})") from None
