"""Protocols of one's own: a list of comparisons, and how well a model does on it.

A row of the list compares a probe with a reference. Rows of one *claim* ("this is writer 7") share the probe, and their
scores become one, their mean, their best or the mean beside how like the references are to each other: that is
verification with several references. Claims of one *trial* share the probe, too, and just one of them is right, which
the highest score has to find: that is n-way recognition. A list without these columns is plain verification, each row a
claim of its own.

Verification gives error rates, of each kind of wrong claims by itself, against right claims of that kind and of none;
n-way recognition gives the share found.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from siamese.data.image_folder import detect_layout, files_below
from siamese.data.names import canonical_name, canonical_path
from siamese.errors import InputError, summarise_exception
from siamese.evaluation.measurement import resampled_units
from siamese.evaluation.metrics import bootstrap, one_shot
from siamese.evaluation.metrics.one_shot import OneShot
from siamese.evaluation.metrics.verification import rank, reference_metrics
from siamese.evaluation.score_fusion import Fusion, fuse_claim_scores
from siamese.models import scoring, trained_on
from siamese.models.resolved_model import ResolvedModel
from siamese.models.scoring import EmbeddingTable
from siamese.models.verifier import Verifier, read_image
from siamese.params import EvaluateParams
from siamese.storage.files import atomic_file, require_exists, unwritable
from siamese.storage.object_store import AnyPath
from siamese.storage.tables import read_list, read_table

REQUIRED = ("probe", "reference", "label")
OPTIONAL = ("claim", "trial", "kind")
NAME = "claim_name"  # a claim as the list names it
ALL = "all"  # claims of every kind
DIFFERENT = "different"  # wrong claims of no kind
METRICS = ("eer", "auc", "accuracy", "precision", "recall", "false_accept_rate")
LOGGED = ("time", "trials", "sha256", "weights", "fuse", "figures")


@dataclass(frozen=True)
class TrialResult:
    """What was measured.

    Attributes:
        trials, sha256: the list, and what it held.
        weights: which model: SHA-256 of its weights.
        fuse: how scores of several references became one.
        cohort: the catalog of the images that each was held against; None: none.
        threshold: from which a claim counted as right; None in n-way recognition.
        images, comparisons: how much was compared.
        verification: figures by kind of wrong claim, each with the claims of either label, metrics and intervals.
        one_shot: n-way recognition; None where the list has no trials.
    """

    trials: str
    sha256: str
    weights: str
    fuse: str
    cohort: str | None
    threshold: float | None
    images: int
    comparisons: int
    verification: Mapping[str, Mapping[str, Any]]
    one_shot: OneShot | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def figures(self) -> str:
        """The main figure of each kind, as `eer of skilled 0.1234`."""
        if self.one_shot:
            return f"{self.one_shot.ways}-way accuracy {self.one_shot.accuracy:.4f}"
        return ", ".join(f"eer of {kind} {found['eer']:.4f}" for kind, found in self.verification.items())

    def __str__(self) -> str:
        lines = [f"{self.trials}: {self.comparisons:,} comparisons of {self.images:,} images"]
        if self.one_shot:
            found = self.one_shot
            lines.append(
                f"{found.ways}-way: {found.accuracy:.2%} right ({found.low:.2%} to {found.high:.2%}) "
                f"of {found.trials:,} trials; chance {1 / found.ways:.2%}"
            )
        for kind, of_kind in self.verification.items():
            shown = [
                f"{metric} {of_kind[metric]:.4f}" + (f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else "")
                for metric, ends in ((name, of_kind["intervals"][name]) for name in METRICS)
                if of_kind[metric] is not None
            ]
            lines.append(f"{kind}: {', '.join(shown)}; {of_kind['right']:,} right, {of_kind['wrong']:,} wrong claims")
        return "\n".join(lines)


def run(
    trials_csv: Path,
    data_folder: AnyPath,
    model: ResolvedModel,
    own_threshold: float | None,
    fuse: Fusion,
    cohort_file: Path | None,
    log_file: Path | None,
    scores_file: Path | None,
    params: EvaluateParams,
    max_pixels: int,
) -> TrialResult:
    """Scores a list with a model, measures, and notes in the log that it did, whatever came of it.

    Args:
        trials_csv: columns probe, reference, label and, as needed, claim, trial and kind; images are named by their
            paths from `data_folder`.
        model, own_threshold: as in `siamese.models.verify.verify`.
        fuse: how scores of a claim's references become one.
        cohort_file: catalog whose training images every image is held against, see `siamese.evaluation.score_fusion`;
            None: none.
        log_file: CSV that a row is added to, so that no look at a test goes unrecorded; None: none.
        scores_file: CSV of each claim and its score, written; None: none.

    Raises:
        InputError: the list, an image, the model or its threshold can't be used; or the log is something else.
    """
    table, digest = _read(trials_csv)
    by_identity = detect_layout(data_folder) == "identities"
    if log_file:
        refuse_other(log_file)
    threshold = None if "trial" in table else model.threshold(own_threshold)
    verifier = model.load()
    names = pd.Index(pd.unique(pd.concat([table.probe, table.reference])))
    embedded = EmbeddingTable(names, embeddings(verifier, data_folder, names, max_pixels))
    paths = _as_on_disk(data_folder, names)
    image_ids = (hashlib.sha256((data_folder / path).read_bytes()).hexdigest() for path in paths)
    trained_on.say_if_seen(trained_on.read(model.place), image_ids, trials_csv)
    cohort = None
    if cohort_file:
        training = read_table(require_exists(cohort_file, "siamese catalog"), ["path"], splits=["train"]).path
        cohort = embeddings(verifier, data_folder, pd.Index(training), max_pixels)
    claimed = fuse_claim_scores(verifier, embedded, table, fuse, cohort)
    verification, recognised = measured(table, claimed, threshold, by_identity, params)
    result = TrialResult(
        trials=trials_csv.name,
        sha256=digest,
        weights=model.weights(),
        fuse=fuse,
        cohort=cohort_file.name if cohort_file else None,
        threshold=threshold,
        images=len(names),
        comparisons=len(table),
        verification=verification,
        one_shot=recognised,
    )
    if log_file:
        note(log_file, result)
    if scores_file:
        with atomic_file(scores_file) as beside:
            claims_of(table).drop(columns="claim").assign(score=claimed).rename(columns={NAME: "claim"}).to_csv(
                beside, index=False
            )
    return result


def read(trials_csv: Path) -> pd.DataFrame:
    """The list: columns probe, reference, label (0 or 1), claim (0, 1, …), kind and, in n-way recognition, trial.

    Rows keep their order. A claim is numbered by its first row; where the list names it, `claim_name` does, too.

    Raises:
        InputError: it can't be read, or is no such list.
    """
    return _read(trials_csv)[0]


def _read(trials_csv: Path) -> tuple[pd.DataFrame, str]:
    """The list, and the SHA-256 of the file."""
    wants = f"write the columns {', '.join(REQUIRED)} and, as needed, {', '.join(OPTIONAL)}"
    table, digest = read_list(trials_csv, REQUIRED, wants)
    taken = [name for name in (NAME, "score") if name in table]
    if taken:
        raise InputError(f"{trials_csv}: has a column {taken[0]}, which is a word of the answer: call it otherwise")
    if not table.label.isin(["0", "1"]).all():
        odd = table.label[~table.label.isin(["0", "1"])].iloc[0]
        raise InputError(f"{trials_csv}: label {odd}: must be 1 (same identity) or 0")
    for side in ("probe", "reference"):
        paths = {name: PurePosixPath(name) for name in table[side].unique()}
        outside = [name for name, path in paths.items() if path.is_absolute() or ".." in path.parts or not path.parts]
        if outside:
            row = (table[side] == outside[0]).idxmax()
            raise InputError(
                f"{trials_csv}: row {row}: {side} {outside[0]}: must lie in the data folder: name it by its path from "
                "there"
            )
        table[side] = table[side].map({name: path.as_posix() for name, path in paths.items()})
    if "claim" in table:
        table[NAME] = table.claim
    table = table.assign(
        label=table.label.astype(np.int64),
        claim=pd.factorize(table.claim)[0] if "claim" in table else np.arange(len(table)),
        kind=table.kind if "kind" in table else "",
    )
    same = [name for name in ("probe", "label", "kind", "trial") if name in table]
    torn = table.groupby("claim")[same].nunique().gt(1).any(axis=1)
    if torn.any():
        row = (table.claim == torn.idxmax()).idxmax()
        raise InputError(f"{trials_csv}: row {row}: a claim's rows must share {', '.join(same)}")
    if "trial" in table:
        claims = claims_of(table)
        right, ways = claims.groupby("trial").label.sum(), claims.groupby("trial").label.size()
        if not right.eq(1).all() or ways.nunique() > 1 or claims.groupby("trial").probe.nunique().gt(1).any():
            raise InputError(f"{trials_csv}: a trial's rows must share the probe, one claim be right, all trials alike")
        if ways.iloc[0] < 2:
            raise InputError(f"{trials_csv}: a trial needs two claims or more, to find the right one among")
    else:
        _check_kinds(trials_csv, table)
    return table.reset_index(drop=True), digest


def _check_kinds(trials_csv: Path, table: pd.DataFrame) -> None:
    alike = table.label.unique()
    if len(alike) == 1:
        raise InputError(
            f"{trials_csv}: every label is {alike[0]}: verification needs right claims (label 1) and wrong ones (0)"
        )
    taken = sorted({ALL, DIFFERENT} & set(table.kind))
    if taken:
        raise InputError(f"{trials_csv}: kind {taken[0]}: is a word of the answer: call that kind otherwise")
    right = set(table.kind[table.label == 1])
    alone = sorted(set(table.kind[table.label == 0]) - right)
    if right and "" not in right and alone:
        raise InputError(
            f"{trials_csv}: kind {alone[0] or 'without a name'} has wrong claims (label 0) and no right ones: leave "
            "kind empty in right claims that count for every kind"
        )


def claims_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row a claim, in order of number: its first row's columns."""
    return table.drop_duplicates("claim").sort_values("claim").reset_index(drop=True)


