"""Does the threshold of a gallery keep the false-accept rate that it is set for, and how fast is a probe answered?

Needs a folder in which the pipeline has run up to train on the built-in sample. Other writers are drawn by another
seed: some are enrolled by three images each, the fourth of each is a known probe, and all the others are unknown. Their
roles are changed again and again. Intervals resample whole writers, of all rounds together.

    cd FOLDER && .venv/bin/python benchmarks/gallery.py rates --writers 600
    cd FOLDER && .venv/bin/python benchmarks/gallery.py speed
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from siamese import config, paths
from siamese.data import catalog
from siamese.data.synthetic import sample
from siamese.identification import open_set_threshold
from siamese.identification.gallery import COLUMNS, Gallery, How
from siamese.identification.identify import Identifier
from siamese.identification.open_set_threshold import OpenSetThreshold
from siamese.models import scoring
from siamese.models.scoring import Head
from siamese.models.verifier import Verifier

REFERENCES = 3
OTHER_SEED = 1
RATES = (0.1, 0.05, 0.01)
HOWS: tuple[How, ...] = ("best", "mean")


@dataclass(frozen=True)
class Pool:
    """Images and their embeddings, by writer."""

    images: pd.DataFrame
    embeddings: np.ndarray

    def of(self, writers: Sequence[str], places: slice) -> tuple[pd.DataFrame, np.ndarray]:
        """Some images of each of these writers."""
        chosen = self.images[self.images["identity"].isin(set(writers))].groupby("identity", sort=False)
        rows = np.concatenate([group.index.to_numpy()[places] for _, group in chosen])
        return self.images.loc[rows].reset_index(drop=True), self.embeddings[rows]


def pool_of(folder: Path, verifier: Verifier) -> Pool:
    images = catalog.collect(folder, 10**8).images[COLUMNS].astype(object)
    files = [folder / path for path in images["path"]]
    return Pool(images, scoring.embed_images(verifier, files, 10**8))


def interval(hits: pd.DataFrame) -> str:
    """A share in percent, and its 95 % interval, resampling writers.

    Args:
        hits: columns writer and hit.
    """
    table = hits.groupby("writer")["hit"].agg(["sum", "count"]).to_numpy()
    drawn = np.random.default_rng(0).integers(len(table), size=(2000, len(table)))
    shares = table[drawn, 0].sum(axis=1) / table[drawn, 1].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return f"{100 * table[:, 0].sum() / table[:, 1].sum():.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def rates(writers: int, enrolled: int, rounds: int) -> None:
    verifier, head = loaded()
    with tempfile.TemporaryDirectory() as folder:
        drawn = config.load_params(settings=[f"sample.identities={writers}", "sample.images=4"]).sample
        sample.run(Path(folder) / "others", drawn.model_copy(update={"seed": OTHER_SEED}))
        pool = pool_of(Path(folder) / "others", verifier)
    trained = trained_on(verifier)
    print("| enrolled | threshold set by | score | rate | unknown accepted | known accepted, rightly | wrongly |")
    print("|---|---|---|---|---|---|---|")
    for of, label in ((None, f"{enrolled} writers never seen"), (trained, "the writers trained on")):
        for by_others in (False, True):
            told = pd.DataFrame(
                [
                    outcome
                    for number in range(rounds)
                    for outcome in one_round(pool, of, enrolled, by_others, head, np.random.default_rng(number))
                ],
                columns=["how", "rate", "kind", "writer", "hit"],
            )
            setting = "images of others" if by_others else "enrolled images"
            for (how, rate), part in told.groupby(["how", "rate"], sort=False):
                shares = " | ".join(interval(part[part["kind"] == kind]) for kind in ("unknown", "right", "wrong"))
                print(f"| {label} | {setting} | {how} | {rate:g} | {shares} |", flush=True)


def one_round(
    pool: Pool, trained: Pool | None, enrolled: int, by_others: bool, head: Head, rng: np.random.Generator
) -> Iterator[tuple[str, float, str, str, bool]]:
    """What became of each probe, by score and rate: unknown and accepted; known and rightly, or wrongly, accepted.

    Args:
        trained: who is enrolled; None: so many of the pool, at random.
        by_others: whether images of a third of the unknown writers set the threshold, who then don't ask.
    """
    names = rng.permutation(sorted(pool.images["identity"].unique())).tolist()
    of, members = pool, names[:enrolled]
    if trained is not None:
        of, members = trained, sorted(trained.images["identity"].unique())
    strangers = names[enrolled:]
    gallery = Gallery.empty("", head).with_images(*of.of(members, slice(0, REFERENCES)))
    if by_others:
        setting, strangers = strangers[: len(strangers) // 3], strangers[len(strangers) // 3 :]
        images, embeddings = pool.of(setting, slice(0, 1))
        gallery = gallery.with_images(images.assign(identity=None).astype(object), embeddings)
    gallery = gallery.with_impostors()
    unknown, unknown_embeddings = pool.of(strangers, slice(0, 2))
    known, known_embeddings = of.of(members, slice(REFERENCES, REFERENCES + 1))
    unknown_scores, known_scores = gallery.scores(unknown_embeddings), gallery.scores(known_embeddings)
    for how in HOWS:
        highest = gallery.of_identities(unknown_scores, how).max(axis=1)
        found = gallery.of_identities(known_scores, how)
        right = np.array(gallery.identities)[found.argmax(axis=1)] == known["identity"].to_numpy()
        for rate in RATES:
            threshold = np.float32(
                open_set_threshold.open_set_threshold(gallery, how, rate, None, lambda: 0.5).threshold
            )
            yield from (
                (how, rate, "unknown", *one) for one in zip(unknown["identity"], highest >= threshold, strict=True)
            )
            hit = found.max(axis=1) >= threshold
            yield from ((how, rate, "right", *one) for one in zip(known["identity"], hit & right, strict=True))
            yield from ((how, rate, "wrong", *one) for one in zip(known["identity"], hit & ~right, strict=True))


def trained_on(verifier: Verifier) -> Pool:
    """The writers that the model was trained on."""
    table = pd.read_parquet(paths.CATALOG)
    names = set(table.loc[table["split"] == "train", "identity"])
    pool = pool_of(paths.SAMPLE, verifier)
    kept = pool.images.index[pool.images["identity"].isin(names)].to_numpy()
    return Pool(pool.images.loc[kept].reset_index(drop=True), pool.embeddings[kept])


def speed() -> None:
    """10,000 enrolled images: one probe, the file, and one image more."""
    verifier, head = loaded()
    pool = pool_of(paths.SAMPLE, verifier)
    rng = np.random.default_rng(0)
    embeddings = np.tile(pool.embeddings, (20, 1))[:10_000]
    embeddings = np.clip(embeddings + rng.normal(0, 0.01, embeddings.shape), 0, 1).astype(np.float32)
    rows = [(str(row), f"person-{row // 5:04}", str(row)) for row in range(len(embeddings))]
    gallery = Gallery.empty("", head).with_images(pd.DataFrame(rows, columns=COLUMNS, dtype=object), embeddings)
    identifier = Identifier(verifier, gallery, OpenSetThreshold(0.5, None, "given", 0, None), "best", 5)
    identifier.of_embeddings(embeddings[:1])
    times: dict[str, list[float]] = {"identified": [], "its search alone": []}
    for row in range(50):
        for what, ask in zip(times, (identifier.of_embeddings, gallery.scores), strict=True):
            began = time.perf_counter()
            ask(embeddings[row : row + 1])
            times[what].append(1000 * (time.perf_counter() - began))
    for what, took in times.items():
        print(f"one probe against {len(embeddings)}, {what}: median {np.median(took):.1f} ms, least {min(took):.1f} ms")
    began = time.perf_counter()
    gallery.with_impostors()
    print(f"impostors looked for: {time.perf_counter() - began:.1f} s")


def loaded() -> tuple[Verifier, Head]:
    verifier = Verifier.load(paths.MODEL)
    return verifier, Head(*verifier.head())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("rates")
    measured.add_argument("--writers", type=int, default=600)
    measured.add_argument("--enrolled", type=int, default=100)
    measured.add_argument("--rounds", type=int, default=10)
    commands.add_parser("speed")
    options = parser.parse_args()
    if options.command == "speed":
        speed()
    else:
        rates(options.writers, options.enrolled, options.rounds)


if __name__ == "__main__":
    main()
