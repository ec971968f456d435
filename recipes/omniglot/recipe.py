"""Characters: trained on the background alphabets, measured by the 20 official one-shot runs."""

from recipes.workplace import Workplace

CHOOSING = "catalog.splits=protocol/splits-choose.csv"


def run(at: Workplace) -> None:
    """With `-S catalog.splits=protocol/splits-choose.csv`, held-out background alphabets measure instead: the official
    runs are for what is final, and each look at them goes into scorings.csv."""
    data = at.fetch("omniglot")
    choosing = CHOOSING in at.settings
    listed = "trials-choose" if choosing else "trials-runs"
    log = () if choosing else ("--log", at.recipe_folder / "scorings.csv")
    results, lines = [], []
    for seed in at.seeds:
        done = at.trained("choose" if choosing else "final", data, seed)
        found = done.trials(listed, *log)["one_shot"]
        results.append({"seed": seed, "seconds": done.seconds, listed: found})
        lines.append(
            f"seed {seed}: {found['accuracy']:.2%} ({found['low']:.2%} to {found['high']:.2%}) of {found['trials']:,} "
            f"{found['ways']}-way trials, {done.time}"
        )
    at.write(results, *lines)
