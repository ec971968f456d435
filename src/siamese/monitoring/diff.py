"""What a retraining changed, as Markdown: figures before and now, the gate's verdict, data, parameters, a picture.

`before` is what git has at some revision, `now` the working folder. Git is asked by its own command; DVC isn't needed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siamese import paths
from siamese.config import flatten
from siamese.errors import InputError
from siamese.evaluation import results
from siamese.models import trained_on
from siamese.storage.files import atomic_file, require_exists
from siamese.tracking.git import git, is_shallow

PARAMS = Path("params.yaml")
LOWER_IS_BETTER = ("eer", "false_accept_rate", "brier", "calibration_error")
FEW_UNITS = 10  # test identities below which figures are called coarse
NOTHING = "–"
CURVES = "The curves: ROC, scores, training"


@dataclass(frozen=True)
class ProjectState:
    """The project at one moment.

    Attributes:
        metrics: metrics.json; None where there is none yet.
        params: every value of params.yaml, by its dotted key; not validated, for an older file may have other keys.
        data: data.path, and what its .dvc file says: its hash and how many files it has. Empty where there is none.
    """

    metrics: Mapping[str, Any] | None
    params: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


def now() -> ProjectState:
    """The working folder.

    Raises:
        InputError: metrics.json or params.yaml is missing or damaged.
    """
    metrics = results.read(paths.METRICS)
    texts = {PARAMS: require_exists(PARAMS, "siamese params > params.yaml").read_text(encoding="utf-8")}
    return _state(metrics, texts[PARAMS], lambda file: file.read_text(encoding="utf-8") if file.is_file() else None)


def at(revision: str) -> ProjectState:
    """What git has at a revision; whatever isn't there yet is left out.

    Raises:
        InputError: this is no git repository, there is no such revision, or what it has is damaged.
    """
    if git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}") is None:
        if is_shallow():
            raise InputError(f"{revision}: not in this shallow clone; run: git fetch --unshallow")
        raise InputError(f"git has no revision {revision} here: name one with --since")

    def read(file: Path) -> str | None:
        return git("show", f"{revision}:./{file.as_posix()}")

    text = read(paths.METRICS)
    try:
        metrics = json.loads(text) if text else None
        if metrics is not None:
            results.to_text(metrics)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{revision}: {paths.METRICS} holds no figures there: name another revision") from None
    return _state(metrics, read(PARAMS) or "", read)


def verdict(file: Path) -> Mapping[str, Any]:
    """What `siamese promote --json` printed.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        found = json.loads(require_exists(file, f"siamese promote --json > {file}").read_text(encoding="utf-8"))
        if found.keys() & {"accepted", "moved"}:
            return dict(found)
    except (ValueError, AttributeError):
        pass
    raise InputError(f"{file} isn't what `siamese promote --json` prints: make it again")


def render(before: ProjectState, after: ProjectState, judged: Mapping[str, Any] | None, picture: str | None) -> str:
    """The report. Equal arguments give equal text.

    Args:
        before, after: the two states.
        judged: the gate's verdict; None: it wasn't asked.
        picture: address or path of the picture; it is shown if it ends in .png, else linked. None: there is none.
    """
    parts = ["# Retraining", *_gate(judged)]
    parts += [f"> **Note:** {_text(line)}" for line in warnings(before, after)]
    parts += ["## Figures on test pairs", _metrics_table(before.metrics, after.metrics)]
    parts += [f"{_text(name)} has no value: {_text(why)}." for name, why in _undefined(after.metrics)]
    if picture:
        shown = f"![{CURVES}]({picture})" if picture.endswith(".png") else CURVES
        parts.append(f"[{shown}]({picture})")
    parts += ["## Data", _data_table(before, after)]
    parts += ["## Parameters", _params_table(before.params, after.params)]
    return "\n\n".join(parts) + "\n"


def path_from(output: Path | None, picture: Path) -> str:
    """The picture's path as a link of the report has it: from the report's folder, or from the working folder."""
    return Path(os.path.relpath(picture, output.parent if output else Path())).as_posix()


def write(output: Path, text: str) -> None:
    """Writes the report, whole."""
    with atomic_file(output) as beside:
        beside.write_text(text, encoding="utf-8")


def warnings(before: ProjectState, after: ProjectState) -> list[str]:
    """What a reader should know before believing the figures, a sentence each."""
    found = []
    new = after.metrics or {}
    old = before.metrics
    if new.get("note"):
        found.append(f"the data is {new['note']}.")
    if trained_on.is_doubtful(new):
        found.append(f"{trained_on.doubt()}.")
    if old is None:
        found.append("there are no figures from before.")
    elif _tested(before) != _tested(after):
        found.append(
            "the test pairs may not be those from before: where they aren't, the columns measure different things; "
            "the gate scores both models on the same pairs."
        )
    elif after.data.get("hash") is None and not _is_sample(after):
        found.append("DVC has no hash of the data: it is unknown whether the test pairs are those from before.")
    units = new.get("counts", {}).get("test", {}).get("identities")
    if units is not None and 1 < units < FEW_UNITS:
        found.append(f"only {units} identities were tested: all figures are coarse.")
    gain = new.get("eer_below_raw_pixels", {})
    if gain.get("low") is not None and gain["low"] <= 0:
        found.append("the model isn't clearly better than comparing raw pixels.")
    return found


