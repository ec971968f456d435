"""The sample: the same bytes from the same seed, believable variety, and never a file of someone else's replaced."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from siamese.data.synthetic import handwriting, sample
from siamese.data.synthetic.handwriting import NATURAL, Variation
from siamese.data.synthetic.sample import Job
from siamese.errors import InputError
from siamese.params import SampleParams


def params(**changes: Any) -> SampleParams:
    values: dict[str, Any] = {"identities": 3, "images": 2, "seed": 5, "layout": "identities", "forgeries": False}
    return SampleParams(**{**values, **changes})


def drawn(folder: Path, **changes: Any) -> dict[str, bytes]:
    """Every file of a new sample: path without suffix to content."""
    sample.run(folder, params(**changes))
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB").resize((100, 100)), dtype=np.float64)


def darkness(content: bytes) -> np.ndarray:
    """How much darker than the paper around it each pixel is: ink, whatever the light."""
    grey = np.asarray(Image.open(io.BytesIO(content)).convert("L").resize((100, 100)), dtype=np.float64)
    return np.maximum(np.median(grey) - grey, 0.0)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_people(tmp_path: Path) -> None:
    once, again = drawn(tmp_path / "once"), drawn(tmp_path / "again")
    other = drawn(tmp_path / "other", seed=6)
    assert once == again
    assert other.keys() == once.keys()
    assert all(other[stem] != once[stem] for stem in once)


def test_a_writer_stays_the_same_however_many_identities_and_images_are_asked_for(tmp_path: Path) -> None:
    few = drawn(tmp_path / "few", identities=2, images=2, forgeries=True)
    many = drawn(tmp_path / "many", identities=5, images=3, forgeries=True)
    assert few.items() <= many.items()


def test_the_roles_show_the_same_writers_as_the_identities(tmp_path: Path) -> None:
    identities = drawn(tmp_path / "identities", images=4)
    roles = drawn(tmp_path / "roles", images=4, layout="roles")
    assert roles["anchor/001"] == identities["writer-000/002"]
    assert roles["positive/001"] == identities["writer-000/003"]
    assert roles["negative/writer-002-003"] == identities["writer-002/003"]


def test_identity_folders_hold_the_writers_and_forgeries_are_identities_of_their_own(tmp_path: Path) -> None:
    """3 writers x 2 images; with forgeries, as many again in 3 more folders that name writer and forger."""
    plain = drawn(tmp_path / "plain")
    forged = drawn(tmp_path / "forged", forgeries=True)
    assert sorted(plain) == [f"writer-{writer:03d}/{image:03d}" for writer in range(3) for image in range(2)]
    assert plain.items() <= forged.items()
    added = Counter(stem.split("/")[0] for stem in forged.keys() - plain.keys())
    assert sorted(added.values()) == [2, 2, 2]
    assert [identity.split(".forged-by-")[0] for identity in sorted(added)] == [
        "writer-000",
        "writer-001",
        "writer-002",
    ]
    assert len({hashlib.sha256(content).digest() for content in forged.values()}) == 12


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_the_forger_is_someone_else_whose_own_signatures_are_in_the_folder(writer: int, seed: int) -> None:
    assert 0 <= sample.forger_of(writer, seed) < writer
    assert sample.forger_of(0, seed) == 1


@pytest.mark.parametrize(
    ("identities", "images", "forgeries", "target", "negative"),
    [
        (3, 2, False, 3, 4),  # 3 x 2 / 2 = 3; 2 others x 2
        (3, 3, False, 5, 6),  # 9 / 2, rounded up
        (4, 2, True, 4, 9),  # 3 others x (2 + 1 forgery)
        (100, 5, False, 250, 495),  # the defaults
        (1000, 4, False, 1000, 3996),  # 2000 would be wanted, 1000 is the most
    ],
)
def test_role_folders_hold_one_target_against_the_others(
    identities: int, images: int, forgeries: bool, target: int, negative: int
) -> None:
    planned = list(sample.jobs(params(identities=identities, images=images, forgeries=forgeries, layout="roles")))
    roles = {role: [job for job in planned if job.stem.startswith(role)] for role in ("anchor", "positive", "negative")}
    assert [len(roles[role]) for role in roles] == [target, target, negative]
    ours = roles["anchor"] + roles["positive"]
    assert all(job.writer == 0 and job.forger is None for job in ours)
    assert len({job.image for job in ours}) == 2 * target
    assert not [job for job in roles["negative"] if job.writer == 0 and job.forger is None]
    forgers = [job.forger for job in roles["negative"] if job.writer == 0]
    assert forgers == (list(range(1, identities)) if forgeries else [])
    assert len({job.stem for job in planned}) == len(planned)


def test_role_folders_are_written_as_planned(tmp_path: Path) -> None:
    written = drawn(tmp_path / "roles", layout="roles", forgeries=True)
    assert Counter(stem.split("/")[0] for stem in written) == {"anchor": 3, "positive": 3, "negative": 6}
    assert "negative/writer-000.forged-by-writer-002-000" in written


def test_files_are_of_mixed_formats_and_sizes_and_pillow_reads_them_all() -> None:
    """100 images: the rarest suffix has a share of 10 %, so it is absent for one seed in 10^4; this seed is fixed."""
    files = [sample.draw(Job("", writer, image), seed=0) for writer in range(20) for image in range(5)]
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".JPG": "JPEG", ".png": "PNG", ".bmp": "BMP"}
    assert {suffix for suffix, _ in files} == set(formats)
    sizes, modes = set(), set()
    for suffix, content in files:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            assert picture.format == formats[suffix]
            assert 120 <= picture.width <= 400 and 60 <= picture.height <= 300
            sizes.add(picture.size)
            modes.add(picture.mode)
        assert 1_000 < len(content) < 150_000
    assert modes == {"RGB", "L"}
    assert len(sizes) > 50
    assert sum(len(content) for _, content in files) < 30e6 / 5  # the default folder is five times this one


def test_a_forgery_has_the_shape_of_the_signature_and_the_hand_of_the_forger() -> None:
    """The forger's slant, slope and ink; as many strokes as the writer's, each near its model; a trembling line."""
    still = replace(NATURAL, **{field.name: 0.0 for field in fields(Variation)})
    hand, model = sample._writer(0, seed=0)
    forger, own = sample._writer(1, seed=0)
    forging = handwriting.forging(forger)
    assert (
        (forging.slant, forging.rise, forging.ink)
        == (forger.slant, forger.rise, forger.ink)
        != (
            hand.slant,
            hand.rise,
            hand.ink,
        )
    )
    learnt = handwriting.misread(model, np.random.default_rng(0))
    assert [len(stroke) for stroke in learnt] == [len(stroke) for stroke in model] != [len(stroke) for stroke in own]
    offsets = np.concatenate(learnt) - np.concatenate(model)
    assert 0 < np.abs(offsets).mean() < 0.2  # of a small letter's height

    def roughness(who: handwriting.Hand) -> float:
        traces = handwriting.write(model, replace(who, haste=0.0), np.random.default_rng(0), still)
        return max(float(np.abs(np.diff(trace.points, 3, axis=0)).mean()) for trace in traces)

    assert roughness(forging) > 2 * roughness(forger)  # it trembles


def test_a_forger_draws_the_others_signature_as_learnt_with_the_own_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    write = handwriting.write

    def write_and_tell(signature: list[np.ndarray], hand: handwriting.Hand, *rest: Any) -> list[handwriting.Trace]:
        seen.append((np.concatenate(signature), hand))
        return write(signature, hand, *rest)

    monkeypatch.setattr(handwriting, "write", write_and_tell)
    contents = [
        sample.draw(job, seed=0)[1]
        for job in (Job("", 2, 0), Job("", 1, 0), Job("", 2, 0, forger=1), Job("", 2, 1, forger=1))
    ]
    assert len(set(contents)) == 4
    (model, _), (_, hand), (learnt, forging), (learnt_before, _) = seen
    assert forging == handwriting.forging(hand)
    assert learnt.shape == model.shape and not np.allclose(learnt, model)
    np.testing.assert_array_equal(learnt, learnt_before)  # wrong in the same places each time


def test_without_variation_a_writer_repeats_every_stroke_and_with_it_none() -> None:
    hand, signature = sample._writer(3, seed=0)
    still = replace(NATURAL, **{field.name: 0.0 for field in fields(Variation)})
    for variation, repeats in ((still, True), (NATURAL, False)):
        one, two = (handwriting.write(signature, hand, np.random.default_rng(n), variation) for n in (1, 2))
        assert len(one) == len(two) == len(signature)
        for first, second in zip(one, two, strict=True):
            assert np.allclose(first.points, second.points) == repeats


def test_the_spline_goes_through_its_control_points_and_keeps_straight_lines_straight() -> None:
    """Catmull-Rom interpolates: with 14 samples a segment, every 14th point is a control point."""
    control = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (4.0, -1.0)])
    curve = handwriting.spline(control)
    assert len(curve) == 3 * 14 + 1
    np.testing.assert_allclose(curve[::14], control, atol=1e-12)
    line = handwriting.spline(np.array([(0.0, 0.0), (1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]))
    np.testing.assert_allclose(line[:, 1], 2 * line[:, 0], atol=1e-12)


def test_ink_is_antialiased_and_as_wide_as_the_pen() -> None:
    """A line 80 pixels long and 4 wide is 320 pixels, its round ends pi x 2 x 2 = 12.6; a slope's edges are grey."""
    pressure = np.ones(2)
    level = sample.ink_coverage((120, 60), [(np.array([(20.0, 30.0), (100.0, 30.0)]), pressure)], pen=4.0)
    assert level.shape == (60, 120) and level.min() == 0 and level.max() == 1
    assert level.sum() == pytest.approx(320 + 12.6, rel=0.05)
    slope = sample.ink_coverage((120, 60), [(np.array([(20.0, 10.0), (100.0, 43.0)]), pressure)], pen=4.0)
    assert ((slope > 0.1) & (slope < 0.9)).sum() > 80


