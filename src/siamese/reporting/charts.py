"""Small charts as SVG text: they scale with the page, need no library to be seen, and equal data gives equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from siamese.reporting.pages import Markup, element

BLUE, ORANGE, GREEN, GREY, BLACK = "#0b62c4", "#c8500a", "#1a7f4b", "#7a7f87", "#1c2128"
WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 10, 44

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Axis:
    """An axis: its label, the range it shows, and where it has ticks, written as percentages or as numbers."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    percent: bool


@dataclass(frozen=True, eq=False)
class Line:
    """Points joined by straight lines, broken where y is NaN."""

    label: str
    colour: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    dashed: bool = False
    dots: bool = False

    def draw(self, across: Scale, up: Scale) -> Markup:
        path, pen, dots = "", "M", []
        for x, y in zip(self.x, self.y, strict=True):
            if np.isnan(y):
                pen = "M"
                continue
            path += f"{pen}{across(x):.1f} {up(y):.1f}"
            pen = "L"
            dots.append(element("circle", cx=across(x), cy=up(y), r=3, fill=self.colour))
        dashes = "5 4" if self.dashed else None
        line = element("path", d=path, fill="none", stroke=self.colour, stroke_width=2, stroke_dasharray=dashes)
        return element("g", line, *(dots if self.dots else []))

    def swatch(self) -> str:
        return f"border-top: 3px {'dashed' if self.dashed else 'solid'} {self.colour}"


@dataclass(frozen=True)
class Point:
    """One point, set off from the lines under it."""

    label: str
    colour: str
    x: float
    y: float

    def draw(self, across: Scale, up: Scale) -> Markup:
        return element(
            "circle", cx=across(self.x), cy=up(self.y), r=5, fill=self.colour, stroke="#fff", stroke_width=1.5
        )

    def swatch(self) -> str:
        return f"width: 10px; height: 10px; border-radius: 5px; background: {self.colour}"


@dataclass(frozen=True, eq=False)
class Bars:
    """Translucent columns between `edges`, of which there is one more than `heights`."""

    label: str
    colour: str
    edges: np.ndarray
    heights: np.ndarray

    def draw(self, across: Scale, up: Scale) -> Markup:
        path = f"M{across(self.edges[0]):.1f} {up(0):.1f}"
        for left, right, height in zip(self.edges[:-1], self.edges[1:], self.heights, strict=True):
            path += f"L{across(left):.1f} {up(height):.1f}L{across(right):.1f} {up(height):.1f}"
        path += f"L{across(self.edges[-1]):.1f} {up(0):.1f}Z"
        return element("path", d=path, fill=self.colour, fill_opacity=0.3, stroke=self.colour)

    def swatch(self) -> str:
        return f"border-top: 10px solid {self.colour}; opacity: .6"


@dataclass(frozen=True)
class Mark:
    """A dashed vertical line at x."""

    label: str
    colour: str
    x: float

    def draw(self, across: Scale, up: Scale) -> Markup:
        at = across(self.x)
        ends = {"x1": at, "x2": at, "y1": TOP, "y2": HEIGHT - BOTTOM}
        return element("line", **ends, stroke=self.colour, stroke_width=1.5, stroke_dasharray="5 4")

    def swatch(self) -> str:
        return f"border-top: 3px dashed {self.colour}"


def chart(title: str, x: Axis, y: Axis, shapes: Sequence[Line | Point | Bars | Mark]) -> Markup:
    """A figure: title, drawing and legend. Later shapes lie over earlier ones."""
    across, up = _scale(x, LEFT, WIDTH - RIGHT), _scale(y, HEIGHT - BOTTOM, TOP)
    parts = [*_frame(x, y, across, up), *(shape.draw(across, up) for shape in shapes)]
    drawing = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    keys = [
        element("span", element("i", class_="swatch", style=shape.swatch()), shape.label, class_="key")
        for shape in shapes
    ]
    return element("figure", element("h3", title), drawing, element("figcaption", *keys), class_="chart")


def nice_ticks(low: float, high: float) -> list[float]:
    """About five round numbers, 1, 2 or 5 times a power of ten apart, from `low` to `high`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / 5))
    step = power * next(factor for factor in (1, 2, 5, 10) if 5 * factor * power >= span * 0.999)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(number * step, 10) for number in range(first, last + 1)]


def _scale(axis: Axis, start: float, end: float) -> Scale:
    return lambda value: start + (value - axis.low) / (axis.high - axis.low) * (end - start)


def _frame(x: Axis, y: Axis, across: Scale, up: Scale) -> list[Markup]:
    """Grid lines, what stands at them, and the axes' labels."""
    right, bottom, middle = WIDTH - RIGHT, HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    parts = []
    for tick in x.ticks:
        parts.append(element("line", x1=across(tick), x2=across(tick), y1=TOP, y2=bottom, class_="grid"))
        parts.append(element("text", _number(tick, x), x=across(tick), y=bottom + 17, text_anchor="middle"))
    for tick in y.ticks:
        parts.append(element("line", x1=LEFT, x2=right, y1=up(tick), y2=up(tick), class_="grid"))
        parts.append(element("text", _number(tick, y), x=LEFT - 7, y=up(tick) + 4, text_anchor="end"))
    turned = f"rotate(-90 12 {middle:g})"
    parts.append(element("text", x.label, x=(LEFT + right) / 2, y=HEIGHT - 8, text_anchor="middle", class_="axis"))
    parts.append(element("text", y.label, x=12, y=middle, text_anchor="middle", class_="axis", transform=turned))
    return parts


def _number(value: float, axis: Axis) -> str:
    return f"{100 * value:g} %" if axis.percent else f"{value:g}"
