"""One-shot recognition: fair trials, which no answer but a right one wins."""

import by_counting
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from siamese.evaluation.metrics import one_shot

FIVE_EACH = np.repeat(np.arange(30), 5)


def answers(trials: one_shot.Trials, chosen: np.ndarray) -> np.ndarray:
    """Scores of one who is sure of one reference a trial."""
    return (np.arange(trials.references.shape[1]) == chosen[:, None]).astype(np.float32)


@given(
    st.lists(st.integers(1, 4), min_size=5, max_size=12).filter(lambda images: max(images) > 1),
    st.integers(2, 5),
    st.randoms(use_true_random=False),
)
def test_a_trial_has_one_other_image_of_the_probe_s_identity_among_distinct_identities(images, ways, shuffle) -> None:
    identities = [who for who, count in enumerate(images) for _ in range(count)]
    shuffle.shuffle(identities)
    identities = np.array(identities)
    trials = one_shot.draw_trials(identities, ways=ways, trials=40, seed=1)
    for probe, references, right in zip(trials.probes, trials.references, trials.right, strict=True):
        shown = identities[references].tolist()
        assert len(set(shown)) == ways
        assert shown.index(identities[probe]) == right
        assert references[right] != probe


@pytest.mark.parametrize("ways", one_shot.WAYS)
def test_always_answering_the_first_gains_chance(ways: int) -> None:
    trials = one_shot.draw_trials(FIVE_EACH, ways=ways, trials=4000, seed=0)
    found = one_shot.summarise(one_shot.credit(answers(trials, np.zeros(4000, int)), trials.right), ways)
    assert found.low <= 1 / ways <= found.high and found.high - found.low < 0.03


@pytest.mark.parametrize("ways", one_shot.WAYS)
def test_giving_all_the_same_score_gains_exactly_chance(ways: int) -> None:
    trials = one_shot.draw_trials(FIVE_EACH, ways=ways, trials=100, seed=0)
    found = one_shot.summarise(one_shot.credit(np.ones((100, ways), np.float32), trials.right), ways)
    assert found.accuracy == pytest.approx(1 / ways)


def test_knowing_gains_all_and_knowing_wrongly_nothing() -> None:
    trials = one_shot.draw_trials(FIVE_EACH, ways=5, trials=200, seed=0)
    assert one_shot.credit(answers(trials, trials.right), trials.right).mean() == 1
    assert one_shot.credit(answers(trials, (trials.right + 1) % 5), trials.right).mean() == 0


def test_ties_share_the_credit() -> None:
    """The right one is number 1: alone on top 1, on top with another 1/2, with both others 1/3, below them 0."""
    scores = np.array([[0.1, 0.9, 0.2], [0.9, 0.9, 0.2], [0.5, 0.5, 0.5], [0.9, 0.8, 0.9]])
    assert one_shot.credit(scores, np.array([1, 1, 1, 1])).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0])


@pytest.mark.parametrize("ways", [2, 3, 5])
def test_trials_earn_what_looking_at_every_possible_trial_gives(ways: int) -> None:
    """Six identities of 1 to 3 images, a scorer that often ties and knows only the next image of an identity well:
    4,000 trials, within 4 sd."""
    identities = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5])
    same = identities[:, None] == identities
    similarity = np.random.default_rng(8).integers(0, 6, (12, 12)) + 2 * same + 4 * (same & np.eye(12, k=1, dtype=bool))
    expected = float(by_counting.one_shot(identities.tolist(), similarity, ways))
    assert 1.2 / ways < expected < 0.95

    trials = one_shot.draw_trials(identities, ways=ways, trials=4000, seed=5)
    earned = one_shot.credit(similarity[trials.probes[:, None], trials.references], trials.right)
    assert abs(earned.mean() - expected) < 4 * earned.std() / np.sqrt(4000)


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=20), st.integers(0, 2))
def test_a_trial_earns_what_counting_those_on_top_gives(scores: list[list[int]], right: int) -> None:
    found = one_shot.credit(np.array(scores) / 3, np.full(len(scores), right))
    expected = [by_counting.credit(row[right], row[:right] + row[right + 1 :]) for row in scores]
    assert found.tolist() == pytest.approx([float(one) for one in expected])


