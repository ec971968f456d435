"""Beam's runners: the same outputs on each that runs here, what is sent to those that don't, and what goes wrong."""

from __future__ import annotations

import base64
import bz2
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as beam_api
from beam_servers import JOB_SERVER, UMASK, WORKER_POOL, BeamServer, beam_server, options
from cataloged import MAX_PIXELS, catalog_of, contents, params, picture, run, some_files
from dataflow_server import DataflowServer
from google.cloud.dataflow import JobType
from ruamel.yaml import YAML
from storage_servers import free_port

from siamese import cli
from siamese.errors import ExitCode, InputError
from siamese.params import IMAGE_SHAPE
from siamese.preprocessing import beam_runner, preprocess

ROOT = Path(__file__).parents[2]
BZ2 = base64.b64encode(b"BZh")  # how what Beam pickles begins
CLOUD = {"project": "my-project", "region": "europe-west4", "temp_location": "gs://bucket/temporary"}


@dataclass(frozen=True)
class Sent:
    """A job as it was sent: the folder of what was staged, the catalog, the request's method and path, its content; and
    what was said meanwhile."""

    staged: Path
    catalog: pd.DataFrame
    request: str
    job: dict[str, Any]
    said: str

    @cached_property
    def pipeline(self) -> beam_api.Pipeline:
        return beam_api.Pipeline.FromString((self.staged / "pipeline.pb").read_bytes())

    @cached_property
    def leaves(self) -> dict[str, beam_api.PTransform]:
        """What does work, by its full name."""
        every = self.pipeline.components.transforms.values()
        return {one.unique_name: one for one in every if not one.subtransforms and one.outputs}

    def upstream_of(self, name: str) -> set[str]:
        """The names of the leaves from whose elements those of `name` are made, itself too; side inputs left out."""
        makers = {made: one for one, leaf in self.leaves.items() for made in leaf.outputs.values()}
        found, waiting = set(), [name]
        while waiting:
            found.add(one := waiting.pop())
            leaf = self.leaves[one]
            does = leaf.spec.urn == common_urns.primitives.PAR_DO.urn
            aside = beam_api.ParDoPayload.FromString(leaf.spec.payload).side_inputs if does else {}
            waiting += [makers[fed] for tag, fed in leaf.inputs.items() if tag not in aside]
        return found

    def downstream_of(self, name: str) -> set[str]:
        return {one for one in self.leaves if name in self.upstream_of(one)}


def section(heading: str) -> str:
    """Of docs/beam.md: from a heading to the next."""
    text = (ROOT / "docs/beam.md").read_text()
    return text[text.index(heading) :].split("\n## ")[0]


def documented(runner: str) -> dict[str, Any]:
    """The options of the first example of a runner in docs/beam.md."""
    examples = re.findall(r"^```yaml\n(.+?)^```$", (ROOT / "docs/beam.md").read_text(), re.MULTILINE | re.DOTALL)
    read = [YAML(typ="safe").load(example)["preprocess"] for example in examples]
    return next(one["runner_options"] for one in read if one["runner"] == runner)


def test_runner_options_reach_beam() -> None:
    wanted = params(runner="DataflowRunner", **CLOUD, num_workers=3, experiments=["a", "b"])
    read = beam_runner.pipeline_options(wanted).get_all_options()
    assert (read["project"], read["num_workers"], read["experiments"]) == ("my-project", 3, ["a", "b"])


