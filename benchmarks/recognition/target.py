"""Recipe `target`: every person of ORL in turn is the target against all others, on images that no training saw.

    siamese fetch orl --from ARCHIVE
    python -m benchmarks.recognition.target make data/orl data/target      # data/target/s1 … s40, role folders
    …                                                                       # of each: the pipeline, then
    siamese trials data/target/s1/protocol/trials.csv --scores scored/s1.csv --data data/target/s1
    python -m benchmarks.recognition.target pool scored

Of each person's ten images five train, two validate, three test; which, is drawn. A claim compares a test image, the
target's or another's, with the target's five training images. Over all targets: 120 right claims, 4,680 wrong ones.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from siamese.data.datasets.base import by_owner, natural
from siamese.data.synthetic.sample import refuse_used
from siamese.storage.files import atomic_folder

SHARES = {"train": 5, "validation": 2, "test": 3}  # images of each person
RECALL = 0.95
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="a folder of role folders a target")
    making.add_argument("orl", type=Path)
    making.add_argument("to", type=Path)
    making.add_argument("--seed", type=int, default=0)
    pooling = commands.add_parser("pool", help="precision at a recall of 95 %% over all targets")
    pooling.add_argument("scored", type=Path, help="folder of a CSV a target: columns label and score")
    given = parser.parse_args()
    if given.command == "make":
        people = by_owner(path.relative_to(given.orl).as_posix() for path in given.orl.glob("s*/*.png"))
        for target in people:
            make(given.orl, people, target, given.to / target, given.seed)
    else:
        files = sorted(given.scored.glob("*.csv"), key=lambda file: natural(file.stem))
        print(pooled({file.stem: pd.read_csv(file) for file in files}))


def make(orl: Path, people: Mapping[str, Sequence[str]], target: str, folder: Path, seed: int) -> None:
    """Copies the images of all people into new role folders, with `protocol/splits.csv` and `protocol/trials.csv`.

    Raises:
        InputError: `folder` is there and not empty.
    """
    refuse_used(folder)
    places = dict(role_places(people, target, seed))
    with atomic_folder(folder.resolve(), own=[]) as beside:
        for path, (place, _) in places.items():
            (beside / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(orl / path, beside / place)
        (beside / "protocol").mkdir()
        pd.DataFrame(places.values(), columns=["path", "split"]).to_csv(beside / "protocol/splits.csv", index=False)
        claims(places).to_csv(beside / "protocol/trials.csv", index=False)


def role_places(people: Mapping[str, Sequence[str]], target: str, seed: int) -> Iterator[tuple[str, tuple[str, str]]]:
    """Of each image its path in the role folders and its split.

    A person's images are divided the same way whoever is the target. The target's alternate between anchor and
    positive within a split.
    """
    for number, (person, paths) in enumerate(people.items()):
        drawn = np.random.default_rng([seed, number]).permutation(paths).tolist()
        for split, count in SHARES.items():
            chosen, drawn = drawn[:count], drawn[count:]
            for place, path in enumerate(chosen):
                role = "negative" if person != target else ("anchor", "positive")[place % 2]
                yield path, (f"{role}/{path.replace('/', '-')}", split)


def claims(places: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Every test image against the target's training images: columns claim, probe, reference, label."""
    known = [place for place, split in places.values() if split == "train" and not place.startswith("negative/")]
    asked = [place for place, split in places.values() if split == "test"]
    rows = [
        (number, probe, reference, int(not probe.startswith("negative/")))
        for number, probe in enumerate(asked)
        for reference in known
    ]
    return pd.DataFrame(rows, columns=["claim", "probe", "reference", "label"])


def precision_at_recall(labels: np.ndarray, scores: np.ndarray, recall: float) -> tuple[float, float]:
    """Precision at the highest score that, as a threshold, gives this recall or more; and the recall it gives."""
    right = np.sort(scores[labels == 1])[::-1]
    threshold = right[int(np.ceil(recall * len(right) - 1e-9)) - 1]
    accepted = scores >= threshold
    return float(labels[accepted].mean()), float((right >= threshold).mean())


def pooled(scored: Mapping[str, pd.DataFrame]) -> str:
    """Precision at a recall of 95 % with one threshold over all targets, with its interval; targets are resampled."""
    sides = [(one.label.to_numpy(), one.score.to_numpy()) for one in scored.values()]

    def precision(chosen: Sequence[int]) -> tuple[float, float]:
        labels, scores = (np.concatenate([sides[number][side] for number in chosen]) for side in range(2))
        return precision_at_recall(labels, scores, RECALL)

    found, recall = precision(range(len(sides)))
    rng = np.random.default_rng(0)
    again = [precision(rng.integers(len(sides), size=len(sides)))[0] for _ in range(RESAMPLES)]
    low, high = np.quantile(again, [0.025, 0.975])
    right = sum(int(labels.sum()) for labels, _ in sides)
    wrong = sum(len(labels) for labels, _ in sides) - right
    return (
        f"{len(sides)} targets, {right} right and {wrong:,} wrong claims: "
        f"precision {found:.2%} ({low:.2%} to {high:.2%}) at recall {recall:.2%}"
    )


if __name__ == "__main__":
    main()
