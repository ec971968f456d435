"""Recipe `anomaly`: patches of a texture, some with a subtle flaw; and what pixels and PCA make of them, its peers.

    pip download --no-deps scikit-image        # its wheel holds the pictures; an installed one will do, too
    python -m benchmarks.recognition.textures make data/textures-0 --seed 0 --from scikit_image-….whl
    siamese trials data/textures-0/protocol/trials.csv --data data/textures-0     # with a trained model
    python -m benchmarks.recognition.textures peers data/textures-0

Brick, grass and gravel of scikit-image, 512 x 512 grey. The left half trains (its upper three quarters) and validates,
the right half tests; no pixel is in two splits. A flaw changes 1 to 4 % of a patch of 64 x 64, in validation and test
nowhere by more than one local standard deviation (of the 33 x 33 pixels around), and each split has kinds of flaws that
no other has. Flaws to train on are coarser, so that there is something to begin with: up to three deviations, up to
four of a kind in a patch. A split's flawless patches of a texture are one identity; each with a flaw is one by itself.

A claim, "this is flawless brick", compares a test patch with 20 flawless training patches of that texture.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from siamese.data.datasets.sources import open_archive, read
from siamese.data.synthetic.sample import refuse_used
from siamese.errors import InputError, as_input_error
from siamese.evaluation import trials
from siamese.evaluation.score_fusion import fused
from siamese.storage.files import atomic_folder

TEXTURES = ("brick", "grass", "gravel")
SIZE = (512, 512)  # of a picture, pixels
SIDE = 64  # of a patch
AREA = (0.01, 0.04)  # of a patch that a flaw changes
WINDOW = 33  # pixels: what is local
SUBTLE = (0.8, 1.0)  # how much a flaw changes, local standard deviations
COARSE = (0.8, 3.0)  # the same, of those to train on
MOST_FLAWS = 4  # in a patch to train on
REFERENCES = 20
FLAWLESS = "flawless"
REGIONS = {  # of the picture: rows, columns
    "train": (slice(0, 384), slice(0, 256)),
    "validation": (slice(384, 512), slice(0, 256)),
    "test": (slice(0, 512), slice(256, 512)),
}
PATCHES = {"train": (2000, 250), "validation": (100, 25), "test": (100, 25)}  # flawless, and of each kind of flaw
COMPONENTS = (8, 32, 64)

Patch = np.ndarray  # float64 [SIDE, SIDE], grey values
Flaw = Callable[[Patch, np.random.Generator], np.ndarray]  # a patch to the change wanted, in local deviations; 0: none

_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="a new folder of patches")
    making.add_argument("to", type=Path)
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--from", dest="source", type=Path, help="scikit-image's wheel (default: the installed one)")
    comparing = commands.add_parser("peers", help="AUROC of raw pixels and PCA")
    comparing.add_argument("data", type=Path, help="folder that `make` made")
    given = parser.parse_args()
    if given.command == "make":
        make(given.to, given.seed, pictures([given.source or installed()]))
    else:
        print(peers(given.data).to_string(float_format="{:.3f}".format))


def installed() -> Path:
    """The folder of pictures of the scikit-image that is installed, which isn't imported.

    Raises:
        InputError: none is.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise InputError("scikit-image is not installed: install it, or name its wheel with --from")
    return Path(found.submodule_search_locations[0]) / "data"


def pictures(sources: Sequence[Path]) -> dict[str, np.ndarray]:
    """The textures by name, float64 [512, 512].

    Raises:
        InputError: one isn't there, or is another picture.
    """
    where = f"{', '.join(map(str, sources))}: "
    advice = ": name scikit-image's wheel, or its folder data"
    with open_archive(sources, ["scikit_image*.whl"]) as files:
        of = {Path(name).stem: (name, get) for name, get in files.items() if name.endswith(".png")}
        for texture in TEXTURES:
            if texture not in of:
                raise InputError(f"{where}holds no {texture}.png{advice}")
        contents = {texture: read(*of[texture]) for texture in TEXTURES}
    found = {}
    for name, content in contents.items():
        with as_input_error(f"{where}{name}.png is no image that can be read{advice}"):
            found[name] = np.asarray(Image.open(io.BytesIO(content)), np.float64)
        if found[name].shape != SIZE:
            raise InputError(f"{where}{name}.png isn't grey, 512 x 512{advice}")
    return found


