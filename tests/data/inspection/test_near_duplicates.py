"""Near-duplicates: found where a picture was encoded, resized, brightened or cropped; others are left alone."""

from __future__ import annotations

from itertools import combinations

import drawn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn

from siamese.data.inspection import near_duplicates

PICTURES = 40


def grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((100, 100), Image.Resampling.BILINEAR))


def looked_at(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    greys = [grey(image) for image in images]
    hashes = np.array([near_duplicates.perceptual_hash(one) for one in greys], np.uint64)
    return hashes, np.stack([near_duplicates.small_picture(one) for one in greys])


def noise(seed: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.float64)


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_is_the_low_frequencies_against_their_median(seed: int) -> None:
    """By scipy's transform of the means of 2 x 2 pixels, the first bit that of the lowest frequency."""
    pixels = noise(seed)
    frequencies = dctn(pixels.reshape(32, 2, 32, 2).mean(axis=(1, 3)))[:8, :8].ravel()
    bits = "".join("1" if one > np.median(frequencies[1:]) else "0" for one in frequencies)
    assert f"{near_duplicates.perceptual_hash(pixels):064b}" == bits


def test_the_hash_of_a_negative_is_the_opposite() -> None:
    """All bits but two turn: the mean stays positive, and the frequency that is the median is never above itself."""
    pixels = noise(0)
    assert (near_duplicates.perceptual_hash(pixels) ^ near_duplicates.perceptual_hash(255 - pixels)).bit_count() == 62


@given(st.integers(0, 1000), st.floats(0.1, 4), st.floats(0, 1000))
def test_brightness_and_contrast_leave_the_hash(seed: int, gain: float, more: float) -> None:
    """But for a frequency that rounding moves over the median."""
    pixels = noise(seed)
    assert (
        near_duplicates.perceptual_hash(pixels) ^ near_duplicates.perceptual_hash(gain * pixels + more)
    ).bit_count() <= 1


def test_the_small_picture_is_means_of_equal_parts_a_little_blurred() -> None:
    """Of 96 x 96 pixels, white in columns 48 to 49: column 24 of 48 is white, and lends its neighbours a quarter."""
    pixels = np.zeros((96, 96), np.uint8)
    pixels[:, 48:50] = 200
    expected = np.zeros(48)
    expected[23:26] = 50, 100, 50
    assert (near_duplicates.small_picture(pixels) == expected).all()


@pytest.mark.parametrize("kind", [drawn.picture, drawn.strokes], ids=["photograph", "handwriting"])
@pytest.mark.parametrize("change", drawn.CHANGES)
def test_finds_changed_copies_and_nothing_else(kind, change: str) -> None:
    """Of 40 different pictures and a changed copy of each: every copy is found (cropped: all but one in 20)."""
    originals = [kind(seed) for seed in range(PICTURES)]
    hashes, pictures = looked_at([*originals, *map(drawn.CHANGES[change], originals)])
    found = near_duplicates.near_duplicates(hashes, pictures)
    assert all(found.second - found.first == PICTURES)
    assert len(found.first) >= (0.95 if change in ("cropped by 2 % a side", "all of it") else 1) * PICTURES
    assert (found.likeness >= near_duplicates.SAME).all() and (found.likeness <= 1 + 1e-5).all()


def test_the_hash_alone_decides_nothing() -> None:
    """Different handwriting, given one hash."""
    _, pictures = looked_at([drawn.strokes(seed) for seed in range(PICTURES)])
    found = near_duplicates.near_duplicates(np.zeros(PICTURES, np.uint64), pictures)
    assert len(found.first) == 0
    assert found.group.tolist() == list(range(PICTURES))


def test_pixels_alone_decide_nothing() -> None:
    """One picture, given hashes that differ by one bit more than is near."""
    _, pictures = looked_at([drawn.picture(0)] * 2)
    for bits, found in ((near_duplicates.NEAR, 1), (near_duplicates.NEAR + 1, 0)):
        hashes = np.array([0, 2**bits - 1], np.uint64)
        assert len(near_duplicates.near_duplicates(hashes, pictures).first) == found


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_groups_are_those_of_comparing_all_with_all(which: list[int]) -> None:
    """Copies of five pictures in any order, against pairs written out and joined by hand."""
    rng = np.random.default_rng(0)
    hashes, pictures = looked_at([drawn.picture(seed) for seed in range(5)])
    shaken = np.clip(pictures[which].astype(int) + rng.integers(-3, 4, (len(which), 48, 48)), 0, 255).astype(np.uint8)
    found = near_duplicates.near_duplicates(hashes[which], shaken)
    expected = [which.index(one) for one in which]  # the first row of the same picture
    assert found.group.tolist() == expected
    true = {pair for pair in combinations(range(len(which)), 2) if which[pair[0]] == which[pair[1]]}
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) <= true


