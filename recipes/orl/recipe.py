"""Faces, 40 people: 27 train, 3 validate, all pairs of the 10 others test; by six splits of the people."""

from statistics import mean, stdev

from recipes.workplace import Workplace, percent

RANDOM = [f"random-{number}" for number in range(1, 6)]


def run(at: Workplace) -> None:
    """All splits with one seed after another; mean and spread are of the random ones."""
    data = at.fetch("orl")
    results, lines = [], []
    for seed in at.seeds:
        eers = {}
        for split in ["s31-s40", *RANDOM]:
            done = at.trained(split, data, seed, catalog__splits=f"protocol/splits-{split}.csv")
            cohort = done.folder / "artifacts/catalog.parquet"
            found = done.trials(f"trials-{split}", "--cohort", cohort)["verification"]["different"]
            eers[split] = found["eer"]
            results.append({"split": split, "seed": seed, "seconds": done.seconds, **found})
            lines.append(f"{split}, seed {seed}: EER {percent(found, 'eer')}, {done.time}")
        random = [eers[split] for split in RANDOM]
        lines.append(f"random splits, seed {seed}: mean EER {mean(random):.1%}, standard deviation {stdev(random):.1%}")
    at.write(results, *lines)
