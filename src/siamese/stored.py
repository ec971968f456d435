"""The pixels that `preprocess` stores, read at random without loading them.

A file is a TFRecord file of tf.train.Example {image_id, pixels}, as any TensorFlow program reads it. As all its records
have the same length and layout, it is a table too, and is mapped into memory as one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from siamese.errors import InputError
from siamese.files import digest
from siamese.shapes import IMAGE_SHAPE

FILES = "part-*.tfrecord"
_PIXEL_BYTES = int(np.prod(IMAGE_SHAPE))
_MAPPED_AT_ONCE = 256  # each map holds a file descriptor


def _field(number: int, content: bytes, more: int = 0) -> bytes:
    """A length-delimited protobuf field: tag, length of `content` and what follows it, and `content`."""
    length = len(content) + more
    digits = bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *digits, length]) + content


def _feature(name: bytes, size: int) -> bytes:
    """An entry of Features' map up to its value of `size` bytes: Feature{bytes_list: BytesList{value: …}}."""
    value = _field(1, b"", size)
    bytes_list = _field(1, value, size)
    feature = _field(2, bytes_list, size)
    return _field(1, _field(1, name) + feature, size)


_ID_BYTES = 64
_BEFORE_PIXELS = _feature(b"pixels", _PIXEL_BYTES)
_BEFORE_ID = _feature(b"image_id", _ID_BYTES)
_BEFORE_ID = _field(1, _BEFORE_ID, _ID_BYTES + len(_BEFORE_PIXELS) + _PIXEL_BYTES)  # Example{features: Features{…}}

RECORD = np.dtype(
    [
        ("length", "<u8"),  # TFRecord: of the Example, and its checksum
        ("length_crc", "<u4"),
        ("before_id", f"V{len(_BEFORE_ID)}"),
        ("image_id", f"S{_ID_BYTES}"),
        ("before_pixels", f"V{len(_BEFORE_PIXELS)}"),
        ("pixels", "u1", IMAGE_SHAPE),
        ("crc", "<u4"),  # of the Example
    ]
)
_HEAD_BYTES = 12
_EXAMPLE_BYTES = RECORD.itemsize - _HEAD_BYTES - 4


def file_name(shard: int, shards: int) -> str:
    """The name of file number `shard`, from 0, of `shards`."""
    return f"part-{shard:05}-of-{shards:05}.tfrecord"


def to_records(image_ids: Sequence[str] | Sequence[bytes], pixels: np.ndarray) -> np.ndarray:
    """The content of a file: `RECORD` [n].

    Args:
        image_ids: n texts or bytes of 64 characters.
        pixels: uint8 [n, 100, 100, 3].
    """
    records = np.zeros(len(image_ids), RECORD)
    records["length"] = _EXAMPLE_BYTES
    records["length_crc"] = _masked_crc(_EXAMPLE_BYTES.to_bytes(8, "little"))
    records["before_id"] = np.void(_BEFORE_ID)
    records["image_id"] = image_ids
    records["before_pixels"] = np.void(_BEFORE_PIXELS)
    records["pixels"] = pixels
    records["crc"] = [_crc_of(record) for record in records]
    return records


def count(images_folder: Path) -> int:
    """How many images a folder of such files holds, by their sizes alone.

    Raises:
        InputError: a file is missing or truncated.
    """
    return sum(_count(file) for file in _all_files(images_folder))


