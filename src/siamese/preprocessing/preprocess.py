"""Step `preprocess`: every unique image of the catalog to stored pixels, once, and the transform graph that made them.

An element of the Beam pipeline is a whole file of the output: a worker reads its images, transforms them as one batch
and writes the file. No pixel is shuffled, so memory follows the size of a file, not the number of images. Which images
belong to which file stands in a file, too: the job says where, and stays small for any number of images.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from siamese.console import log, track
from siamese.data.images import formats
from siamese.errors import InputError
from siamese.params import SIZES, PreprocessParams
from siamese.preprocessing import beam_runner, saved_model
from siamese.preprocessing import records as records_module
from siamese.storage import files
from siamese.storage.files import require_exists, unwritable
from siamese.storage.object_store import AT_ONCE, AnyPath, RemotePath, atomic_remote_folder, names_in, put
from siamese.storage.tables import read_table
from siamese.tf_runtime import import_tensorflow

MOST_IMAGES = 4096  # in a file: TensorFlow Transform splits a batch of more than 200 MB of pixels (6,990 images)
MOST_BYTES = 2**29  # of a file's images, were they all converted to uncompressed PNG: a worker holds them all at once
FEWEST_IMAGES = 256  # a third of a second's work: less isn't worth handing to another worker
FILES = 512  # from FEWEST_IMAGES to MOST_IMAGES a file: so many cores find work, and each holds little at once
ANALYSED_AT_ONCE = 256
OWN = ["transform_fn", "transformed_metadata"]  # in the transform's folder

_CATALOG_COLUMNS = ["image_id", "path", "split", "width", "height"]
_IMAGE_ID, _SHARD, _PIXELS = "image_id", "shard", "pixels"
_SCHEMA = pa.schema([(name, pa.large_list(pa.large_binary())) for name in ("encoded", _IMAGE_ID, _SHARD)])
_CHANNELS = 3  # of every image while it is decoded
_READERS = 4
_POLL_SECONDS = 0.2
_POLLS_PART = 0.1  # of the time, at most


@dataclass(frozen=True)
class Shard:
    """One file of the output: its name, and the image_ids of its images with their paths in the data folder."""

    name: str
    image_ids: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """An element of the pipeline: a file's name, and where the plan says which images it is made of."""

    name: str
    plan: str
    offset: int  # in bytes
    length: int


def run(
    data_folder: AnyPath,
    catalog_file: Path,
    images_folder: AnyPath,
    transform_folder: Path,
    params: PreprocessParams,
    network: str,
    max_pixels: int,
) -> None:
    """Reads the catalog's images, writes `images/` and `transform/`, both whole: the step as DVC and Kubeflow call it.

    Images are read where they lie and files of pixels written where they belong, in a store too: none is copied here.

    Raises:
        InputError: an image changed, vanished or can't be decoded; a runner lacks an option or has an unknown one.
    """
    began = time.monotonic()
    image_shape = SIZES[network].image
    catalog = _read_catalog(catalog_file)
    per_shard = images_a_file(len(catalog)) if params.images_per_shard == "auto" else params.images_per_shard
    shards = plan_shards(catalog, per_shard)
    training = plan_shards(catalog[catalog["split"] == "train"], ANALYSED_AT_ONCE) if params.standardise else []
    with (
        atomic_remote_folder(
            images_folder, [records_module.FILES, records_module.INDEX], mark=records_module.INDEX
        ) as images_beside,
        files.atomic_folder(transform_folder, OWN) as transform_beside,
    ):
        with _progress(images_beside, shards):
            folders = images_beside, transform_beside
            run_pipeline(data_folder, shards, training, *folders, params, image_shape, max_pixels)
        # TensorFlow reads no model by it, and its random number would make the same transform another one for DVC.
        (transform_beside / "transform_fn/fingerprint.pb").unlink(missing_ok=True)
        saved_model.settle(transform_beside / "transform_fn/saved_model.pb")
        if records_module.count(images_beside, image_shape) != len(catalog):
            raise RuntimeError(f"{params.runner} didn't write the {len(catalog)} images of {catalog_file}")
    log(f"{len(catalog)} images preprocessed in {time.monotonic() - began:.0f} s")


