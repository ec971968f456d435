"""The figures of an evaluation a second time: by their definitions, pair by pair, in exact fractions, slowly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np

FAR_TARGETS = {
    "tar_at_far_0.1": Fraction(1, 10),
    "tar_at_far_0.01": Fraction(1, 100),
    "tar_at_far_0.001": Fraction(1, 1000),
}
Rates = list[tuple[Fraction, Fraction]]


def as_float32(scores: Sequence[float]) -> list[float]:
    return [float(np.float32(score)) for score in scores]


def rates(labels: Sequence[int], scores: Sequence[float]) -> Rates:
    """FAR and TAR of each threshold, counted pair by pair, from accepting none to accepting all."""
    positives, negatives = sum(labels), len(labels) - sum(labels)
    found = []
    for threshold in [2.0, *sorted(set(scores), reverse=True)]:
        accepted = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        found.append((Fraction(accepted.count(0), negatives), Fraction(accepted.count(1), positives)))
    return found


def auc(labels: Sequence[int], scores: Sequence[float]) -> Fraction:
    """How often a positive pair scores above a negative one, each with each; a tie is half a time."""
    same = [score for label, score in zip(labels, scores, strict=True) if label]
    different = [score for label, score in zip(labels, scores, strict=True) if not label]
    wins = sum(2 * (a > b) + (a == b) for a in same for b in different)
    return Fraction(wins, 2 * len(same) * len(different))


def eer(labels: Sequence[int], scores: Sequence[float]) -> Fraction:
    """Where the straight line between two neighbouring thresholds has FAR = 1 - TAR."""
    for (far, tar), (next_far, next_tar) in pairwise(rates(labels, scores)):
        before, after = far + tar - 1, next_far + next_tar - 1
        if before <= 0 <= after:
            return far + (next_far - far) * (-before / (after - before))
    raise AssertionError("the curve never crosses")


def tar_at_far(labels: Sequence[int], scores: Sequence[float], target: Fraction) -> Fraction:
    """The best TAR of all thresholds whose FAR isn't above the target."""
    return max(tar for far, tar in rates(labels, scores) if far <= target)


def figures(labels: Sequence[int], scores: Sequence[float], threshold: float) -> dict[str, float | None]:
    """Every figure of metrics.json: TP, FP, FN and TN counted at the threshold; None where there is nothing to count.

    A TAR at a FAR is given where that rate leaves ten false accepts or more.
    """
    labels, scores, threshold = [int(label) for label in labels], as_float32(scores), float(np.float32(threshold))
    decided = [(label, score >= threshold) for label, score in zip(labels, scores, strict=True)]
    tp, fp, fn, tn = (decided.count(kind) for kind in ((1, True), (0, True), (1, False), (0, False)))
    bins: dict[int, list[tuple[int, float]]] = {}
    for label, score in zip(labels, scores, strict=True):
        # An edge belongs to the bin above it, as the float32 next to a tenth, and 1 to the last.
        number = max(edge for edge in range(10) if score >= float(np.float32(edge / 10)))
        bins.setdefault(number, []).append((label, score))
    apart = [abs(sum(label for label, _ in one) - sum(score for _, score in one)) for one in bins.values()]
    found: dict[str, Fraction | float | None] = {
        "precision": Fraction(tp, tp + fp) if tp + fp else None,
        "recall": Fraction(tp, tp + fn),
        "accuracy": Fraction(tp + tn, len(labels)),
        "f1": Fraction(2 * tp, 2 * tp + fp + fn),
        "false_accept_rate": Fraction(fp, fp + tn),
        "auc": auc(labels, scores),
        "eer": eer(labels, scores),
        **{
            name: tar_at_far(labels, scores, far) if far * (fp + tn) >= 10 else None
            for name, far in FAR_TARGETS.items()
        },
        "brier": sum((score - label) ** 2 for label, score in zip(labels, scores, strict=True)) / len(labels),
        "calibration_error": sum(apart) / len(labels),
    }
    return {name: None if value is None else float(value) for name, value in found.items()}


