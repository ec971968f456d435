"""What the benchmarks reckon with: counts by hand, and sides that are real processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmarks.speed.__main__ as bench
from benchmarks.scale.__main__ import exponents
from benchmarks.speed.million import dimension, perturbed
from benchmarks.speed.rows import Row, rate, seconds, to_markdown, to_plain
from benchmarks.speed.sides import Side, alternate
from benchmarks.speed.training import FLOP_PER_IMAGE


def test_the_arithmetic_of_a_training_step_is_counted_from_the_layers() -> None:
    """Forward, each output of a layer sums as many products as its weights, biases apart: two operations each. Backward
    does as much for the weights and for the inputs, of which the first layer's, the image, needs nothing."""
    from siamese.models.network import specification_embedding

    forward = []
    for layer in specification_embedding().layers:
        if layer.weights:
            kernel = int(np.prod(layer.weights[0].shape))
            positions = int(np.prod(layer.output.shape[1:-1]))  # 1 for a dense layer: the product of nothing
            forward.append(2 * positions * kernel)
    assert len(forward) == 5
    assert 3 * sum(forward) - forward[0] == FLOP_PER_IMAGE


def test_a_row_says_whether_it_reached_its_goal() -> None:
    rows = [
        Row("pairs", "0.5 s", "a loop: 3.0 s", "< 2 s", True, 6.0),
        Row("serving", "41/s", "34/s", ">= 1.5x", False, 1.206),
        Row("embeddings", "75/s", "", "", None),
    ]
    assert to_markdown(rows).splitlines()[2:] == [
        "| pairs | 0.5 s | a loop: 3.0 s | 6.00 | < 2 s | reached |",
        "| serving | 41/s | 34/s | 1.21 | >= 1.5x | **short** |",
        "| embeddings | 75/s |  |  |  |  |",
    ]


def test_results_hold_every_measurement_and_give_the_row_back() -> None:
    row = Row("verify", "27 ms", "74 ms", "<= 30 ms", np.bool_(True), np.float64(2.74), {"ours": [0.027]})
    [plain] = json.loads(json.dumps(to_plain([row])))
    assert Row(**plain) == Row("verify", "27 ms", "74 ms", "<= 30 ms", True, 2.74, {"ours": [0.027]})


def test_a_part_that_is_measured_again_replaces_its_rows_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("before\n<!-- table -->\n<!-- end of the table -->\nafter\n")
    for part, ours in (("pairs", "0.7 s"), ("training", "64/s"), ("pairs", "0.5 s")):
        bench.write(part, [Row(part, ours, "", "", None)], ["training", "pairs"])
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| training | 64/s |  |  |  |  |",
        "| pairs | 0.5 s |  |  |  |  |",
    ]
    assert lines[:2] == ["before", "<!-- table -->"]
    assert lines[-2:] == ["<!-- end of the table -->", "after"]


def test_figures_are_medians_of_the_runs() -> None:
    runs = [{"seconds": 2.0, "images": 10}, {"seconds": 1.0, "images": 10}, {"seconds": 9.0, "images": 9}]
    assert (seconds(runs), rate(runs)) == (2.0, 5.0)


def test_sides_take_turns_and_every_other_round_begins_with_the_last() -> None:
    order: list[str] = []

    def side(name: str):
        return lambda: (order.append(name), {"seconds": len(order)})[1]

    runs = alternate({"a": side("a"), "b": side("b")}, rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [one["seconds"] for one in runs["b"]] == [2, 3, 6]


def test_a_side_is_a_process_that_works_when_told() -> None:
    with Side("benchmarks.speed.pair_side", "index", 3_000_000) as side:
        said = side.run()
    assert said["pairs"] == 3_000_000
    assert said["seconds"] > 0
    assert 10**7 < said["peak"] < 10**9


def test_a_side_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"benchmarks\.speed\.pair_side nonsense ended with 1"):
        Side("benchmarks.speed.pair_side", "nonsense")
    assert "KeyError: 'nonsense'" in capfd.readouterr().err


def test_the_dimension_of_a_cloud_is_that_of_its_directions() -> None:
    """Three directions in 40 coordinates: the estimate from 2,000 points, of standard error 3 / sqrt(2000), is within 5
    of them."""
    rng = np.random.default_rng(0)
    cloud = rng.random((2000, 3)) @ np.linalg.qr(rng.standard_normal((40, 3)))[0].T
    assert abs(dimension(cloud.astype(np.float32)) - 3) < 5 * 3 / np.sqrt(2000) + 0.05


def test_copies_are_moved_by_half_a_difference_and_stay_in_range() -> None:
    """One difference of 0.4: from 0.5 to 0.3 or 0.7, from 0.9 to 0.7 or to 1, where the range ends."""
    moved = perturbed(np.tile([[0.5, 0.9]], (100, 1)), np.array([[0.4, 0.4]]), np.random.default_rng(0))
    assert {tuple(row) for row in moved.round(6).tolist()} == {(0.3, 0.7), (0.7, 1.0)}


def test_the_exponent_is_that_of_the_last_decade() -> None:
    """Seconds as the square of the size once start-up is small, memory flat."""
    curve = [(1, 5, 30), (10, 6, 30), (100, 600, 30)]
    table = pd.DataFrame([{"step": "s", "of": "images", "size": n, "seconds": t, "megabytes": m} for n, t, m in curve])
    found = exponents(table).iloc[0]
    assert (found.largest, found.time_exponent, found.memory_exponent) == (100, 2, 0)
