"""The ROC of a report as a picture that stands alone: no images of people, so that it may lie beside a recipe."""

from __future__ import annotations

import re

from siamese.errors import InputError

_ROC = re.compile(r'<svg (?=[^>]*aria-label="ROC)(.*?)</svg>', re.DOTALL)
_STYLE = "text {font: 11px sans-serif; fill: #333} .grid {stroke: #ddd} rect.paper {fill: white}"


def roc(report: str) -> str:
    """SVG of the first ROC in a page that `siamese evaluate` wrote.

    Raises:
        InputError: there is none.
    """
    found = _ROC.search(report)
    if found is None:
        raise InputError("the report holds no ROC: was it written by `siamese evaluate`?")
    opening, inside = found[1].split(">", 1)
    paper = '<rect class="paper" width="100%" height="100%"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {opening}><style>{_STYLE}</style>{paper}{inside}</svg>\n'
