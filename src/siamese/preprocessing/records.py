"""Layout of stored pixels: TFRecord files of tf.train.Example {image_id, pixels}, and the index of their records.

All records have the same length and layout, so a file can be mapped into memory as a table. The index of all records
is what makes a set in an object store usable (siamese.preprocessing.pixel_store).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import google_crc32c
import numpy as np

from siamese.errors import InputError
from siamese.params import SIZES
from siamese.storage.object_store import AnyPath

FILES = "part-*.tfrecord"
INDEX = "index.parquet"


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


def count(images_folder: AnyPath, shape: tuple[int, int, int]) -> int:
    """How many images of this shape a folder of such files holds, by their sizes alone.

    Raises:
        InputError: a file is missing or truncated.
    """
    return sum(images_in(images_folder, sizes_of(images_folder), record_type(shape).itemsize))


def sizes_of(images_folder: AnyPath) -> dict[str, int]:
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


def images_in(images_folder: AnyPath, sizes: Mapping[str, int], record_bytes: int) -> list[int]:
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


def crc_of(record: np.void) -> int:
    """The checksum that a record ought to have."""
    return _masked_crc(record.tobytes()[_HEAD_BYTES:-4])


def _masked_crc(data: bytes) -> int:
    """TFRecord's checksum (tensorflow/core/lib/hash/crc32c.h): CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def damaged(file: AnyPath, how: str) -> InputError:
    """What to raise where a file isn't what `preprocess` wrote."""
    return InputError(f"{file}: {how}: run `siamese preprocess` again")
