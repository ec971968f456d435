"""Checkpoints: found again by the same run and no other, whole or not at all, two at most."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.storage.files import content_digest
from siamese.training.checkpoints import Checkpoints, Origin, TrainingState

ORIGIN = Origin({"catalog": "aa", "pairs": "bb"}, {"train": {"seed": 0, "optimizer": {"name": "adam"}}, "siamese": "1"})
OTHER = Origin({"catalog": "aa", "pairs": "bb"}, {"train": {"seed": 1, "optimizer": {"name": "adam"}}, "siamese": "1"})
SHAPES = {"last": [(2, 3), ()], "best": [(2, 3), ()]}


def state_after(epoch: int, step: int = 0) -> TrainingState:
    return TrainingState(epoch, step, 0.5, [{"epoch": 1.0, "loss": 0.1 + 0.2}], 1, [-0.25, 0.75])


def arrays(value: float) -> list[np.ndarray]:
    return [np.full((2, 3), value, np.float32), np.array(7, np.int64)]


def saved(folder: Path, *epochs: int, origin: Origin = ORIGIN) -> Checkpoints:
    """The run's checkpoints after each of these epochs, with best weights of their own."""
    kept = Checkpoints(folder, origin)
    for epoch in epochs:
        kept.save(state_after(epoch), arrays(epoch), arrays(-epoch))
    return kept


def place_of(kept: Checkpoints, epoch: int) -> Path:
    return kept.folder / f"epoch-{epoch:04d}-step-000000"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_to_the_bit(tmp_path) -> None:
    kept = Checkpoints(tmp_path, ORIGIN)
    kept.save(state_after(10, 3), arrays(0.1), arrays(0.2))
    state, last, best = kept.newest(SHAPES)
    assert state == state_after(10, 3)
    np.testing.assert_array_equal(last[0], arrays(0.1)[0])
    assert last[1].dtype == np.int64 and last[1] == 7
    np.testing.assert_array_equal(best[0], arrays(0.2)[0])


def test_without_best_weights_none_come_back(tmp_path) -> None:
    kept = Checkpoints(tmp_path, ORIGIN)
    kept.save(state_after(1), arrays(1), None)
    assert kept.newest(SHAPES)[2] is None


def test_the_newest_is_taken_and_two_are_kept(tmp_path) -> None:
    kept = Checkpoints(tmp_path, ORIGIN)
    for epoch, step in ((999, 0), (9999, 0), (9999, 12), (10000, 0)):
        kept.save(state_after(epoch, step), arrays(epoch), None)
    assert kept.newest(SHAPES)[0] == state_after(10000)
    assert names(kept.folder) == ["epoch-10000-step-000000", "epoch-9999-step-000012"]


def test_what_is_no_checkpoint_is_left_alone(tmp_path) -> None:
    kept = saved(tmp_path, 1)
    shutil.copytree(place_of(kept, 1), kept.folder / "epoch-0009-step-000000 (copy)")
    (kept.folder / "epoch-notes.txt").write_text("")
    assert kept.newest(SHAPES)[0] == state_after(1)
    kept.prune()
    assert names(kept.folder) == ["epoch-0009-step-000000 (copy)", "epoch-notes.txt"]


# Damage


def rewrite(place: Path, change: Callable[[dict], None], *, sign: bool = False) -> None:
    """Edits state.json, and makes its digest right again if asked to."""
    content = json.loads((place / "state.json").read_text())
    change(content)
    if sign:
        del content["digest"]
        signed = json.dumps(content, sort_keys=True).encode()
        content["digest"] = hashlib.sha256(len(signed).to_bytes(8, "little") + signed).hexdigest()
    (place / "state.json").write_text(json.dumps(content))


def cut(place: Path, name: str) -> None:
    os.truncate(place / name, (place / name).stat().st_size - 10)