def test_raw_pixels_tell_writers_apart_a_little_but_far_from_well() -> None:
    """12 writers x 4 images, mean absolute difference of pixels: hard enough to need learning, not hopeless.

    A pair of one writer is nearer than a pair of two in 50 % of cases by chance, 100 % if raw pixels solved it.
    """
    who = np.repeat(np.arange(12), 4)
    images = [pixels(sample.draw(Job("", int(writer), place % 4), seed=0)[1]) for place, writer in enumerate(who)]
    pairs = [(who[a] == who[b], np.abs(images[a] - images[b]).mean()) for a, b in combinations(range(48), 2)]
    within = np.array([distance for same, distance in pairs if same])
    between = np.array([distance for same, distance in pairs if not same])
    assert within.mean() < between.mean()
    assert 0.55 < (within[:, None] < between).mean() < 0.85


def test_the_ink_alone_shows_who_wrote_it() -> None:
    """Strokes blurred a little, compared by correlation: a writer's images are more alike than in raw pixels."""
    who = np.repeat(np.arange(12), 4)
    rows = []
    for place, writer in enumerate(who):
        ink = darkness(sample.draw(Job("", int(writer), place % 4), seed=0)[1])
        coarse = ink.reshape(20, 5, 20, 5).mean(axis=(1, 3)).ravel()
        rows.append((coarse - coarse.mean()) / coarse.std())
    alike = np.stack(rows) @ np.stack(rows).T / 400
    upper = np.triu_indices(48, 1)
    same = (who[:, None] == who)[upper]
    within, between = alike[upper][same], alike[upper][~same]
    assert (within[:, None] > between).mean() > 0.85


