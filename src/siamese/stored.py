"""The pixels that `preprocess` stores, read at random without loading them.

A file is a TFRecord file of tf.train.Example {image_id, pixels}, as any TensorFlow program reads it. As all its records
have the same length and layout, it is a table too, and is mapped into memory as one. Beside the files lies an index of
all records, which is what makes a set in an object store usable (siamese.stored_elsewhere).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from siamese.errors import InputError
from siamese.files import digest
from siamese.remote import Place
from siamese.shapes import SIZES

FILES = "part-*.tfrecord"
INDEX = "index.parquet"
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
IN_INDEX = np.dtype([("image_id", f"S{_ID_BYTES}"), ("crc", "<u4")])
_HEAD_BYTES = 12


def _between(shape: tuple[int, int, int]) -> tuple[bytes, bytes]:
    """What stands before the image_id and before the pixels: Example{features: Features{...}}."""
    size = int(np.prod(shape))
    before_pixels = _feature(b"pixels", size)
    return _field(1, _feature(b"image_id", _ID_BYTES), _ID_BYTES + len(before_pixels) + size), before_pixels


@cache
def record_type(shape: tuple[int, int, int]) -> np.dtype:
    """A record of images of this shape, as NumPy reads it."""
    before_id, before_pixels = _between(shape)
    return np.dtype(
        [
            ("length", "<u8"),  # TFRecord: of the Example, and its checksum
            ("length_crc", "<u4"),
            ("before_id", f"V{len(before_id)}"),
            ("image_id", f"S{_ID_BYTES}"),
            ("before_pixels", f"V{len(before_pixels)}"),
            ("pixels", "u1", shape),
            ("crc", "<u4"),  # of the Example
        ]
    )


def shape_of(record_bytes: float) -> tuple[int, int, int] | None:
    """The shape of images whose records are so long; None where no network sees such."""
    return {record_type(sizes.image).itemsize: sizes.image for sizes in SIZES.values()}.get(int(record_bytes))


def file_name(shard: int, shards: int) -> str:
    """The name of file number `shard`, from 0, of `shards`."""
    return f"part-{shard:05}-of-{shards:05}.tfrecord"


def to_records(image_ids: Sequence[str] | Sequence[bytes], pixels: np.ndarray) -> np.ndarray:
    """The content of a file: `record_type` [n].

    Args:
        image_ids: n texts or bytes of 64 characters.
        pixels: uint8 [n, height, width, channels].
    """
    height, width, channels = pixels.shape[1:]
    before_id, before_pixels = _between((height, width, channels))
    records = np.zeros(len(image_ids), record_type((height, width, channels)))
    length = records.itemsize - _HEAD_BYTES - 4
    records["length"] = length
    records["length_crc"] = _masked_crc(length.to_bytes(8, "little"))
    records["before_id"] = np.void(before_id)
    records["image_id"] = image_ids
    records["before_pixels"] = np.void(before_pixels)
    records["pixels"] = pixels
    records["crc"] = [crc_of(record) for record in records]
    return records


def index_of(records: np.ndarray) -> np.ndarray:
    """What the index tells of a file's records: `IN_INDEX` [n]."""
    entries = np.empty(len(records), IN_INDEX)
    entries["image_id"], entries["crc"] = records["image_id"], records["crc"]
    return entries


def index_table(parts: Sequence[np.ndarray]) -> bytes:
    """The index, a Parquet table: image_id, file (its number, from 0) and crc of each record, in order of row.

    Args:
        parts: `IN_INDEX` [n] of each file, in their order.
    """
    import pyarrow as pa
    import pyarrow.parquet

    entries = np.concatenate(parts)
    files = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    digits = pa.py_buffer(np.ascontiguousarray(entries["image_id"]))
    ids = pa.Array.from_buffers(pa.binary(_ID_BYTES), len(entries), [None, digits])
    table = {"image_id": ids.cast(pa.large_binary()).cast(pa.large_string()), "file": files, "crc": entries["crc"]}
    sink = pa.BufferOutputStream()
    # Ids of 64 digits repeat nowhere, so dictionaries would only double them; each digit takes 4 of its 8 bits.
    pa.parquet.write_table(pa.table(table), sink, compression="zstd", use_dictionary=["file"])
    return sink.getvalue().to_pybytes()


def count(images_folder: Place, shape: tuple[int, int, int]) -> int:
    """How many images of this shape a folder of such files holds, by their sizes alone.

    Raises:
        InputError: a file is missing or truncated.
    """
    return sum(images_in(images_folder, sizes_of(images_folder), record_type(shape).itemsize))


