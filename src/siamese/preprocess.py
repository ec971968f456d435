"""Step `preprocess`: every unique image of the catalog to stored pixels, once, and the transform graph that made them.

An element of the Beam pipeline is a whole file of the output: a worker reads its images, transforms them as one batch
and writes the file. No pixel is shuffled, so memory follows the size of a file, not the number of images.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from siamese import files, images, stored
from siamese.backend import tensorflow
from siamese.errors import InputError
from siamese.files import existing, unwritable
from siamese.params import PreprocessParams
from siamese.progress import say, track
from siamese.remote import AT_ONCE, Address, Place, names_in, place, put, whole_folder
from siamese.shapes import IMAGE_SHAPE
from siamese.tables import read_table

MOST_IMAGES = 4096  # in a file: TensorFlow Transform splits a batch of more than 200 MB of pixels (6,990 images)
MOST_BYTES = 2**29  # of a file's images, were they all converted to uncompressed PNG: a worker holds them all at once
ANALYSED_AT_ONCE = 256
OWN = ["transform_fn", "transformed_metadata"]  # in the transform's folder
REQUIRED_OPTIONS: dict[str, dict[str, str]] = {
    "DirectRunner": {},
    "DataflowRunner": {"project": "the Google Cloud project", "region": "where to run"},
    "FlinkRunner": {"flink_master": "the address of the cluster"},
    "SparkRunner": {"spark_master_url": "the address of the cluster"},
}

_CATALOG_COLUMNS = ["image_id", "path", "split", "width", "height"]
_IMAGE_ID, _SHARD, _PIXELS = "image_id", "shard", "pixels"
_SCHEMA = pa.schema([(name, pa.large_list(pa.large_binary())) for name in ("encoded", _IMAGE_ID, _SHARD)])
_READERS = 4
_POLL_SECONDS = 0.2
_POLLS_PART = 0.1  # of the time, at most


@dataclass(frozen=True)
class Shard:
    """One file of the output: its name, and the image_ids of its images with their paths in the data folder."""

    name: str
    image_ids: tuple[str, ...]
    paths: tuple[str, ...]


def run(
    data_folder: Place,
    catalog_file: Path,
    images_folder: Place,
    transform_folder: Path,
    params: PreprocessParams,
    max_pixels: int,
) -> None:
    """Reads the catalog's images, writes `images/` and `transform/`, both whole: the step as DVC and Kubeflow call it.

    Images are read where they lie and files of pixels written where they belong, in a store too: none is copied here.

    Raises:
        InputError: an image changed, vanished or can't be decoded; a runner lacks an option or has an unknown one.
    """
    began = time.monotonic()
    catalog = _read_catalog(catalog_file)
    shards = plan_shards(catalog, params.images_per_shard)
    training = plan_shards(catalog[catalog["split"] == "train"], ANALYSED_AT_ONCE) if params.standardise else []
    with (
        whole_folder(images_folder, [stored.FILES, stored.INDEX], mark=stored.INDEX) as images_beside,
        files.whole_folder(transform_folder, OWN) as transform_beside,
    ):
        with _progress(images_beside, shards):
            _run_pipeline(data_folder, shards, training, images_beside, transform_beside, params, max_pixels)
        # TensorFlow reads no model by it, and its random number would make the same transform another one for DVC.
        (transform_beside / "transform_fn/fingerprint.pb").unlink(missing_ok=True)
        if stored.count(images_beside) != len(catalog):
            raise RuntimeError(f"{params.runner} didn't write the {len(catalog)} images of {catalog_file}")
    say(f"{len(catalog)} images preprocessed in {time.monotonic() - began:.0f} s")


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
    for row, size in enumerate((catalog["width"] * catalog["height"] * IMAGE_SHAPE[2]).tolist()):
        held += size
        if row - starts[-1] == most or (held > MOST_BYTES and row > starts[-1]):
            starts.append(row)
            held = size
    ids, paths = catalog["image_id"].tolist(), catalog["path"].tolist()
    return [
        Shard(stored.file_name(number, len(starts)), tuple(ids[start:end]), tuple(paths[start:end]))
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(ids)], strict=True))
    ]


def pipeline_options(params: PreprocessParams) -> Any:
    """Beam's options for `preprocess.runner` and `preprocess.runner_options`: apache_beam's PipelineOptions.

    Raises:
        InputError: an option that Beam doesn't know, a value of a wrong type, or no word of where a cluster is.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    known: set[str] = set()
    PipelineOptions([]).get_all_options(add_extra_args_fn=lambda parser: known.update(parser._option_string_actions))
    options = params.runner_options
    for name in options:
        if f"--{name}" not in known:
            nearest = [f"; nearest: {flag[2:]}" for flag in difflib.get_close_matches(f"--{name}", known, n=1)]
            raise InputError(f"preprocess.runner_options: Beam has no option {name}{''.join(nearest)}")
    required = REQUIRED_OPTIONS[params.runner]
    if params.runner != "DirectRunner":
        required = required | {"temp_location": "a folder that its workers reach"}
    for name, meaning in required.items():
        if name not in options:
            raise InputError(f"preprocess.runner {params.runner} needs preprocess.runner_options.{name}: {meaning}")
    said = StringIO()
    try:
        with redirect_stderr(said):
            parsed = PipelineOptions.from_dictionary(dict(options))
            parsed.get_all_options()
    except SystemExit:
        raise InputError(f"preprocess.runner_options: {said.getvalue().strip().splitlines()[-1]}") from None
    return parsed


