"""Faces of 5,749 people, View 1: the people of pairsDevTrain train and validate, the pairs of pairsDevTest measure."""

from recipes.workplace import Workplace, percent


def run(at: Workplace) -> None:
    """The accuracy is at the threshold that validation people of pairsDevTrain gave."""
    data = at.fetch("lfw")
    results, lines = [], []
    for seed in at.seeds:
        done = at.trained("view1", data, seed)
        found = done.trials("trials-view1")["verification"]["different"]
        results.append({"seed": seed, "seconds": done.seconds, **found})
        lines.append(f"seed {seed}: accuracy {percent(found, 'accuracy')}, EER {percent(found, 'eer')}, {done.time}")
    at.write(results, *lines)