def images_a_file(images: int) -> int:
    """How many of so many images go into a file, where the parameter says `auto`: `FILES` files, as far as none then
    holds fewer than `FEWEST_IMAGES` or more than `MOST_IMAGES`."""
    return min(max(-(-images // FILES), FEWEST_IMAGES), MOST_IMAGES)


def plan_shards(catalog: pd.DataFrame, images_per_shard: int) -> list[Shard]:
    """The images in order of image_id, cut into files.

    Args:
        catalog: one row an image, with columns image_id, path, width and height.
        images_per_shard: images a file; fewer where there would be more than `MOST_IMAGES`, or several of them would
            have more than `MOST_BYTES`.
    """
    catalog = catalog.sort_values("image_id")
    most = min(images_per_shard, MOST_IMAGES)
    starts, held = [0], 0
    for row, size in enumerate((catalog["width"] * catalog["height"] * _CHANNELS).tolist()):
        held += size
        if row - starts[-1] == most or (held > MOST_BYTES and row > starts[-1]):
            starts.append(row)
            held = size
    ids, paths = catalog["image_id"].tolist(), catalog["path"].tolist()
    return [
        Shard(records_module.file_name(number, len(starts)), tuple(ids[start:end]), tuple(paths[start:end]))
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(ids)], strict=True))
    ]


def _read_catalog(catalog_file: Path) -> pd.DataFrame:
    catalog = read_table(require_exists(catalog_file, "siamese catalog"), _CATALOG_COLUMNS)
    if catalog.empty:
        raise InputError(f"{catalog_file}: holds no image: `siamese inspect` says why")
    return catalog


def run_pipeline(
    data_folder: AnyPath,
    shards: list[Shard],
    training: list[Shard],
    images_folder: AnyPath,
    transform_folder: Path,
    params: PreprocessParams,
    image_shape: tuple[int, int, int],
    max_pixels: int,
) -> None:
    """Applies the graph to `shards`; what it analyses, it analyses on `training`. The folders are there already.

    Raises:
        InputError: as `run`.
    """
    import_tensorflow()
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_metadata.proto.v0 import schema_pb2  # type: ignore[import-untyped]
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

    from siamese.preprocessing.transform import ENCODED, IMAGE, preprocessing_fn

    options = beam_runner.pipeline_options(params)
    beam_runner.check(params, data_folder, images_folder, transform_folder)
    data, images_there, transform_there = (
        beam_runner.reachable_from_workers(folder, params) for folder in (data_folder, images_folder, transform_folder)
    )
    read = partial(_read, data_folder=data, max_pixels=max_pixels)
    scalar = schema_pb2.TensorRepresentation(dense_tensor={"column_name": ENCODED, "shape": {}})
    config = TensorAdapterConfig(_SCHEMA, {ENCODED: scalar})
    analysis = tft_beam.AnalyzeDataset(
        partial(preprocessing_fn, crop=params.crop, standardise=params.standardise, image_shape=image_shape)
    )
    to_pixels = tft_beam.TransformDataset(exclude_outputs=[IMAGE], output_record_batches=True)
    with (
        _decodable(data_folder, shards, max_pixels),
        beam_runner.reraise_runner_errors(params),
        beam_runner.scratch(params) as scratch,
        tft_beam.Context(temp_dir=scratch, passthrough_keys={_IMAGE_ID, _SHARD}),
    ):
        pipeline = beam.Pipeline(beam_runner.runner(params), options)
        train = (
            pipeline
            | "training files" >> beam.Create(_to_plan(f"{scratch}/training", training))
            | "read to analyse" >> beam.Map(read)
        )
        transform = (train, config) | "analyse" >> analysis
        _ = transform | "write the transform" >> tft_beam.WriteTransformFn(str(transform_there))
        encoded = pipeline | "files" >> beam.Create(_to_plan(f"{scratch}/files", shards)) | "read" >> beam.Map(read)
        pixels, _ = ((encoded, config), transform) | "to pixels" >> to_pixels
        written = pixels | "write" >> beam.Map(partial(_write, folder=images_there, image_shape=image_shape))
        index = written | "gather the index" >> beam.combiners.ToList()
        _ = index | "write the index" >> beam.Map(partial(_write_index, folder=images_there))
        beam_runner.finish(pipeline)


def _to_plan(plan: str, shards: list[Shard]) -> list[Planned]:
    """Writes which images belong to which file where workers read it: a job that carried it would be too large."""
    from apache_beam.io.filesystems import FileSystems

    planned, offset = [], 0
    with FileSystems.create(plan, compression_type="uncompressed") as file:
        for shard in shards:
            line = json.dumps([shard.image_ids, shard.paths]).encode()
            file.write(line)
            planned.append(Planned(shard.name, plan, offset, len(line)))
            offset += len(line)
    return planned


def _from_plan(planned: Planned) -> Iterator[tuple[str, str]]:
    """The image_id and the path of each image of a file."""
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(planned.plan, compression_type="uncompressed") as file:
        file.seek(planned.offset)
        return zip(*json.loads(file.read(planned.length)), strict=True)