@pytest.mark.parametrize(
    ("runner", "given", "message"),
    [
        (
            "DataflowRunner",
            {"projet": "p"},
            r"^preprocess\.runner_options: Beam has no option projet; nearest: project$",
        ),
        ("DirectRunner", {"direct_num_workers": "many"}, r"^preprocess\.runner_options: .*num_workers: invalid int"),
        ("DirectRunner", {"xyz": 1}, r"^preprocess\.runner_options: Beam has no option xyz$"),
        ("DataflowRunner", {"region": "r"}, r"^preprocess\.runner DataflowRunner needs .*\.project: "),
        ("FlinkRunner", {}, r"^preprocess\.runner FlinkRunner needs preprocess\.runner_options\.flink_master: "),
        ("SparkRunner", {"temp_location": "/t"}, r"^preprocess\.runner SparkRunner needs .*\.spark_master_url: "),
        ("FlinkRunner", {"flink_master": "localhost:1"}, r"^preprocess\.runner FlinkRunner needs .*\.temp_location: "),
        ("PortableRunner", {"environment_type": "LOOPBACK"}, r"^preprocess\.runner PortableRunner needs .*\.job_endp"),
        (
            "PortableRunner",
            {"job_endpoint": "localhost:1"},
            r"^preprocess\.runner PortableRunner needs .*\.environment",
        ),
    ],
)
def test_what_is_wrong_with_a_runners_options_is_said_in_one_line(
    runner: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        beam_runner.pipeline_options(params(runner=runner, **given))
    assert "\n" not in str(refused.value)


def test_a_cloud_runner_is_not_sent_to_folders_of_this_machine() -> None:
    with pytest.raises(InputError, match=r"data: DataflowRunner's workers can't reach it: use folders in a bucket"):
        beam_runner.check(params(runner="DataflowRunner", **CLOUD), Path("/gcs/bucket/images"), Path("data"))


@pytest.mark.parametrize("runner", ["PortableRunner", "FlinkRunner"])
def test_a_job_server_that_is_not_there_is_told_before_anything_is_done(runner: str) -> None:
    endpoint = f"localhost:{free_port()}"
    wanted = params(runner=runner, job_endpoint=endpoint, job_server_timeout=1)
    with pytest.raises(InputError, match=rf"job_endpoint {endpoint}: no job server answered in 1 s: start it, or name"):
        beam_runner.check(wanted)


def test_workers_elsewhere_reach_a_mounted_bucket_by_its_name() -> None:
    cloud, here = params(runner="DataflowRunner", **CLOUD), params()
    assert str(beam_runner.reachable_from_workers(Path("/gcs/bucket/run/images"), cloud)) == "gs://bucket/run/images"
    assert beam_runner.reachable_from_workers(Path("/mnt/gcs/images"), cloud) == Path("/mnt/gcs/images")
    assert beam_runner.reachable_from_workers(Path("/gcs/bucket/run/images"), here) == Path("/gcs/bucket/run/images")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BeamServer]:
    with beam_server(JOB_SERVER, tmp_path_factory.mktemp("jobs")) as server:
        yield server


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BeamServer]:
    with beam_server(WORKER_POOL, tmp_path_factory.mktemp("workers")) as server:
        yield server


