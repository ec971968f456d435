"""`siamese fetch`: whatever a copy is packed in, the published images and no others, in a folder of their own."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import working_folder
from cutting_server import CuttingServer
from PIL import Image

from siamese import cli
from siamese.config import load_params, packaged_file
from siamese.data import catalog
from siamese.data.datasets import fetch, lfw, omniglot, orl
from siamese.data.datasets.base import by_owner, drawn_runs, n_way
from siamese.data.datasets.sources import DownloadUrl, download, open_archive
from siamese.errors import InputError
from siamese.params import CatalogParams

PEOPLE, EACH = 40, 10


def face(person: int, number: int, format: str) -> bytes:
    """A picture of 3 x 2 pixels that only this person and number have."""
    content = io.BytesIO()
    pixels = np.array([[person, number, 7], [1, 2, 3]], np.uint8)
    Image.fromarray(pixels).save(content, "PPM" if format == "pgm" else format)
    return content.getvalue()


def faces(suffix: str, above: str = "") -> dict[str, bytes]:
    return {
        f"{above}s{person}/{number}.{suffix}": face(person, number, suffix)
        for person in range(1, PEOPLE + 1)
        for number in range(1, EACH + 1)
    }


def as_zip(file: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in contents.items():
            made.writestr(name, content)
    return file


def as_tar(file: Path, contents: dict[str, bytes], compression: str = "gz") -> Path:
    with tarfile.open(file, f"w:{compression}") as made:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file


def as_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set `orl` with the faces of this file in the place of the published ones."""
    digest = fetch.digest_of(orl.ORL, faces("png"), {})
    monkeypatch.setitem(fetch.DATA_SETS, "orl", replace(orl.ORL, digest=digest))