def _read_catalog(catalog_file: Path) -> pd.DataFrame:
    catalog = read_table(existing(catalog_file, "siamese catalog"), _CATALOG_COLUMNS)
    if catalog.empty:
        raise InputError(f"{catalog_file}: holds no image: `siamese inspect` says why")
    return catalog


def _run_pipeline(
    data_folder: Place,
    shards: list[Shard],
    training: list[Shard],
    images_folder: Place,
    transform_folder: Path,
    params: PreprocessParams,
    max_pixels: int,
) -> None:
    """Applies the graph to `shards`; what it analyses, it analyses on `training`."""
    tensorflow()
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_metadata.proto.v0 import schema_pb2  # type: ignore[import-untyped]
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

    from siamese.transform import ENCODED, IMAGE, preprocessing_fn

    local = params.runner == "DirectRunner"
    options = pipeline_options(params)
    if params.runner == "DataflowRunner":
        for folder in (data_folder, images_folder, transform_folder):
            if isinstance(folder, Path) and not folder.absolute().is_relative_to("/gcs"):
                raise InputError(
                    f"{folder}: DataflowRunner's workers can't reach it: use folders in a bucket, mounted under /gcs"
                )
    reached = _from_here if local else _from_elsewhere
    read = partial(_read, data_folder=reached(data_folder), max_pixels=max_pixels)
    write = partial(_write, folder=reached(images_folder))
    write_index = partial(_write_index, folder=reached(images_folder))
    scalar = schema_pb2.TensorRepresentation(dense_tensor={"column_name": ENCODED, "shape": {}})
    config = TensorAdapterConfig(_SCHEMA, {ENCODED: scalar})
    analysis = tft_beam.AnalyzeDataset(partial(preprocessing_fn, standardise=params.standardise))
    to_pixels = tft_beam.TransformDataset(exclude_outputs=[IMAGE], output_record_batches=True)
    quiet = _quiet() if local else nullcontext()  # elsewhere, Beam says where to watch the job
    with tempfile.TemporaryDirectory() as here, quiet, _explained(data_folder, shards, max_pixels):
        # Beam's own DirectRunner looks for Prism, a program in another language, and would download it.
        runner = FnApiRunner() if local else params.runner
        scratch = here if local else str(params.runner_options["temp_location"])
        context = tft_beam.Context(temp_dir=scratch, passthrough_keys={_IMAGE_ID, _SHARD})
        with beam.Pipeline(runner, options) as pipeline, context:
            train = pipeline | "training files" >> beam.Create(training) | "read to analyse" >> beam.Map(read)
            transform = (train, config) | analysis
            _ = transform | tft_beam.WriteTransformFn(str(reached(transform_folder)))
            encoded = pipeline | "files" >> beam.Create(shards) | "read" >> beam.Map(read)
            pixels, _ = ((encoded, config), transform) | to_pixels
            written = pixels | "write" >> beam.Map(write) | beam.combiners.ToList()
            _ = written | "write the index" >> beam.Map(write_index)


