"""`siamese enroll`, `identify` and `gallery` by the real commands, on the sample's signatures.

The model is a small one whose score falls with the distance of embeddings: 0.5 of an image and itself, else less.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from conftest import ROOT, working_folder
from image_writers import encoded, halved, smooth
from registered import small_model

from siamese import cli
from siamese.errors import InputError
from siamese.identification import enroll, gallery_file
from siamese.identification.gallery import Gallery
from siamese.identification.identify import Answer, Candidate, Identifier
from siamese.identification.open_set_threshold import OpenSetThreshold
from siamese.models.scoring import Head
from siamese.models.verifier import Verifier, read_image
from siamese.registry.locator import resolve_model

MAX = 10**8
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"), workspace, better=True)


@pytest.fixture
def run(workspace: Path, model: Path, capsys: pytest.CaptureFixture) -> Run:
    """Runs a command in the workspace with the model: exit code, answer, and what it said beside."""

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        needs_model = arguments[0] != "gallery" and "--model" not in arguments
        with working_folder(workspace):
            code = cli.run([*map(str, arguments), *(["--model", str(model)] if needs_model else [])])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture(scope="module")
def people(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's 12 writers: three images each to enroll in `known`, the fourth of each in `probes`."""
    folder = tmp_path_factory.mktemp("people")
    for file in sorted((workspace / "data/sample").rglob("*.*")):
        role = "probes" if file.stem == "003" else "known"
        (folder / role / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / role / file.parent.name)
    return folder


@pytest.fixture(scope="module")
def enrolled(workspace: Path, people: Path, model: Path) -> Path:
    """A gallery of the first eight writers. Tests must not change it."""
    for writer in sorted((people / "known").iterdir())[:8]:
        shutil.copytree(writer, people / "eight" / writer.name)
    with working_folder(workspace):
        arguments = [str(people / "eight.parquet"), str(people / "eight"), "--model", str(model)]
        assert cli.run(["enroll", *arguments]) == 0
    return people / "eight.parquet"