@pytest.mark.parametrize("kind", ["a user's image", "a hidden file", "a folder", "a file in its place"])
def test_what_is_there_already_is_never_replaced(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mine"
    if kind == "a file in its place":
        kept = folder
    else:
        folder.mkdir()
        kept = folder / {"a user's image": "me.JPG", "a hidden file": ".keep", "a folder": "album"}[kind]
    if kind == "a folder":
        kept.mkdir()
    else:
        kept.write_bytes(b"mine")
    with pytest.raises(InputError, match="mine: is there already, and no file is ever replaced: name a new") as no:
        sample.run(folder, params())
    assert "\n" not in str(no.value)
    assert kept.is_dir() if kind == "a folder" else kept.read_bytes() == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_a_file_put_there_while_drawing_is_not_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shared"
    draw = sample.draw

    def draw_while_someone_copies(job: Job, seed: int) -> tuple[str, bytes]:
        folder.mkdir(exist_ok=True)
        (folder / "copied.png").write_bytes(b"theirs")
        return draw(job, seed)

    monkeypatch.setattr(sample, "draw", draw_while_someone_copies)
    with pytest.raises(InputError, match="no file is ever replaced"):
        sample.run(folder, params())
    assert [file.name for file in folder.iterdir()] == ["copied.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["shared"]


def test_an_empty_folder_is_filled_and_a_link_to_one_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    sample.run(tmp_path / "data", params())
    assert (tmp_path / "data").is_symlink()
    assert len(list((tmp_path / "disk").glob("writer-*/*"))) == 6


def test_there_is_nothing_but_images_in_the_folder(tmp_path: Path) -> None:
    sample.run(tmp_path / "new", params(forgeries=True))
    for file in (tmp_path / "new").rglob("*"):
        assert file.is_dir() or file.suffix in sample.SUFFIXES
