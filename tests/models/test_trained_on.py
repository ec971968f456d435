"""What a model has seen, as it is kept beside it: known, known in part, or unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese.errors import InputError
from siamese.models import trained_on
from siamese.models.artifacts import weights_digest
from siamese.models.resolved_model import ResolvedModel
from siamese.models.trained_on import FILE, UNKNOWN, TrainedOn

CATALOG = pd.DataFrame({"image_id": list("abcd"), "split": ["train", "train", "validation", "test"]})


def kept(folder: Path, seen: TrainedOn) -> TrainedOn:
    trained_on.write(folder, seen)
    return trained_on.read(folder)


def test_a_model_without_the_file_has_seen_nobody_knows_what(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "model.keras"):
        seen = trained_on.read(place)
        assert not seen.complete and not seen.saw(CATALOG.image_id).any()


def test_a_list_is_complete_unless_the_model_began_with_one_of_which_that_is_unknown(tmp_path: Path) -> None:
    own = trained_on.of_catalog(CATALOG)
    other = trained_on.of_catalog(pd.DataFrame({"image_id": ["d"], "split": ["train"]}))
    for before, complete in ((other, True), (UNKNOWN, False), (other.and_before(UNKNOWN), False)):
        seen = kept(tmp_path, own.and_before(before))
        assert seen.complete == complete
        assert seen.learned_from("abcd").tolist() == [True, True, False, before is not UNKNOWN]
    assert kept(tmp_path, own).complete


def test_a_list_of_an_older_version_counts_as_complete(tmp_path: Path) -> None:
    own = trained_on.of_catalog(CATALOG)
    np.savez(tmp_path / FILE, train=own.train, validation=own.validation)
    assert trained_on.read(tmp_path).complete


def test_a_known_image_is_refused_though_others_are_unknown(tmp_path: Path) -> None:
    trained_on.write(tmp_path, trained_on.of_catalog(CATALOG).and_before(UNKNOWN))
    assert not trained_on.require_unseen(tmp_path, CATALOG, tmp_path / "catalog.parquet").complete
    with pytest.raises(InputError, match="was trained with other splits: 2 test or validation images"):
        trained_on.require_unseen(tmp_path, CATALOG.assign(split="validation"), tmp_path / "catalog.parquet")


@pytest.mark.parametrize("content", ['{"threshold": 0.5}', '{"threshold": 0.5, "weights": null}'])
def test_a_threshold_that_names_no_model_is_used_and_that_is_said(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "servable/variables").mkdir(parents=True)
    (tmp_path / "threshold.json").write_text(content)
    found = ResolvedModel(tmp_path, tmp_path / "threshold.json")
    assert found.threshold(None) == 0.5
    assert capsys.readouterr().err == (
        f"{tmp_path / 'threshold.json'}: it is unknown whether this is the threshold of {tmp_path}: "
        "--threshold SCORE gives another\n"
    )
    assert found.threshold(0.25) == 0.25
    own = f'{{"threshold": 0.5, "weights": "{weights_digest(tmp_path)}"}}'
    (tmp_path / "threshold.json").write_text(own)
    assert found.threshold(None) == 0.5
    assert capsys.readouterr().err == ""