def the_only(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_an_enrolled_image_is_recognised(run: Run, people: Path, enrolled: Path) -> None:
    """It is its own best reference: no distance, so the sigmoid of 0."""
    image = sorted((people / "eight/writer-002").iterdir())[0]
    code, said, _ = run("identify", enrolled, image, "--json")
    (answer,) = json.loads(said)["images"]
    assert (code, answer["image"], answer["identity"]) == (0, str(image), "writer-002")
    (candidate,) = answer["candidates"]
    assert (candidate["reference"], answer["score"]) == (str(image), pytest.approx(0.5, abs=1e-6))


def test_scores_are_those_of_pairs(run: Run, people: Path, enrolled: Path) -> None:
    """The mean over writer-005's three references is the mean of what `siamese verify` says of each."""
    probe = the_only(people / "probes/writer-005")
    found = json.loads(run("identify", enrolled, probe, "--score", "mean", "--top", "8", "--json")[1])["images"][0]
    candidates = {one["identity"]: one["score"] for one in found["candidates"]}
    assert sorted(candidates) == [f"writer-{number:03}" for number in range(8)]
    assert list(candidates.values()) == sorted(candidates.values(), reverse=True)
    references = sorted((people / "eight/writer-005").iterdir())
    pairs = [json.loads(run("verify", probe, one, "--json")[1])["score"] for one in references]
    assert candidates["writer-005"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_a_line_an_image_and_exit_code_1_for_one_unknown(run: Run, people: Path, enrolled: Path) -> None:
    image = sorted((people / "eight/writer-000").iterdir())[0]
    code, said, _ = run("identify", enrolled, image, the_only(people / "probes/writer-011"), "--threshold", "1")
    lines = said.splitlines()
    assert code == 1 and len(lines) == 2
    assert lines[0].startswith(f"{image}: unknown (nearest writer-000 0.") and lines[0].endswith(", threshold 1.000)")
    assert run("identify", enrolled, image, "--threshold", "0")[1].startswith(f"{image}: writer-000 0.")


def test_the_threshold_is_set_by_the_gallery_itself(run: Run, people: Path, enrolled: Path) -> None:
    """24 images: a rate of 0.04 is that of the highest impostor, 1 in 25. For 0.01 they are too few, and it's said."""
    image = the_only(people / "probes/writer-000")
    said = json.loads(run("identify", enrolled, image, "--far", "0.04", "--json")[1])
    found = gallery_file.read(enrolled).impostors["best"]
    assert said["threshold"] == float(np.nextafter(found.max(), np.float32(1)))
    assert (said["false_accept_rate"], said["chosen_on"], said["impostors"]) == (0.04, "enrolled images", 24)
    _, out, err = run("identify", enrolled, image, "--json")
    assert json.loads(out)["threshold"] == said["threshold"]
    assert "24 images of others can't tell of a false-accept rate of 0.01 (that takes 99)" in err


def test_enrolling_again_adds_and_counts_images_once(run: Run, people: Path, enrolled: Path, tmp_path: Path) -> None:
    grown = tmp_path / "grown.parquet"
    shutil.copy(enrolled, grown)
    said = json.loads(run("enroll", grown, people / "known", "--json")[1])
    assert said == {"added": 12, "already": 24, "identities": 12, "images": 36, "unknown": 0, "rejected": []}
    before = grown.read_bytes()
    assert json.loads(run("enroll", grown, people / "known", "--json")[1])["already"] == 36
    assert grown.read_bytes() == before
    whole = tmp_path / "whole.parquet"
    assert run("enroll", whole, people / "known")[1] == (
        "enrolled 36 images\nthe gallery: 36 images of 12 identities\n"
    )
    one, other = gallery_file.read(whole), gallery_file.read(grown)
    assert one.images["image_id"].tolist() == other.images["image_id"].tolist()
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-5)
    np.testing.assert_allclose(one.impostors["mean"], other.impostors["mean"], atol=1e-5)


def test_single_images_are_added_under_a_name(run: Run, people: Path, enrolled: Path, tmp_path: Path) -> None:
    grown = tmp_path / "grown.parquet"
    shutil.copy(enrolled, grown)
    image = the_only(people / "probes/writer-009")
    assert run("enroll", grown, "--identity", "Jürgen B.", image)[0] == 0
    assert run("identify", grown, image, "--threshold", "0")[1].startswith(f"{image}: Jürgen B. 0.")
    code, _, err = run("enroll", grown, "--identity", "somebody else", image)
    assert code == 2 and f"{image}: is enrolled as Jürgen B., and can't be somebody else too" in err


def test_a_name_from_a_folder_and_one_from_the_keyboard_are_one_person(run: Run, people: Path, tmp_path: Path) -> None:
    """The folder's name decomposed, as macOS may write it; the option's composed, as keyboards give it."""
    nfc, nfd = "J\u00fcrgen", "Ju\u0308rgen"
    gallery, images = tmp_path / "g.parquet", sorted((people / "known/writer-009").iterdir())
    (tmp_path / "in" / nfd).mkdir(parents=True)
    shutil.copy(images[0], tmp_path / "in" / nfd)
    shutil.copytree(people / "known/writer-001", tmp_path / "in/writer-001")
    assert run("enroll", gallery, tmp_path / "in")[0] == 0
    code, out, err = run("enroll", gallery, "--identity", nfc, images[1])
    assert (code, out) == (0, "enrolled 1 images\nthe gallery: 5 images of 2 identities\n")
    assert rf"'{nfc}': enrolled as 'Ju\u0308rgen', which is in the gallery and looks the same" in err.splitlines()
    assert run("gallery", "list", gallery)[1].splitlines()[0] == f"{nfd}  2"
    for image in images[:2]:
        found = json.loads(run("identify", gallery, image, "--threshold", "0", "--top", "9", "--json")[1])["images"][0]
        assert found["identity"] == nfd and len(found["candidates"]) == 2
    assert run("gallery", "remove", gallery, nfc)[1] == "removed 2 images\nthe gallery: 3 images of 1 identities\n"
    assert gallery_file.read(gallery).identities == ["writer-001"]


def test_folders_that_look_the_same_are_enrolled_as_one_person_and_named(
    run: Run, people: Path, tmp_path: Path
) -> None:
    for name, writer in (("Ann", "writer-001"), ("ann\u200b", "writer-002"), ("ben", "writer-003")):
        shutil.copytree(people / "known" / writer, tmp_path / "in" / name)
    _, out, err = run("enroll", tmp_path / "g.parquet", tmp_path / "in")
    assert out == "enrolled 9 images\nthe gallery: 9 images of 2 identities\n"
    assert rf"{tmp_path}/in: folders with names that look the same: 'Ann' and 'ann\u200b': each group is read as" in err


def test_people_not_to_be_recognised_set_the_threshold(run: Run, people: Path, enrolled: Path, tmp_path: Path) -> None:
    """The four writers who aren't enrolled, 3 images each: at a rate of 1 in 13 none of the 12 is accepted, and each
    of the 24 enrolled is its own best reference."""
    grown = tmp_path / "grown.parquet"
    shutil.copy(enrolled, grown)
    others = [people / f"known/writer-{number:03}" for number in range(8, 12)]
    said = json.loads(run("enroll", grown, "--unknown", *others, "--json")[1])
    assert (said["identities"], said["images"], said["unknown"]) == (8, 24, 12)
    images = [image for folder in others for image in sorted(folder.iterdir())]
    code, out, err = run("identify", grown, *images, "--far", str(1 / 13), "--json")
    answers = json.loads(out)
    assert (code, answers["chosen_on"], answers["impostors"], err) == (1, "unknown images", 12, "")
    assert {answer["identity"] for answer in answers["images"]} == {None}
    assert max(answer["score"] for answer in answers["images"]) == pytest.approx(answers["threshold"], abs=1e-5)


def test_the_gallery_is_listed_and_people_are_taken_out(run: Run, enrolled: Path, tmp_path: Path) -> None:
    shrunk = tmp_path / "shrunk.parquet"
    shutil.copy(enrolled, shrunk)
    assert run("gallery", "list", shrunk)[1].splitlines() == [
        *(f"writer-{number:03}  3" for number in range(8)),
        "the gallery: 24 images of 8 identities",
    ]
    assert run("gallery", "remove", shrunk, "writer-003", "writer-004") == (
        0,
        "removed 6 images\nthe gallery: 18 images of 6 identities\n",
        "",
    )
    assert "writer-003" not in json.loads(run("gallery", "list", shrunk, "--json")[1])["identities"]
    code, _, err = run("gallery", "remove", shrunk, "writer-003")
    assert code == 2 and err == "siamese: writer-003: isn't in the gallery: `siamese gallery list` shows what is\n"


def test_a_gallery_of_another_model_is_refused(run: Run, people: Path, enrolled: Path, workspace: Path) -> None:
    for arguments in (
        ("identify", enrolled, the_only(people / "probes/writer-000")),
        ("enroll", enrolled, people / "known"),
    ):
        code, _, err = run(*arguments, "--model", workspace / "artifacts/model")
        assert code == 2 and "its images were embedded by another model" in err


def test_a_model_moved_elsewhere_is_the_same_model(
    run: Run, people: Path, enrolled: Path, tmp_path: Path, model: Path
) -> None:
    shutil.copytree(model / "servable", tmp_path / "moved/servable")
    image = the_only(people / "probes/writer-000")
    assert run("identify", enrolled, image, "--threshold", "0", "--model", tmp_path / "moved")[0] == 0


def test_a_path_that_is_not_utf_8_is_rejected_before_it_is_to_be_written(people: Path, tmp_path: Path) -> None:
    """A gallery is Parquet, whose text is UTF-8: wherever in the path the odd byte is."""
    image = the_only(people / "probes/writer-000")
    odd = tmp_path / os.fsdecode(b"J\xfcrgen")
    (odd / "ann").mkdir(parents=True)
    shutil.copy(image, odd / "ann/a.bmp")
    for source in (odd, odd / "ann/a.bmp"):
        taken = enroll.of_files([image, source], "ann", MAX)
        assert taken.images["path"].tolist() == [str(image)]
        assert taken.rejected.to_dict("list") == {
            "path": [f"{tmp_path}/J\\xfcrgen/ann/a.bmp"],
            "reason": ["name is not UTF-8"],
        }
    with pytest.raises(InputError, match=r"J\\xfcrgen: name is not UTF-8"):
        enroll.of_folder(odd, MAX)


def test_the_model_may_lie_in_a_store(run: Run, people: Path, enrolled: Path, model: Path) -> None:
    """As `siamese verify` takes it; here the store is this process's memory."""
    fsspec.filesystem("memory").put(str(model), "/models/small", recursive=True)
    probe = the_only(people / "probes/writer-003")
    here, there = (run("identify", enrolled, probe, *named) for named in ((), ("--model", "memory://models/small")))
    assert there == here and there[1].startswith(f"{probe}: ")


def test_what_cannot_be_read_is_named_and_the_rest_is_enrolled(run: Run, people: Path, tmp_path: Path) -> None:
    shutil.copytree(people / "eight/writer-000", tmp_path / "in/writer-000")
    (tmp_path / "in/writer-000/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "in/writer-000/half.jpg").write_bytes(halved(encoded(smooth(), "JPEG")))
    (tmp_path / "in/notes.txt").write_text("")
    shutil.copy(the_only(people / "probes/writer-001"), tmp_path / "in/writer-000/copied.bmp")
    (tmp_path / "in/writer-001").mkdir()
    shutil.copy(the_only(people / "probes/writer-001"), tmp_path / "in/writer-001/copied.bmp")
    code, out, _ = run("enroll", tmp_path / "g.parquet", tmp_path / "in")
    assert code == 0
    both = "copies under several identities: writer-000, writer-001"
    assert out.splitlines() == [
        f"rejected {tmp_path}/in/notes.txt: not in a folder of its identity",
        f"rejected {tmp_path}/in/writer-000/copied.bmp: {both}",
        f"rejected {tmp_path}/in/writer-000/damaged.png: truncated PNG",
        f"rejected {tmp_path}/in/writer-000/half.jpg: damaged JPEG: part of the picture is missing",
        f"rejected {tmp_path}/in/writer-001/copied.bmp: {both}",
        "enrolled 3 images",
        "the gallery: 3 images of 1 identities",
    ]


def test_wrong_input_is_one_line_and_nothing_is_written(run: Run, people: Path, enrolled: Path, tmp_path: Path) -> None:
    new, image = tmp_path / "new/g.parquet", the_only(people / "probes/writer-000")
    (tmp_path / "bad/x").mkdir(parents=True)
    (tmp_path / "bad/x/text.png").write_text("no image")
    for number, role in enumerate(("anchor", "positive", "negative")):
        (tmp_path / "roles" / role).mkdir(parents=True)
        shutil.copy(image, tmp_path / "roles" / role)
        (tmp_path / f"roles in plural/{role}s").mkdir(parents=True)
        shutil.copy(the_only(people / f"probes/writer-00{number}"), tmp_path / f"roles in plural/{role}s")
    before = enrolled.read_bytes()
    for arguments, expected in (
        (("enroll", new, tmp_path / "nowhere"), "nowhere: name one folder <identity>/*; single images go with --iden"),
        (("enroll", new, people, people), "name one folder"),
        (("enroll", new, tmp_path / "bad"), "no usable image: 1 of 1 files are rejected"),
        (("enroll", new, tmp_path / "roles"), "holds role folders (anchor, positive, negative)"),
        (("enroll", new, tmp_path / "roles in plural"), "holds role folders (anchors, negatives, positives)"),
        (("enroll", new, "--identity", "a", tmp_path / "bad/x/text.png"), "text.png: not an image"),
        (("enroll", new, "--identity", "a/b", image), "--identity 'a/b': can't be a name (contains /)"),
        (("enroll", new, "--identity", " ", image), "can't be a name (empty)"),
        (("enroll", new, "--identity", "\u200b\u00a0", image), "can't be a name (empty)"),
        (("enroll", new, "--identity", "a", "--unknown", image), "exclude each other"),
        (("enroll", image, people / "known"), "is no gallery"),
        (("enroll", new, people / "known", "--model", tmp_path), "no trained model here"),
        (("enroll", "s3://bucket/g.parquet", people / "known"), "s3://bucket/g.parquet is a URI: name a path of this"),
        (("enroll", new, "s3://bucket/known"), "s3://bucket/known is a URI: name a path of this machine"),
        (("identify", new, image), "g.parquet is missing: make it by `siamese enroll"),
        (("identify", enrolled, tmp_path / "nowhere.png"), "nowhere.png: can't be read"),
        (("identify", enrolled, tmp_path / "bad/x/text.png"), "text.png: not an image"),
        (("identify", enrolled, image, "--top", "0"), "identify.top = 0 is not allowed: must be 1 or more"),
        (("identify", enrolled, image, "--far", "1"), "identify.far = 1"),
        (("identify", enrolled, image, "--score", "worst"), "identify.score = 'worst'"),
        (("gallery", "remove", enrolled), "name what to remove"),
        (("gallery", "list", new), "is missing"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and expected in err.splitlines()[-1], (arguments, err)
    assert enrolled.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "roles", "roles in plural"]


def test_an_emptied_gallery_answers_nothing(run: Run, people: Path, enrolled: Path, tmp_path: Path) -> None:
    emptied = tmp_path / "emptied.parquet"
    shutil.copy(enrolled, emptied)
    run("gallery", "remove", emptied, *(f"writer-{number:03}" for number in range(8)))
    code, _, err = run("identify", emptied, the_only(people / "probes/writer-000"))
    assert code == 2 and "nobody is enrolled" in err


def test_candidates_come_in_order_each_with_its_best_reference() -> None:
    """Embeddings of one number, the score sigmoid(-distance). A probe at 2.6: ann's references 2.6 and 1.6 away, ben's
    0.4, cas's 7.4: at threshold 0.4 (a distance of 0.405) ben, at 0.41 nobody."""
    import pandas as pd

    rows = [(str(place), name, f"{name}/{place}") for name, place in (("ann", 0), ("ann", 1), ("ben", 3), ("cas", 10))]
    images = pd.DataFrame(rows, columns=["image_id", "identity", "path"], dtype=object)
    made = Gallery.empty("a", Head(np.array([-1], np.float32), 0.0))
    made = made.with_images(images, np.array([[0], [1], [3], [10]], np.float32))
    verifier = Verifier(None)
    for threshold, identity in ((0.4, "ben"), (0.41, None)):
        decided = OpenSetThreshold(threshold, None, "given", 0, None)
        (answer,) = Identifier(verifier, made, decided, "best", 2).of_embeddings(np.array([[2.6]], np.float32))
        assert answer.identity == identity
        assert [(one.identity, one.reference) for one in answer.candidates] == [("ben", "ben/3"), ("ann", "ann/1")]
        assert answer.score == pytest.approx(1 / (1 + np.exp(0.4)), abs=1e-6)


def test_an_answer_as_a_person_reads_it() -> None:
    ben, ann = Candidate("ben", 0.9123, "b.png"), Candidate("ann", 0.41, "a.png")
    assert Answer("ben", (ben,)).to_text(0.63) == "ben 0.912"
    assert Answer("ben", (ben, ann)).to_text(0.63) == "ben 0.912 (then ann 0.410)"
    assert Answer(None, (ann,)).to_text(0.63) == "unknown (nearest ann 0.410, threshold 0.630)"
    assert Answer(None, (ben, ann)).to_text(0.93) == "unknown (nearest ben 0.912, then ann 0.410, threshold 0.930)"


def test_as_a_library(model: Path, people: Path, enrolled: Path) -> None:
    """What docs/gallery.md shows."""
    from siamese.identification.identify import prepare

    identifier = prepare(enrolled, resolve_model(model), "best", top=2, far=0.05, own_threshold=None)
    image = sorted((people / "eight/writer-006").iterdir())[0]
    (answer,) = identifier.of_encoded([read_image(image, MAX)])
    assert answer.candidates[0].identity == "writer-006" and len(answer.candidates) == 2
    assert identifier.of_encoded([]) == []


def test_the_commands_of_the_document_run_and_answer_as_it_says(
    model: Path, small_params: str, tmp_path: Path, capsys
) -> None:
    """But for who is recognised, and how well: that's another model's affair."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/model").symlink_to(model)
    (tmp_path / "params.yaml").write_text(small_params)
    (block,) = re.findall(r"```console\n(.*?)```", (ROOT / "docs/gallery.md").read_text(), flags=re.DOTALL)
    told = [part.splitlines() for part in block.split("$ siamese ")[1:]]
    assert len(told) == 6
    with working_folder(tmp_path):
        for command, *quoted in told:
            words = shlex.split(command)
            capsys.readouterr()
            assert cli.run(words) in ((0, 1) if words[0] == "identify" else (0,))
            said = capsys.readouterr().out.splitlines()
            if words[0] == "identify":
                assert [line.partition(":")[0] for line in said] == [line.partition(":")[0] for line in quoted]
            else:
                assert said == quoted
