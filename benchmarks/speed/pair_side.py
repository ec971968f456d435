"""A side: pairs among 100,000 images.

python -m benchmarks.speed.pair_side table | loop | index [PAIRS]
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.machine import own_memory
from benchmarks.speed.sides import answer

IMAGES, PAIRS = 100_000, 1_000_000
IDENTITIES = 5_000  # of 20 images each, which make 950,000 positive pairs


def main() -> None:
    form, *count = sys.argv[1:]
    answer({"table": table, "loop": loop, "index": index}[form](*map(int, count)))


def table() -> Callable[[], None]:
    """The table that `siamese pairs` writes. The two other splits are as small as they can be."""
    import pandas as pd

    from siamese.data.pairs import make_pairs

    ids = [f"{number:064x}" for number in range(IMAGES + 6)]
    who = [f"who-{number % IDENTITIES}" for number in range(IMAGES)] + ["a", "a", "b"] * 2
    splits = ["train"] * IMAGES + ["test"] * 3 + ["validation"] * 3
    catalog = pd.DataFrame({"image_id": ids, "identity": who, "split": splits})

    def work() -> None:
        assert (make_pairs(catalog, per_split=PAIRS, seed=0).split == "train").sum() == PAIRS

    return work


def loop() -> Callable[[], None]:
    """All positive pairs by itertools, as many of them at random, and negative ones drawn until there are as many."""
    ids = [f"{number:064x}" for number in range(IMAGES)]
    of_identity = [ids[number::IDENTITIES] for number in range(IDENTITIES)]

    def work() -> None:
        every = [pair for images in of_identity for pair in itertools.combinations(images, 2)]
        positive = random.sample(every, PAIRS // 2)
        negative: set[tuple[str, str]] = set()
        while len(negative) < PAIRS // 2:
            a, b = random.sample(range(len(of_identity)), 2)
            negative.add((random.choice(of_identity[a]), random.choice(of_identity[b])))
        pairs = [(*pair, 1) for pair in positive] + [(*pair, 0) for pair in negative]
        random.shuffle(pairs)
        assert len(pairs) == PAIRS

    return work


def index(count: int) -> Callable[[], dict[str, Any]]:
    """Pairs of rows, half of each label, a block at a time; and the memory of the process at its highest."""
    from siamese.data.pairs import BLOCK, negative_pairs, positive_pairs

    # Identities large enough to have 50 million positive pairs: 90 of some 1,111 images.
    identity = np.arange(IMAGES) % 90
    turns = iter((2 * BLOCK, count))  # the first, to warm up, is small

    def work() -> dict[str, Any]:
        wanted = next(turns) // 2
        rng = np.random.default_rng(0)
        done = 0
        for pairs in (positive_pairs(identity), negative_pairs(identity)):
            if len(pairs) < wanted:
                raise SystemExit(f"there are only {len(pairs)} pairs")
            draw = pairs.drawing(wanted, rng)
            for start in range(0, wanted, BLOCK):
                done += len(draw(start, start + BLOCK))
        return {"pairs": done, "peak": own_memory("VmHWM")}

    return work


if __name__ == "__main__":
    main()
