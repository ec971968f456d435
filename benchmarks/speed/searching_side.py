"""A side: probes compared with a gallery.

python -m benchmarks.speed.searching_side FOLDER one | several | numpy | copy | network GALLERY PROBES TWINS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed.sides import answer
from siamese.identification.search import scores
from siamese.models.scoring import Head

UNITS = 4096


def main() -> None:
    folder, form = Path(sys.argv[1]), sys.argv[2]
    size, probes, twins = map(int, sys.argv[3:])
    answer(network(folder, twins) if form == "network" else arrays(form, size, probes))


def arrays(form: str, size: int, probes: int) -> Callable[[], None]:
    rng = np.random.default_rng(0)
    gallery = rng.random((size, UNITS), np.float32)
    asked = rng.random((probes, UNITS), np.float32)
    head = Head(rng.normal(0, 0.02, UNITS).astype(np.float32), 0.1)

    def plain() -> None:
        1 / (1 + np.exp(-(np.abs(gallery - asked[0]) @ head.weights + head.bias)))

    forms: dict[str, Callable[[], object]] = {
        "one": lambda: scores(head, asked[:1], gallery),
        "several": lambda: scores(head, asked, gallery),
        "numpy": plain,
        "copy": lambda: gallery.reshape(-1).view(np.uint64).max(),
    }
    work = forms[form]
    return lambda: (work(), None)[1]


def network(folder: Path, twins: int) -> Callable[[], None]:
    """Pairs of images through both halves of the network, 64 at a time."""
    import keras

    import siamese.models.network  # noqa: F401 - registers its layer

    model = keras.models.load_model(folder / "artifacts/model/siamese.keras")
    rng = np.random.default_rng(0)
    images = [rng.random((twins, 100, 100, 3), np.float32) for _ in range(2)]

    def work() -> None:
        model.predict(images, batch_size=64, verbose=0)

    return work


if __name__ == "__main__":
    main()
