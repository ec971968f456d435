"""A gallery: who is enrolled, how identities are scored, and how the threshold follows from those that aren't meant.

Embeddings of one number, a head of weight -1 and bias 0: the score of two is sigmoid(-distance), 0.5 at most.
"""

from __future__ import annotations

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from siamese.errors import InputError
from siamese.identification import gallery_file, open_set_threshold
from siamese.identification.gallery import COLUMNS, Gallery, summary
from siamese.models.scoring import Head

HEAD = Head(np.array([-1], np.float32), 0.0)
A, B = "a" * 64, "b" * 64  # digests of two models


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def enrolled(*places: tuple[str | None, float], model: str = A, there: Gallery | None = None) -> Gallery:
    """A gallery of images, each an identity and its embedding; its id and path are made of both."""
    rows = [(f"id-{name}-{place}", name, f"{name}/{place}.png") for name, place in places]
    images = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    embeddings = np.array([[place] for _, place in places], np.float32).reshape(-1, 1)
    return (there or Gallery.empty(model, HEAD)).with_images(images, embeddings)


FEW = (("ann", 0), ("ben", 3), ("cas", 10), ("ann", 1))


def test_references_of_an_identity_lie_together_and_keep_their_embeddings() -> None:
    made = enrolled((None, 7), *FEW)
    assert made.images["path"].tolist() == ["ann/0.png", "ann/1.png", "ben/3.png", "cas/10.png", "None/7.png"]
    assert made.embeddings[:, 0].tolist() == [0, 1, 3, 10, 7]
    assert (made.identities, made.starts.tolist(), made.enrolled) == (["ann", "ben", "cas"], [0, 2, 3], 4)
    assert summary(made).as_dict() == {"model": A, "identities": {"ann": 2, "ben": 1, "cas": 1}, "unknown": 1}


def test_an_identity_scores_by_its_best_reference_or_the_mean_of_all() -> None:
    """A probe at 2: ann's references lie 2 and 1 away, ben's 1, cas's 8; what is of no identity is no answer."""
    made = enrolled(*FEW, (None, 2))
    found = made.scores(np.array([[2]], np.float32))
    assert found.shape == (1, 4)
    best = [sigmoid(-1), sigmoid(-1), sigmoid(-8)]
    np.testing.assert_allclose(made.of_identities(found, "best")[0], best, rtol=1e-6)
    mean = [(sigmoid(-2) + sigmoid(-1)) / 2, sigmoid(-1), sigmoid(-8)]
    np.testing.assert_allclose(made.of_identities(found, "mean")[0], mean, rtol=1e-6)


def test_impostors_are_an_images_nearest_other_identities() -> None:
    """ann 0: ben, 3 away. ann 1: ben, 2. ben 3: ann, at best 2, in the mean of 3 and 2. cas 10: ben, 7 away. The image
    of no identity at 12: cas, 2 away, since all identities are others'."""
    found = enrolled(*FEW, (None, 12)).with_impostors().impostors
    np.testing.assert_allclose(found["best"], [sigmoid(-d) for d in (3, 2, 2, 7, 2)], rtol=1e-6)
    of_ben = (sigmoid(-3) + sigmoid(-2)) / 2
    np.testing.assert_allclose(found["mean"], [sigmoid(-3), sigmoid(-2), of_ben, sigmoid(-7), sigmoid(-2)], rtol=1e-6)


def test_without_another_identity_there_is_no_impostor_but_those_of_no_identity() -> None:
    assert np.isnan(enrolled(("ann", 0), ("ann", 1)).with_impostors().impostors["best"]).all()
    found = enrolled(("ann", 0), (None, 2)).with_impostors().impostors["best"]
    np.testing.assert_allclose(found, [np.nan, sigmoid(-2)], rtol=1e-6)
    assert np.isnan(enrolled((None, 2)).with_impostors().impostors["best"]).all()


def test_a_large_gallery_is_asked_with_images_spread_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 of 9 identities' images, from the first to the last."""
    monkeypatch.setattr("siamese.identification.gallery.LOOKED_AT", 5)
    found = enrolled(*((f"person-{place}", place) for place in range(9))).with_impostors().impostors["best"]
    assert np.flatnonzero(~np.isnan(found)).tolist() == [0, 2, 4, 6, 8]


def chosen(scores: list[float], far: float) -> open_set_threshold.OpenSetThreshold:
    """The threshold of a gallery whose images' highest impostor scores are these."""
    made = enrolled(*((f"person-{row}", row) for row in range(len(scores))))
    given = Gallery(A, HEAD, made.images, made.embeddings, {"best": np.array(scores, np.float32), "mean": np.zeros(0)})
    return open_set_threshold.open_set_threshold(given, "best", far, None, lambda: 0.25)


