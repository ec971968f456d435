"""Writes the page that `dvc plots` fills: its drawing library stands inside it, so that it draws without a network."""

from __future__ import annotations

import sys
from pathlib import Path

import vl_convert

VEGA_LITE = "5.21"  # DVC's plots are written in Vega-Lite 5
# DVC calls vegaEmbed without options. "Open in editor" would send the plot's data to a public site.
LIBRARY = "window.vegaEmbed = (place, plot) => vegaEmbed(place, plot, { actions: { editor: false } });"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>siamese: plots</title>
<style>body { font: 15px/1.4 system-ui, sans-serif; margin: 2em } table { border-spacing: 15px }</style>
<script>(() => {library})();</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def page() -> str:
    """The page with the library in it and DVC's {plot_divs} left to fill."""
    library = vl_convert.javascript_bundle(LIBRARY, VEGA_LITE)
    if "</script" in library or "{plot_divs}" in library:
        raise ValueError("the drawing library can't stand inside a page as it is")
    return PAGE.replace("{library}", f"{{{library}}}")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