PACKINGS: dict[str, Callable[[Path], Path]] = {
    "zip of PNG": lambda folder: as_zip(folder / "copy.zip", faces("png", "orl_faces/")),
    "zip of PGM, as published": lambda folder: as_zip(folder / "att_faces.zip", faces("pgm")),
    "compressed tar file": lambda folder: as_tar(folder / "faces.tar.gz", faces("pgm", "att_faces/")),
    "folder": lambda folder: as_folder(folder / "orl_faces", faces("png")),
    "folder of its archive among others": lambda folder: (
        as_zip(
            as_zip(
                as_folder(folder / "several", {"note.txt": b"no image"}) / "lfw.zip", {"s1/1.png": b"no face"}
            ).parent
            / "orl_faces.zip",
            faces("png"),
        ).parent
    ),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_copy_becomes_identity_folders(packing: str, tmp_path: Path, stand_in: None) -> None:
    source, made = PACKINGS[packing](tmp_path), tmp_path / "new/faces"
    assert fetch.run("orl", [source], made, tmp_path / "downloads")
    found = {path.relative_to(made).as_posix() for path in made.glob("s*/*")}
    assert found == set(faces("png"))
    assert np.asarray(Image.open(made / "s12/3.png")).tolist() == [[12, 3, 7], [1, 2, 3]]
    about = json.loads((made / "protocol/source.json").read_text())
    assert about["name"] == "orl" and about["images"] == 400 and "AT&T" in about["publisher"]


def test_the_pipeline_takes_its_splits(tmp_path: Path, stand_in: None) -> None:
    """27 people train, 3 validate, s31 to s40 test; what lies in `protocol` is no image and no identity."""
    fetch.run("orl", [as_zip(tmp_path / "orl.zip", faces("png"))], tmp_path / "faces", tmp_path)
    params = load_params(packaged_file(), ["catalog.splits=protocol/splits-s31-s40.csv"])
    outputs = tmp_path / "catalog.parquet", tmp_path / "rejected.csv"
    catalog.run(tmp_path / "faces", *outputs, params.catalog, params.data.max_pixels)
    identities = pd.read_parquet(outputs[0]).groupby("split").identity.unique()
    assert {split: len(found) for split, found in identities.items()} == {"train": 27, "validation": 3, "test": 10}
    assert set(identities["test"]) == {f"s{number}" for number in range(31, 41)}
    assert pd.read_csv(outputs[1]).path.str.startswith("protocol/").all()


def test_nothing_is_done_twice_and_nobody_s_folder_is_touched(tmp_path: Path, stand_in: None) -> None:
    source = as_zip(tmp_path / "orl.zip", faces("png"))
    assert fetch.run("orl", [source], tmp_path / "faces", tmp_path)
    assert not fetch.run("orl", [tmp_path / "nowhere"], tmp_path / "faces", tmp_path)
    theirs = as_folder(tmp_path / "theirs", {"letter.txt": b"dear"})
    with pytest.raises(InputError, match="is there already"):
        fetch.run("orl", [source], theirs, tmp_path)
    assert [file.name for file in theirs.iterdir()] == ["letter.txt"]


def test_a_folder_with_lists_of_another_version_is_named(tmp_path: Path, stand_in: None) -> None:
    source, made = as_zip(tmp_path / "orl.zip", faces("png")), tmp_path / "faces"
    assert fetch.run("orl", [source], made, tmp_path)
    about = made / "protocol/source.json"
    about.write_text(
        json.dumps({key: value for key, value in json.loads(about.read_text()).items() if key != "edition"})
    )
    with pytest.raises(InputError, match="faces: was made by another version of siamese, which drew other lists"):
        fetch.run("orl", [source], made, tmp_path)


def test_what_is_not_the_published_set_is_refused(tmp_path: Path, stand_in: None) -> None:
    other = faces("png") | {"s1/1.png": face(200, 200, "png")}
    fewer = dict(list(faces("png").items())[:390])
    for contents, reason in (
        (other, "some images of orl aren't the published ones"),
        (fewer, "390 of the 400 images of orl are there: name all of its archives with --from"),
    ):
        with pytest.raises(InputError, match=reason):
            fetch.run("orl", [as_zip(tmp_path / "orl.zip", contents)], tmp_path / "faces", tmp_path)
        assert not (tmp_path / "faces").exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def scribbled(content: bytes) -> bytes:
    return content[:3000] + bytes(100) + content[3100:]


@pytest.mark.parametrize("spoil", [cut, scribbled])
@pytest.mark.parametrize("packed", ["stored.zip", "deflated.zip", "faces.tar.gz", "faces.tar.xz"])
def test_a_damaged_archive_is_one_line(packed: str, spoil: Callable, tmp_path: Path, stand_in: None) -> None:
    archive = tmp_path / packed
    if packed.endswith("zip"):
        as_zip(archive, faces("png"), zipfile.ZIP_DEFLATED if packed == "deflated.zip" else zipfile.ZIP_STORED)
    else:
        as_tar(archive, faces("png"), packed.rpartition(".")[2])
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(InputError, match=r"get (it|its archive|them) again|aren't the published ones") as raised:
        fetch.run("orl", [archive], tmp_path / "faces", tmp_path)
    assert "\n" not in str(raised.value) and not (tmp_path / "faces").exists()


def test_an_archive_that_needs_a_password_says_so(tmp_path: Path, stand_in: None) -> None:
    """Bit 0 of a file's flags tells it, which stand in its own header and in the directory."""
    archive = as_zip(tmp_path / "orl.zip", faces("png"))
    content = archive.read_bytes()
    for before_flags in (rb"PK\x03\x04..", rb"PK\x01\x02...."):
        content = re.sub(b"(" + before_flags + b")..", lambda found: found[1] + b"\1\0", content, flags=re.DOTALL)
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"s1/1\.png: can't be read \(.*password.*name the folder that you unpacked"):
        fetch.run("orl", [archive], tmp_path / "faces", tmp_path)


def test_an_image_that_is_none_is_named(tmp_path: Path, stand_in: None) -> None:
    copy = as_folder(tmp_path / "copy", faces("png") | {"s7/3.png": face(7, 3, "png")[:50]})
    with pytest.raises(InputError, match=r"s7/3\.png: is no image that can be read, take another copy") as raised:
        fetch.run("orl", [copy], tmp_path / "faces", tmp_path)
    assert "\n" not in str(raised.value) and not (tmp_path / "faces").exists()