def make(folder: Path, seed: int, textures: dict[str, np.ndarray]) -> None:
    """Writes the patches of a seed, with `protocol/splits.csv`, `trials.csv` and `trials-validation.csv`.

    Raises:
        InputError: `folder` is there and not empty.
    """
    refuse_used(folder)
    with atomic_folder(folder.resolve(), own=[]) as beside:
        paths = []
        for path, patch in patches(textures, seed):
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(patch.astype(np.uint8)).save(beside / path)
            paths.append(path)
        (beside / "protocol").mkdir()
        identities = sorted({path.partition("/")[0] for path in paths})
        splits = pd.DataFrame({"identity": identities, "split": [name.partition(".")[0] for name in identities]})
        splits.to_csv(beside / "protocol/splits.csv", index=False)
        for name, split in (("trials", "test"), ("trials-validation", "validation")):
            claims(paths, split).to_csv(beside / f"protocol/{name}.csv", index=False)


def patches(textures: dict[str, np.ndarray], seed: int) -> Iterator[tuple[str, Patch]]:
    """Every patch by path, `<split>.<texture>.flawless/000.png` or `<split>.<texture>.<kind of flaw>-000/0.png`."""
    for texture, picture in textures.items():
        for number, (split, region) in enumerate(REGIONS.items()):
            for kind, flaw in {FLAWLESS: None, **{one.__name__: one for one in FLAWS[split]}}.items():
                rng = np.random.default_rng([seed, TEXTURES.index(texture), number, *kind.encode()])
                cuts = patches_of(picture[region], PATCHES[split][0 if flaw is None else 1], rng)
                for place, patch in enumerate(cuts):
                    if flaw is None:
                        yield f"{split}.{texture}.{kind}/{place:03}.png", patch
                    else:
                        yield f"{split}.{texture}.{kind}-{place:03}/0.png", flawed(patch, flaw, rng, split == "train")


def patches_of(region: np.ndarray, count: int, rng: np.random.Generator) -> list[Patch]:
    """So many patches anywhere in a region, no two at the same place."""
    rows, columns = (length - SIDE + 1 for length in region.shape)
    tops, lefts = np.divmod(rng.choice(rows * columns, count, replace=False), columns)
    return [
        region[top : top + SIDE, left : left + SIDE].copy()
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)
    ]


def local_deviation(patch: Patch) -> Patch:
    """The standard deviation of the pixels around each."""
    mean = ndimage.uniform_filter(patch, WINDOW, mode="reflect")
    return np.sqrt(np.maximum(ndimage.uniform_filter(patch**2, WINDOW, mode="reflect") - mean**2, 0))


def flawed(patch: Patch, flaw: Flaw, rng: np.random.Generator, coarse: bool = False) -> Patch:
    """A patch with a subtle flaw, or with some coarse ones of a kind."""
    for _ in range(int(rng.integers(1, MOST_FLAWS + 1)) if coarse else 1):
        patch = _with_one(patch, flaw, rng, COARSE if coarse else SUBTLE)
    return patch


def _with_one(patch: Patch, flaw: Flaw, rng: np.random.Generator, strength: tuple[float, float]) -> Patch:
    """Draws it again until it changes as much of the patch as it should."""
    limit = local_deviation(patch)
    while True:
        change = np.trunc(np.clip(flaw(patch, rng), -1, 1) * rng.uniform(*strength) * limit)
        found = np.clip(patch + change, 0, 255)
        if AREA[0] <= (found != patch).mean() <= AREA[1]:
            return found


def ellipse(rng: np.random.Generator) -> np.ndarray:
    """Where an ellipse lies, bool [SIDE, SIDE]: anywhere, of any direction, up to 2.5 times as long as wide."""
    area, ratio = rng.uniform(*AREA) * SIDE**2, rng.uniform(1, 2.5)
    long, across = _turned(rng, margin=10)
    half = np.sqrt(area / np.pi)
    return (long / (half * np.sqrt(ratio))) ** 2 + (across / (half / np.sqrt(ratio))) ** 2 <= 1