def flip(place: Path, name: str) -> None:
    data = bytearray((place / name).read_bytes())
    data[len(data) // 2] ^= 1
    (place / name).write_bytes(data)


def other_shapes(place: Path) -> None:
    """As a checkpoint of a changed network: whole, but not this network's."""
    np.savez(place / "last.npz", np.zeros((3, 2), np.float32), np.array(7))
    right = hashlib.sha256((place / "last.npz").read_bytes()).hexdigest()
    rewrite(place, lambda content: content["sha256"].update({"last.npz": right}), sign=True)


def no_folder(place: Path) -> None:
    shutil.rmtree(place)
    place.write_text("")


HARM: dict[str, Callable[[Path], None]] = {
    **{f"{how.__name__} {name}": lambda place, how=how, name=name: how(place, name)
       for how in (cut, flip) for name in ("last.npz", "best.npz", "state.json")},
    **{f"no {name}": lambda place, name=name: (place / name).unlink()
       for name in ("last.npz", "best.npz", "state.json")},
    "state.json: another epoch": lambda place: rewrite(place, lambda content: content["state"].update(epoch=7)),
    "state.json: another history": lambda place: rewrite(
        place, lambda content: content["state"]["history"][0].update(loss=0.2)
    ),
    "state.json: another run's settings": lambda place: rewrite(
        place, lambda content: content["origin"]["settings"]["train"].update(seed=1)
    ),
    "state.json: another sum": lambda place: rewrite(
        place, lambda content: content["sha256"].update({"last.npz": "0"})
    ),
    "state.json: no sums, rightly signed": lambda place: rewrite(
        place, lambda content: content.update(sha256={}), sign=True
    ),
    "state.json: no digest": lambda place: rewrite(place, lambda content: content.pop("digest")),
    "state.json: empty": lambda place: (place / "state.json").write_text(""),
    "state.json: a list": lambda place: (place / "state.json").write_text("[]"),
    "state.json: no text": lambda place: (place / "state.json").write_bytes(b"\xff\xfe"),
    "empty folder": lambda place: [file.unlink() for file in place.iterdir()],
    "a file": no_folder,
    "other shapes, rightly signed": other_shapes,
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, capsys, harm: str) -> None:
    kept = saved(tmp_path, 1, 2)
    HARM[harm](place_of(kept, 2))
    assert kept.newest(SHAPES)[0] == state_after(1)
    said = capsys.readouterr().err
    assert said.startswith(f"checkpoint {place_of(kept, 2)} is damaged (") and said.endswith("): not taken\n")
    assert said.count("\n") == 1


def test_a_damaged_checkpoint_is_not_counted_among_the_two_and_removed_by_the_next_write(tmp_path) -> None:
    kept = saved(tmp_path, 4, 5)
    flip(place_of(kept, 5), "last.npz")
    assert kept.newest(SHAPES)[0] == state_after(4)
    kept.save(state_after(4, 2), arrays(4), None)
    assert names(kept.folder) == ["epoch-0004-step-000000", "epoch-0004-step-000002"]


def test_where_all_are_damaged_none_is_taken(tmp_path, capsys) -> None:
    kept = saved(tmp_path, 1, 2)
    for epoch in (1, 2):
        flip(place_of(kept, epoch), "state.json")
    assert kept.newest(SHAPES) is None
    assert capsys.readouterr().err.count("is damaged") == 2


def test_what_a_killed_process_left_beside_is_not_taken_and_removed_by_the_next_write(tmp_path) -> None:
    kept = saved(tmp_path, 1)
    half = kept.folder / f".epoch-0002-step-000007.unfinished-{os.getppid()}"
    shutil.copytree(place_of(kept, 1), half)
    assert kept.newest(SHAPES)[0] == state_after(1)
    kept.save(state_after(2), arrays(2), None)
    assert names(kept.folder) == ["epoch-0001-step-000000", "epoch-0002-step-000000"]


# Other runs


def test_another_run_finds_nothing(tmp_path) -> None:
    saved(tmp_path, 1)
    assert Checkpoints(tmp_path, OTHER).newest(SHAPES) is None


def test_another_runs_checkpoint_is_not_taken_even_from_this_runs_folder(tmp_path, capsys) -> None:
    kept, others = saved(tmp_path, 1), saved(tmp_path, 2, origin=OTHER)
    place_of(others, 2).rename(place_of(kept, 2))
    assert kept.newest(SHAPES)[0] == state_after(1)
    assert "is another run's (train.seed is 1 there, 0 here): not taken" in capsys.readouterr().err


def test_pruning_removes_this_run_alone(tmp_path) -> None:
    kept = saved(tmp_path, 1, 2)
    saved(tmp_path, 1, origin=OTHER)
    kept.prune()
    assert names(tmp_path) == [OTHER.key]


def test_what_other_runs_left_is_counted(tmp_path) -> None:
    one = saved(tmp_path, 1)
    saved(tmp_path, 1, origin=OTHER)
    saved(tmp_path, 1, origin=Origin({}, {}))
    sizes = [Checkpoints(tmp_path, other).size() for other in (OTHER, Origin({}, {}))]
    assert min(sizes) > 0
    assert one.of_other_runs() == (2, sum(sizes))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (OTHER, "train.seed is 1 there, 0 here"),
        (Origin({"catalog": "ff", "pairs": "ff"}, ORIGIN.settings), "other catalog, pairs"),
        (Origin(ORIGIN.inputs, ORIGIN.settings | {"siamese": "2"}), 'siamese is "2" there, "1" here'),
        (
            Origin(ORIGIN.inputs, {"train": {"seed": 0}, "siamese": "1"}),
            'train.optimizer.name is not set there, "adam" here',
        ),
        (
            Origin(ORIGIN.inputs | {"images": "cc"}, ORIGIN.settings | {name: 1 for name in "abcd"}),
            "a is 1 there, not set here; b is 1 there, not set here; c is 1 there, not set here; "
            "d is 1 there, not set here; 1 more",
        ),
    ],
)  # fmt: skip
def test_runs_of_another_origin_have_another_key_and_the_difference_is_told(other: Origin, difference: str) -> None:
    assert other.differences(ORIGIN) == difference
    assert other.key != ORIGIN.key


