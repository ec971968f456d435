"""How long training takes to a given EER on characters of alphabets that it never saw: ours, and the original's form.

    make bench-long OMNIGLOT=omniglot_background.zip
    python -m benchmarks.speed.time_to_eer ARCHIVE --seeds 3 --cap 1200

The specification's network, from nothing, on Omniglot's background set: 24 alphabets train, 6 others, chosen by the
seed, measure, by pairs inside an alphabet (characters of two alphabets are too easily told apart). Ours: pairs among
the images of each step, in the precision that `train.precision: auto` chooses, images standardised
(`preprocess.standardise`), the last layer fitted (`model.initial_head`). The original's form: 20,000 pairs drawn in
advance, half of them of one character, 16 a step, both images through a call of their own, in float32. Both have
Adam 1e-4 and are measured on the same 2,000 pairs. The clock stands while they are measured. A side that doesn't get
there is stopped at the cap, and its time is a bound.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.speed import place
from benchmarks.speed.sides import ROOT

HELD_OUT = 6  # alphabets
CHARACTERS, IMAGES, PAIRS = 60, 10, 1000  # of them measured: characters, images of each, pairs of each label
DRAWN = 20_000
EVERY = {"ours": 10, "original": 60}  # seconds of training between measurements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="omniglot_background.zip: …/ALPHABET/CHARACTER/*.png")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--eer", type=float, default=0.2)
    parser.add_argument("--cap", type=float, default=1200, help="seconds of training after which a side is stopped")
    parser.add_argument("--side", choices=EVERY, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        train(given.side, given.archive, given.seeds, given.eer, given.cap)
        return
    with tempfile.TemporaryDirectory() as folder:
        prepared(given.archive, Path(folder))
        rows = []
        for seed in range(given.seeds):
            for side in EVERY:
                command = [sys.executable, "-m", "benchmarks.speed.time_to_eer", folder, "--side", side]
                settings = ["--seeds", str(seed), "--eer", str(given.eer), "--cap", str(given.cap)]
                done = subprocess.run([*command, *settings], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                rows.append({"seed": seed, "side": side} | json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], file=sys.stderr)
    print(pd.DataFrame(rows).to_string(index=False))


def prepared(archive: Path, folder: Path) -> None:
    """Unpacks the images as identity folders, one a character, and preprocesses them."""
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if name.endswith(".png"):
                alphabet, character, file = name.split("/")[-3:]
                to = folder / "data/sample" / f"{alphabet}.{character}" / file
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(packed.read(name))
    place.siamese(folder, "catalog")
    place.siamese(folder, "preprocess", settings=("preprocess.standardise=true",))


@dataclass(frozen=True)
class Problem:
    """What both sides are given: the images that train, by rows and identity codes, and the pairs that measure."""

    images: Any
    rows: np.ndarray
    codes: np.ndarray
    measured_ids: np.ndarray
    measured_pairs: tuple[np.ndarray, np.ndarray, np.ndarray]


def problem(folder: Path, seed: int) -> Problem:
    """The alphabets that are held out, and the pairs among their characters, are the seed's."""
    from siamese.preprocessing.pixel_store import StoredImages

    images = StoredImages(folder / "artifacts/images")
    catalog = pd.read_parquet(folder / "artifacts/catalog.parquet", columns=["image_id", "identity"])
    alphabets = catalog.identity.str.split(".").str[0]
    rng = np.random.default_rng(seed)
    held_out = rng.choice(sorted(alphabets.unique()), HELD_OUT, replace=False)
    train, other = catalog[~alphabets.isin(held_out)], catalog[alphabets.isin(held_out)]
    characters = rng.choice(sorted(other.identity.unique()), CHARACTERS, replace=False)
    measured = other[other.identity.isin(characters)].groupby("identity").head(IMAGES)
    first, second, labels = inside_alphabets(measured.identity, rng)
    return Problem(
        images,
        images.rows_of(train.image_id.tolist()),
        pd.factorize(train.identity)[0],
        measured.image_id.to_numpy(object),
        (first, second, labels),
    )


