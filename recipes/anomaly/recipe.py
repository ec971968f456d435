"""Textures with subtle flaws: a model that knows other kinds of flaws, against pixels and PCA."""

from recipes.workplace import Workplace


def run(at: Workplace) -> None:
    """FROM: scikit-image's wheel, which holds the pictures; none: the installed one. A seed draws its own patches."""
    from benchmarks.recognition import textures

    pictures = textures.pictures(at.source[0] if at.source else textures.installed())
    results, lines = [], []
    for seed in at.seeds:
        data = at.folder / f"data/textures-{seed}"
        if not data.exists():
            textures.make(data, seed, pictures)
        done = at.trained("textures", data, seed)
        found = done.trials("trials")["verification"]
        peers = textures.peers(data)
        best = peers["mean"].idxmax()
        of_texture = {kind: found[kind]["auc"] for kind in textures.TEXTURES}
        average = sum(of_texture.values()) / len(of_texture)
        results.append({"seed": seed, "seconds": done.seconds, "auroc": of_texture, "peers": peers.to_dict("index")})
        each = ", ".join(f"{kind} {value:.3f}" for kind, value in of_texture.items())
        lines.append(
            f"seed {seed}: mean AUROC {average:.3f} ({each}), best peer {peers['mean'].max():.3f} ({best}), "
            f"trained in {done.seconds} s"
        )
    at.write(results, *lines)