def test_an_origin_is_the_same_after_its_way_through_a_file(tmp_path) -> None:
    origin = Origin({}, {"rates": (1e-8, 0.1 + 0.2), "nested": {"none": None}})
    again = Origin(**json.loads(json.dumps({"inputs": {}, "settings": origin.settings})))
    assert again.differences(origin) == "" and again.key == origin.key


def test_the_order_of_settings_does_not_count() -> None:
    assert Origin({}, {"a": 1, "b": 2}).key == Origin({}, {"b": 2, "a": 1}).key


def test_the_content_of_a_folder_is_names_and_contents_of_its_files(tmp_path) -> None:
    def content(**files: str) -> str:
        folder = tmp_path / str(len(names(tmp_path)))
        (folder / "in").mkdir(parents=True)
        for name, text in files.items():
            (folder / "in" / name).write_text(text)
        return content_digest(folder)

    assert content(a="1", b="2") == content(a="1", b="2")
    assert (
        len({content(a="1", b="2"), content(a="2", b="1"), content(a="1"), content(c="1"), content(a="1", b="")}) == 5
    )


# An explicit one


def test_an_older_one_is_taken_where_it_is_named_and_what_follows_is_kept(tmp_path) -> None:
    kept = saved(tmp_path, 4, 5)
    kept.begin_at(place_of(kept, 4))
    assert kept.newest(SHAPES)[0] == state_after(4)
    kept.save(state_after(4, 1), arrays(4), None)
    assert names(kept.folder) == ["epoch-0004-step-000001", "epoch-0005-step-000000"]


def test_a_folder_of_checkpoints_elsewhere_gives_its_newest_undamaged_and_stays_as_it_is(tmp_path, capsys) -> None:
    elsewhere = saved(tmp_path / "elsewhere", 1, 2).folder.rename(tmp_path / "mine")
    flip(elsewhere / "epoch-0002-step-000000", "best.npz")
    kept = Checkpoints(tmp_path / "here", ORIGIN)
    kept.begin_at(elsewhere)
    assert kept.newest(SHAPES)[0] == state_after(1)
    assert "is damaged (best.npz isn't what was written): not taken" in capsys.readouterr().err
    kept.save(state_after(1, 1), arrays(1), None)
    kept.prune()
    assert names(elsewhere) == ["epoch-0001-step-000000", "epoch-0002-step-000000"]


def test_a_checkpoint_may_have_been_renamed(tmp_path) -> None:
    mine = place_of(saved(tmp_path / "there", 3), 3).rename(tmp_path / "before the holidays")
    kept = Checkpoints(tmp_path / "here", ORIGIN)
    kept.begin_at(mine)
    assert kept.newest(SHAPES)[0] == state_after(3)


@pytest.mark.parametrize("harm", sorted(set(HARM) - {"a file", "other shapes, rightly signed"}))
def test_a_damaged_one_that_is_named_is_refused(tmp_path, harm: str) -> None:
    kept = saved(tmp_path, 1, 2)
    HARM[harm](place_of(kept, 2))
    with pytest.raises(InputError, match=r"epoch-0002-step-000000 (is damaged|can't be taken).*: name another"):
        kept.begin_at(place_of(kept, 2))
        kept.newest(SHAPES)


def test_one_of_other_shapes_that_is_named_is_refused(tmp_path, capsys) -> None:
    kept = saved(tmp_path, 1, 2)
    other_shapes(place_of(kept, 2))
    kept.begin_at(place_of(kept, 2))
    with pytest.raises(InputError, match="epoch-0002-step-000000 can't be taken"):
        kept.newest(SHAPES)
    assert "holds other arrays than this network has" in capsys.readouterr().err


def test_another_runs_that_is_named_is_refused_with_what_differs(tmp_path) -> None:
    others = saved(tmp_path, 1, origin=OTHER)
    for named in (others.folder, place_of(others, 1)):
        with pytest.raises(InputError, match=r"is another run's \(train\.seed is 1 there, 0 here\)"):
            Checkpoints(tmp_path, ORIGIN).begin_at(named)


@pytest.mark.parametrize("named", ["nowhere", "folder", "file", "", "folder/epoch-0001-step-000000"])
def test_what_is_no_checkpoint_is_refused(tmp_path, named: str) -> None:
    saved(tmp_path, 1)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no checkpoint: name a folder as epoch-0010-step-000000"):
        Checkpoints(tmp_path, ORIGIN).begin_at(tmp_path / named)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        Checkpoints(tmp_path / "file", ORIGIN).save(state_after(1), arrays(1), None)