def _read(planned: Planned, *, data_folder: AnyPath, max_pixels: int) -> pa.RecordBatch:
    """A file's images in canonical encoding, a row an image."""

    def canonical(image_id: str, name: str) -> bytes:
        path = data_folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or _first_line(error)
            raise InputError(f"{path}: can't be read ({reason}): run `siamese catalog` again") from None
        if hashlib.sha256(data).hexdigest() != image_id:
            raise InputError(f"{path}: changed since the catalog was made: run `siamese catalog` again")
        try:
            return formats.canonical(data, max_pixels)
        except InputError as reason:
            raise InputError(f"{path}: {reason}: run `siamese catalog` again") from None

    # A thread reads every fourth image: handing them out one by one costs more than reading a file that is cached.
    readers = AT_ONCE if isinstance(data_folder, RemotePath) else _READERS
    pairs = list(_from_plan(planned))
    encoded = [b""] * len(pairs)
    with ThreadPoolExecutor(readers) as pool:
        parts = pool.map(lambda first: [canonical(*pair) for pair in pairs[first::readers]], range(readers))
        for first, part in enumerate(parts):
            encoded[first::readers] = part
    columns = encoded, [image_id.encode() for image_id, _ in pairs], [planned.name.encode()] * len(encoded)
    return pa.RecordBatch.from_arrays([_one_a_row(column) for column in columns], schema=_SCHEMA)


def _one_a_row(values: Sequence[bytes]) -> pa.Array:
    offsets = pa.array(range(len(values) + 1), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(values, pa.large_binary()))


def _write(
    transformed: tuple[pa.RecordBatch, Any], *, folder: AnyPath, image_shape: tuple[int, int, int]
) -> tuple[str, np.ndarray]:
    """Writes one file of pixels, at once, so that a worker may fail and another try again: its name, and its part of
    the index."""
    batch = transformed[0]
    [name] = batch[_SHARD].flatten().unique().to_pylist()
    pixels = np.frombuffer(_joined(batch[_PIXELS]), np.uint8).reshape(-1, *image_shape)
    records = records_module.to_records(batch[_IMAGE_ID].flatten().to_pylist(), pixels)
    _put(folder, name.decode(), records.view(np.uint8).data)
    return name.decode(), records_module.index_of(records)


def _write_index(parts: Sequence[tuple[str, np.ndarray]], *, folder: AnyPath) -> None:
    """Writes the index of all files, given in any order."""
    _put(
        folder,
        records_module.INDEX,
        records_module.index_table([entries for _, entries in sorted(parts, key=lambda one: one[0])]),
    )


def _put(folder: AnyPath, name: str, content: bytes | memoryview) -> None:
    try:
        put(folder / name, content)
    except OSError as error:
        raise unwritable(Path(str(folder)), error) or error from None


def _joined(column: pa.LargeListArray) -> memoryview:
    """The bytes of all rows, one after another as Arrow holds them already."""
    values = column.flatten()
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]]


@contextmanager
def _progress(images_folder: AnyPath, shards: list[Shard]) -> Iterator[None]:
    """Shows how many files are done by looking for them: wherever the workers are, they need not report."""
    finished = threading.Event()

    def done() -> Iterator[str]:
        waiting = {shard.name for shard in shards}
        took = 0.0
        while waiting:
            last = finished.wait(max(_POLL_SECONDS, took / _POLLS_PART))
            began = time.monotonic()
            with suppress(OSError, InputError):  # nothing is there yet, or the store is away: the workers will tell
                there = waiting & names_in(images_folder)
                yield from there
                waiting -= there
            took = time.monotonic() - began
            if last:
                return

    def show() -> None:
        for _ in track(done(), f"preprocessing images, {len(shards[0].paths)} at a time", len(shards)):
            pass

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


@contextmanager
def _decodable(data_folder: AnyPath, shards: list[Shard], max_pixels: int) -> Iterator[None]:
    """Names the image, when TensorFlow failed to decode one."""
    try:
        yield
    except Exception as error:
        if "apply the transformation" in str(error):
            _find_undecodable(data_folder, shards, max_pixels)
        raise


def _find_undecodable(data_folder: AnyPath, shards: list[Shard], max_pixels: int) -> None:
    """Raises InputError at the first image that TensorFlow can't decode: a batch that fails doesn't say which."""
    tf = import_tensorflow()
    for path in (data_folder / name for shard in shards for name in shard.paths):
        try:
            encoded = formats.canonical(path.read_bytes(), max_pixels)
            tf.io.decode_jpeg(encoded)  # which reads PNG too
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{path}: TensorFlow can't decode it ({_first_line(error)}): remove it") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