@pytest.fixture(scope="module")
def both(jobs: BeamServer, workers: BeamServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven images of all accepted kinds, standardised, four a file: `here` by DirectRunner, `there` by other
    processes."""
    folder = catalog_of(tmp_path_factory.mktemp("both"), some_files())
    run(folder, params(standardise=True, per_shard=4), out="here")
    elsewhere = options(jobs, workers, folder / "temporary")
    run(folder, params(standardise=True, per_shard=4, runner="PortableRunner", **elsewhere), out="there")
    return folder


def test_workers_in_other_processes_write_the_same_bytes(both: Path) -> None:
    """Stored pixels, the transform graph with its analysed statistics, and the description of what it gives."""
    here, there = contents(both / "here"), contents(both / "there")
    assert {"images/part-00000-of-00003.tfrecord", "transform/transform_fn/saved_model.pb"} <= set(here)
    assert here == there


def test_it_was_the_workers_that_wrote(both: Path) -> None:
    """Their mask of permissions isn't ours: a file of ours may be read by all, one of theirs may not."""
    files = [(both / out / "images").iterdir() for out in ("here", "there")]
    ours, theirs = ({file.stat().st_mode & 0o777 for file in those} for those in files)
    assert theirs == {0o666 & ~UMASK}
    assert ours != theirs


def test_a_job_leaves_nothing_in_its_temporary_folder(both: Path) -> None:
    assert list((both / "temporary").iterdir()) == []


def test_the_servers_are_the_documented_ones() -> None:
    for (module, option), port in ((JOB_SERVER, 8099), (WORKER_POOL, 50000)):
        assert f"\npython -m {module} {option} {port} &\n" in section("## PortableRunner")
    shown = documented("PortableRunner")
    assert set(shown) == {"job_endpoint", "environment_type", "environment_config", "temp_location"}
    assert shown["environment_type"] == "EXTERNAL"


def test_what_a_worker_finds_wrong_is_the_same_one_line(
    jobs: BeamServer, workers: BeamServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the command line: exit code 2, one line beside the progress, and nothing half written."""
    folder = catalog_of(tmp_path, {f"{seed}.jpg": (picture(seed), "train") for seed in range(3)})
    (folder / "data/1.jpg").write_bytes(picture(7))
    given = options(jobs, workers, tmp_path / "temporary")
    settings = ["preprocess.runner=PortableRunner", *(f"preprocess.runner_options.{key}={given[key]}" for key in given)]
    command = ["preprocess", "--data", f"{folder}/data", "--catalog", f"{folder}/catalog.parquet"]
    command += ["--images", f"{folder}/images", "--transform", f"{folder}/transform"]
    assert cli.run([*command, *(word for setting in settings for word in ("-S", setting))]) == ExitCode.WRONG_INPUT
    said = [line for line in capfd.readouterr().err.splitlines() if line and "preprocessing images" not in line]
    reason = "changed since the catalog was made: run `siamese catalog` again"
    assert said == [f"siamese: {folder}/data/1.jpg: {reason}"]
    assert {file.name for file in folder.iterdir()} == {"data", "catalog.parquet", "temporary"}


@pytest.mark.slow
def test_a_job_server_that_is_lost_is_told(workers: BeamServer, tmp_path: Path) -> None:
    """Killed while a worker reads an image, which here is a pipe that nobody has closed yet."""
    folder = catalog_of(tmp_path, {f"{seed}.jpg": (picture(seed), "train") for seed in range(2)})
    (folder / "data/1.jpg").unlink()
    os.mkfifo(folder / "data/1.jpg")
    with beam_server(JOB_SERVER, tmp_path / "jobs") as lost:

        def kill() -> None:
            with (folder / "data/1.jpg").open("wb"):  # which waits for the worker
                lost.process.kill()
                lost.process.wait()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        with pytest.raises(InputError, match=r"^preprocess\.runner PortableRunner: the job server was lost \(.+\): "):
            run(folder, params(runner="PortableRunner", **options(lost, workers, tmp_path / "temporary")))
        killer.join()


@pytest.mark.slow
def test_workers_without_the_library_are_told(jobs: BeamServer, tmp_path: Path) -> None:
    (tmp_path / "siamese.py").write_text("raise ModuleNotFoundError(\"No module named 'siamese'\")")
    folder = catalog_of(tmp_path, {"0.jpg": (picture(0), "train")})
    with beam_server(WORKER_POOL, tmp_path / "bare", PYTHONPATH=str(tmp_path)) as bare:
        wanted = params(runner="PortableRunner", **options(jobs, bare, tmp_path / "temporary"))
        with pytest.raises(InputError, match=r"^preprocess\.runner PortableRunner: siamese isn't installed where "):
            run(folder, wanted)


@pytest.mark.slow
def test_sparks_executors_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Java is, and `pip install --no-deps pyspark==4.2.0 py4j beam-pyspark-runner` was done: Spark's local mode,
    by a runner of others that needs no job server and can't analyse."""
    spark = pytest.importorskip("beam_pyspark_runner.pyspark_runner")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2] --conf spark.ui.enabled=false pyspark-shell")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    folder = catalog_of(tmp_path, some_files())
    run(folder, params(per_shard=4), out="here")
    monkeypatch.setattr(beam_runner, "runner", lambda _: spark.PySparkRunner())
    wanted = params(
        per_shard=4, runner="SparkRunner", spark_master_url="local[2]", temp_location=str(tmp_path / "temporary")
    )
    run(folder, wanted, out="there")
    assert contents(folder / "here") == contents(folder / "there")


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """What Beam's own client sends to Dataflow for the options that docs/beam.md shows, and what it stages."""
    folder = catalog_of(tmp_path_factory.mktemp("sent"), some_files())
    (folder / "staged").mkdir()
    (folder / "own-1.0.tar.gz").touch()
    catalog = pd.read_parquet(folder / "catalog.parquet")
    shards, training = preprocess.plan_shards(catalog, 4), preprocess.plan_shards(catalog[catalog.split == "train"], 4)
    bucket = Path("/gcs/my-bucket")
    with DataflowServer() as server:
        here = {"dataflow_endpoint": server.address, "no_auth": True}
        here |= {"temp_location": str(folder / "temporary"), "staging_location": str(folder / "staged")}
        given = documented("DataflowRunner") | here | {"extra_packages": [str(folder / "own-1.0.tar.gz")]}
        wanted = params(standardise=True, runner="DataflowRunner", **given)
        outputs = bucket / "run/images", bucket / "run/transform"
        with redirect_stderr(StringIO()) as said:
            preprocess.run_pipeline(bucket / "data", shards, training, *outputs, wanted, IMAGE_SHAPE, MAX_PIXELS)
    [(request, job)] = server.requests
    return Sent(folder / "staged", catalog, request, job, said.getvalue())


def test_the_options_reach_the_job(sent: Sent) -> None:
    assert sent.request == "POST /v1b3/projects/my-project/locations/europe-west4/jobs"
    assert sent.job["type"] == JobType.JOB_TYPE_BATCH
    environment = sent.job["environment"]
    assert environment["serviceAccountEmail"] == "siamese@my-project.iam.gserviceaccount.com"
    [pool] = environment["workerPools"]
    image = "europe-west4-docker.pkg.dev/my-project/siamese/siamese-worker:v1"
    assert pool["workerHarnessContainerImage"] == image
    assert [one["containerImage"] for one in pool["sdkHarnessContainerImages"]] == [image]
    assert (pool["machineType"], pool["numWorkers"], pool["diskSizeGb"]) == ("n2-standard-4", 4, 50)
    assert (pool["numThreadsPerWorker"], pool["autoscalingSettings"]["maxNumWorkers"]) == (1, 16)
    assert environment["sdkPipelineOptions"]["options"]["region"] == "europe-west4"
    assert (sent.staged / "own-1.0.tar.gz").exists()
    assert "own-1.0.tar.gz" in {package["name"] for package in pool["packages"]}


def test_where_to_watch_the_job_is_said_and_nothing_else(sent: Sent) -> None:
    [line] = sent.said.splitlines()
    assert line.endswith("https://console.cloud.google.com/dataflow/jobs/europe-west4/job-1?project=my-project")


def test_the_stages_are_the_documented_ones(sent: Sent) -> None:
    [root] = sent.pipeline.root_transform_ids
    transforms = sent.pipeline.components.transforms
    names = [transforms[one].unique_name for one in transforms[root].subtransforms]
    rows = re.findall(r"^\| (`.+?`) \| [^|]+ \|$", section("# Preprocessing"), re.MULTILINE)
    documented_stages = [name for row in rows for name in re.findall("`(.+?)`", row)]
    assert sorted(names) == sorted(set(documented_stages) - set(beam_runner.REQUIRED_OPTIONS))


def test_no_pixel_is_shuffled(sent: Sent) -> None:
    """Upstream of `write`, what is grouped by key, so moved between workers, are names of files; and in the whole job,
    else only what was analysed, and the index of what was written."""
    grouped = {name for name, one in sent.leaves.items() if one.spec.urn == common_urns.primitives.GROUP_BY_KEY.urn}
    path = sent.upstream_of("write")
    assert {"read", "write"} <= path
    assert {name.partition("/")[0] for name in grouped & path} == {"files"}
    assert {name.partition("/")[0] for name in grouped} == {"files", "training files", "analyse", "gather the index"}
    assert not any(name.startswith("files/") for name in path & sent.downstream_of("read"))


def test_a_job_carries_no_list_of_images(sent: Sent) -> None:
    """A million images' names would be 100 MB, more than Dataflow takes. It carries the files' names, which shows that
    this looks where names would be."""
    does = [one.spec.payload for one in sent.leaves.values() if one.spec.urn == common_urns.primitives.PAR_DO.urn]
    functions = [beam_api.ParDoPayload.FromString(payload).do_fn.payload for payload in does]
    carried = b"".join(bz2.decompress(base64.b64decode(one)) for one in functions if one.startswith(BZ2))
    assert b"part-00002-of-00003" in carried
    assert not any(image_id.encode() in carried for image_id in sent.catalog.image_id)


def test_all_that_a_job_carries_is_understood_by_a_fresh_process(sent: Sent, tmp_path: Path) -> None:
    """As a worker does: with the library installed and nothing else of ours, from a folder of its own."""
    program = (
        "import sys\n"
        "from apache_beam.internal import pickler\n"
        "from apache_beam.portability.api import beam_runner_api_pb2 as api\n"
        "pipeline = api.Pipeline.FromString(open(sys.argv[1], 'rb').read())\n"
        "for one in pipeline.components.transforms.values():\n"
        "    is_function = one.spec.urn == 'beam:transform:pardo:v1'\n"
        "    does = api.ParDoPayload.FromString(one.spec.payload).do_fn if is_function else None\n"
        "    if does and does.payload:\n"
        "        pickler.loads(does.payload)\n"
        "        print(one.unique_name)\n"
        "assert 'siamese.preprocessing.preprocess' in sys.modules and 'cataloged' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(sent.staged / "pipeline.pb")]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert {"read", "read to analyse", "write"} <= set(ended.stdout.splitlines())
