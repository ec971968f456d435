"""How often `siamese drift` raises a false alarm, and what it notices.

Needs a folder in which the pipeline has run up to train, and its images. Identities are divided at random, again and
again, into a reference and a new half, whose images are changed or not; embeddings are compared among identities held
out from training, half of which lie on either side. Prints the share of rounds with an alarm, and what raised it.

    cd FOLDER && .venv/bin/python benchmarks/drift.py false-alarms --rounds 400
    cd FOLDER && .venv/bin/python benchmarks/drift.py power --rounds 50
    cd FOLDER && .venv/bin/python benchmarks/drift.py others --other IMAGES --rounds 50
    cd FOLDER && .venv/bin/python benchmarks/drift.py training
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from siamese import paths
from siamese.config import load_params
from siamese.data import catalog
from siamese.data.images.formats import canonical
from siamese.models import scoring
from siamese.models.verifier import Verifier
from siamese.monitoring import differences, sampling, two_sample_tests
from siamese.monitoring.differences import Difference, Sample
from siamese.monitoring.drift import HELD_OUT
from siamese.params import DriftParams

Change = Callable[[Image.Image], Image.Image]


def brighter(levels: int) -> Change:
    return lambda image: Image.fromarray(np.clip(np.asarray(image).astype(int) + levels, 0, 255).astype(np.uint8))


def less_contrast(image: Image.Image) -> Image.Image:
    return Image.blend(Image.new("RGB", image.size, (128, 128, 128)), image, 0.8)


def blurred(pixels: float) -> Change:
    return lambda image: image.filter(ImageFilter.GaussianBlur(pixels))


def half_size(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)


def as_jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        content = BytesIO()
        image.save(content, "JPEG", quality=quality)
        return Image.open(content).convert("RGB")

    return change


def rotated(degrees: float) -> Change:
    return lambda image: image.rotate(degrees, fillcolor=image.getpixel((0, 0)))


CHANGES: dict[str, Change] = {
    "brightness +5": brighter(5),
    "brightness +10": brighter(10),
    "brightness +20": brighter(20),
    "brightness +40": brighter(40),
    "brightness -20": brighter(-20),
    "contrast -20 %": less_contrast,
    "blur 0.5 px": blurred(0.5),
    "blur 1 px": blurred(1),
    "blur 2 px": blurred(2),
    "half the resolution": half_size,
    "JPEG quality 50": as_jpeg(50),
    "JPEG quality 10": as_jpeg(10),
    "rotated by 10 degrees": rotated(10),
    "upside down": rotated(180),
}


@dataclass(frozen=True, eq=False)
class Looked:
    """Images as `siamese drift` sees them, whose they are, and which were held out from training."""

    statistics: pd.DataFrame
    embeddings: np.ndarray
    unit: np.ndarray
    held_out: np.ndarray

    def of(self, units: np.ndarray) -> tuple[Sample, Sample]:
        """Statistics of these identities, and embeddings of those held out."""
        rows = np.flatnonzero(np.isin(self.unit, units))
        held = rows[self.held_out[rows]]
        return Sample(self.statistics.iloc[rows], self.unit[rows]), Sample(self.embeddings[held], self.unit[held])

    def halves(self, rng: np.random.Generator) -> list[tuple[Sample, Sample]]:
        """Half of the identities held out, and half of the others, on either side."""
        held = np.unique(self.unit[self.held_out])
        others = np.setdiff1d(np.unique(self.unit), held)
        first, second = zip(*(np.array_split(rng.permutation(part), 2) for part in (held, others)), strict=True)
        return [self.of(np.concatenate(first)), self.of(np.concatenate(second))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["false-alarms", "power", "others", "training"])
    parser.add_argument("--other", type=Path, help="folder of other images")
    parser.add_argument("--identities", type=int, default=10**9, help="look at so many")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    values = load_params()
    params, data = values.drift, Path(values.data.path)
    verifier = Verifier.load(paths.MODEL)
    listed = chosen(pd.read_parquet(paths.CATALOG), given.identities)
    listed = listed.assign(held_out=listed.split.isin(HELD_OUT))
    same = looked_at(data, listed, verifier)
    held_out = len(np.unique(same.unit[same.held_out]))
    print(f"{data}: {len(listed)} images of {listed.identity.nunique()} identities, {held_out} held out from training")
    if given.what == "false-alarms":
        print(false_alarms(same, params, given.rounds).to_string(index=False))
    elif given.what == "training":
        print(of_training(same, params))
    elif given.what == "power":
        for number, (name, change) in enumerate(CHANGES.items()):
            rounds = power(same, looked_at(data, listed, verifier, change), params, given.rounds)
            print(summary(name, rounds).to_string(index=False, header=not number), flush=True)
    else:
        other = chosen(catalog.collect(given.other, values.data.max_pixels).images, given.identities)
        rounds = power(same, looked_at(given.other, other.assign(held_out=True), verifier), params, given.rounds)
        print(summary(given.other.name, rounds).to_string(index=False))


def chosen(listed: pd.DataFrame, identities: int) -> pd.DataFrame:
    """The images of so many identities, drawn at random."""
    some = pd.Series(np.random.default_rng(0).permutation(np.sort(listed.identity.unique()))[:identities])
    return listed[listed.identity.isin(some)].reset_index(drop=True)


def looked_at(folder: Path, listed: pd.DataFrame, verifier: Verifier, change: Change = lambda image: image) -> Looked:
    """All images of a catalog, changed, by the way that files take."""
    tables, embedded = [], []
    for start in range(0, len(listed), scoring.IMAGES_AT_ONCE):
        encoded, sizes = [], []
        for path in listed.path[start : start + scoring.IMAGES_AT_ONCE]:
            with Image.open(BytesIO(canonical((folder / path).read_bytes(), 10**9))) as image:
                changed = change(image.convert("RGB"))
            content = BytesIO()
            changed.save(content, "PNG")
            encoded.append(content.getvalue())
            sizes.append(changed.size)
        pixels = verifier.pixels(encoded)
        tables.append(differences.statistics_of(pixels, *zip(*sizes, strict=True)))
        embedded.append(verifier.embed(pixels))
    unit = pd.factorize(listed.identity)[0]
    return Looked(pd.concat(tables, ignore_index=True), np.concatenate(embedded), unit, listed.held_out.to_numpy())


def thinned(sample: Sample, each: int, rng: np.random.Generator) -> Sample:
    rows = sampling.draw(sample.unit, each, 10**9, rng)
    values = sample.values.iloc[rows] if isinstance(sample.values, pd.DataFrame) else sample.values[rows]
    return Sample(values, sample.unit[rows])


def one_round(
    reference: tuple[Sample, Sample], new: tuple[Sample, Sample], params: DriftParams, seed: int
) -> tuple[Difference, ...]:
    """A comparison as the command makes it, with as many images of each identity on either side."""
    each = min(sampling.typical_size(side[0].unit) for side in (reference, new))
    rng = np.random.default_rng(seed)
    theirs, ours = ([thinned(part, each, rng) for part in side] for side in (reference, new))
    seeded = params.model_copy(update={"seed": seed})
    return differences.compare(theirs[0], ours[0], (theirs[1], ours[1]), seeded)


def alone(side: tuple[Sample, Sample], each: int = 10**9) -> tuple[Sample, Sample]:
    """`each` images of every identity, taken as if of an identity of its own."""
    rng = np.random.default_rng(0)
    first, second = (
        Sample(part.values, np.arange(len(part.unit))) for part in (thinned(one, each, rng) for one in side)
    )
    return first, second


def false_alarms(same: Looked, params: DriftParams, rounds: int) -> pd.DataFrame:
    """Shares of rounds with anything significant at 1 % and at 5 %, and with an alarm, though nothing has changed."""
    ways = {
        "identities": lambda reference, new: (reference, new),
        "images, as if independent": lambda reference, new: (alone(reference), alone(new)),
        "identities unknown, one image of each": lambda reference, new: (reference, alone(new, 1)),
        "identities unknown, all their images": lambda reference, new: (reference, alone(new)),
    }
    rows = []
    for name, way in ways.items():
        found = [
            one_round(*way(*same.halves(np.random.default_rng(seed))), params, seed)  # type: ignore[no-untyped-call]
            for seed in range(rounds)
        ]
        lowest = np.array([min(one.adjusted for one in differing) for differing in found])
        alarms = np.mean([any(one.drift for one in differing) for differing in found])
        shares = {f"p <= {level:.0%}": (lowest <= level).mean() for level in (0.01, 0.05)}
        effects = np.array([[one.effect for one in differing] for differing in found])
        high = np.quantile(effects, 0.95, axis=0)
        most = {f"effect of {one.what}, 95 % to": to for one, to in zip(found[0], high, strict=True)}
        rows.append({"permuted": name, "rounds": rounds} | shares | {"alarms": alarms} | most)
    return pd.DataFrame(rows).T.reset_index()


def power(same: Looked, changed: Looked, params: DriftParams, rounds: int) -> list[tuple[Difference, ...]]:
    """Half of the identities against the changed images of the other half; or against half of those of others."""
    found = []
    for seed in range(rounds):
        reference, _ = same.halves(np.random.default_rng(seed))
        _, new = changed.halves(np.random.default_rng(seed))
        found.append(one_round(reference, new, params, seed))
    return found


def summary(name: str, rounds: list[tuple[Difference, ...]]) -> pd.DataFrame:
    """Share of rounds with an alarm, and of each thing the share in which it was drift, and its median effect."""
    drift = np.mean([[one.drift for one in differing] for differing in rounds], axis=0)
    effects = np.median([[one.effect for one in differing] for differing in rounds], axis=0)
    alarms = np.mean([any(one.drift for one in differing) for differing in rounds])
    things = zip(rounds[0], drift, effects, strict=True)
    return pd.DataFrame([
        {"change": f"{name:<22}", "alarms": f"{alarms:.2f}"}
        | {f"{one.what:>12}": f"{share:.2f} ({effect:.2f})" for one, share, effect in things}
    ])  # fmt: skip


def of_training(same: Looked, params: DriftParams) -> str:
    """Embeddings of images trained on against those held out: nothing has changed but that."""
    sides = [Sample(same.embeddings[part], same.unit[part]) for part in (same.held_out, ~same.held_out)]
    alike = Sample(same.statistics[:10], np.arange(10))
    lines = []
    for name, taken in ("identities", sides), ("images, as if independent", [alone((one, one))[0] for one in sides]):
        found = differences.compare(alike, alike, (taken[0], taken[1]), params)[-1]
        lines.append(f"permuting {name}: effect {found.effect:.3f}, p {found.p_value:.4f}")
    for name, side in zip(("held out", "trained on"), sides, strict=True):
        apart, whose = two_sample_tests.euclidean(side.values), side.unit
        one = (whose[:, None] == whose) & ~np.eye(len(whose), dtype=bool)
        within, between = apart[one].mean(), apart[whose[:, None] != whose].mean()
        lines.append(f"{name}: mean distance {within:.3f} within an identity, {between:.3f} between")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
