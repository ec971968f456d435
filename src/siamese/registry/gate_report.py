"""What the gate said, for people and machines: a sentence, a dict, a page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from siamese.registry.client import Version
from siamese.registry.comparison import GateResult

if TYPE_CHECKING:
    from siamese.registry.comparison import Promotion

SHOWN = ("eer", "auc", "precision", "recall", "accuracy", "false_accept_rate")


def in_words(result: GateResult, champion: Version | None) -> str:
    """The figures in a sentence."""
    figures = result.verdict.figures
    by_itself = (
        f"eer {_figure(figures['eer'])}, precision {_figure(figures['precision'])} on {result.pairs['challenger']} "
        "test pairs"
    )
    found = result.verdict.comparison
    if champion is None or found is None:
        return f"{by_itself}; no champion to compare with"
    low, high = (_figure(end) for end in found.interval or (None, None))
    return (
        f"{by_itself}; against version {champion.number} on {result.pairs['compared']}: "
        f"eer {_figure(found.challenger.values['eer'])} to {_figure(found.champion.values['eer'])}, "
        f"difference {_figure(found.difference)} (95 %: {low} to {high}), p-value {_figure(found.p_value)}"
    )


def as_dict(model: str, challenger: Version | None, champion: Version | None, result: GateResult) -> dict[str, Any]:
    """All of it, as plain values.

    Args:
        model: name of the registered model.
        challenger: None: the model isn't registered.
    """
    return {
        "model": model,
        "challenger": challenger.number if challenger else None,
        "champion": champion.number if champion else None,
        **result.verdict.as_dict(),
        "pairs": dict(result.pairs),
        "thresholds": dict(result.thresholds),
        "notes": list(result.notes),
        "in_words": in_words(result, champion),
    }


def page(model: str, done: Promotion) -> str:
    """What came of a promotion, as a page; a line where there was nothing to decide."""
    if done.result is None:
        return f"version {done.challenger.number if done.challenger else '-'} of {model} is champion already\n"
    return to_markdown(as_dict(model, done.challenger, done.champion, done.result))


def to_json(report: Mapping[str, Any]) -> str:
    """As text, indented."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def to_markdown(report: Mapping[str, Any]) -> str:
    """A page for a pull request or the run's artifacts, from `as_dict`."""
    verdict = "accepted" if report["accepted"] else "refused"
    lines = [f"# {report['model']}, {_challenger(report)}: {verdict} by the gate", ""]
    lines += [f"- {reason}" for reason in report["reasons"]]
    if report["reasons"]:
        lines.append("")
    lines += [*_figures(report), "", *_limits(report)]
    lines += ["", *(f"{note}." for note in report["notes"])] if report["notes"] else []
    if report.get("by"):
        lines += ["", f"Asked by {report['by']}, {report['at']}."]
    return "\n".join(lines) + "\n"


def _figures(report: Mapping[str, Any]) -> list[str]:
    """The challenger by itself and, where there is one, beside the champion on the pairs of both."""
    found, pairs, thresholds = report["comparison"], report["pairs"], report["thresholds"]
    titles = ["on test pairs", _challenger(report)]
    columns, counts, decided_at = [report["figures"]], [pairs["challenger"]], [thresholds["challenger"]]
    if found:
        titles += [f"{_challenger(report)}, compared", f"version {report['champion']}, compared"]
        columns += [found["challenger"]["values"], found["champion"]["values"]]
        counts += [pairs["compared"]] * 2
        decided_at += [thresholds["challenger"], thresholds["champion"]]
    rows = [["pairs", *map(str, counts)], ["threshold", *map(_figure, decided_at)]]
    rows += [[name, *(_figure(column.get(name)) for column in columns)] for name in SHOWN]
    return _table(titles, rows)


def _challenger(report: Mapping[str, Any]) -> str:
    return f"version {report['challenger']}" if report["challenger"] else "the candidate"


def _limits(report: Mapping[str, Any]) -> list[str]:
    limits, figures, found = report["limits"], report["figures"], report["comparison"]
    rows = [
        ["precision", _figure(figures.get("precision")), f"{limits['min_precision']:g} or more (min_precision)"],
        ["eer", _figure(figures.get("eer")), f"{limits['max_eer']:g} or less (max_eer)"],
    ]
    if found:
        difference = _figure(found["difference"])
        if found["interval"]:
            difference += " (95 %: {:.4f} to {:.4f})".format(*found["interval"])
        rows += [
            ["eer above the champion's", difference, f"{limits['max_regression']:g} or less (max_regression)"],
            ["p-value of no better", _figure(found["p_value"]), f"{limits['max_p_value']:g} or less (max_p_value)"],
        ]
    return _table(["gate", "value", "limit"], rows)


def _table(titles: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(titles)} |",
        f"| {' | '.join(['---', *['---:'] * (len(titles) - 1)])} |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
