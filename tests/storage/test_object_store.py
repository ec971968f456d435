"""Every artifact in an object store: the whole pipeline on s3:// makes what it makes here, and copies no set."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
import numpy as np
import pandas as pd
import pytest
from conftest import changed_stages, project_copy, working_folder
from counting_proxy import CountingProxy
from storage_servers import S3_KEYS, s3_server
from trained import weights_of

from siamese import cli, paths
from siamese.errors import InputError
from siamese.params import IMAGE_SHAPE
from siamese.preprocessing import pixel_store
from siamese.preprocessing.pixel_store import RemoteStoredImages, StoredImages
from siamese.preprocessing.records import INDEX, count, file_name, index_of, index_table, record_type, to_records
from siamese.storage import object_store
from siamese.storage.object_store import RemotePath, as_path

RUN = "s3://data/run"
STEPS = {  # every option that names an artifact
    "catalog": ["catalog", "rejected"],
    "pairs": ["catalog", "pairs"],
    "preprocess": ["catalog", "images", "transform"],
    "train": ["catalog", "pairs", "images", "transform", "model", "history", "run", "checkpoints"],
    "evaluate": ["catalog", "pairs", "images", "model", "history", "metrics", "plots", "report", "threshold-file"],
}
NAMES = {
    **{name: f"{name}.parquet" for name in ("catalog", "pairs")},
    **{name: f"{name}.csv" for name in ("rejected", "history")},
    **{"run": "run.json", "metrics": "metrics.json", "report": "report.html", "threshold-file": "threshold.json"},
}


def options(step: str, root: str = RUN) -> list[str]:
    return [text for name in STEPS[step] for text in (f"--{name}", f"{root}/{NAMES.get(name, name)}")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server writes a line a request."""
    return tmp_path_factory.mktemp("s3") / "log"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[str]:
    """A real S3 server, found by the variables that all of Amazon's clients obey, with an empty bucket `data`."""
    with s3_server(log) as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3_KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="data")
        yield address


@pytest.fixture(scope="module")
def data(server: str, workspace: Path) -> str:
    """The workspace's images, in the bucket."""
    return uploaded(workspace / "data/sample", "s3://data/faces")


@pytest.fixture(scope="module")
def prepared(data: str, small_params: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the first three steps have run on the bucket, in files of ten images; and what is in it."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "params.yaml").write_text(small_params.replace("path: data/sample", f"path: {data}"))
    (folder / "tmp").mkdir()
    with working_folder(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder / "tmp"))
        for step in ("catalog", "pairs", "preprocess"):
            assert cli.run([step, *options(step)]) == 0, step
    return folder


def uploaded(folder: Path, uri: str) -> str:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for file in folder.rglob("*"):
        if file.is_file():
            boto3.client("s3").upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder).as_posix()}")
    return uri


def objects(uri: str) -> dict[str, bytes]:
    """All below a URI, byte by byte, as another client than the tested one reads them."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    found = boto3.resource("s3").Bucket(bucket).objects.filter(Prefix=f"{prefix}/")
    return {one.key.removeprefix(f"{prefix}/"): one.get()["Body"].read() for one in found}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def table(uri: str) -> pd.DataFrame:
    return pd.read_parquet(BytesIO(as_path(uri).read_bytes()))


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with, which must fail."""
    assert cli.run(arguments) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("siamese: ") and "unexpected" not in last
    return last.removeprefix("siamese: ")


def test_the_first_steps_make_what_they_make_here(prepared: Path, workspace: Path) -> None:
    local = workspace / "artifacts"
    pd.testing.assert_frame_equal(table(f"{RUN}/catalog.parquet"), pd.read_parquet(local / "catalog.parquet"))
    pd.testing.assert_frame_equal(table(f"{RUN}/pairs.parquet"), pd.read_parquet(local / "pairs.parquet"))
    assert objects(RUN)["rejected.csv"] == (local / "rejected.csv").read_bytes()
    assert objects(f"{RUN}/images") == contents(local / "images")
    assert sorted(objects(f"{RUN}/transform")) == sorted(contents(local / "transform"))


def test_nothing_of_it_stays_on_this_machine(prepared: Path) -> None:
    assert [path.name for path in sorted(prepared.iterdir())] == ["params.yaml", "tmp"]
    assert list((prepared / "tmp").iterdir()) == []


