"""`choose` hands on the training that did best on validation pairs, by the epoch whose weights it kept."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from siamese.errors import InputError
from siamese.orchestration import choose

NAN = float("nan")


def trained(folder: Path, name: str, eers: list[float]) -> tuple[Path, Path, Path]:
    """A training's results, of which only the history has content that counts."""
    model = folder / name / "model"
    (model / "servable").mkdir(parents=True)
    (model / "siamese.keras").write_text(f"weights of {name}")
    pd.DataFrame({"epoch": range(1, len(eers) + 1), "eer": eers}).to_csv(folder / name / "history.csv", index=False)
    (folder / name / "run.json").write_text(f'{{"training": "{name}"}}')
    return model, folder / name / "history.csv", folder / name / "run.json"


@pytest.mark.parametrize(
    ("eers", "keeps", "best"),
    [
        ([[0.3, 0.2], [0.25, 0.1]], ["best", "best"], 1),
        ([[0.1, 0.4], [0.2, 0.2]], ["best", "best"], 0),  # its best epoch counts
        ([[0.1, 0.4], [0.2, 0.2]], ["last", "best"], 1),  # its last one counts
        ([[0.2], [0.2]], ["best", "best"], 0),  # of equals the first
        ([[NAN], [0.5]], ["best", "last"], 1),
    ],
)
def test_the_lowest_validation_eer_of_the_weights_that_were_kept_wins(
    tmp_path: Path, eers: list[list[float]], keeps: list, best: int
) -> None:
    trainings = [trained(tmp_path, str(number), of_one) for number, of_one in enumerate(eers)]
    out = tmp_path / "out"
    assert choose.run(trainings, keeps, out / "model", out / "history.csv", out / "run.json") == best
    assert (out / "model/siamese.keras").read_text() == f"weights of {best}"
    assert (out / "run.json").read_text() == f'{{"training": "{best}"}}'
    assert (out / "history.csv").read_text() == trainings[best][1].read_text()


def test_a_training_without_history_is_told(tmp_path: Path) -> None:
    one = trained(tmp_path, "one", [0.1])
    one[1].unlink()
    with pytest.raises(InputError, match="siamese train"):
        choose.run([one], ["best"], tmp_path / "model", tmp_path / "history.csv", tmp_path / "run.json")
    assert not (tmp_path / "model").exists()