@pytest.mark.parametrize("ways", one_shot.WAYS)
def test_identities_dealt_out_at_random_gain_chance(ways: int) -> None:
    """The images' names are shuffled before each of 1,000 trials: whatever the scores, each earns with chance 1/n. The
    same scores earn far more under the true names."""
    rng = np.random.default_rng(4)
    similarity = rng.random((len(FIVE_EACH), len(FIVE_EACH))) + (FIVE_EACH[:, None] == FIVE_EACH)

    def right(names: np.ndarray, seed: int) -> float:
        trial = one_shot.draw_trials(names, ways=ways, trials=1, seed=seed)
        return one_shot.credit(similarity[trial.probes[:, None], trial.references], trial.right)[0]

    dealt = sum(right(rng.permutation(FIVE_EACH), seed) for seed in range(1000))
    assert stats.binomtest(int(dealt), 1000, 1 / ways).pvalue > 1e-3
    assert sum(right(FIVE_EACH, seed) for seed in range(100)) == 100


def test_identities_are_asked_equally_often_however_many_images_they_have() -> None:
    """Identity 0 has 200 images, nine others have two: each is asked in a tenth of 5,000 trials, within 4 sd."""
    identities = np.repeat(np.arange(10), [200] + [2] * 9)
    trials = one_shot.draw_trials(identities, ways=5, trials=5000, seed=0)
    asked = np.bincount(identities[trials.probes], minlength=10)
    assert (abs(asked - 500) < 4 * np.sqrt(5000 * 0.1 * 0.9)).all()


def test_the_seed_decides() -> None:
    once, again, other = (one_shot.draw_trials(FIVE_EACH, ways=5, trials=50, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once.references, again.references)
    assert (once.references != other.references).any()


def test_many_trials_among_many_identities_are_drawn_in_parts(monkeypatch) -> None:
    monkeypatch.setattr(one_shot, "_BLOCK", 64)
    trials = one_shot.draw_trials(FIVE_EACH, ways=5, trials=33, seed=0)
    shown = FIVE_EACH[trials.references]
    assert all(len(set(row)) == 5 for row in shown.tolist())


@pytest.mark.parametrize(
    ("identities", "ways", "reason"),
    [
        ([0, 0, 1, 2, 3], 5, "5-way needs 5 identities, one with 2 images; there are 4, 1 with 2 or more"),
        ([0, 1, 2, 3, 4], 5, "5-way needs 5 identities, one with 2 images; there are 5, 0 with 2 or more"),
        ([0, 0, 1, 2, 3, 4], 5, None),
        ([], 5, "5-way needs 5 identities, one with 2 images; there are 0, 0 with 2 or more"),
    ],
)
def test_too_few_identities_are_said_so(identities: list[int], ways: int, reason: str | None) -> None:
    assert one_shot.why_not(np.array(identities, int), ways) == reason


@pytest.mark.parametrize(
    ("share", "trials", "ends"),
    [(0.0, 10, (0.0, 0.2775)), (0.5, 10, (0.2366, 0.7634)), (1.0, 10, (0.7225, 1.0)), (0.9, 400, (0.8667, 0.9258))],
)
def test_wilson_interval(share: float, trials: int, ends: tuple[float, float]) -> None:
    """For 0 of 10 up to z2 / (10 + z2) = 3.8415 / 13.8415; for 5 of 10 it is 1/2 +- 1/2 sqrt(z2 / (10 + z2))."""
    assert one_shot.wilson(share, trials) == pytest.approx(ends, abs=1e-4)