class StoredImages:
    """The pixels of a folder of such files; rows are numbered over all files, in order of image_id."""

    def __init__(self, images_folder: Path) -> None:
        """Opens the folder: reads the image_ids, no pixels.

        Raises:
            InputError: a file is missing, truncated, damaged or of another kind.
        """
        self._files = _all_files(images_folder)
        self._records = lru_cache(_MAPPED_AT_ONCE)(self._map)
        ids = [self._ids(file) for file in range(len(self._files))]
        self._first_row = np.cumsum([0, *map(len, ids)])
        self._sorted_ids = np.concatenate(ids)
        if (self._sorted_ids[1:] <= self._sorted_ids[:-1]).any():
            raise InputError(f"{images_folder} isn't in order of image_id: run `siamese preprocess` again")
        self._checked = np.zeros(len(self), bool)

    def __len__(self) -> int:
        return len(self._sorted_ids)

    @cached_property
    def image_ids(self) -> list[str]:
        """All image_ids, in order of row."""
        return self._sorted_ids.astype(f"U{_ID_BYTES}").tolist()

    def digest(self) -> str:
        """SHA-256 of all image_ids and checksums: equal for equal images, however many of them lie in a file."""
        checksums = [self._records(file)["crc"].tobytes() for file in range(len(self._files))]
        return digest([self._sorted_ids.tobytes(), b"".join(checksums)])

    def rows_of(self, image_ids: Sequence[str]) -> np.ndarray:
        """The row of each image: int64 [n].

        Raises:
            InputError: one isn't here.
        """
        wanted = np.asarray(image_ids, f"U{_ID_BYTES}").astype(f"S{_ID_BYTES}")
        rows = np.searchsorted(self._sorted_ids, wanted)
        absent = self._sorted_ids[np.minimum(rows, len(self) - 1)] != wanted
        if absent.any():
            image_id = image_ids[int(absent.argmax())]
            raise InputError(f"no stored pixels of image {image_id}: run `siamese preprocess` on the same catalog")
        return rows

    def pixels(self, image_ids: Sequence[str]) -> np.ndarray:
        """The images' pixels: uint8 [n, 100, 100, 3].

        Raises:
            InputError: one isn't here, or its record is damaged.
        """
        return self.rows(self.rows_of(image_ids))

    def rows(self, rows: Any) -> np.ndarray:
        """The pixels in these rows, an array or sequence of n numbers: uint8 [n, 100, 100, 3].

        Raises:
            InputError: a record is damaged.
        """
        rows = np.asarray(rows, np.int64)
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
        files = np.searchsorted(self._first_row, rows, side="right") - 1
        for place, (row, file) in enumerate(zip(rows.tolist(), files.tolist(), strict=True)):
            record = self._records(file)[row - self._first_row[file]]
            if not self._checked[row]:
                self._check(record, file)
                self._checked[row] = True
            pixels[place] = record["pixels"]
        return pixels

    def _map(self, file: int) -> np.ndarray:
        path = self._files[file]
        try:
            return np.memmap(path, RECORD, mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise _damaged(path, f"can't be mapped: {error}") from None

    def _ids(self, file: int) -> np.ndarray:
        path = self._files[file]
        _count(path)
        records = self._records(file)
        sound = to_records(["0" * _ID_BYTES], np.zeros((1, *IMAGE_SHAPE), np.uint8))[0]
        for name in ("length", "length_crc", "before_id", "before_pixels"):
            if (records[name] != sound[name]).any():
                raise _damaged(path, "not the records that preprocess writes")
        return records["image_id"].copy()

    def _check(self, record: np.void, file: int) -> None:
        if record["crc"] != _crc_of(record):
            image_id = record["image_id"].decode("ascii", "replace")
            raise _damaged(self._files[file], f"wrong checksum at image {image_id}")


def _all_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob(FILES))
    if not files:
        raise InputError(f"{folder} holds no stored images: run `siamese preprocess`, or name another folder")
    shards = re.fullmatch(r"part-\d+-of-(\d+)\.tfrecord", files[0].name)
    wanted = [folder / file_name(shard, int(shards[1])) for shard in range(int(shards[1]))] if shards else []
    for file in wanted:
        if file not in files:
            raise InputError(f"{file} is missing: run `siamese preprocess` again")
    if files != wanted:
        raise InputError(f"{folder} holds files of several runs: run `siamese preprocess` again")
    return files


def _count(file: Path) -> int:
    images, rest = divmod(file.stat().st_size, RECORD.itemsize)
    if rest or not images:
        raise _damaged(file, "truncated")
    return images


def _crc_of(record: np.void) -> int:
    return _masked_crc(record.tobytes()[_HEAD_BYTES:-4])


def _masked_crc(data: bytes) -> int:
    """TFRecord's checksum (tensorflow/core/lib/hash/crc32c.h): CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _damaged(file: Path, how: str) -> InputError:
    return InputError(f"{file}: {how}: run `siamese preprocess` again")