def test_of_people_of_one_kind_the_share_asked_for_reaches_a_threshold_chosen_on_the_others() -> None:
    """Five people, each in turn the one who isn't enrolled, a rate of 0.4: 2 of the 5 reach the threshold that the
    other four set, which lies just above their second highest (0.4 of 5)."""
    scores = [0.1, 0.2, 0.3, 0.4, 0.5]
    for newcomer in range(5):
        found = chosen(scores[:newcomer] + scores[newcomer + 1 :], 0.4)
        assert (np.float32(scores[newcomer]) >= np.float32(found.threshold)) == (newcomer >= 3)
        assert (found.false_accept_rate, found.chosen_on, found.warning) == (0.4, "enrolled images", None)


def test_a_rate_of_one_in_a_hundred_takes_99_images_of_others() -> None:
    """With 99 it is a threshold just above their highest; with 98 that threshold stands for 1 in 99, and it says so."""
    highest = np.linspace(0.1, 0.9, 99).tolist()
    enough, few = chosen(highest, 0.01), chosen(highest[1:], 0.01)
    assert enough.threshold == few.threshold == float(np.nextafter(np.float32(0.9), np.float32(1)))
    assert (enough.false_accept_rate, enough.impostors, enough.warning) == (0.01, 99, None)
    assert few.false_accept_rate == pytest.approx(1 / 99)
    assert few.warning is not None and "98 images of others can't tell of a false-accept rate of 0.01" in few.warning
    assert "(that takes 99)" in few.warning


def test_the_rate_that_is_advised_gives_no_further_warning() -> None:
    for count in range(1, 99):
        scores = np.linspace(0.1, 0.9, count + 1).tolist()[: count + 1]
        told = chosen(scores, 1e-4).warning
        assert told is not None
        assert chosen(scores, float(told.rpartition(" ")[2])).warning is None


def test_a_rate_near_1_is_that_of_the_lowest_score() -> None:
    assert chosen([0.5, 0.25], far=1 - 1e-12).threshold == pytest.approx(0.25)


def test_images_of_no_identity_decide_alone() -> None:
    """At 4 and 12, ben is 1 and cas 2 away: at a rate of 1 in 3 the threshold is just above the higher."""
    found = open_set_threshold.open_set_threshold(
        enrolled(*FEW, (None, 4), (None, 12)).with_impostors(), "best", 1 / 3, None, lambda: 0
    )
    assert found.threshold == pytest.approx(sigmoid(-1)) and found.threshold > sigmoid(-1)
    assert (found.impostors, found.chosen_on, found.false_accept_rate) == (2, "unknown images", pytest.approx(1 / 3))


def test_alone_in_a_gallery_the_models_own_threshold_decides() -> None:
    found = open_set_threshold.open_set_threshold(
        enrolled(("ann", 0)).with_impostors(), "best", 0.01, None, lambda: 0.25
    )
    assert (found.threshold, found.chosen_on, found.false_accept_rate) == (0.25, "the model's own", None)
    assert found.warning is not None


def test_a_given_threshold_is_taken() -> None:
    assert open_set_threshold.open_set_threshold(enrolled(("ann", 0)), "best", 0.01, 0.7, lambda: 0.25).threshold == 0.7


def test_an_image_counts_once_and_not_as_two_identities() -> None:
    made = enrolled(*FEW)
    again = enrolled(("ben", 3), ("ben", 4), there=made)
    assert again.images["path"].tolist() == ["ann/0.png", "ann/1.png", "ben/3.png", "ben/4.png", "cas/10.png"]
    images = pd.DataFrame([("id-ben-3", "cas", "other.png")], columns=COLUMNS, dtype=object)
    with pytest.raises(InputError, match=r"^other\.png: is enrolled as ben, and can't be cas too: leave it out"):
        made.with_images(images, np.zeros((1, 1), np.float32))
    images["identity"] = None
    with pytest.raises(InputError, match="can't be unknown too"):
        made.with_images(images, np.zeros((1, 1), np.float32))


