"""Preprocessing: every image once, as the graph makes it; analysed on the training split; whole outputs or none."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cataloged import MAX_PIXELS, catalog_of, contents, params, picture, run, some_files
from PIL import Image

from siamese.data.images import formats
from siamese.errors import InputError
from siamese.params import IMAGE_SHAPE
from siamese.preprocessing import preprocess, records
from siamese.preprocessing.pixel_store import StoredImages
from siamese.preprocessing.transform import Transform

OLDER = ["images/part-older.tfrecord", "transform/transform_fn"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven images of all accepted kinds, preprocessed to `out`, five a file."""
    folder = catalog_of(tmp_path_factory.mktemp("plain"), some_files())
    run(folder, params())
    return folder


@pytest.fixture(scope="module")
def standardised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with standardisation, four a file."""
    folder = catalog_of(tmp_path_factory.mktemp("standardised"), some_files())
    run(folder, params(standardise=True, per_shard=4))
    return folder


def test_every_image_is_stored_once_in_order_of_its_id(plain: Path) -> None:
    catalog = pd.read_parquet(plain / "catalog.parquet")
    assert StoredImages(plain / "out/images").image_ids == sorted(catalog.image_id)
    names = [file.name for file in sorted((plain / "out/images").iterdir())]
    assert names == [records.INDEX, *(records.file_name(n, 3) for n in range(3))]


def test_the_index_tells_where_each_image_is_and_its_checksum(plain: Path) -> None:
    """By hand: five images a file; a record ends with its checksum, four bytes."""
    index = pd.read_parquet(plain / "out/images" / records.INDEX)
    assert index.columns.tolist() == ["image_id", "file", "crc"]
    assert index.image_id.tolist() == StoredImages(plain / "out/images").image_ids
    assert index.file.tolist() == [0] * 5 + [1] * 5 + [2]
    ends = [
        (plain / "out/images" / records.file_name(n, 3)).read_bytes()[
            records.record_type(IMAGE_SHAPE).itemsize * (row + 1) - 4 :
        ][:4]
        for n, images in enumerate([5, 5, 1])
        for row in range(images)
    ]
    assert index.crc.tolist() == [int.from_bytes(end, "little") for end in ends]


@pytest.mark.parametrize("folder", ["plain", "standardised"])
def test_stored_pixels_and_bytes_give_the_same_tensor(folder: str, request: pytest.FixtureRequest) -> None:
    """Training reads pixels, serving gets bytes: what the network sees is equal to the last bit."""
    place = request.getfixturevalue(folder)
    transform = Transform.load(place / "out/transform")
    catalog = pd.read_parquet(place / "catalog.parquet")
    pixels = StoredImages(place / "out/images").pixels(catalog.image_id.tolist())
    encoded = [formats.canonical((place / "data" / path).read_bytes(), MAX_PIXELS) for path in catalog.path]
    assert np.array_equal(transform.pixels(encoded), pixels)
    assert transform.image(transform.pixels(encoded)).numpy().tobytes() == transform.image(pixels).numpy().tobytes()


def test_an_image_of_the_networks_size_is_stored_as_it_is(plain: Path) -> None:
    data = (plain / "data/b/exact size.png").read_bytes()
    pixels = StoredImages(plain / "out/images").pixels([hashlib.sha256(data).hexdigest()])[0]
    assert np.array_equal(pixels, np.asarray(Image.open(BytesIO(data))))


def test_a_second_run_writes_the_same_bytes_however_standardised(plain: Path, standardised: Path) -> None:
    """Stored pixels are unscaled: the same files from another run, except for how many images a file has."""
    run(plain, params(per_shard=4), out="again")
    assert contents(plain / "again/images") == contents(standardised / "out/images")
    again, first = StoredImages(plain / "again/images"), StoredImages(plain / "out/images")
    assert np.array_equal(again.rows(range(11)), first.rows(range(11)))


def test_standardised_training_images_have_mean_0_and_deviation_1(standardised: Path) -> None:
    """Against numpy, in float64, over the pixels of the training split alone: (x - mean) / deviation, a channel."""
    catalog = pd.read_parquet(standardised / "catalog.parquet")
    everything = StoredImages(standardised / "out/images")
    train = everything.pixels(catalog.image_id[catalog.split == "train"].tolist()) / 255
    mean, deviation = train.mean(axis=(0, 1, 2)), train.std(axis=(0, 1, 2))
    pixels = everything.rows(range(len(everything)))
    image = Transform.load(standardised / "out/transform").image(pixels).numpy()
    np.testing.assert_allclose(image, (pixels / 255 - mean) / deviation, atol=2e-6)


def test_statistics_do_not_depend_on_other_splits_or_on_the_sharding(standardised: Path, tmp_path: Path) -> None:
    """Other test and validation images, all in one file: the same numbers to the last bit."""
    others = {name: (data if split == "train" else picture(99 + n), split)
              for n, (name, (data, split)) in enumerate(some_files().items())}  # fmt: skip
    run(catalog_of(tmp_path, others), params(standardise=True, per_shard=100))
    pixels = np.random.default_rng(0).integers(256, size=(2, *IMAGE_SHAPE), dtype=np.uint8)
    ours, theirs = (Transform.load(folder / "out/transform").image(pixels) for folder in (standardised, tmp_path))
    assert np.array_equal(ours, theirs)


def test_a_fresh_process_ends_well_says_little_and_asks_no_network(plain: Path) -> None:
    """Exit code 0 (Beam's objects must not outlive their functions), one line, no name looked up: first a failure."""
    program = (
        "import os, socket, sys\n"
        "socket.getaddrinfo = lambda *_: os._exit(77)\n"
        "from pathlib import Path\n"
        "from siamese import errors; from siamese.preprocessing import preprocess\n"
        "from siamese.params import PreprocessParams\n"
        "params = PreprocessParams(\n"
        "    crop=1, standardise=False, images_per_shard=9, runner='DirectRunner', runner_options={}\n"
        ")\n"
        "images, transform = Path('fresh/images'), Path('fresh/transform')\n"
        "for data in ('nowhere', 'data'):\n"
        "    try:\n"
        "        files = Path(data), Path('catalog.parquet'), images, transform\n"
        "        preprocess.run(*files, params, 'specification', 10**6)\n"
        "    except errors.InputError:\n"
        "        assert data == 'nowhere'\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=plain, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    said = [line for line in ended.stderr.splitlines() if not line.startswith("preprocessing images")]
    assert len(said) == 1 and said[0].startswith("11 images preprocessed in ")


@pytest.fixture
def one_bad(tmp_path: Path) -> Path:
    """Three images and older outputs."""
    for older in OLDER:
        (tmp_path / "out" / older).parent.mkdir(parents=True)
        (tmp_path / "out" / older).write_text("kept")
    return catalog_of(tmp_path, {f"{seed}.jpg": (picture(seed), "train") for seed in range(3)})


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        run(folder, params())
    assert "\n" not in str(refused.value)
    assert contents(folder / "out") == dict.fromkeys(OLDER, b"kept")
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["images", "transform"]


def test_a_changed_image_is_named_and_nothing_is_half_written(one_bad: Path) -> None:
    (one_bad / "data/1.jpg").write_bytes(picture(7))
    assert_refused(one_bad, r"data/1\.jpg: changed since the catalog was made: run `siamese catalog` again$")


def test_a_vanished_image_is_named(one_bad: Path) -> None:
    (one_bad / "data/2.jpg").unlink()
    assert_refused(one_bad, r"data/2\.jpg: can't be read \(No such file or directory\): run `siamese catalog` again$")


def test_an_image_that_tensorflow_cannot_decode_is_named(one_bad: Path) -> None:
    """A catalog that took a truncated file, which only decoding finds."""
    files = {"good.jpg": (picture(0), "train"), "half.jpg": (picture(1)[:1500], "train")}
    assert_refused(catalog_of(one_bad, files), r"data/half\.jpg: TensorFlow can't decode it \(.+\): remove it$")


def test_an_image_beyond_the_limit_of_pixels_is_named(one_bad: Path) -> None:
    files = {"large.jpg": (picture(0, (1001, 1000)), "train")}
    assert_refused(catalog_of(one_bad, files), r"data/large\.jpg: too many pixels: .*: run `siamese catalog` again$")


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.parquet").write_text("path,identity")
    with pytest.raises(InputError, match=r"catalog\.parquet: can't be read as Parquet \(.+\): make it again"):
        run(tmp_path, params())
    (tmp_path / "catalog.parquet").unlink()
    with pytest.raises(InputError, match=r"catalog\.parquet is missing: run `siamese catalog`"):
        run(tmp_path, params())


@pytest.mark.parametrize(
    ("images", "in_a_file", "files"),
    [
        (1, 256, 1),
        (500, 256, 2),
        (5000, 256, 20),  # 512 files would hold 10
        (131_072, 256, 512),
        (131_073, 257, 511),  # 510 of 257 and one of 3
        (1_000_000, 1954, 512),
        (3_000_000, 4096, 733),  # 512 files would hold 5,860
    ],
)
def test_how_many_files_there_are_follows_how_many_images(images: int, in_a_file: int, files: int) -> None:
    assert preprocess.images_a_file(images) == in_a_file
    assert len(preprocess.plan_shards(frame(images), in_a_file)) == files


def test_images_per_shard_auto_is_what_the_number_of_images_says(tmp_path: Path) -> None:
    """257 images, all the same picture but for its last bytes: a file of 256 and one of 1."""
    jpeg = picture(0, (8, 8))
    many = {f"{number}.jpg": (jpeg + number.to_bytes(2, "big"), "train") for number in range(257)}
    out = run(catalog_of(tmp_path, many), params(per_shard="auto"))
    sizes = [file.stat().st_size for file in sorted((out / "images").glob(records.FILES))]
    assert [size // records.record_type(IMAGE_SHAPE).itemsize for size in sizes] == [256, 1]


def frame(count: int, side: int = 10) -> pd.DataFrame:
    order = np.random.default_rng(0).permutation(count)
    rows = [(f"{number:064}", f"{number}.png", side, side) for number in order]
    return pd.DataFrame(rows, columns=["image_id", "path", "width", "height"])


@pytest.mark.parametrize(
    ("count", "per_shard", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (1, 3, [1]), (3, 1, [1, 1, 1])]
)
def test_files_are_filled_one_after_the_other_in_order_of_id(count: int, per_shard: int, sizes: list[int]) -> None:
    shards = preprocess.plan_shards(frame(count), per_shard)
    assert [len(shard.image_ids) for shard in shards] == sizes
    assert [path for shard in shards for path in shard.paths] == [f"{number}.png" for number in range(count)]
    assert [image_id for shard in shards for image_id in shard.image_ids] == [
        f"{number:064}" for number in range(count)
    ]
    assert [shard.name for shard in shards] == [records.file_name(n, len(sizes)) for n in range(len(sizes))]


def test_a_file_stays_below_what_a_worker_can_hold() -> None:
    """10,000 x 10,000 pixels are 300 MB: no two fit in 2^29 bytes. 6,000 x 6,000 are 108 MB: four do, five don't."""
    assert [len(shard.paths) for shard in preprocess.plan_shards(frame(3, 10_000), 100)] == [1, 1, 1]
    assert [len(shard.paths) for shard in preprocess.plan_shards(frame(9, 6000), 100)] == [4, 4, 1]
    assert [len(shard.paths) for shard in preprocess.plan_shards(frame(5000), 100_000)] == [4096, 904]
