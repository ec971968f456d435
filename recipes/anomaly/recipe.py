"""Textures with subtle flaws: a model that knows other kinds of flaws, against pixels and PCA."""

from recipes.workplace import Workplace


def run(at: Workplace) -> None:
    """FROM: scikit-image's wheel, which holds the pictures; none: the installed one. A seed draws its own patches."""
    import pandas as pd

    from benchmarks.recognition import textures

    results, lines = [], []
    for seed in at.seeds:
        data = at.folder / f"data/textures-{seed}"
        if not data.exists():
            textures.make(data, seed, textures.pictures(at.source or [textures.installed()]))
        done = at.trained("textures", data, seed)
        claims = done.folder / "claims.csv"
        done.trials("trials", "--scores", claims)
        found = textures.auroc(pd.read_csv(claims))
        peers = textures.peers(data)
        best = peers["mean"].idxmax()
        results.append({"seed": seed, "seconds": done.seconds, "auroc": found, "peers": peers.to_dict("index")})
        each = ", ".join(f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in found.items())
        lines.append(f"seed {seed}: AUROC {each}; best peer's mean {peers['mean'].max():.3f} ({best}); {done.time}")
    at.write(results, *lines)