def test_a_list_of_pairs_that_is_none_is_not_the_published_one(tmp_path: Path) -> None:
    copy = as_folder(tmp_path / "copy", {"pairsDevTrain.txt": b"who with whom\n\xff\xfe three\n2\nAnn 1 2\n"})
    assert lfw.pairs((copy / "pairsDevTrain.txt").read_bytes()) == [("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", 1)]
    with pytest.raises(InputError, match=r"copy: pairsDevTest\.txt of lfw are not there: name them, too, with --from"):
        fetch.run("lfw", [copy], tmp_path / "faces", tmp_path)
    (copy / "pairsDevTest.txt").touch()
    with pytest.raises(InputError, match="0 of the 4992 images of lfw are there"):
        fetch.run("lfw", [copy], tmp_path / "faces", tmp_path)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with working_folder(tmp_path):
        assert cli.run(["fetch", "faces"]) == 2
        assert (
            "faces: is no data set that can be fetched: name one of orl, lfw, omniglot, signatures"
            in capsys.readouterr().err
        )
        assert cli.run(["fetch", "orl", "--from", "nowhere.zip"]) == 2
        assert "nowhere.zip: is not there: name an archive or a folder with --from" in capsys.readouterr().err
        assert cli.run(["fetch", "orl", "--to", "s3://bucket/orl"]) == 2
        assert "s3://bucket/orl is a URI: name a path of this machine" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_a_download_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    """Cut after 100,000 bytes, then after 50,000 more: each request asks for the rest alone."""
    with CuttingServer(CONTENT, [100_000, 50_000]) as server:
        file = download(DownloadUrl(server.address, "faces.zip", SHA256), tmp_path, wait=0)
        assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert file.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["faces.zip"]


def test_a_download_goes_on_after_the_process_has_ended(tmp_path: Path) -> None:
    """As a process that was killed leaves it: what has come lies in `.part`, and the next one asks for the rest."""
    with CuttingServer(CONTENT, [100_000], statuses=()) as server:
        address = DownloadUrl(server.address, "faces.zip", SHA256)
        server.cut_after += [0] * 5
        with pytest.raises(InputError, match=r"cut after 100000 of 300000 bytes.*run again to go on"):
            download(address, tmp_path, wait=0)
        assert (tmp_path / "faces.zip.part").read_bytes() == CONTENT[:100_000]
        assert download(address, tmp_path, wait=0).read_bytes() == CONTENT
        assert server.asked[-1] == "bytes=100000-"


@pytest.mark.parametrize("ranges", [True, False])
def test_what_has_changed_meanwhile_is_downloaded_anew(tmp_path: Path, ranges: bool) -> None:
    """Half of one file and half of another are neither; a server that can't go on begins anew, too."""
    with CuttingServer(bytes(300_000), [100_000, 0, 0, 0, 0, 0], ranges) as server:
        address = DownloadUrl(server.address, "faces.zip", SHA256)
        with pytest.raises(InputError):
            download(address, tmp_path, wait=0)
        server.content, server.etag = CONTENT, '"second"'
        assert download(address, tmp_path, wait=0).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(tmp_path: Path) -> None:
    with CuttingServer(CONTENT, [], statuses=(503, 500)) as server:
        assert download(DownloadUrl(server.address, "a.zip", SHA256), tmp_path, wait=0).read_bytes() == CONTENT
        server.statuses = [404]
        with pytest.raises(InputError, match=r"can't be downloaded \(HTTP Error 404: Not Found\).*use --from"):
            download(DownloadUrl(server.address, "b.zip", SHA256), tmp_path, wait=0)
        assert download(DownloadUrl(server.address, "a.zip", SHA256), tmp_path) == tmp_path / "a.zip"
        assert len(server.asked) == 4
        (tmp_path / "a.zip").write_bytes(CONTENT[:-1])
        with pytest.raises(InputError, match=r"a\.zip: isn't the published file: delete it and run again"):
            download(DownloadUrl(server.address, "a.zip", SHA256), tmp_path)


def test_what_was_complete_when_the_process_ended_is_downloaded_anew(tmp_path: Path) -> None:
    """There is nothing to go on with: the server has no byte behind the last one."""
    (tmp_path / "faces.zip.part").write_bytes(CONTENT)
    (tmp_path / "faces.zip.etag").write_text('"first"')
    with CuttingServer(CONTENT, [], statuses=(416,)) as server:
        assert download(DownloadUrl(server.address, "faces.zip", SHA256), tmp_path, wait=0).read_bytes() == CONTENT
        assert server.asked == ["bytes=300000-", None]