def _gate(judged: Mapping[str, Any] | None) -> list[str]:
    """The verdict, its reasons and what they rest on, a paragraph each."""
    if judged is None:
        return ["The gate was not asked."]
    if "accepted" not in judged:
        return ["**This model is the champion already.**"]
    if judged["accepted"]:
        becomes = "It is champion now." if judged.get("moved") else "Nothing was promoted."
        parts = [f"**The gate accepts this model.** {becomes}"]
    else:
        parts = ["**The gate refuses this model.** The champion stays."]
        parts += ["\n".join(f"- {_text(reason)}" for reason in judged["reasons"])]
    if judged.get("in_words"):
        parts.append(f"The gate's figures: {_text(judged['in_words'])}.")
    return parts


def _metrics_table(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    rows = []
    values = (new or {}).get("test", {})
    for name in [*values, *(one for one in (old or {}).get("test", {}) if one not in values)]:
        was, is_now = ((state or {}).get("test", {}).get(name) for state in (old, new))
        rows.append((name, _with_interval(old, name), _with_interval(new, name), _difference(name, was, is_now)))
    rows.append(("threshold", _number((old or {}).get("threshold")), _number((new or {}).get("threshold")), ""))
    return _table(("metric", "before", "now", "difference"), rows, numbers_from=1)


def _data_table(before: ProjectState, after: ProjectState) -> str:
    rows = [("folder", before.data.get("path"), after.data.get("path"))]
    rows.append(("DVC hash", before.data.get("hash"), after.data.get("hash")))
    rows.append(("files", before.data.get("files"), after.data.get("files")))
    for split in ("train", "validation", "test"):
        for what in ("identities", "images", "pairs"):
            pair = [(state.metrics or {}).get("counts", {}).get(split, {}).get(what) for state in (before, after)]
            rows.append((f"{what} to {_PURPOSE[split]}", *pair))
    told = [(name, _text(was), _text(is_now)) for name, was, is_now in rows if was is not None or is_now is not None]
    return _table(("data", "before", "now"), told, numbers_from=1)


_PURPOSE = {"train": "train on", "validation": "choose by", "test": "test on"}


def _params_table(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key) or (key in old) != (key in new)]
    if not keys:
        return "No parameter has changed."
    return _table(("parameter", "before", "now"), [(key, _text(old.get(key)), _text(new.get(key))) for key in keys])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    """A Markdown table; columns from `numbers_from` on are set to the right."""
    rule = ["---" if numbers_from is None or column < numbers_from else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _with_interval(metrics: Mapping[str, Any] | None, name: str) -> str:
    if metrics is None or metrics["test"].get(name) is None:
        return NOTHING
    low, high = (metrics[f"test_{end}"].get(name) for end in ("low", "high"))
    between = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    return f"{metrics['test'][name]:.3f}{between}"


def _difference(name: str, was: float | None, is_now: float | None) -> str:
    if was is None or is_now is None:
        return NOTHING
    change = round(is_now - was, 3)
    if change == 0:
        return "0.000"
    better = (change < 0) == (name in LOWER_IS_BETTER)
    return f"{_signed(change)} {'better' if better else 'worse'}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _text(value: Any) -> str:
    """Any value as the text of a table's cell: no line breaks, nothing that Markdown or HTML would act on."""
    if value is None:
        return NOTHING
    return re.sub(r"[\\`*_\[\]|#<>@]", _inert, " ".join(str(value).split()))


def _inert(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};" if found[0] in "<>@" else f"\\{found[0]}"


def _undefined(metrics: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, why) for name, why in (metrics or {}).get("undefined", {}).items()]


def _tested(state: ProjectState) -> tuple[Any, ...]:
    """What test pairs depend on."""
    sections = ("catalog", "pairs", "sample") if _is_sample(state) else ("catalog", "pairs")
    drawn_by = {key: value for key, value in state.params.items() if key.split(".")[0] in sections}
    return (state.metrics or {}).get("counts", {}).get("test"), state.data, drawn_by


def _is_sample(state: ProjectState) -> bool:
    """Whether the data is the built-in sample, which its parameters make."""
    return state.data.get("path") == str(paths.SAMPLE)


def _state(metrics: Mapping[str, Any] | None, params_text: str, read: Any) -> ProjectState:
    params = dict(flatten(_yaml(params_text, PARAMS)))
    data: dict[str, Any] = {}
    if path := params.get("data.path"):
        data["path"] = path
        text = read(Path(f"{path}.dvc"))
        outs = (_yaml(text, Path(f"{path}.dvc")).get("outs") or [{}]) if text else [{}]
        data |= {"hash": outs[0].get("md5"), "files": outs[0].get("nfiles")}
    return ProjectState(metrics, params, data)


def _yaml(text: str, file: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe").load(text) or {}
    except YAMLError as error:
        raise InputError(f"{file}: is no YAML ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(found, dict):
        raise InputError(f"{file}: holds no mapping of names to values")
    return found
