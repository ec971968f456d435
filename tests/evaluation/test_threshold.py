"""The threshold in use: a person's own, or the one in threshold.json, never anything else."""

import pytest

from siamese.errors import InputError
from siamese.evaluation.choose_threshold import write_threshold
from siamese.evaluation.threshold import choose_threshold
from siamese.models.artifacts import threshold_of


@pytest.mark.parametrize("scores", [[0.9, 0.2], [1.0, 1.0], [0.0, 0.0]])
def test_what_was_chosen_is_what_is_used(tmp_path, scores: list[float]) -> None:
    """Where a network gives all pairs 1, none is accepted, from a threshold just above it."""
    chosen = choose_threshold([1, 0], scores, "eer")
    write_threshold(tmp_path / "threshold.json", chosen, "validation", "no weights")
    assert threshold_of(tmp_path / "threshold.json", None) == chosen.threshold


def test_a_person_s_own_needs_no_file(tmp_path) -> None:
    assert threshold_of(tmp_path / "nowhere.json", 0.25) == 0.25


def test_a_missing_file_names_the_command_that_makes_it(tmp_path) -> None:
    with pytest.raises(InputError, match=r"threshold\.json is missing: run `siamese evaluate`, or give --threshold"):
        threshold_of(tmp_path / "threshold.json", None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[0.5]",
        "{}",
        '{"threshold": true}',
        '{"threshold": "0.5"}',
        '{"threshold": 1.5}',
        '{"threshold": -0.1}',
        '{"threshold": NaN}',
    ],
)
def test_what_is_no_threshold_is_refused(tmp_path, content: str) -> None:
    (tmp_path / "threshold.json").write_text(content)
    with pytest.raises(InputError, match=r"threshold\.json holds no threshold: run `siamese evaluate` again"):
        threshold_of(tmp_path / "threshold.json", None)