def threshold(labels: Sequence[int], scores: Sequence[float], rule: str) -> tuple[Fraction, Fraction, float, float]:
    """Of all thresholds the one that the rule asks for; of equals, the one that accepts fewer.

    Returns:
        Its FAR and FRR, the lowest score that it accepts, infinity where none, and the highest that it doesn't, 0 where
        none.
    """
    labels, scores = [int(label) for label in labels], as_float32(scores)
    kind, _, number = rule.partition("=")

    def regret(point: tuple[Fraction, Fraction]) -> Fraction:
        far, tar = point
        if kind == "eer":
            return abs(far - (1 - tar))
        return 1 - tar if far <= Fraction(number) else Fraction(2)

    points = rates(labels, scores)
    accepted = min(range(len(points)), key=lambda place: regret(points[place]))
    levels = [float("inf"), *sorted(set(scores), reverse=True), 0.0]
    far, tar = points[accepted]
    return far, 1 - tar, levels[accepted], levels[accepted + 1]


def resamples(strata: Sequence[Sequence], pairs: Sequence[tuple], number: int, seed: int) -> Iterator[list[int]]:
    """For each resample the pairs, by number, as often as they occur in it.

    From each stratum as many units as it has are drawn with replacement, in the order in which they are given. A pair
    of two units occurs once for each time that both were drawn, a pair within one unit once for each time that it was.
    """
    rng = np.random.default_rng([seed, 0])
    for _ in range(number):
        drawn = [units[place] for units in strata for place in rng.integers(len(units), size=len(units))]
        times = {unit: drawn.count(unit) for units in strata for unit in units}
        yield [place for place, (a, b) in enumerate(pairs) for _ in range(times[a] if a == b else times[a] * times[b])]


def interval(found: Sequence[float | None], value: float, lowest: float) -> tuple[float, float] | None:
    """From the 2.5 % to the 97.5 % point of the resamples, moved so that their median lies on the value, from `lowest`
    to 1; None where more than one resample in twenty has no value."""
    defined = sorted(one for one in found if one is not None)
    if len(defined) < 0.95 * len(found):
        return None
    moved = value - point(defined, 0.5)
    low, high = (min(1.0, max(lowest, point(defined, share) + moved)) for share in (0.025, 0.975))
    return low, high


def point(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of the ordered values lies, on the line between its two neighbours."""
    place = share * (len(ordered) - 1)
    before = min(int(place), len(ordered) - 2)
    return ordered[before] + (place - before) * (ordered[before + 1] - ordered[before])


def one_shot(identities: Sequence, similarity: np.ndarray, ways: int) -> Fraction:
    """What one-shot recognition earns on average over every possible trial, each of which is looked at.

    A probe's identity is as likely as any other with two images, then any two of its images, any `ways` - 1 others, and
    any image of each. References that share the highest score share the credit.

    Args:
        similarity: [images, images], by the rows of `identities`.
    """
    rows = {who: [row for row, one in enumerate(identities) if one == who] for who in sorted(set(identities))}
    by_identity = []
    for who, images in rows.items():
        others = [one for one in rows if one != who]
        earned = []
        for probe, right in product(images, repeat=2):
            if probe == right:
                continue
            by_others = []
            for chosen in combinations(others, ways - 1):
                each = [
                    credit(similarity[probe, right], [similarity[probe, row] for row in wrong])
                    for wrong in product(*(rows[other] for other in chosen))
                ]
                by_others.append(sum(each) / len(each))
            earned.append(sum(by_others) / len(by_others))
        if earned:
            by_identity.append(sum(earned) / len(earned))
    return sum(by_identity) / len(by_identity)


def credit(right: float, wrong: Sequence[float]) -> Fraction:
    """What a trial earns: 1 where the right reference scores highest, a share of it where others score the same."""
    return Fraction(0) if max(wrong) > right else Fraction(1, 1 + list(wrong).count(right))