def test_another_file_than_published_is_not_kept(tmp_path: Path) -> None:
    with CuttingServer(b"a page that says no", []) as server:
        for digest in (SHA256, hashlib.md5(CONTENT).hexdigest()):
            with pytest.raises(InputError, match="gives another file than published"):
                download(DownloadUrl(server.address, "faces.zip", digest), tmp_path, wait=0)
    assert not any(tmp_path.iterdir())


def test_no_server_is_one_line(tmp_path: Path) -> None:
    with CuttingServer(CONTENT, []) as server:
        address = DownloadUrl(server.address, "faces.zip", SHA256)
    with pytest.raises(InputError, match="can't be downloaded"):
        download(address, tmp_path, wait=0)


def test_what_cannot_be_written_is_no_fault_of_the_line(tmp_path: Path) -> None:
    """A disk that is full, a folder where the file should be, a file where the folder should be: told at once."""
    (tmp_path / "full.zip.part").symlink_to("/dev/full")
    (tmp_path / "folder.zip.part").mkdir()
    (tmp_path / "file").touch()
    with CuttingServer(CONTENT, []) as server:
        for name, folder, reason in (
            ("full.zip", tmp_path, r"full\.zip\.part: can't be written \(No space left on device\): make room"),
            ("folder.zip", tmp_path, r"folder\.zip\.part: can't be written \(Is a directory\)"),
            ("a.zip", tmp_path / "file", r"file: can't be written \(File exists\)"),
        ):
            with pytest.raises(InputError, match=reason):
                download(DownloadUrl(server.address, name, SHA256), folder, wait=0)
        assert server.asked == [None, None]