def test_a_chain_is_one_group() -> None:
    """Three pictures, each near the next alone by its hash: 8 bits, 8 bits, 16 bits."""
    _, pictures = looked_at([drawn.picture(0)] * 3)
    found = near_duplicates.near_duplicates(np.array([0, 2**8 - 1, 2**16 - 1], np.uint64), pictures)
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1), (1, 2)]
    assert found.group.tolist() == [0, 0, 0]


@pytest.mark.parametrize("alike", [True, False])
def test_thousands_of_one_hash_are_few_comparisons(alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """600 pictures have 179,700 pairs; at most `PROPOSED` an image are compared, fewer where they are alike."""
    compared = 0
    measure = near_duplicates._likeness

    def counting(pictures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(first)
        return measure(pictures, first, second)

    monkeypatch.setattr(near_duplicates, "_likeness", counting)
    rng = np.random.default_rng(0)
    _, pictures = looked_at([drawn.picture(seed) for seed in range(1 if alike else 50)])
    many = pictures[np.arange(600) % len(pictures)] if alike else rng.integers(0, 256, (600, 48, 48)).astype(np.uint8)
    found = near_duplicates.near_duplicates(np.zeros(600, np.uint64), many)
    assert compared <= near_duplicates.PROPOSED * 600 / (3 if alike else 1)
    assert len(np.unique(found.group)) == (1 if alike else 600)


def test_alignment_finds_a_picture_that_was_moved_and_stretched() -> None:
    """1.5 pixels of 48 to the right, and 4 % wider: far from the same before, the same after."""
    at = np.linspace(-1, 1, 48)

    def wave(x: np.ndarray) -> np.ndarray:
        return (128 + 60 * np.sin(9 * x)[None, :] + 40 * np.cos(7 * at)[:, None]).astype(np.float32)[None]

    still, moved = wave(at), wave((at - 3 / 47) / 1.04)
    assert near_duplicates.correlation(still, moved)[0] < 0.9
    assert near_duplicates.aligned_correlation(still, moved)[0] > 0.999


def test_alignment_never_lowers_likeness_nor_finds_any_in_other_pictures() -> None:
    _, pictures = looked_at([drawn.picture(seed) for seed in range(PICTURES)])
    first, second = pictures[:-1].astype(np.float32), pictures[1:].astype(np.float32)
    before, after = near_duplicates.correlation(first, second), near_duplicates.aligned_correlation(first, second)
    assert (after >= before - 1e-5).all()
    assert after.max() < 0.9


def test_correlation_is_pearsons() -> None:
    first, second = noise(0, 48), noise(1, 48) + 0.5 * noise(0, 48)
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert near_duplicates.correlation(first[None].astype(np.float32), second[None].astype(np.float32))[
        0
    ] == pytest.approx(expected, abs=1e-5)
    assert near_duplicates.correlation(np.ones((1, 4, 4), np.float32), first[None, :4, :4].astype(np.float32))[0] == 0


def test_none_and_one_have_no_duplicates() -> None:
    hashes, pictures = looked_at([drawn.picture(0)])
    for images in (0, 1):
        found = near_duplicates.near_duplicates(hashes[:images], pictures[:images])
        assert (len(found.first), len(found.group)) == (0, images)