@pytest.mark.slow  # a gigabyte to and fro
def test_training_and_evaluation_make_what_they_make_here(
    prepared: Path, workspace: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = workspace / "artifacts"
    before = log.stat().st_size
    with working_folder(prepared):
        for step in ("train", "evaluate"):
            assert cli.run([step, *options(step)]) == 0, step
        said = capsys.readouterr()
        assert f"model: {RUN}/model, weights of epoch" in said.err and f"evaluate: wrote {RUN}/report.html" in said.out
        assert not {"artifacts", "plots", "metrics.json", "report.html"} & {path.name for path in prepared.iterdir()}
        image = next(path for path in objects("s3://data/faces") if path.endswith(".png"))
        asked = [
            "verify",
            f"s3://data/faces/{image}",
            f"s3://data/faces/{image}",
            "--model",
            f"{RUN}/model",
        ]
        assert cli.run([*asked, "--threshold-file", f"{RUN}/threshold.json", "--json"]) in (0, 1)
    requests = re.findall(r'"GET /data/run/images/part-\S+ HTTP/1.1" (\d+)', log.read_text()[before:])
    assert requests and set(requests) == {"206"}  # parts of objects; 200 would be a whole one
    as_path(f"{RUN}/model").fetch(tmp_path / "model")
    for ours, theirs in zip(weights_of(tmp_path / "model"), weights_of(local / "model"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found = objects(RUN)
    assert json.loads(found["metrics.json"])["test"] == json.loads((workspace / "metrics.json").read_text())["test"]
    assert objects(f"{RUN}/plots") == contents(workspace / "plots")
    assert json.loads(found["threshold.json"])["threshold"] == json.loads(
        (local / "threshold.json").read_text()
    )["threshold"]  # fmt: skip
    ours, theirs = pd.read_csv(BytesIO(found["history.csv"])), pd.read_csv(local / "history.csv")
    pd.testing.assert_frame_equal(ours.drop(columns="images_per_second"), theirs.drop(columns="images_per_second"))
    assert not [name for name in found if name.startswith("checkpoints/") and "epoch" in name]


@pytest.mark.slow  # DVC takes its time
def test_dvc_runs_on_a_bucket_and_sees_what_changes_there(
    server: str, workspace: Path, small_params: str, tmp_path: Path
) -> None:
    faces = uploaded(workspace / "data/sample", "s3://data/of-dvc")
    project = project_copy(tmp_path, small_params.replace("path: data/sample", f"path: {faces}"))
    assert changed_stages(project.run("dvc", "repro", "pairs")) == ["catalog", "pairs"]
    assert "Data and pipelines are up to date" in project.run("dvc", "repro", "pairs")
    key = next(key for key in keys() if key.startswith("of-dvc/"))
    boto3.client("s3").delete_object(Bucket="data", Key=key)
    assert changed_stages(project.run("dvc", "repro", "--dry", "pairs")) == ["catalog"]


def many(uri: str, images: int, per_file: int) -> tuple[list[str], np.ndarray]:
    """A set of random pixels in the store: its ids, in order, and its pixels."""
    rng = np.random.default_rng(images)
    ids = sorted(f"{number:064x}" for number in rng.choice(2**62, images, replace=False).tolist())
    pixels = rng.integers(256, size=(images, 100, 100, 3), dtype=np.uint8)
    files = range(0, images, per_file)
    parts = [to_records(ids[first : first + per_file], pixels[first : first + per_file]) for first in files]
    for number, part in enumerate(parts):
        (as_path(uri) / file_name(number, len(parts))).write_bytes(part.tobytes())
    (as_path(uri) / INDEX).write_bytes(index_table([index_of(part) for part in parts]))
    return ids, pixels


@pytest.fixture(scope="module")
def set_of_forty(server: str) -> tuple[str, list[str], np.ndarray]:
    """Forty images, fifteen a file."""
    return "s3://data/forty", *many("s3://data/forty", 40, 15)


def test_images_are_found_by_id_and_row_in_any_order(set_of_forty) -> None:
    uri, ids, pixels = set_of_forty
    images = pixel_store.open_store(as_path(uri))
    rows = [31, 14, 15, 16, 39, 0, 31]
    assert len(images) == count(as_path(uri), IMAGE_SHAPE) == 40 and images.image_ids == ids
    assert np.array_equal(images.rows(rows), pixels[rows])
    assert np.array_equal(images.pixels([ids[row] for row in rows]), pixels[rows])
    assert images.pixels([]).shape == (0, 100, 100, 3)
    with pytest.raises(InputError, match="no stored pixels of image 0000"):
        images.pixels(["0" * 64])
    for row in (-1, 40):
        with pytest.raises(IndexError):
            images.rows([row])


def test_batches_come_in_order(set_of_forty) -> None:
    uri, _, pixels = set_of_forty
    order = np.random.default_rng(0).permutation(40)
    batches = [order[start : start + 3] for start in range(0, 40, 3)]
    found = list(pixel_store.open_store(as_path(uri)).batches(iter(batches)))
    assert all(np.array_equal(ours, pixels[rows]) for ours, rows in zip(found, batches, strict=True))


def test_the_digest_is_that_of_the_same_images_here(set_of_forty, tmp_path: Path) -> None:
    uri, ids, pixels = set_of_forty
    to_records(ids, pixels).tofile(tmp_path / file_name(0, 1))
    assert pixel_store.open_store(as_path(uri)).digest() == StoredImages(tmp_path).digest()


def test_only_the_records_asked_for_cross_the_network(set_of_forty, server: str, monkeypatch) -> None:
    """Of 1.2 MB: opening needs a listing and the index, some 4 kB; five records are 151 kB, and no more when they are
    asked for again. Headers of a request are below 1 kB."""
    uri, _, _ = set_of_forty
    with CountingProxy(server) as counted:
        monkeypatch.setenv("AWS_ENDPOINT_URL", counted.address)
        monkeypatch.setattr(
            object_store, "_SETTINGS", {"s3": object_store._SETTINGS["s3"] | {"endpoint_url": counted.address}}
        )
        images = RemoteStoredImages(as_path(uri))
        opening = counted.received
        assert 40 * 36 < opening < 10_000
        images.rows([3, 4, 5, 20, 39])
        records = 5 * record_type(IMAGE_SHAPE).itemsize
        assert records < counted.received - opening < records + 3 * 1000
        before = counted.received
        images.rows([39, 3])
        assert counted.received == before


def test_the_memory_for_pixels_is_bounded(set_of_forty, server: str, monkeypatch) -> None:
    """Room for three images, read one after the other: the three that came last are there, the first is read again."""
    uri, _, pixels = set_of_forty
    with CountingProxy(server) as counted:
        monkeypatch.setattr(
            object_store, "_SETTINGS", {"s3": object_store._SETTINGS["s3"] | {"endpoint_url": counted.address}}
        )
        images = RemoteStoredImages(as_path(uri), kept_bytes=3 * 30_000)
        for row in (7, 8, 9, 10):
            images.rows([row])
        before = counted.received
        images.rows([8, 9, 10])
        assert counted.received == before
        assert np.array_equal(images.rows([7])[0], pixels[7])
        assert counted.received > before
        assert np.array_equal(images.rows(range(40)), pixels)  # more than there is room for


def test_a_set_without_its_index_is_not_whole(server: str) -> None:
    many("s3://data/cut", 4, 2)
    boto3.client("s3").delete_object(Bucket="data", Key="cut/index.parquet")
    with pytest.raises(
        InputError, match=r"^s3://data/cut/index.parquet is missing, so the set isn't whole.*preprocess"
    ):
        pixel_store.open_store(as_path("s3://data/cut"))


def test_a_part_of_another_run_is_found_out(server: str) -> None:
    """The same images with other pixels: every record is sound by itself, and the ids are right."""
    ids, pixels = many("s3://data/mixed", 4, 2)
    other = to_records(ids[2:], 255 - pixels[2:])
    (as_path("s3://data/mixed") / file_name(1, 2)).write_bytes(other.tobytes())
    images = pixel_store.open_store(as_path("s3://data/mixed"))
    images.rows([0, 1])
    with pytest.raises(InputError, match=f"part-00001-of-00002.tfrecord: wrong checksum at image {ids[3]}"):
        images.rows([3])


def test_a_missing_part_is_named(server: str) -> None:
    many("s3://data/lacking", 4, 2)
    boto3.client("s3").delete_object(Bucket="data", Key=f"lacking/{file_name(0, 2)}")
    with pytest.raises(InputError, match=r"s3://data/lacking/part-00000-of-00002.tfrecord is missing"):
        pixel_store.open_store(as_path("s3://data/lacking"))


@pytest.fixture
def folder(server: str) -> Iterator[RemotePath]:
    """A folder that a step wrote earlier: four objects, one of them its mark."""
    for name in ("a.csv", "b.csv", "deep/c.csv", "mark"):
        boto3.client("s3").put_object(Bucket="data", Key=f"folder/{name}", Body=b"older")
    yield as_path("s3://data/folder")
    boto3.resource("s3").Bucket("data").objects.filter(Prefix="folder").delete()


OWN = ["*.csv", "deep", "mark"]


def test_a_folder_is_replaced_whole_and_keeps_nothing_of_the_earlier_run(folder: RemotePath) -> None:
    with object_store.atomic_remote_folder(folder, OWN, mark="mark") as beside:
        for name in ("a.csv", "deep/d.csv", "mark"):
            (beside / name).write_bytes(b"newer")
        assert set(objects("s3://data/folder").values()) == {b"older"}
    assert objects("s3://data/folder") == dict.fromkeys(["a.csv", "deep/d.csv", "mark"], b"newer")
    assert not [key for key in keys() if key.startswith(".folder")]


def test_a_folder_stays_as_it_was_where_the_step_fails(folder: RemotePath) -> None:
    before = objects("s3://data/folder")
    with pytest.raises(ZeroDivisionError), object_store.atomic_remote_folder(folder, OWN, mark="mark") as beside:
        (beside / "a.csv").write_bytes(b"newer")
        raise ZeroDivisionError
    assert objects("s3://data/folder") == before
    assert not [key for key in keys() if key.startswith(".folder")]


def test_a_folder_that_holds_what_the_step_does_not_write_is_refused(folder: RemotePath) -> None:
    boto3.client("s3").put_object(Bucket="data", Key="folder/thesis.docx", Body=b"mine")
    before = objects("s3://data/folder")
    with pytest.raises(InputError, match=r"s3://data/folder holds thesis\.docx, which this step doesn't write"):
        object_store.atomic_remote_folder(folder, OWN, mark="mark").__enter__()
    assert objects("s3://data/folder") == before


def test_a_folder_whose_copying_is_cut_short_has_no_mark(folder: RemotePath, monkeypatch) -> None:
    """The store is lost after the first copy: what is there is no whole folder, and the next run makes it one."""
    copied: list[str] = []

    def lost(self: RemotePath, other: RemotePath) -> None:
        if copied:
            raise InputError("the store is away")
        copied.append(self.name)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="the store is away"):
        patch.setattr(RemotePath, "copy_from", lost)
        with object_store.atomic_remote_folder(folder, OWN, mark="mark") as beside:
            for name in ("a.csv", "b.csv", "mark"):
                (beside / name).write_bytes(b"newer")
    assert "mark" not in objects("s3://data/folder")


def test_what_a_killed_run_left_beside_is_removed_when_it_is_old(folder: RemotePath, monkeypatch) -> None:
    left = f".folder.unfinished-{'0' * 32}/a.csv"
    boto3.client("s3").put_object(Bucket="data", Key=left, Body=b"half")
    with object_store.atomic_remote_folder(folder, OWN, mark="mark") as beside:
        (beside / "mark").write_bytes(b"newer")
    assert left in keys()  # somebody may be writing it
    monkeypatch.setattr(object_store, "FORGOTTEN", -60.0)
    with object_store.atomic_remote_folder(folder, OWN, mark="mark") as beside:
        (beside / "mark").write_bytes(b"newer")
    assert left not in keys()


def keys() -> list[str]:
    return [one.key for one in boto3.resource("s3").Bucket("data").objects.all()]


def test_other_files_a_shard_leave_no_part_of_the_run_before(prepared: Path) -> None:
    again = ["--catalog", f"{RUN}/catalog.parquet", "--images", "s3://data/again/images"]
    again += ["--transform", "s3://data/again/transform"]
    with working_folder(prepared):
        for per_file in (10, 30):
            assert cli.run(["preprocess", *again, "-S", f"preprocess.images_per_shard={per_file}"]) == 0
    names = [file_name(number, 2) for number in range(2)]
    assert sorted(objects("s3://data/again/images")) == ["index.parquet", *names]
    whole = pixel_store.open_store(as_path("s3://data/again/images"))
    first = pixel_store.open_store(as_path(f"{RUN}/images"))
    assert whole.digest() == first.digest()


def test_an_image_that_changed_leaves_the_stored_pixels_alone(prepared: Path, workspace: Path, capsys) -> None:
    uploaded(workspace / "data/sample", "s3://data/changed")
    path = table(f"{RUN}/catalog.parquet").path[0]
    boto3.client("s3").put_object(Bucket="data", Key=f"changed/{path}", Body=b"other")
    before = objects(f"{RUN}/images")
    with working_folder(prepared):
        said = refusal(["preprocess", "--data", "s3://data/changed", *options("preprocess")], capsys)
    assert said == f"s3://data/changed/{path}: changed since the catalog was made: run `siamese catalog` again"
    assert objects(f"{RUN}/images") == before
    assert not [key for key in keys() if "unfinished" in key]


def test_what_is_rejected_is_told_even_if_nothing_is_left(server: str, tmp_path: Path, capsys) -> None:
    boto3.client("s3").put_object(Bucket="data", Key="texts/a/b.png", Body=b"a text")
    outputs = ["--catalog", "s3://data/texts-catalog.parquet", "--rejected", "s3://data/rejected.csv"]
    with working_folder(tmp_path):
        said = refusal(["catalog", "--data", "s3://data/texts", *outputs], capsys)
    assert said.startswith("s3://data/texts: no usable image: 1 of 1 files are rejected")
    assert as_path("s3://data/rejected.csv").read_bytes() == b"path,reason\na/b.png,not an image\n"
    assert not as_path("s3://data/texts-catalog.parquet").exists()


def test_inspect_looks_at_every_image_where_it_is(data: str, workspace: Path, tmp_path: Path, capsys) -> None:
    reports = []
    with working_folder(tmp_path):
        for folder in (data, str(workspace / "data/sample")):
            assert cli.run(["inspect", folder, "--thorough", "--json"]) == 0
            reports.append(json.loads(capsys.readouterr().out) | {"folder": ""})
    assert reports[0] == reports[1] and reports[0]["images"] == 48
    assert list(tmp_path.iterdir()) == []


PAIRS = ["pairs", "--pairs", "s3://data/p.parquet", "--catalog"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [*PAIRS, "s3://data/none.parquet"],
            r"s3://data/none\.parquet is missing: run `siamese catalog` first",
        ),
        ([*PAIRS, "s3://nowhere/c.parquet"], r"s3://nowhere/c\.parquet: no bucket nowhere is to be seen: make it"),
        (
            [*PAIRS, "nosuch://data/c.parquet"],
            r"nosuch://data/c\.parquet: no store is known by nosuch://: name one",
        ),
        (
            ["pairs", "--pairs", "s3://nowhere/p.parquet"],
            r"s3://nowhere/p\.parquet: can't be written \(.*bucket does not exist",
        ),
        (["pairs", "--pairs", "s3://"], r"s3:// names no bucket: name a place such as s3://bucket/run"),
        (
            ["summary", "--draw", "s3://data/net.svg"],
            r".*s3://data/net.svg is a URI: name a path of this machine",
        ),
        (
            ["pairs", "--pairs", "s3://data"],
            r"s3://data is a whole bucket: name a folder in it, such as s3://data/run",
        ),
        (
            ["catalog", "--data", "s3://nowhere/x"],
            r"s3://nowhere/x: can't be read as a folder \(no such bucket\): name",
        ),
        (
            ["catalog", "--data", "s3://data/x"],
            r"s3://data/x: can't be read as a folder \(no such object or folder\)",
        ),
        (
            ["calibrate", "--pairs", "s3://data/none"],
            r"s3://data/none is missing: run `siamese pairs` first",
        ),
        (
            ["metrics", "s3://data/none.json"],
            r"s3://data/none\.json is missing: run `siamese evaluate` first",
        ),
        (
            ["verify", "s3://data/none.png", "s3://data/none.png"],
            r"s3://data/none\.png: can't be read",
        ),
    ],
)
def test_what_is_not_there_is_one_line(prepared: Path, capsys, arguments: list[str], expected: str) -> None:
    with working_folder(prepared):
        assert re.match(expected, refusal(arguments, capsys))