def _read(shard: Shard, *, data_folder: Place, max_pixels: int) -> pa.RecordBatch:
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
            return images.canonical(data, max_pixels)
        except InputError as reason:
            raise InputError(f"{path}: {reason}: run `siamese catalog` again") from None

    # A thread reads every fourth image: handing them out one by one costs more than reading a file that is cached.
    readers = AT_ONCE if isinstance(data_folder, Address) else _READERS
    pairs = list(zip(shard.image_ids, shard.paths, strict=True))
    encoded = [b""] * len(pairs)
    with ThreadPoolExecutor(readers) as pool:
        parts = pool.map(lambda first: [canonical(*pair) for pair in pairs[first::readers]], range(readers))
        for first, part in enumerate(parts):
            encoded[first::readers] = part
    columns = encoded, [one.encode() for one in shard.image_ids], [shard.name.encode()] * len(encoded)
    return pa.RecordBatch.from_arrays([_one_a_row(column) for column in columns], schema=_SCHEMA)


def _one_a_row(values: Sequence[bytes]) -> pa.Array:
    offsets = pa.array(range(len(values) + 1), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(values, pa.large_binary()))


def _write(transformed: tuple[pa.RecordBatch, Any], *, folder: Place) -> tuple[str, np.ndarray]:
    """Writes one file of pixels, at once, so that a worker may fail and another try again: its name, and its part of
    the index."""
    batch = transformed[0]
    [name] = batch[_SHARD].flatten().unique().to_pylist()
    pixels = np.frombuffer(_joined(batch[_PIXELS]), np.uint8).reshape(-1, *IMAGE_SHAPE)
    records = stored.to_records(batch[_IMAGE_ID].flatten().to_pylist(), pixels)
    _put(folder, name.decode(), records.view(np.uint8).data)
    return name.decode(), stored.index_of(records)


def _write_index(parts: Sequence[tuple[str, np.ndarray]], *, folder: Place) -> None:
    """Writes the index of all files, given in any order."""
    _put(folder, stored.INDEX, stored.index_table([entries for _, entries in sorted(parts, key=lambda one: one[0])]))


def _put(folder: Place, name: str, content: bytes | memoryview) -> None:
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


def _from_here(folder: Place) -> Place:
    return folder.absolute() if isinstance(folder, Path) else folder


def _from_elsewhere(folder: Place) -> Place:
    """A place as workers elsewhere reach it: what Vertex AI and Kubeflow mount under /gcs lies in a bucket."""
    return place(re.sub("^/gcs/", "gs://", str(_from_here(folder))))


@contextmanager
def _progress(images_folder: Place, shards: list[Shard]) -> Iterator[None]:
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
def _explained(data_folder: Place, shards: list[Shard], max_pixels: int) -> Iterator[None]:
    """Turns what Beam raises, a worker's traceback as one text, into the error that happened there."""
    try:
        yield
    except Exception as error:
        said = re.search(r"InputError: (.+?)(?: \[while running|$)", f"{type(error).__name__}: {error}", re.MULTILINE)
        if said:
            raise InputError(said[1]) from None
        if "validations errors" in str(error):
            raise InputError(f"preprocess.runner_options: {' '.join(str(error).split())}") from None
        if "apply the transformation" in str(error):
            _find_undecodable(data_folder, shards, max_pixels)
        raise


def _find_undecodable(data_folder: Place, shards: list[Shard], max_pixels: int) -> None:
    """Raises InputError at the first image that TensorFlow can't decode: a batch that fails doesn't say which."""
    tf = tensorflow()
    for path in (data_folder / name for shard in shards for name in shard.paths):
        try:
            encoded = images.canonical(path.read_bytes(), max_pixels)
            tf.io.decode_jpeg(encoded)  # which reads PNG too
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{path}: TensorFlow can't decode it ({_first_line(error)}): remove it") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Beam and TensorFlow Transform warn of what is no concern here, and log errors that they raise too."""
    loggers = [logging.getLogger(name) for name in ("apache_beam", "absl", "tensorflow", "root")]
    levels, handlers = [logger.level for logger in loggers], logging.getLogger().handlers[:]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logging.getLogger().handlers[:] = handlers  # Beam adds one
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