def test_the_command_downloads_what_no_source_is_given_for(
    tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = as_zip(tmp_path / "att.zip", faces("pgm")).read_bytes()
    with CuttingServer(packed, []) as server, working_folder(tmp_path):
        published = replace(fetch.of("orl"), addresses=(DownloadUrl(server.address, "att_faces.zip"),))
        monkeypatch.setitem(fetch.DATA_SETS, "orl", published)
        assert cli.run(["fetch", "orl"]) == 0
    assert (tmp_path / "data/orl/s40/10.png").exists()
    assert (tmp_path / ".siamese/downloads/orl/att_faces.zip").read_bytes() == packed


def test_a_wrong_download_whose_publisher_gives_no_digest_is_named(
    tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with CuttingServer(b"<html>moved</html>", []) as server, working_folder(tmp_path):
        published = replace(fetch.of("orl"), addresses=(DownloadUrl(server.address, "att_faces.html"),))
        monkeypatch.setitem(fetch.DATA_SETS, "orl", published)
        for _ in range(2):  # the second time it's there already
            assert cli.run(["fetch", "orl"]) == 2
            told = capsys.readouterr().err
            assert "0 of the 400 images of orl are there" in told
            assert "what was downloaded lies in .siamese/downloads/orl: delete it to download anew" in told


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    """A folder's own files, and those of its archives whose names are asked for; a file that is none by its name."""
    folder = as_folder(tmp_path / "all", {"in/a.txt": b"a", "in/z.txt": b"z"})
    as_zip(folder / "Wanted.zip", {"b.txt": b"b", "empty/": b""})
    as_zip(folder / "other.zip", {"c.txt": b"c"})
    with open_archive([folder, folder / "in/z.txt"], ["wanted*"]) as files:
        assert set(files) == {"in/a.txt", "in/z.txt", "Wanted.zip", "other.zip", "b.txt", "z.txt"}
        assert files["b.txt"]() + files["in/a.txt"]() + files["z.txt"]() == b"baz"


def test_orl_s_people_test_in_one_place_only() -> None:
    """Six splits: 10 test, 3 validate, 27 train, nobody twice; 100 test images have 4,950 pairs, 10 x 45 of them
    positive, all among the test people."""
    tables = orl.protocol(faces("png"), {})
    assert len(tables) == 12
    names = ["s31-s40", *(f"random-{number}" for number in range(1, 6))]
    tested = []
    for name in names:
        split = tables[f"splits-{name}"]
        assert split.identity.is_unique and len(split) == 40
        assert split.split.value_counts().to_dict() == {"train": 27, "validation": 3, "test": 10}
        pairs = tables[f"trials-{name}"]
        assert (len(pairs), pairs.label.sum()) == (4950, 450)
        people = set(split.identity[split.split == "test"])
        assert {path.partition("/")[0] for path in (*pairs.probe, *pairs.reference)} == people
        unordered = {frozenset(pair) for pair in zip(pairs.probe, pairs.reference, strict=True)}
        assert len(unordered) == 4950 and all(len(pair) == 2 for pair in unordered)
        tested.append(frozenset(people))
    assert len(set(tested)) == 6


def test_drawn_runs_are_like_the_official_ones() -> None:
    """Three of five characters, one hand knows, another is asked, in each of two alphabets."""
    groups = {letter: [[f"{letter}.{n}/{hand}" for hand in "xyz"] for n in range(5)] for letter in "ab"}
    runs = drawn_runs(groups, ways=3, runs=4, rng=np.random.default_rng(0))
    assert len(runs) == 8
    for number, (probes, references) in enumerate(runs):
        hands = [{path[-1] for path in side} for side in (probes, references)]
        assert [len(hand) for hand in hands] == [1, 1] and hands[0] != hands[1]
        characters = [path.partition("/")[0] for path in probes]
        assert characters == [path.partition("/")[0] for path in references] and len(set(characters)) == 3
        assert {character[0] for character in characters} == {"aabb"[number // 2] for _ in "1"}
    table = n_way(runs)
    assert len(table) == 8 * 3 * 3
    assert (table.groupby("trial").label.sum() == 1).all()
    same = [a.partition("/")[0] == b.partition("/")[0] for a, b in zip(table.probe, table.reference, strict=True)]
    assert (table.label == 1).tolist() == same


def stroke(number: int, how: str = "1") -> bytes:
    """12 x 12 black and white pixels that show a number, in either of two encodings."""
    bits = np.array([(number >> bit) & 1 for bit in range(16)] * 9, bool).reshape(12, 12)
    content = io.BytesIO()
    Image.fromarray(bits).convert(how).save(content, "PNG")
    return content.getvalue()


def evaluation(alphabets: int, characters: int, hands: int) -> dict[str, bytes]:
    """Images of an evaluation set: the characters' numbers from 965 on."""
    names = [(f"A{a}.character{c:02}", 965 + a * characters + c) for a in range(alphabets) for c in range(characters)]
    return {
        f"{character}/{number:04}_{hand:02}.png": stroke(number * hands + hand)
        for character, number in names
        for hand in range(hands)
    }


def test_the_official_runs_are_found_among_the_images() -> None:
    """By their pixels, which the runs hold in other bytes. Run 3's item n is class 20 - n's, by hands 0 and 1."""
    contents = evaluation(alphabets=20, characters=20, hands=2)
    characters = list(by_owner(contents).values())
    texts = {}
    for run in range(20):
        of_run = characters[run * 20 : run * 20 + 20]
        for n, (asked, known) in enumerate(of_run):
            texts[f"run{run:02}/test/item{n:02}.png"] = stroke_again(contents[asked])
            texts[f"run{run:02}/training/class{20 - n:02}.png"] = stroke_again(contents[known])
        lines = [f"run{run:02}/test/item{n:02}.png run{run:02}/training/class{20 - n:02}.png" for n in range(20)]
        texts[f"run{run:02}/class_labels.txt"] = "\n".join(lines).encode()
    runs = omniglot.official_runs(contents, texts)
    assert runs[3] == ([pair[0] for pair in characters[60:80]], [pair[1] for pair in characters[60:80]])
    with pytest.raises(InputError, match="19 of 20 one-shot runs"):
        omniglot.official_runs(contents, {name: text for name, text in texts.items() if not name.startswith("run07")})
    with pytest.raises(InputError, match="run05: an image of it is not there"):
        omniglot.official_runs(contents, texts | {"run05/test/item03.png": stroke(1)})
    swapped = texts["run05/test/item03.png"], texts["run05/test/item04.png"]
    wrong = dict(zip(("run05/test/item04.png", "run05/test/item03.png"), swapped, strict=True))
    with pytest.raises(InputError, match="run05: isn't 20 characters of one alphabet, each drawn twice"):
        omniglot.official_runs(contents, texts | wrong)


def stroke_again(content: bytes) -> bytes:
    again = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("L").save(again, "PNG", compress_level=0)
    assert again.getvalue() != content
    return again.getvalue()


def test_params_say_how_splits_are_made() -> None:
    assert CatalogParams.model_fields["splits"].annotation is str
    assert load_params(packaged_file()).catalog.splits == "hash"
