"""Stored pixels: TFRecord files as TensorFlow reads them, read at random; what is damaged is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from siamese.errors import InputError
from siamese.params import IMAGE_SHAPE
from siamese.preprocessing import pixel_store, records

PER_FILE = [3, 1, 4]
IDS = sorted(f"{number:064x}" for number in np.random.default_rng(1).integers(2**62, size=sum(PER_FILE)).tolist())
PIXELS = np.random.default_rng(2).integers(256, size=(len(IDS), *IMAGE_SHAPE), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images in three files."""
    first = 0
    for shard, images in enumerate(PER_FILE):
        rows = slice(first, first + images)
        records.to_records(IDS[rows], PIXELS[rows]).tofile(tmp_path / records.file_name(shard, len(PER_FILE)))
        first += images
    return tmp_path


def overwrite(file: Path, at: int, content: bytes) -> None:
    whole = bytearray(file.read_bytes())
    whole[at : at + len(content)] = content
    file.write_bytes(whole)


def test_tensorflow_reads_the_same_images_from_the_same_files(folder: Path) -> None:
    """TFRecordDataset compares both checksums of every record, parse_single_example reads the Example."""
    features = {"image_id": tf.io.FixedLenFeature([], tf.string), "pixels": tf.io.FixedLenFeature([], tf.string)}
    files = sorted(str(file) for file in folder.iterdir())
    records = [tf.io.parse_single_example(one, features) for one in tf.data.TFRecordDataset(files)]
    assert [record["image_id"].numpy().decode() for record in records] == IDS
    by_tensorflow = [
        tf.reshape(tf.io.decode_raw(record["pixels"], tf.uint8), IMAGE_SHAPE).numpy() for record in records
    ]
    assert np.array_equal(by_tensorflow, PIXELS)
    assert np.array_equal(pixel_store.StoredImages(folder).rows(range(8)), PIXELS)


def test_the_digest_is_of_the_images_however_many_lie_in_a_file(folder: Path, tmp_path_factory) -> None:
    def digest(ids: list[str], pixels: np.ndarray) -> str:
        one_file = tmp_path_factory.mktemp("images")
        records.to_records(ids, pixels).tofile(one_file / records.file_name(0, 1))
        return pixel_store.StoredImages(one_file).digest()

    assert pixel_store.StoredImages(folder).digest() == digest(IDS, PIXELS)
    brighter = PIXELS.copy()
    brighter[5, 50, 50, 1] ^= 1
    assert len({digest(IDS, PIXELS), digest(IDS, brighter), digest(["0" * 64, *IDS[1:]], PIXELS)}) == 3


def test_an_example_is_what_protobuf_writes(folder: Path) -> None:
    """The hand-made bytes are those of tf.train.Example with its features in order of their names."""
    example = tf.train.Example()
    example.features.feature["image_id"].bytes_list.value.append(IDS[0].encode())
    example.features.feature["pixels"].bytes_list.value.append(PIXELS[0].tobytes())
    record = (folder / records.file_name(0, 3)).read_bytes()[: records.record_type(IMAGE_SHAPE).itemsize]
    assert record[12:-4] == example.SerializeToString(deterministic=True)


def test_images_are_found_by_id_and_by_row_in_any_order_and_number(folder: Path) -> None:
    images = pixel_store.StoredImages(folder)
    assert len(images) == records.count(folder, IMAGE_SHAPE) == 8
    assert images.image_ids == IDS
    rows = [5, 0, 7, 5, 3]
    assert np.array_equal(images.rows(np.array(rows)), PIXELS[rows])
    assert np.array_equal(images.pixels([IDS[row] for row in rows]), PIXELS[rows])
    assert images.rows_of([IDS[row] for row in rows]).tolist() == rows
    assert images.pixels([]).shape == (0, *IMAGE_SHAPE)


def test_a_batch_can_be_changed_without_changing_the_files(folder: Path) -> None:
    images = pixel_store.StoredImages(folder)
    images.rows([0])[:] = 0
    assert np.array_equal(images.rows([0]), PIXELS[:1])


def test_an_unknown_image_is_named(folder: Path) -> None:
    for unknown in ("0" * 64, "f" * 64):
        with pytest.raises(InputError, match=f"no stored pixels of image {unknown}"):
            pixel_store.StoredImages(folder).pixels([IDS[2], unknown])


def test_a_row_that_is_not_there_is_no_other_row(folder: Path) -> None:
    for row in (-1, 8):
        with pytest.raises(IndexError):
            pixel_store.StoredImages(folder).rows([row])


def test_a_truncated_file_is_named(folder: Path) -> None:
    file = folder / records.file_name(2, 3)
    file.write_bytes(file.read_bytes()[:-1])
    for opened in (pixel_store.StoredImages, lambda folder: records.count(folder, IMAGE_SHAPE)):
        with pytest.raises(InputError, match=f"{file}: truncated: run `siamese preprocess` again"):
            opened(folder)


def test_an_empty_file_is_named(folder: Path) -> None:
    file = folder / records.file_name(1, 3)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=f"{file}: truncated"):
        pixel_store.StoredImages(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / records.file_name(1, 3)).unlink()
    with pytest.raises(InputError, match=r"part-00001-of-00003.tfrecord is missing: run `siamese preprocess` again"):
        pixel_store.StoredImages(folder)


def test_files_of_two_runs_are_not_mixed(folder: Path) -> None:
    (folder / records.file_name(0, 4)).write_bytes(b"")
    with pytest.raises(InputError, match="holds files of several runs"):
        pixel_store.StoredImages(folder)


@pytest.mark.parametrize("offset", [0, 8, 12, records.record_type(IMAGE_SHAPE).itemsize - 4 - 30_000 - 1])
def test_a_file_of_other_records_is_named(folder: Path, offset: int) -> None:
    """Length, its checksum, and the Example up to its image_id and up to its pixels."""
    file = folder / records.file_name(1, 3)
    overwrite(file, offset, b"\xee")
    with pytest.raises(InputError, match=f"{file}: not the records that preprocess writes"):
        pixel_store.StoredImages(folder)


def test_a_changed_pixel_is_noticed_when_its_image_is_read(folder: Path) -> None:
    file = folder / records.file_name(2, 3)
    overwrite(file, records.record_type(IMAGE_SHAPE).itemsize + 20_000, bytes([PIXELS[5].ravel()[19_000] ^ 1] * 2))
    images = pixel_store.StoredImages(folder)
    images.rows([4, 6])
    with pytest.raises(InputError, match=f"{file}: wrong checksum at image {IDS[5]}"):
        images.rows([4, 5, 6])


def test_images_out_of_order_are_refused(tmp_path: Path) -> None:
    records.to_records([IDS[1], IDS[0]], PIXELS[:2]).tofile(tmp_path / records.file_name(0, 1))
    with pytest.raises(InputError, match="isn't in order of image_id"):
        pixel_store.StoredImages(tmp_path)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} holds no stored images"):
        pixel_store.StoredImages(tmp_path)


def test_more_files_than_may_be_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_store, "_MAPPED_AT_ONCE", 2)
    for shard, image_id in enumerate(IDS):
        records.to_records([image_id], PIXELS[shard : shard + 1]).tofile(tmp_path / records.file_name(shard, len(IDS)))
    images = pixel_store.StoredImages(tmp_path)
    assert np.array_equal(images.rows([*range(8), *range(8)]), [*PIXELS, *PIXELS])


def test_importing_it_does_not_import_tensorflow() -> None:
    program = "import sys, siamese.preprocessing.pixel_store; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
