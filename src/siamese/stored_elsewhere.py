"""Stored pixels in an object store: single records by requests of byte ranges, nothing copied but what is asked for.

The index beside the files says which record is where, and which checksum it has. It is the object that is written last,
so a set without it isn't whole; and a record of another run than the index's is found out by its checksum.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from siamese.errors import InputError
from siamese.remote import Address, overlapped
from siamese.stored import IN_INDEX, INDEX, StoredImages, crc_of, damaged, images_in, record_type, shape_of, sizes_of

KEPT_BYTES = 2**29  # of pixels that were read: 17,000 images
AHEAD = 4  # batches that are read while one is used


class ImagesElsewhere(StoredImages):
    """`StoredImages` of a folder in a store. Threads may share one."""

    def __init__(self, images_folder: Address, kept_bytes: int = KEPT_BYTES) -> None:
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


def _read_index(images_folder: Address) -> pa.Table:
    file = images_folder / INDEX
    try:
        return pa.parquet.read_table(pa.BufferReader(file.read_bytes()), columns=["image_id", "file", "crc"])
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing, so the set isn't whole or is an older version's: run `siamese preprocess` again"
        ) from None
    except pa.ArrowException as error:
        raise damaged(file, f"no index ({' '.join(str(error).split())[:120]})") from None
