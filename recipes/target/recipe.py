"""One person against all others, in role folders: every person of ORL in turn, on images that no training saw."""

from recipes.workplace import Workplace


def run(at: Workplace) -> None:
    """Forty trainings a seed; scores are pooled."""
    import pandas as pd

    from benchmarks.recognition import target
    from siamese.data.datasets.base import by_owner

    orl = at.fetch("orl")
    people = by_owner(path.relative_to(orl).as_posix() for path in orl.glob("s*/*.png"))
    results, lines = [], []
    for seed in at.seeds:
        scored, seconds = {}, []
        for person in people:
            data = at.folder / f"data/target-{seed}/{person}"
            if not data.exists():
                target.make(orl, people, person, data, seed)
            done = at.trained(person, data, seed)
            claims = done.folder / "claims.csv"
            done.trials("trials", "--fuse", "relative", "--scores", claims)
            scored[person] = pd.read_csv(claims)
            seconds.append(done.seconds)
        found = target.pooled(scored)
        took = None if None in seconds else sum(seconds)
        results.append({"seed": seed, "seconds": took, "pooled": found})
        lines.append(f"seed {seed}: {found}, " + ("trained before" if took is None else f"trained in {took} s"))
    at.write(results, *lines)
