"""The table of figures: value, interval and baseline side by side, and nothing where there is nothing."""

import copy
import json

import pytest

from siamese.errors import InputError
from siamese.evaluation import results

METRICS = {
    "threshold": 0.5,
    "test": {"precision": 0.9, "eer": None},
    "test_low": {"precision": 0.8, "eer": None},
    "test_high": {"precision": 0.95, "eer": None},
    "one_shot": {"5_way": {"accuracy": 0.7, "low": 0.6, "high": 0.8}, "20_way": {"accuracy": None}},
    "baseline_raw_pixels": {"precision": 0.55},
    "counts": {"test": {"pairs": 40}},
}


def test_each_figure_stands_with_its_interval_and_its_baseline() -> None:
    rows = [" ".join(line.split()) for line in results.to_text(METRICS).splitlines()]
    assert rows[0] == "test value 95 % interval raw pixels"
    assert rows[2:] == [
        "precision 0.900 0.800 to 0.950 0.550",
        "eer - - -",
        "one_shot 5_way 0.700 0.600 to 0.800 -",
        "40 test pairs, threshold 0.500",
    ]


def test_what_must_be_known_of_the_data_is_said() -> None:
    assert results.to_text(METRICS | {"note": "a stand-in"}).splitlines()[-1] == "data: a stand-in"


def test_what_must_be_known_of_the_model_is_said() -> None:
    assert results.to_text(METRICS | {"trained_on": "unknown"}).splitlines()[-1] == (
        "model: it is unknown whether this model was trained on the images that measure it, "
        "so its figures may be too good"
    )


def test_what_is_no_evaluation_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match="run `siamese evaluate` first"):
        results.read(tmp_path / "metrics.json")
    broken = copy.deepcopy(METRICS)
    del broken["counts"]
    for content in ("{", json.dumps(broken), "[]"):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(InputError, match="holds no figures"):
            results.read(tmp_path / "metrics.json")