def inside_alphabets(identities: pd.Series, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PAIRS distinct pairs of each label, both images of one alphabet: rows, rows, labels."""
    characters, alphabets = (pd.factorize(names)[0] for names in (identities, identities.str.split(".").str[0]))
    first, second = np.triu_indices(len(characters), k=1)
    same = characters[first] == characters[second]
    near = alphabets[first] == alphabets[second]
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(near & (same == label)), PAIRS, replace=False) for label in (True, False)]
    )
    return first[chosen], second[chosen], same[chosen].astype(np.int8)


def drawn(codes: np.ndarray, of_each: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct pairs of rows at random, so many of each label: int64 [2 * of_each, 2]."""
    from siamese.data.pairs import negative_pairs, positive_pairs

    parts = [some(codes).drawing(of_each, rng)(0, of_each) for some in (positive_pairs, negative_pairs)]
    return rng.permutation(np.concatenate(parts))


def train(side: str, folder: Path, seed: int, wanted: float, cap: float) -> None:
    """Trains until the EER is there or the time is up, and prints both as JSON."""
    from siamese.evaluation.metrics.verification import validation_metrics

    given = problem(folder, seed)
    steps, embedding, compare = {"ours": ours, "original": original}[side](given, folder, seed)
    first, second, labels = given.measured_pairs
    clock, due, eer, done = 0.0, float(EVERY[side]), 1.0, 0
    while clock < cap and eer > wanted:
        began = time.perf_counter()
        next(steps)
        clock += time.perf_counter() - began
        done += 1
        if clock >= due:
            pixels = given.images.pixels(given.measured_ids.tolist())
            parts = [embedding(pixels[start : start + 64]) for start in range(0, len(pixels), 64)]
            embedded = np.concatenate(parts)
            eer = validation_metrics(labels, compare(embedded[first], embedded[second]))["eer"]
            print(f"{side}, seed {seed}: EER {eer:.3f} after {clock:.0f} s", file=sys.stderr)
            due += EVERY[side]
    print(json.dumps({"seconds": round(clock), "eer": round(eer, 4), "reached": eer <= wanted, "steps": done}))


Side = tuple[Iterator[None], Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray, np.ndarray], np.ndarray]]


def ours(given: Problem, folder: Path, seed: int) -> Side:
    """Steps as `siamese train` makes them. The first compiles."""
    from siamese.config import load_params
    from siamese.tf_runtime import resolve_precision
    from siamese.training.distribution import start
    from siamese.training.sampler import in_batch_plan
    from siamese.training.train import fit_head
    from siamese.training.trainer import Trainer

    params = load_params(None, [f"train.seed={seed}"]).train
    sizes = {"batch": params.batch, "images_per_identity": params.images_per_identity, "seed": seed}
    precision = resolve_precision("auto")
    training = Trainer("specification", precision, folder / "artifacts/transform", params, 1000, start("one"))

    def steps() -> Iterator[None]:
        epoch = number = 0
        while True:
            plan = in_batch_plan(given.codes, epoch=epoch, **sizes)
            for inside in range(plan.steps):
                step = plan.step(inside)
                pixels = given.images.rows(given.rows[step.rows])
                if not number:
                    fit_head(training, pixels)
                training.step(pixels, step.first, step.second, step.labels, np.array([seed, number], np.int32))
                number += 1
                yield
            epoch += 1

    def embedding(pixels: np.ndarray) -> np.ndarray:
        for scoring, trained in zip(training.scoring.variables, training.model.variables, strict=True):
            scoring.assign(trained.value)
        return training.verifier.embed(pixels)

    return steps(), embedding, training.verifier.score


def original(given: Problem, folder: Path, seed: int) -> Side:
    """Listed pairs, two calls of the embedding a step."""
    import keras
    import tensorflow as tf

    from siamese.models.network import build, parts

    model = build("specification", seed=seed)
    embed, distance, head = parts(model)
    optimizer = keras.optimizers.Adam(1e-4)
    entropy = keras.losses.BinaryCrossentropy()
    rng = np.random.default_rng(seed)
    pairs = drawn(given.codes, DRAWN // 2, rng)
    labels = (given.codes[pairs[:, 0]] == given.codes[pairs[:, 1]]).astype(np.float32)

    @tf.function
    def step(anchors: Any, others: Any, same: Any) -> None:
        with tf.GradientTape() as tape:
            images = [tf.cast(pixels, tf.float32) / 255 for pixels in (anchors, others)]
            loss = entropy(same, tf.squeeze(model(images, training=True), axis=1))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    def steps() -> Iterator[None]:
        while True:
            order = rng.permutation(len(pairs))
            for start in range(0, len(order), 16):
                chosen = order[start : start + 16]
                anchors, others = (given.images.rows(given.rows[pairs[chosen, end]]) for end in range(2))
                step(anchors, others, labels[chosen])
                yield

    def embedding(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(embed(pixels.astype(np.float32) / 255, training=False))

    def compare(anchors: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.asarray(tf.squeeze(head(distance(anchors, others)), axis=1))

    return steps(), embedding, compare


if __name__ == "__main__":
    main()