def test_identities_images_and_those_of_no_identity_can_be_taken_out() -> None:
    made = enrolled(*FEW, (None, 7))
    left = made.without(["ben"], ["ann/0.png"], unknown=True)
    assert left.images["path"].tolist() == ["ann/1.png", "cas/10.png"]
    assert left.embeddings[:, 0].tolist() == [1, 10]
    assert made.without([], ["id-None-7"], unknown=False).images["path"].tolist()[-1] == "cas/10.png"
    for identities, images in ((["nobody"], []), ([], ["nowhere.png"])):
        with pytest.raises(InputError, match=r"^no.*: isn't in the gallery"):
            made.without(identities, images, unknown=False)


def test_to_take_out_those_of_no_identity_there_must_be_some() -> None:
    with pytest.raises(InputError, match="--unknown: no image of nobody's is in the gallery"):
        enrolled(*FEW).without([], [], unknown=True)


def test_more_images_are_advised_where_they_would_be_looked_at() -> None:
    """1,000 are, at most: for one in 10,000, which takes 9,999, no number of images is enough."""
    made = enrolled(*((f"person-{one:02}", one) for one in range(20))).with_impostors()
    for far, advised in ((0.01, True), (0.0001, False)):
        warning = open_set_threshold.open_set_threshold(made, "best", far, None, lambda: 0.5).warning
        assert ("add images" in warning) == advised and ("that takes" in warning) == advised
        assert "give --far 0.0477" in warning  # 1 of 21, rounded up