def embeddings(verifier: Verifier, data_folder: AnyPath, names: pd.Index, max_pixels: int) -> np.ndarray:
    """Of images of the data folder, by path: float32 [names, units].

    Raises:
        InputError: an image can't be read.
    """
    paths = _as_on_disk(data_folder, names)
    return scoring.in_batches(
        lambda part: verifier.embed_encoded([read_image(data_folder / path, max_pixels) for path in paths[part]]),
        len(names),
    )


def _as_on_disk(data_folder: AnyPath, names: pd.Index) -> list[str]:
    """Return the path of each listed image as its folder spells it, which may be in another normal form."""
    if not isinstance(data_folder, Path) or all((data_folder / name).exists() for name in names):
        return names.tolist()
    by_form: dict[str, list[str]] = {}
    for path, _ in files_below(data_folder):
        by_form.setdefault(canonical_path(path), []).append(path)
    alike = [by_form.get(canonical_path(name), []) for name in names]
    return [
        paths[0] if len(paths) == 1 and not (data_folder / name).exists() else name
        for name, paths in zip(names, alike, strict=True)
    ]


def measured(
    table: pd.DataFrame,
    claimed: np.ndarray,
    threshold: float | None,
    by_identity: bool,
    params: EvaluateParams,
) -> tuple[dict[str, dict[str, Any]], OneShot | None]:
    """The figures of a scored list.

    Args:
        table: from `read`.
        claimed: float [claims], the scores.
        threshold: from which a claim counts as right; n-way recognition needs none.
        by_identity: whether a path's first folder is its image's identity, so that intervals resample identities.

    Returns:
        Verification by kind of wrong claim, and n-way recognition: one of them is empty.

    Raises:
        InputError: a score is no number.
    """
    claims = claims_of(table).assign(score=claimed)
    if not np.isfinite(claimed).all():
        raise InputError("the model gives a score that is no number: train it again")
    if "trial" in claims:
        return {}, recognition(claims)
    assert threshold is not None
    kinds = {kind or DIFFERENT: claims.kind == kind for kind in sorted(claims.kind[claims.label == 0].unique())}
    of_any = (claims.label == 1) & (claims.kind == "")
    found = {}
    for kind, of_kind in {ALL: claims.label >= 0, **kinds}.items() if len(kinds) > 1 else kinds.items():
        chosen = claims[of_kind | of_any].reset_index(drop=True)
        found[kind] = verification(chosen, threshold, by_identity, params)
    return found, None


