"""Search of a gallery: exact scores are the network's own, and candidates only choose what is compared exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamese.identification.search import Coarse, best, scores
from siamese.models.scoring import Head
from siamese.models.verifier import Verifier


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_a_score_is_the_sigmoid_of_the_weighted_differences() -> None:
    """Weights 2, -3 and 0, bias 1: the differences 0.5, 0.25 and 9 give 1 + 1 - 0.75 + 0 = 1.25."""
    head = Head(np.array([2, -3, 0], np.float32), 1.0)
    found = scores(head, np.array([[0.5, 0.25, 9]], np.float32), np.array([[0, 0.5, 0], [0.5, 0.25, 1]], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[sigmoid(1.25), sigmoid(1)]], rtol=1e-6)


@pytest.mark.parametrize("probes", [1, 5])
@pytest.mark.parametrize("embeddings", [0, 1, 7, 4100])
def test_every_probe_meets_every_embedding(probes: int, embeddings: int) -> None:
    """Against float64 arithmetic written out, across the parts that threads take."""
    rng = np.random.default_rng(embeddings)
    head = Head(rng.normal(0, 0.1, 40).astype(np.float32), -0.3)
    asked, gallery = rng.random((probes, 40), np.float32), rng.random((embeddings, 40), np.float32)
    apart = np.abs(asked[:, None].astype(np.float64) - gallery[None])
    np.testing.assert_allclose(scores(head, asked, gallery), sigmoid(apart @ head.weights - 0.3), atol=1e-6)


def test_scores_are_those_of_the_network(workspace: Path) -> None:
    """The model of the workspace, on embeddings of images: within 1e-5 of its own comparison, in float32."""
    verifier = Verifier.load(workspace / "artifacts/model")
    embeddings = verifier.embed(np.random.default_rng(0).integers(256, size=(9, 100, 100, 3), dtype=np.uint8))
    found = scores(Head(*verifier.head()), embeddings[:2], embeddings)
    own = [verifier.score(np.repeat(embeddings[[row]], 9, axis=0), embeddings) for row in range(2)]
    np.testing.assert_allclose(found, own, atol=1e-5)


def test_stored_in_half_precision_they_are_the_scores_of_what_is_stored(tmp_path: Path) -> None:
    """float16, mapped from a file: to the digit the scores of the same numbers in float32, and within 1e-3 of those of
    the numbers before they were rounded (half a unit of the last place of numbers below 1, 2.4e-4, times weights that
    sum up to 4 at most, times the sigmoid's slope of 1/4)."""
    rng = np.random.default_rng(1)
    head = Head(rng.normal(0, 0.02, 200).astype(np.float32), 0.1)
    assert np.abs(head.weights).sum() < 4
    exact = rng.random((3000, 200), np.float32)
    np.save(tmp_path / "gallery.npy", exact.astype(np.float16))
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    found = scores(head, exact[:1], mapped)
    np.testing.assert_array_equal(found, scores(head, exact[:1], np.asarray(mapped, np.float32)))
    np.testing.assert_allclose(found, scores(head, exact[:1], exact), atol=1e-3)


def crowd(rng: np.random.Generator, size: int, units: int = 256) -> tuple[Head, np.ndarray]:
    """A head that punishes differences, and embeddings that vary in few directions and in few units much."""
    hidden = rng.standard_normal((size, 12)) @ rng.standard_normal((12, units))
    spread = rng.exponential(size=units)
    return Head(-rng.exponential(0.1, units).astype(np.float32), 2.0), sigmoid(hidden * spread).astype(np.float32)


def test_the_best_of_a_gallery_are_found_and_their_scores_are_exact() -> None:
    """Perturbed copies of 200 of 5,000: the copied one is the best by the exact scan, and found through 50 candidates
    of 32 units each time but for one in a hundred at most; every score given is the exact one."""
    rng = np.random.default_rng(2)
    head, gallery = crowd(rng, 5000)
    coarse = Coarse.of(head, gallery, units=32)
    assert (coarse.codes.dtype, coarse.codes.shape) == (np.uint8, (5000, 32))
    copied = rng.choice(5000, 200, replace=False)
    missed = 0
    for row in copied:
        probe = np.clip(gallery[row] + rng.normal(0, 0.02, 256), 0, 1).astype(np.float32)
        exact = scores(head, probe[None], gallery)[0]
        rows, found = best(head, probe, gallery, 5, coarse, candidates=50)
        missed += rows[0] != exact.argmax()
        np.testing.assert_array_equal(found, exact[rows])
        assert (np.diff(found) <= 0).all()
    assert missed <= 2


def test_weights_of_both_signs_are_searched_as_well() -> None:
    """Where some units count for likeness when they differ, as they do early in training, the best need not be the
    nearest: it is found among all candidates."""
    rng = np.random.default_rng(3)
    head, gallery = crowd(rng, 400)
    head = Head(head.weights * rng.choice([-1, 1], 256).astype(np.float32), 0.0)
    probe = rng.random(256, np.float32)
    exact = scores(head, probe[None], gallery)[0]
    rows, found = best(head, probe, gallery, 3, Coarse.of(head, gallery, units=256), candidates=100)
    assert rows.tolist() == np.argsort(-exact)[:3].tolist()
    np.testing.assert_array_equal(found, exact[rows])


def test_few_units_of_a_byte_tell_what_they_hold() -> None:
    """Of three units the two that move the score most are kept: 0.9 * 1 and 0.1 * 9 against 0.2 * 1 (mean distance from
    the middle times weight). A value is at most half a step from what its byte stands for."""
    gallery = np.array([[0, 0.4, 0], [1, 0.6, 1]], np.float32)[np.arange(1000) % 2]
    coarse = Coarse.of(Head(np.array([-0.2, 9, 1], np.float32), 0), gallery, units=2)
    assert coarse.units.tolist() == [1, 2]
    back = coarse.low + coarse.step * coarse.codes
    assert (np.abs(back - gallery[:, [1, 2]]) <= coarse.step / 2 + 1e-6).all()


def test_a_gallery_smaller_than_the_candidates_is_compared_whole() -> None:
    head, gallery = crowd(np.random.default_rng(4), 6)
    rows, _ = best(head, gallery[4], gallery, 6, Coarse.of(head, gallery, units=8), candidates=100)
    assert (rows[0], sorted(rows)) == (4, [0, 1, 2, 3, 4, 5])


def test_a_gallery_of_equal_embeddings_has_no_winner_but_the_first() -> None:
    head = Head(np.full(16, -1, np.float32), 0)
    gallery = np.full((50, 16), 0.5, np.float32)
    rows, found = best(head, gallery[0], gallery, 2, Coarse.of(head, gallery, units=4), candidates=50)
    assert rows.tolist() == [0, 1]
    assert found.tolist() == [0.5, 0.5]
