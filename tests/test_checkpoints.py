"""Checkpoints: found again by the same run and no other, whole or not at all, two at most."""

import os
from pathlib import Path

import numpy as np
import pytest

from siamese.checkpoints import Checkpoints, State, key_of
from siamese.errors import InputError


def state_after(epoch: int, step: int = 0) -> State:
    return State(epoch, step, 0.5, [{"epoch": 1.0, "loss": 0.1 + 0.2}], 1, [-0.25, 0.75])


def arrays(value: float) -> list[np.ndarray]:
    return [np.full((2, 3), value, np.float32), np.array(7, np.int64)]


def test_a_checkpoint_comes_back_to_the_bit(tmp_path) -> None:
    kept = Checkpoints(tmp_path, "run")
    kept.save(state_after(10, 3), arrays(0.1), arrays(0.2))
    state, last, best = kept.newest()
    assert state == state_after(10, 3)
    np.testing.assert_array_equal(last[0], arrays(0.1)[0])
    assert last[1].dtype == np.int64 and last[1] == 7
    np.testing.assert_array_equal(best[0], arrays(0.2)[0])


def test_without_best_weights_none_come_back(tmp_path) -> None:
    kept = Checkpoints(tmp_path, "run")
    kept.save(state_after(1), arrays(1), None)
    assert kept.newest()[2] is None


def test_the_newest_is_taken_and_two_are_kept(tmp_path) -> None:
    kept = Checkpoints(tmp_path, "run")
    for epoch, step in ((999, 0), (9999, 0), (9999, 12), (10000, 0)):
        kept.save(state_after(epoch, step), arrays(epoch), None)
    assert kept.newest()[0] == state_after(10000)
    assert sorted(path.name for path in kept.folder.iterdir()) == ["epoch-10000-step-000000", "epoch-9999-step-000012"]


@pytest.mark.parametrize("harm", ["cut", "flip", "state", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, capsys, harm: str) -> None:
    kept = Checkpoints(tmp_path, "run")
    kept.save(state_after(1), arrays(1), None)
    kept.save(state_after(2), arrays(2), None)
    place = kept.folder / "epoch-0002-step-000000"
    data = bytearray((place / "last.npz").read_bytes())
    if harm == "cut":
        (place / "last.npz").write_bytes(data[:-10])
    elif harm == "flip":
        data[len(data) // 2] ^= 1
        (place / "last.npz").write_bytes(data)
    elif harm == "state":
        (place / "state.json").write_text("{")
    else:
        (place / "last.npz").unlink()
    assert kept.newest()[0] == state_after(1)
    assert str(place) in capsys.readouterr().err


def test_what_a_killed_process_left_beside_is_not_taken(tmp_path) -> None:
    kept = Checkpoints(tmp_path, "run")
    kept.save(state_after(1), arrays(1), None)
    half = kept.folder / f".epoch-0002-step-000000.unfinished-{os.getpid()}"
    half.mkdir()
    assert kept.newest()[0] == state_after(1)


def test_another_run_finds_nothing(tmp_path) -> None:
    Checkpoints(tmp_path, "run").save(state_after(1), arrays(1), None)
    assert Checkpoints(tmp_path, "other").newest() is None


def test_pruning_removes_this_run_alone(tmp_path) -> None:
    for key in ("run", "other"):
        Checkpoints(tmp_path, key).save(state_after(1), arrays(1), None)
    Checkpoints(tmp_path, "run").prune()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_place_that_cannot_be_written_is_one_line_and_the_older_one_stays(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        Checkpoints(tmp_path / "file", "run").save(state_after(1), arrays(1), None)


def test_what_other_runs_left_is_counted(tmp_path) -> None:
    for key in ("run", "other", "third"):
        Checkpoints(tmp_path, key).save(state_after(1), arrays(1), None)
    one = Checkpoints(tmp_path, "run")
    assert one.size() > 0
    assert one.of_other_runs() == (2, 2 * one.size())


def test_the_key_is_of_contents_parameters_and_nothing_else(tmp_path) -> None:
    def key(content: str, name: str = "a", **settings: object) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "x").write_text(content)
        return key_of([folder], settings)

    assert key("images", epochs=3) == key("images", name="b", epochs=3)
    assert len({key("images", epochs=3), key("images", epochs=4), key("other", epochs=3), key("images", other=3)}) == 4


def test_the_key_follows_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("a")
    before = key_of([tmp_path / "catalog"], {})
    (tmp_path / "catalog").write_text("b")
    assert key_of([tmp_path / "catalog"], {}) != before