def recognition(claims: pd.DataFrame) -> OneShot:
    """How often the highest score of a trial is the right claim's; claims that share it share the credit."""
    ordered = claims.sort_values("trial", kind="stable")
    ways = int(ordered.groupby("trial").size().iloc[0])
    by_trial = ordered.score.to_numpy().reshape(-1, ways)
    right = ordered.label.to_numpy().reshape(-1, ways).argmax(axis=1)
    return one_shot.summarise(one_shot.credit(by_trial, right), ways)


def verification(claims: pd.DataFrame, threshold: float, by_identity: bool, params: EvaluateParams) -> dict[str, Any]:
    """The metrics of claims, with 95 % intervals from resampling identities, or images where they aren't known."""
    values = reference_metrics(claims.label, claims.score, threshold)
    sides = pd.DataFrame({"anchor_id": claims.probe, "other_id": claims.reference})
    units = resampled_units(
        sides.assign(anchor_identity=_identity(claims.probe), other_identity=_identity(claims.reference)), by_identity
    )
    ranking = rank(claims.label, claims.score)
    resamples = bootstrap.replicates(ranking, units, threshold, resamples=params.bootstrap, seed=params.seed)
    ends = bootstrap.intervals(resamples, values)
    return {
        "right": int(claims.label.sum()),
        "wrong": int((claims.label == 0).sum()),
        **{name: values[name] for name in METRICS},
        "intervals": {name: ends[name] for name in METRICS},
    }


