"""Signatures of 79 writers: 60 train and validate, without forgeries; the 19 whose signatures were forged test."""

from recipes.workplace import Workplace, percent

KINDS = ("skilled", "random")


def run(at: Workplace) -> None:
    """A claim is compared with one, and with five genuine signatures, beside how like these are to each other."""
    data = at.fetch("signatures")
    results, lines = [], []
    for seed in at.seeds:
        done = at.trained("writers", data, seed)
        for references in (1, 5):
            found = done.trials(f"trials-{references}", "--fuse", "relative")["verification"]
            results.append({"seed": seed, "seconds": done.seconds, "references": references, **found})
            eers = ", ".join(f"{kind} EER {percent(found[kind], 'eer')}" for kind in KINDS)
            lines.append(f"seed {seed}, {references} reference(s): {eers}, {done.time}")
    at.write(results, *lines)
