"""The peer of recipe `orl`: PCA, then LDA, then cosine, on the same people and the same pairs.

    siamese fetch orl --from ARCHIVE
    python -m benchmarks.recognition.orl_peer data/orl

Of each split the people who train and validate fit it, those who test are compared: EER over all pairs of their images.
How many principal components are kept is chosen on the people who validate, fitted on those who train alone; then it is
fitted on both. Prints a line a split, then mean and spread over the random splits.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from siamese.data.datasets.base import all_pairs, owner
from siamese.evaluation import trials
from siamese.evaluation.metrics.verification import eer, rank, roc

COMPONENTS = (20, 40, 60, 80, 100, 150, 200)
SIZE = (46, 56)  # half of the published one

Embedding = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that `siamese fetch orl` made")
    data = parser.parse_args().data
    lists = sorted((data / "protocol").glob("splits-*.csv"))
    if not lists:
        parser.error(f"{data}: holds no protocol/splits-*.csv: name a folder that `siamese fetch orl` made")
    faces = {path.relative_to(data).as_posix(): pixels(path) for path in sorted(data.glob("s*/*.png"))}
    found = {}
    for file in lists:
        name = file.stem.removeprefix("splits-")
        split = pd.read_csv(file).set_index("identity").split
        found[name], components = measured(faces, split, trials.read(data / f"protocol/trials-{name}.csv"))
        print(f"{name}: EER {found[name]:.1%} ({components} components)")
    random = [value for name, value in found.items() if name.startswith("random")]
    print(f"random splits: mean EER {np.mean(random):.1%}, standard deviation {np.std(random, ddof=1):.1%}")


def pixels(file: Path) -> np.ndarray:
    """Grey values of a face: float64 [pixels], in [0, 1]."""
    with Image.open(file) as image:
        return np.asarray(image.convert("L").resize(SIZE, Image.Resampling.BOX), np.float64).ravel() / 255


def measured(faces: Embedding, split: pd.Series, tested: pd.DataFrame) -> tuple[float, int]:
    """EER on the tested pairs, and the components chosen.

    Args:
        faces: of each image its pixels.
        split: of each identity.
        tested: columns probe, reference, label.
    """
    of = {name: [path for path in faces if split[owner(path)] == name] for name in ("train", "validation")}
    tried = all_pairs(of["validation"])
    by_components = {
        components: eer_of(embedded(faces, of["train"], components), tried)
        for components in COMPONENTS
        if components < len(of["train"])
    }
    components = min(by_components, key=lambda count: (by_components[count], count))
    return eer_of(embedded(faces, of["train"] + of["validation"], components), tested), components


def embedded(faces: Embedding, fitted_on: Sequence[str], components: int) -> Embedding:
    """What PCA and LDA, fitted on some faces, make of all: vectors of length 1."""
    some, whose = np.stack([faces[path] for path in fitted_on]), [owner(path) for path in fitted_on]
    pca = PCA(components, whiten=True, svd_solver="full").fit(some)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(pca.transform(some), whose)
    made = lda.transform(pca.transform(np.stack(list(faces.values()))))
    return dict(zip(faces, made / np.linalg.norm(made, axis=1, keepdims=True), strict=True))


def eer_of(vectors: Embedding, pairs: pd.DataFrame) -> float:
    """EER of the cosine, moved to [0, 1], of pairs: columns probe, reference, label."""
    sides = (np.stack([vectors[path] for path in pairs[column]]) for column in ("probe", "reference"))
    cosine = np.einsum("ij,ij->i", *sides)
    return eer(*roc(rank(pairs.label, np.clip((1 + cosine) / 2, 0, 1))))


if __name__ == "__main__":
    main()