def note(log_file: Path, result: TrialResult) -> None:
    """Adds a row to a log of lists that were scored: when, which list, which model, what came of it.

    Of two at once, each adds its own.

    Raises:
        InputError: it can't be written.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    how = result.fuse + (f", cohort {result.cohort}" if result.cohort else "")
    row = [now, result.trials, result.sha256, result.weights, how, result.figures()]
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("a+", encoding="utf-8", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it's closed
            file.seek(0)
            there = file.read()
            table = csv.writer(file, lineterminator="\n")
            if not there:
                table.writerow(LOGGED)
            elif not there.endswith("\n"):
                file.write("\n")
            table.writerow(row)
    except OSError as error:
        raise unwritable(log_file, error) or error from error


def refuse_other(log_file: Path) -> None:
    """Nothing where a log is, or will be.

    Raises:
        InputError: there is something else, to which no row must be added.
    """
    try:
        with log_file.open(encoding="utf-8-sig") as file:
            first = file.readline()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{log_file}: can't be read as a log ({summarise_exception(error)}): name another file"
        ) from None
    if first and first.rstrip("\n") != ",".join(LOGGED):
        raise InputError(f"{log_file}: is no log of `siamese trials`: name a new file")


def _identity(paths: pd.Series) -> pd.Series:
    return paths.str.partition("/")[0].map(canonical_name)