def _turned(rng: np.random.Generator, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates around a place at random, in a direction at random."""
    row, column = rng.uniform(margin, SIDE - margin, 2)
    angle = rng.uniform(0, np.pi)
    down, right = _ROWS - row, _COLUMNS - column
    return down * np.sin(angle) + right * np.cos(angle), down * np.cos(angle) - right * np.sin(angle)


def _sign(rng: np.random.Generator) -> int:
    return int(rng.choice([-1, 1]))


def _deviations(patch: Patch, wanted: Patch, where: np.ndarray) -> np.ndarray:
    """The change from a patch to what is wanted of it at some places."""
    return np.where(where, (wanted - patch) / np.maximum(local_deviation(patch), 1e-6), 0)


def spot(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Lighter or darker."""
    return ellipse(rng) * float(_sign(rng))


def haze(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A spot without an edge."""
    along, across = _turned(rng, margin=12)
    height = np.exp(-(along**2 + across**2 * rng.uniform(1, 3)) / (2 * rng.uniform(3, 5) ** 2))
    return np.where(height > 0.25, height, 0) * _sign(rng)


def line(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A scratch, 2 to 3 pixels wide."""
    along, across = _turned(rng, margin=20)
    return ((np.abs(along) < rng.uniform(12, 25)) & (np.abs(across) < rng.uniform(1, 1.5))) * float(_sign(rng))


def dash(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A scratch with gaps."""
    along, across = _turned(rng, margin=20)
    touches = np.sin(2 * np.pi * along / rng.uniform(6, 12)) > 0
    found = (np.abs(along) < rng.uniform(15, 28)) & (np.abs(across) < rng.uniform(1, 1.6)) & touches
    return found * float(_sign(rng))


def hook(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Two short scratches that end in one place."""
    along, across = _turned(rng, margin=14)
    length, half = rng.uniform(8, 14), rng.uniform(1, 1.6)
    one = (np.abs(along) < half) & (across > -half) & (across < length)
    other = (np.abs(across) < half) & (along > -half) & (along < length)
    return (one | other) * float(_sign(rng))


def bar(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A lighter or darker rectangle."""
    along, across = _turned(rng, margin=12)
    return ((np.abs(along) < rng.uniform(6, 11)) & (np.abs(across) < rng.uniform(2, 4))) * float(_sign(rng))


def wedge(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A lighter or darker triangle."""
    along, across = _turned(rng, margin=14)
    slope = rng.uniform(0.25, 0.6)
    return ((along > 0) & (along < rng.uniform(8, 16)) & (np.abs(across) < along * slope)) * float(_sign(rng))


def grain(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Noise."""
    return ellipse(rng) * rng.uniform(-1, 1, patch.shape)


def mottle(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise."""
    noise = ndimage.gaussian_filter(rng.normal(size=patch.shape), rng.uniform(1.2, 3))
    return ellipse(rng) * noise / noise.std()


def fade(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Less contrast: towards the mean around."""
    return _deviations(patch, ndimage.uniform_filter(patch, WINDOW, mode="reflect"), ellipse(rng))


def glint(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Sharper."""
    return _deviations(patch, patch + 2.5 * (patch - ndimage.gaussian_filter(patch, 1.5, mode="reflect")), ellipse(rng))


def mosaic(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Of larger pixels."""
    size = int(rng.integers(3, 6))
    return _deviations(patch, np.kron(patch[::size, ::size], np.ones((size, size)))[:SIDE, :SIDE], ellipse(rng))


def shift(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """The texture itself, out of place."""
    by = rng.choice([-1, 1], 2) * rng.integers(4, 9, 2)
    return _deviations(patch, np.roll(patch, by, axis=(0, 1)), ellipse(rng))


def mirror(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """The texture itself, the wrong way round."""
    return _deviations(patch, np.flip(patch, int(rng.integers(2))), ellipse(rng))


def cross(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Two short scratches across each other."""
    along, across = _turned(rng, margin=14)
    half, width = rng.uniform(7, 12), rng.uniform(1, 1.5)
    one, other = (np.abs(along) < half) & (np.abs(across) < width), (np.abs(across) < half) & (np.abs(along) < width)
    return (one | other) * float(_sign(rng))


def blur(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Out of focus."""
    return _deviations(patch, ndimage.gaussian_filter(patch, 2, mode="reflect"), ellipse(rng))


def dots(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Pinholes."""
    places = rng.uniform(4, SIDE - 4, (int(rng.integers(4, 12)), 2))
    apart = np.hypot(_ROWS - places[:, :1, None], _COLUMNS - places[:, 1:, None])
    return (apart < rng.uniform(1, 2.2)).any(axis=0) * float(_sign(rng))


def step(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Lighter beside darker."""
    along, across = _turned(rng, margin=12)
    return ((np.abs(along) < rng.uniform(6, 11)) & (np.abs(across) < rng.uniform(2, 4))) * np.sign(across)


def ring(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """The edge of a dried drop."""
    along, across = _turned(rng, margin=14)
    return (np.abs(np.hypot(along, across) - rng.uniform(4, 9)) < rng.uniform(1, 1.5)) * float(_sign(rng))


def ramp(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """From lighter to darker across, as a dent under side light."""
    along, across = _turned(rng, margin=12)
    half = np.sqrt(rng.uniform(*AREA)) * SIDE / 2
    return np.where((np.abs(along) < half) & (np.abs(across) < half), along / half, 0)


def stripes(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A fine comb."""
    along, across = _turned(rng, margin=12)
    half = np.sqrt(rng.uniform(*AREA)) * SIDE / 2
    comb = np.sign(np.sin(2 * np.pi * along / rng.uniform(3.5, 6)))
    return np.where((np.abs(along) < half) & (np.abs(across) < half), comb, 0)


def crack(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """A line that wanders."""
    at, angle = rng.uniform(16, SIDE - 16, 2), rng.uniform(0, 2 * np.pi)
    found = np.zeros(patch.shape, bool)
    for _ in range(int(rng.integers(25, 50))):
        found |= np.hypot(_ROWS - at[0], _COLUMNS - at[1]) < 1.2
        angle += rng.normal(0, 0.5)
        at += [np.sin(angle), np.cos(angle)]
    return found * float(_sign(rng))


FLAWS: dict[str, tuple[Flaw, ...]] = {
    "train": (spot, haze, line, dash, hook, bar, wedge, grain, mottle, fade, glint, mosaic, shift, mirror),
    "validation": (cross, blur, dots, step),
    "test": (ring, ramp, stripes, crack),
}


def claims(paths: list[str], split: str) -> pd.DataFrame:
    """A split's patches against flawless training patches: columns claim, probe, reference, label, kind (texture)."""
    rows = []
    for texture in TEXTURES:
        known = [path for path in paths if path.startswith(f"train.{texture}.{FLAWLESS}/")][:REFERENCES]
        for probe in (path for path in paths if path.startswith(f"{split}.{texture}.")):
            label = int(probe.partition("/")[0].endswith(FLAWLESS))
            rows += [(probe, probe, reference, label, texture) for reference in known]
    return pd.DataFrame(rows, columns=["claim", "probe", "reference", "label", "kind"])


def peers(data: Path) -> pd.DataFrame:
    """AUROC of each texture, a row a peer: distance of pixels, and of PCA's components, to the nearest reference or on
    average to all. PCA is fitted on a texture's own flawless training patches."""
    table = trials.read(data / "protocol/trials.csv")
    found: dict[str, dict[str, float]] = {}
    for texture, listed in table.groupby("kind"):
        fitted_on = _pixels(data, sorted(path.name for path in (data / f"train.{texture}.{FLAWLESS}").iterdir()),
                            f"train.{texture}.{FLAWLESS}/")  # fmt: skip
        probes, references = (_pixels(data, listed[side].tolist()) for side in ("probe", "reference"))
        pairs = {"pixels": (probes, references)}
        pca = PCA(max(COMPONENTS), svd_solver="full").fit(fitted_on)
        a, b = pca.transform(probes), pca.transform(references)
        for components in COMPONENTS:
            first = slice(components)
            deviation = np.sqrt(pca.explained_variance_[first])
            pairs[f"PCA {components}"] = a[:, first], b[:, first]
            pairs[f"PCA {components}, whitened"] = a[:, first] / deviation, b[:, first] / deviation
        claim = pd.factorize(listed.claim)[0]
        label = trials.claims_of(listed).label
        for name, (a, b) in pairs.items():
            apart = np.linalg.norm(a - b, axis=1)
            likeness = 1 - apart / apart.max()
            for fuse in ("best", "mean"):
                auroc = roc_auc_score(label, fused(likeness, claim, fuse))
                found.setdefault(f"{name}, {fuse}", {})[str(texture)] = float(auroc)
    rows = pd.DataFrame(found).T
    return rows.assign(mean=rows.mean(axis=1))


def auroc(claims: pd.DataFrame, resamples: int = 1000) -> dict[str, tuple[float, float, float]]:
    """AUROC of each texture, and `mean` of them, with the ends of a 95 % interval that resamples patches of each label.

    Patches overlap, so they hold less than as many independent ones would: the intervals are narrow.

    Args:
        claims: columns kind (texture), label (1: flawless) and score.
    """
    rng = np.random.default_rng(0)
    found, drawn = {}, {}
    for texture, listed in claims.groupby("kind"):
        right, wrong = (listed.score[listed.label == label].to_numpy() for label in (1, 0))
        above = (right[:, None] > wrong) + (right[:, None] == wrong) / 2  # the share of pairs in order is the AUROC
        found[str(texture)] = above.mean()
        drawn[str(texture)] = np.array([
            above[np.ix_(*(rng.integers(0, size, size) for size in above.shape))].mean() for _ in range(resamples)
        ])  # fmt: skip
    found["mean"], drawn["mean"] = np.mean(list(found.values())), np.mean(list(drawn.values()), axis=0)
    return {name: (float(found[name]), *np.quantile(drawn[name], (0.025, 0.975)).tolist()) for name in found}


def _pixels(data: Path, paths: list[str], above: str = "") -> np.ndarray:
    """float64 [paths, SIDE x SIDE]; a patch that is named often is read once."""
    read_once = {path: np.asarray(Image.open(data / f"{above}{path}"), np.float64).ravel() for path in set(paths)}
    return np.stack([read_once[path] for path in paths])


if __name__ == "__main__":
    main()