def test_a_file_holds_what_was_put_in(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"
    made = gallery_file.change(file, lambda there: enrolled(*FEW, (None, 7), there=there))
    back = gallery_file.read(file, A)
    pd.testing.assert_frame_equal(back.images, made.images)
    np.testing.assert_array_equal(back.embeddings, made.embeddings)
    for how in ("best", "mean"):
        np.testing.assert_array_equal(back.impostors[how], made.impostors[how])
        assert not np.isnan(back.impostors[how]).any()
    assert (back.model, back.head.weights.tolist(), back.head.bias) == (A, [-1], 0)


def test_other_tools_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"
    gallery_file.change(file, lambda _: enrolled(*FEW))
    table = pa.parquet.read_table(file)
    assert table.column_names == [*COLUMNS, "best_impostor", "mean_impostor", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 1)
    assert table["embedding"].to_pylist() == [[0], [1], [3], [10]]
    assert table.schema.metadata[b"siamese.model"].decode() == A


def test_a_gallery_of_another_model_is_refused(tmp_path: Path) -> None:
    gallery_file.change(tmp_path / "people.parquet", lambda _: enrolled(*FEW))
    with pytest.raises(InputError, match=r"embedded by another model \(a{12}, not b{12}\): name that one with --model"):
        gallery_file.read(tmp_path / "people.parquet", B)


def tampered(file: Path, **columns: pa.Array) -> Path:
    table = pa.parquet.read_table(file)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pa.parquet.write_table(table, file)
    return file


def test_what_is_no_gallery_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing: make it by `siamese enroll"):
        gallery_file.read(tmp_path / "nowhere.parquet")
    (tmp_path / "text").write_text("no table")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "table")
    gallery_file.change(tmp_path / "order", lambda _: enrolled(*FEW))
    tampered(tmp_path / "order", identity=pa.array(["ann", "cas", "ben", "ann"]))
    gallery_file.change(tmp_path / "units", lambda _: enrolled(*FEW))
    two = pa.array(np.zeros(8, np.float32))
    tampered(tmp_path / "units", embedding=pa.FixedSizeListArray.from_arrays(two, 2))
    for name, reason in (
        ("text", "magic bytes"),
        ("table", "format none, not 1"),
        ("order", "not sorted"),
        ("units", "2 numbers an embedding, of a model of 1"),
    ):
        with pytest.raises(InputError, match=rf"{name}: is no gallery \(.*{reason}") as refused:
            gallery_file.read(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_a_damaged_gallery_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One flipped bit of an embedding would name another person; a number that is none compares with nothing."""
    file = tmp_path / "people.parquet"
    gallery_file.change(file, lambda _: enrolled(*FEW))
    sound = file.read_bytes()
    at = sound.index(np.array([0, 1, 3, 10], "<f4").tobytes())
    for place in range(at, at + 16):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(InputError, match=r"people\.parquet: is no gallery \("):
            gallery_file.read(file)
    file.write_bytes(sound)
    for note in (b"siamese.model", b"siamese.head"):
        table = pa.parquet.read_table(file)
        notes = table.schema.metadata
        flipped = notes | {note: bytes([notes[note][0] ^ 1]) + notes[note][1:]}
        pa.parquet.write_table(table.replace_schema_metadata(flipped), file)
        with pytest.raises(InputError, match=r"is no gallery \(the model's digest or last layer is damaged\)"):
            gallery_file.read(file)
        unguarded = {note: text for note, text in notes.items() if note != b"siamese.checksum"}  # as they were before
    pa.parquet.write_table(table.replace_schema_metadata(unguarded), file)
    assert "without a checksum" not in capsys.readouterr().err
    assert gallery_file.read(file).identities == enrolled(*FEW).identities
    said = f"{file}: an older version wrote it, without a checksum of its model: `siamese enroll` adds one\n"
    assert capsys.readouterr().err == said
    file.write_bytes(sound)
    numbers = pa.array(np.array([0, 1, np.nan, 10], np.float32))
    tampered(file, embedding=pa.FixedSizeListArray.from_arrays(numbers, 1))
    with pytest.raises(InputError, match=r"is no gallery \(numbers that aren't finite\)"):
        gallery_file.read(file)


def test_a_pipe_or_a_link_to_itself_is_no_gallery(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(InputError, match="pipe: is no regular file: name one that `siamese enroll` wrote"):
        gallery_file.read(tmp_path / "pipe")
    with pytest.raises(InputError, match="link: is a link to itself: name another file"):
        gallery_file.change(tmp_path / "link", lambda _: enrolled(*FEW))


def test_nobody_else_changes_a_gallery_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"

    def change(there: Gallery | None) -> Gallery:
        with (tmp_path / ".people.parquet.lock").open("a") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return enrolled(*FEW, there=there)

    gallery_file.change(file, change)


def test_a_gallery_behind_a_link_stays_one_and_as_private_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file, link = tmp_path / "real/people.parquet", tmp_path / "link.parquet"
    gallery_file.change(file, lambda there: enrolled(*FEW, there=there))
    file.chmod(0o600)
    link.symlink_to(file)
    gallery_file.change(link, lambda there: enrolled(("dan", 20), there=there))
    assert link.is_symlink() and "dan" in gallery_file.read(file).identities
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (tmp_path / ".link.parquet.lock").exists()


def test_of_many_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"

    def add(place: int) -> None:
        gallery_file.change(file, lambda there: enrolled((f"person-{place:02}", place), there=there))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert gallery_file.read(file).identities == [f"person-{place:02}" for place in range(24)]


def test_a_change_that_fails_leaves_the_gallery_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "people.parquet"
    gallery_file.change(file, lambda _: enrolled(*FEW))
    before = file.read_bytes()
    with pytest.raises(InputError, match="isn't in the gallery"):
        gallery_file.remove(file, ["nobody"], [], unknown=False)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".people.parquet.lock", "people.parquet"]


def test_removal_looks_for_impostors_anew(tmp_path: Path) -> None:
    """Without ben, ann's nearest other is cas: 10 and 9 away. Everybody may go."""
    file = tmp_path / "people.parquet"
    gallery_file.change(file, lambda _: enrolled(*FEW))
    removed, left = gallery_file.remove(file, ["ben"], [], unknown=False)
    assert removed == 1
    back = gallery_file.read(file)
    np.testing.assert_array_equal(back.impostors["best"], left.impostors["best"])
    np.testing.assert_allclose(back.impostors["best"], [sigmoid(-10), sigmoid(-9), sigmoid(-9)], rtol=1e-6)
    assert gallery_file.remove(file, ["ann", "cas"], [], unknown=False)[0] == 3
    assert gallery_file.read(file).identities == []


NFC, NFD = "J\u00fcrgen", "Ju\u0308rgen"
SPELLINGS = [NFC, NFD, NFC.upper(), f"{NFC}\u00a0", f" {NFD}", f"\ufeff{NFC}", "J\u00fcr\u200bgen"]


def in_bytes(place: float) -> bytes:
    """An embedding, as its file holds it."""
    return np.array([place], "<f4").tobytes()


def written_before(file: Path, *rows: tuple[str | None, float]) -> Path:
    """A gallery's file as versions wrote it that compared names by their characters: each spelling is an identity."""
    made = enrolled(*((f"person-{number}", place) for number, (_, place) in enumerate(rows)))
    gallery_file.change(file, lambda _: made)
    order = sorted(range(len(rows)), key=lambda row: (rows[row][0] is None, rows[row][0]))
    table = pa.parquet.read_table(file).take(pa.array(order))
    names = pa.array([rows[row][0] for row in order], pa.string())
    paths = pa.array([f"{name}/{place}.png" for name, place in (rows[row] for row in order)])
    for column, values in (("identity", names), ("path", paths)):
        table = table.set_column(table.column_names.index(column), column, values)
    pa.parquet.write_table(table, file, compression="none", use_dictionary=["identity"])
    return file


def test_spellings_of_one_name_are_one_identity_shown_as_it_was_first_enrolled() -> None:
    made = enrolled((NFD, 0), ("ben", 3))
    made = enrolled(*((name, place + 10) for place, name in enumerate(SPELLINGS)), there=made)
    assert summary(made).identities == {NFD: 8, "ben": 1}
    assert enrolled((NFD, 0), (NFC, 1), (f"{NFC} ", 2)).identities == [NFC]


def test_an_image_under_two_spellings_of_one_name_is_no_contradiction() -> None:
    made = enrolled((NFD, 0))
    again = pd.DataFrame([(f"id-{NFD}-0", NFC, "again.png")], columns=COLUMNS, dtype=object)
    assert made.new_among(again).tolist() == [False]


@pytest.mark.parametrize("before", [False, True], ids=["enrolled now", "in a file of before"])
@pytest.mark.parametrize("named", [NFC, NFD, f"{NFC.lower()} "])
def test_nothing_of_a_removed_person_is_left_in_the_file(tmp_path: Path, named: str, before: bool) -> None:
    """Neither an embedding nor a name in any spelling, in the file's own bytes or beside it; the others stay."""
    file = tmp_path / "people.parquet"
    rows = [*((name, 1000.5 + number) for number, name in enumerate(SPELLINGS)), ("ben", 3), (None, 7)]
    if before:
        written_before(file, *rows)
    else:
        gallery_file.change(file, lambda _: enrolled(*rows))
    older = file.read_bytes()
    killed = tmp_path / f".people.parquet.unfinished-{os.getppid()}"  # of a process whose number another one has now
    killed.write_bytes(older)
    personal = [in_bytes(place) for _, place in rows[:7]]
    spelled = [name.encode() for name in ((*SPELLINGS, "rgen") if before else ("rgen", "RGEN"))]
    assert all(part in older for part in (*personal, *spelled))
    removed, _ = gallery_file.remove(file, [named], [], unknown=False)
    assert removed == 7
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [part for part in (*personal, *(name.encode() for name in SPELLINGS), b"rgen", b"RGEN") if part in left]
    assert in_bytes(3) in left and in_bytes(7) in left
    assert gallery_file.read(file).images["identity"].tolist() == ["ben", None]


def test_spellings_in_a_file_of_before_are_read_as_one_identity_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three images in two spellings at 0, 1, 2 and ben at 9: the nearest other of 2 is ben, 7 away, and not 1."""
    file = written_before(tmp_path / "old.parquet", (NFD, 0), (NFC, 1), (NFC, 2), ("ben", 9))
    before = file.read_bytes()
    found = gallery_file.read(file)
    assert summary(found).identities == {NFC: 3, "ben": 1}
    by_path = dict(zip(found.images["path"], found.impostors["best"].tolist(), strict=True))
    expected = {f"{NFD}/0.png": 9, f"{NFC}/1.png": 8, f"{NFC}/2.png": 7, "ben/9.png": 7}
    assert by_path == {path: pytest.approx(sigmoid(-distance)) for path, distance in expected.items()}
    assert capsys.readouterr().err == (
        rf"{file}: names that look the same are read as one identity: 'Ju\u0308rgen' and '{NFC}'" + "\n"
    )
    assert file.read_bytes() == before
    gallery_file.change(file, lambda there: enrolled(("cas", 20), there=there))
    assert gallery_file.read(file).identities == [NFC, "ben", "cas"]
    assert capsys.readouterr().err == ""


def test_a_name_that_is_not_there_is_answered_with_one_that_nearly_is() -> None:
    with pytest.raises(InputError) as refused:
        enrolled((NFC, 0), ("ben", 3)).without(["Jurgen"], [], unknown=False)
    assert str(refused.value) == (f"Jurgen: isn't in the gallery, but {NFC} is: `siamese gallery list` shows what is")


def test_an_image_may_be_named_in_another_normal_form() -> None:
    made = enrolled((NFD, 0), (NFD, 1))
    assert made.without([], [f"{NFC}/0.png"], unknown=False).images["path"].tolist() == [f"{NFD}/1.png"]


def test_removal_from_nowhere_leaves_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        gallery_file.remove(tmp_path / "nowhere.parquet", ["ann"], [], unknown=False)
    with pytest.raises(InputError, match="name what to remove"):
        gallery_file.remove(tmp_path / "nowhere.parquet", [], [], unknown=False)
    assert list(tmp_path.iterdir()) == []