def test_a_store_may_take_minutes_for_an_answer(server: str) -> None:
    """As it does to join the parts of a large file. s3fs itself would ask again after 15 s."""
    store, _ = object_store.open_file("s3://data/any")
    store.exists("data/any")
    assert store.s3.meta.config.read_timeout == 300


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path, server: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(object_store, "_SETTINGS", {"s3": {"endpoint_url": "http://127.0.0.1:9"}})
    with working_folder(tmp_path):
        said = refusal([*PAIRS, "s3://data/c.parquet"], capsys)
    assert re.match(r"s3://data/c\.parquet: can't be used \(.*127\.0\.0\.1:9.*\): see to the address", said)


def test_without_credentials_the_line_says_which_to_give(tmp_path: Path, server: str) -> None:
    """In a process of its own: clients remember what they found."""
    environment = {"AWS_ENDPOINT_URL": server, "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    said = in_a_process([*PAIRS, "s3://data/c.parquet"], tmp_path, environment)
    assert re.search(r"s3://data/c\.parquet: can't be used \(.*redentials.*\): give credentials, such as AWS_ACC", said)


def test_wrong_credentials_are_one_line(tmp_path: Path, server: str) -> None:
    environment = {"AWS_ENDPOINT_URL": server, **S3_KEYS, "AWS_ACCESS_KEY_ID": "nobody", "HOME": str(tmp_path)}
    reset = Request(f"{server}/moto-api/reset-auth", headers={"Content-Type": "text/plain"}, method="POST")
    urlopen(reset, data=b"0").close()  # from now on, it looks at keys
    try:
        said = in_a_process([*PAIRS, "s3://data/c.parquet"], tmp_path, environment)
    finally:
        urlopen(reset, data=b"inf").close()
    assert re.search(r"s3://data/c\.parquet: can't be used \(.*\): see to the address, the credentials and their", said)


def in_a_process(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """The last line that a command says, which must fail."""
    program = "import sys; from siamese import cli; sys.exit(cli.run(sys.argv[1:]))"
    known = {"PATH": "/usr/bin", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env=known | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    return done.stderr.splitlines()[-1]


def test_an_upload_that_fails_keeps_what_was_written(prepared: Path, monkeypatch, capsys) -> None:
    def lost(self: RemotePath, source: Path) -> None:
        raise InputError(f"{self}: the store is away")

    monkeypatch.setattr(RemotePath, "send", lost)
    with working_folder(prepared):
        said = refusal([*PAIRS, f"{RUN}/catalog.parquet"], capsys)
    kept = re.fullmatch(r"s3://data/p.parquet: the store is away; what was to be written is kept in (\S+)", said)
    assert kept and list(Path(kept[1]).glob("*/p.parquet"))


def test_a_store_cannot_lead_out_of_the_folder_that_is_filled(server: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket="data", Key="evil/../../out.txt", Body=b"out")
    with pytest.raises(InputError, match="no file can have this name"):
        as_path("s3://data/evil").fetch(tmp_path / "a/b/evil")
    assert not list(tmp_path.rglob("out.txt"))


def test_what_is_local_needs_no_fsspec(workspace: Path) -> None:
    program = (
        "import sys; from siamese import cli; cli.run(['params']); cli.run(['metrics'])\n"
        "print('fsspec' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=workspace, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", ["s3", "artifacts/images", "s3:/one/slash", "models:/siamese/1", "C:images"])
def test_a_path_stays_a_path(name: str) -> None:
    assert as_path(name) == Path(name)


def test_a_uri_is_joined_as_a_path_is() -> None:
    folder = as_path("s3://bucket/run/")
    assert str(folder) == "s3://bucket/run" and folder.name == "run" and folder.bucket == "bucket"
    assert str(folder / "a b/ü?#.png") == "s3://bucket/run/a b/ü?#.png"
    assert str(folder.with_name("other")) == "s3://bucket/other"
    assert as_path("file:///etc/x") == Path("/etc/x") and str(paths.IMAGES) == "artifacts/images"