def opened(images_folder: Place) -> StoredImages:
    """The stored images of a folder, here or in a store.

    Raises:
        InputError: a file is missing, truncated, damaged or of another kind; or the store can't be used.
    """
    if isinstance(images_folder, Path):
        return StoredImages(images_folder)
    from siamese.stored_elsewhere import ImagesElsewhere

    return ImagesElsewhere(images_folder)


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
        sizes = sizes_of(images_folder)
        self._files = [images_folder / name for name in sizes]
        self.image_shape = _shape_in(self._files[0])
        images_in(images_folder, sizes, record_type(self.image_shape).itemsize)
        self._records = lru_cache(_MAPPED_AT_ONCE)(self._map)
        self._number(images_folder, [self._ids(file) for file in range(len(self._files))])
        self._checked = np.zeros(len(self), bool)

    def _number(self, images_folder: Place, ids: Sequence[np.ndarray]) -> None:
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
        return self._sorted_ids.astype(f"U{_ID_BYTES}").tolist()

    def digest(self) -> str:
        """SHA-256 of all image_ids and checksums: equal for equal images, however many of them lie in a file."""
        return digest([self._sorted_ids.tobytes(), self._checksums()])

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
            return np.memmap(path, record_type(self.image_shape), mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise damaged(path, f"can't be mapped: {error}") from None

    def _ids(self, file: int) -> np.ndarray:
        path = self._files[file]
        records = self._records(file)
        sound = to_records(["0" * _ID_BYTES], np.zeros((1, *self.image_shape), np.uint8))[0]
        for name in ("length", "length_crc", "before_id", "before_pixels"):
            if (records[name] != sound[name]).any():
                raise damaged(path, "not the records that preprocess writes")
        return records["image_id"].copy()

    def _check(self, record: np.void, file: int) -> None:
        if record["crc"] != crc_of(record):
            image_id = record["image_id"].decode("ascii", "replace")
            raise damaged(self._files[file], f"wrong checksum at image {image_id}")


def sizes_of(images_folder: Place) -> dict[str, int]:
    """Name and bytes of each file of stored images in a folder, in order.

    Raises:
        InputError: there is none, one is missing, or some are of another run.
    """
    if isinstance(images_folder, Path):
        listed = {file.name: file.stat().st_size for file in images_folder.glob(FILES)}
    else:
        listed = images_folder.files()
    sizes = {name: listed[name] for name in sorted(listed) if fnmatch(name, FILES)}
    if not sizes:
        raise InputError(f"{images_folder} holds no stored images: run `siamese preprocess`, or name another folder")
    shards = re.fullmatch(r"part-\d+-of-(\d+)\.tfrecord", next(iter(sizes)))
    wanted = [file_name(shard, int(shards[1])) for shard in range(int(shards[1]))] if shards else []
    for name in wanted:
        if name not in sizes:
            raise InputError(f"{images_folder / name} is missing: run `siamese preprocess` again")
    if [*sizes] != wanted:
        raise InputError(f"{images_folder} holds files of several runs: run `siamese preprocess` again")
    return sizes


def images_in(images_folder: Place, sizes: Mapping[str, int], record_bytes: int) -> list[int]:
    """How many images each file holds.

    Args:
        sizes: what `sizes_of` gives.
        record_bytes: length of a record.

    Raises:
        InputError: one is truncated.
    """
    images = []
    for name, size in sizes.items():
        whole, rest = divmod(size, record_bytes)
        if rest or not whole:
            raise damaged(images_folder / name, "truncated")
        images.append(whole)
    return images


def _shape_in(file: Path) -> tuple[int, int, int]:
    with file.open("rb") as opened_file:
        length = int.from_bytes(opened_file.read(8), "little")
    shape = shape_of(length + _HEAD_BYTES + 4)
    if shape is None:
        raise damaged(file, "not the records that preprocess writes")
    return shape


def crc_of(record: np.void) -> int:
    """The checksum that a record ought to have."""
    return _masked_crc(record.tobytes()[_HEAD_BYTES:-4])


def _masked_crc(data: bytes) -> int:
    """TFRecord's checksum (tensorflow/core/lib/hash/crc32c.h): CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def damaged(file: Place, how: str) -> InputError:
    """What to raise where a file isn't what `preprocess` wrote."""
    return InputError(f"{file}: {how}: run `siamese preprocess` again")
