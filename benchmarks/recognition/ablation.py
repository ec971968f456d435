"""What each part of recipe `omniglot` brings: the recipe, shortened, and the same with one thing changed.

    python -m benchmarks.recognition.ablation --from archives --epochs 4

Trains on 20 background alphabets and asks 1,000 20-way trials on 5 others; the official runs aren't looked at. Prints a
table, a row a training. `--only` takes names of rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recipes.omniglot.recipe import CHOOSING
from recipes.workplace import ROOT, Workplace

CHANGES: dict[str, Sequence[str]] = {
    "the recipe": (),
    "binary cross-entropy": ("train.loss=binary_cross_entropy",),
    "without turned copies": ("train.augmentation.rotations=false",),
    "without affine augmentation": ("train.augmentation.affine=0",),
    "without elastic augmentation": ("train.augmentation.elastic=0",),
    "without the mean of weights": ("train.average=0",),
    "one view instead of nine": ("model.views=one",),
    "not standardised": ("preprocess.standardise=false",),
    "constant learning rate": ("train.schedule=constant",),
    "64 identities of 2 images a step": ("train.images_per_identity=2",),
    "16 identities of 8 images a step": ("train.images_per_identity=8",),
    "256 images a step": ("train.batch=256",),
    "residual network, 64x64": ("model.network=residual",),
}
TIMES = {"without turned copies": 4}  # as many epochs, so that as many images are seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, action="append", default=[], help="of Omniglot's archives")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    given = parser.parse_args()
    print("| | 20-way, of 1,000 trials | training |\n|---|---|---|")
    for name in given.only:
        settings = [
            CHOOSING,
            f"train.epochs={given.epochs * TIMES.get(name, 1)}",
            "tracking.enabled=false",
            *CHANGES[name],
        ]
        at = Workplace("omniglot", ROOT / "build/ablation", given.source, given.seeds, settings)
        data = at.fetch("omniglot")
        for seed in given.seeds:
            done = at.trained(name.replace(" ", "-"), data, seed)
            found = done.trials("trials-choose")["one_shot"]
            ends = f"{found['low']:.1%} to {found['high']:.1%}"
            label = name if len(given.seeds) == 1 else f"{name}, seed {seed}"
            print(f"| {label} | {found['accuracy']:.1%} ({ends}) | {done.time} |", flush=True)


if __name__ == "__main__":
    main()
