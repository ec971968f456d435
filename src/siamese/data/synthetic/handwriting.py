"""Whose hand writes what: signatures as pen strokes, not yet on paper.

A signature is a few strokes, each a row of control points: letters from a small table, bent by the writer into shapes
of their own, with a tall initial, a tail, an underline, bars and dots. A hand is how someone moves the pen: slant,
proportions, haste, pressure, ink. Writing a signature moves every control point a little, joins them by Catmull-Rom
splines (Catmull and Rom 1974) and derives the pressure from direction and speed. A forgery is one writer's signature,
not quite rightly read, in another writer's hand, with a tremor.

Coordinates are in x-heights (the height of a small letter): x to the right, y up, baseline at y = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Points = np.ndarray  # float64 [points, 2]


@dataclass(frozen=True)
class Variation:
    """How much the images of one writer differ from each other: the one place to make the sample harder or easier.

    Every number is a standard deviation unless it says otherwise. With 0 everywhere, image size, density of the ink and
    file format still vary.
    """

    shape: float  # of each control point, in x-heights
    warp: float  # of slow bends that move neighbouring letters together, in x-heights
    slant: float  # of the slant's tangent
    rotation: float  # of the whole line, in radians
    proportion: float  # of the logarithm of width to height
    haste: float  # of the share by which corners are cut
    pen: float  # of the logarithm of the pen's width
    placement: float  # largest margin on each side, as a share of the signature's longer side
    other_pen: float  # chance of another ink than the writer's usual one
    paper: float  # 0 to 1: how far paper may depart from white and light from even
    ruled: float  # chance of a line or lines to write on
    blur: float  # largest standard deviation of the camera's blur, in pixels


# Measured with these (seed 0, 100 writers x 5 images at 100x100): raw-pixel L1 has an EER of 35 %, a linear
# discriminant learnt on 70 writers 6 % on the other 30. What weighs most is the paper for the first (1.0: 39 %), the
# margins for the second (0.08: 9 %, 0.12: 18 %).
NATURAL = Variation(
    shape=0.06,
    warp=0.10,
    slant=0.05,
    rotation=0.025,
    proportion=0.06,
    haste=0.06,
    pen=0.15,
    placement=0.05,
    other_pen=0.25,
    paper=0.6,
    ruled=0.3,
    blur=1.0,
)


@dataclass(frozen=True)
class Hand:
    """How someone moves the pen, whatever they write."""

    slant: float  # tangent of the angle to the vertical, positive to the right
    rise: float  # slope of the line, in radians
    proportion: float  # width to height, 1: as in the table of letters
    haste: float  # 0 to 1: share by which corners are cut
    pen: float  # width of the line, in x-heights
    contrast: float  # how much thicker downstrokes and slow parts are
    ink: tuple[int, int, int]  # the usual ink, RGB
    tremor: float  # of a hesitating hand, in x-heights; 0 in one's own signature


@dataclass(frozen=True)
class Trace:
    """One stroke as written: points [n, 2] in x-heights, pressure [n] (1: the pen's nominal width)."""

    points: np.ndarray
    pressure: np.ndarray


INKS = {  # RGB and share: blacks, blues, pencil, red, green
    (22, 22, 26): 0.27,
    (40, 40, 48): 0.13,
    (20, 36, 110): 0.2,
    (35, 60, 160): 0.17,
    (16, 24, 62): 0.12,
    (70, 70, 78): 0.05,
    (95, 28, 40): 0.03,
    (24, 84, 66): 0.03,
}
STYLES = {"word": 0.34, "initial and word": 0.24, "two words": 0.16, "two lines": 0.12, "paraph": 0.14}


def hand_of(rng: np.random.Generator) -> Hand:
    """A writer's hand."""
    return Hand(
        slant=rng.normal(0.25, 0.28),
        rise=rng.normal(0.04, 0.06),
        proportion=float(np.exp(rng.normal(0, 0.22))),
        haste=rng.uniform(0, 0.45),
        pen=float(np.exp(rng.uniform(np.log(0.09), np.log(0.26)))),
        contrast=rng.uniform(0.1, 0.6),
        ink=ink_from(rng),
        tremor=0.0,
    )


def ink_from(rng: np.random.Generator) -> tuple[int, int, int]:
    """An ink, as often as people use it."""
    return list(INKS)[rng.choice(len(INKS), p=list(INKS.values()))]


def forging(hand: Hand) -> Hand:
    """The same hand while it imitates: slower, with evener and heavier pressure, trembling."""
    return replace(hand, haste=hand.haste / 3, pen=hand.pen * 1.1, contrast=hand.contrast / 2, tremor=0.035)


def signature_of(rng: np.random.Generator) -> list[Points]:
    """A writer's signature: the control points of its strokes, as they would be without any variation."""
    zones = rng.uniform([0.75, 0.6], [1.45, 1.7])  # the writer's ascenders and descenders, relative to the table's
    fade = rng.choice([0.0, rng.uniform(0.3, 0.85)], p=[0.45, 0.55])  # hasty writers flatten a word towards its end
    style = str(rng.choice(list(STYLES), p=list(STYLES.values())))
    gap = rng.uniform(0.5, 1.3)
    if style == "word":
        strokes = _word(rng, int(rng.integers(3, 8)), zones, fade)
    elif style == "initial and word":
        strokes = _beside(_word(rng, 0, zones, 0), _word(rng, int(rng.integers(3, 7)), zones, fade), gap)
    elif style == "two words":
        strokes = _beside(
            _word(rng, int(rng.integers(1, 4)), zones, fade), _word(rng, int(rng.integers(2, 6)), zones, fade), gap
        )
    elif style == "two lines":
        below = _word(rng, int(rng.integers(3, 6)), zones, fade)
        indent, down = rng.uniform(0.5, 2.5), -rng.uniform(2.4, 3.2)
        strokes = _word(rng, int(rng.integers(2, 5)), zones, fade) + [
            _shifted(stroke, indent, down) for stroke in below
        ]
    else:
        strokes = [_loops(rng)]
    return strokes + _ornaments(rng, strokes)


def misread(signature: list[Points], rng: np.random.Generator) -> list[Points]:
    """The signature as a forger has learnt it: nearly, always wrong in the same places."""
    return [stroke + rng.normal(0, 0.1, stroke.shape) for stroke in signature]


def write(signature: list[Points], hand: Hand, rng: np.random.Generator, variation: Variation = NATURAL) -> list[Trace]:
    """One image's strokes: `signature` as `hand` writes it this time."""
    haste = float(np.clip(hand.haste + rng.normal(0, variation.haste), 0, 0.7))
    slant = hand.slant + rng.normal(0, variation.slant)
    angle = hand.rise + rng.normal(0, variation.rotation)
    width = hand.proportion * np.exp(rng.normal(0, variation.proportion))
    frame = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[width, slant], [0, 1]]
    warp = _slow_warp(rng, variation.warp)
    traces = []
    for control in signature:
        moved = _cut_corners(control, haste)
        moved = moved + warp(moved) + rng.normal(0, variation.shape, control.shape)
        moved = moved + rng.normal(0, variation.warp, 2)  # the pen was lifted: where it lands varies
        points = spline(moved @ frame.T)
        if hand.tremor:
            points = points + _tremor(rng, len(points), hand.tremor)
        traces.append(Trace(points, _pressure(points, hand, rng)))
    return traces


def spline(control: Points, samples: int = 14) -> Points:
    """Points on the uniform Catmull-Rom spline through `control`, `samples` a segment: float [n, 2]."""
    ends = np.concatenate([2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]])
    before, start, stop, after = ends[:-3, None], ends[1:-2, None], ends[2:-1, None], ends[3:, None]
    t = np.linspace(0, 1, samples, endpoint=False)[None, :, None]
    curve = (
        2 * start
        + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    ) / 2
    return np.concatenate([curve.reshape(-1, 2), control[-1:]])


def _word(rng: np.random.Generator, letters: int, zones: np.ndarray, fade: float) -> list[Points]:
    """An initial and `letters` small letters, in one stroke or two."""
    capital = _shaped(rng, CAPITALS[str(rng.choice(list(CAPITALS)))], 0.16) * rng.uniform([0.8, 0.85], [1.7, 1.5])
    alphabet: dict[str, Points] = {}  # the same letter is the same shape wherever one writer writes it
    word: list[Points] = []
    x = 0.0
    for place in range(letters):
        name = str(rng.choice(list(LETTERS)))
        if name not in alphabet:
            alphabet[name] = _shaped(rng, LETTERS[name], 0.09)
        letter = alphabet[name].copy()
        letter[:, 1] *= np.where(letter[:, 1] > 1, zones[0], np.where(letter[:, 1] < 0, zones[1], 1.0))
        letter[:, 1] = 0.4 + (letter[:, 1] - 0.4) * (1 - fade * place / max(letters - 1, 1))
        word.append(_shifted(letter, x))
        x += letter[-1, 0] + 0.1
    if not word:
        return [capital]
    start = capital[:, 0].max() - 0.1 if rng.random() < 0.7 else capital[-1, 0] + 0.1
    small = _shifted(np.concatenate(word), start)
    if rng.random() < 0.6:
        small = np.concatenate([small, small[-1] + _tail(rng)])
    return [np.concatenate([capital, small])] if rng.random() < 0.55 else [capital, small]


def _shaped(rng: np.random.Generator, letter: Points, spread: float) -> Points:
    """A writer's own shape of a letter: its points moved for good."""
    moved = letter * rng.uniform(0.8, 1.25, 2) + rng.normal(0, spread, letter.shape)
    return _shifted(moved, -moved[:, 0].min())


def _shifted(stroke: Points, x: float, y: float = 0.0) -> Points:
    shifted: Points = stroke + np.array((x, y))
    return shifted


def _beside(left: list[Points], right: list[Points], gap: float) -> list[Points]:
    """Both, `right` starting `gap` after `left` ends."""
    start = max(stroke[:, 0].max() for stroke in left) + gap - min(stroke[:, 0].min() for stroke in right)
    return left + [_shifted(stroke, start) for stroke in right]


def _tail(rng: np.random.Generator) -> Points:
    """How the last letter runs out, from its last point on: right, up, back under the word, or down in a loop."""
    reach = rng.uniform(1.2, 4)
    shapes = [
        [(0.4, 0.05), (0.5 * reach, rng.uniform(-0.2, 0.5)), (reach, rng.uniform(-0.2, 0.6))],
        [(0.5, 0.3), (0.6 * reach, 1.2), (0.8 * reach, rng.uniform(1.8, 3.2))],
        [(0.9, 0), (1.1, -0.9), (-0.4 * reach, -1.3), (-1.6 * reach, -1.1), (-0.8 * reach, -1.6), (0.6 * reach, -1.3)],
        [(0.5, -0.6), (0.2, -1.8), (-0.5, -1.9), (-0.3, -1.0), (0.5 * reach, -0.4), (reach, -0.7)],
    ]
    return np.array(shapes[rng.integers(len(shapes))]) * rng.uniform(0.8, 1.2, 2)


def _loops(rng: np.random.Generator) -> Points:
    """A paraph: loops of changing size along a line, instead of letters."""
    turns = rng.integers(3, 8)
    angle = np.arange(turns * 5) * 2 * np.pi / 5 * rng.choice([-1, 1]) + rng.uniform(0, 2 * np.pi)
    radius = np.interp(np.arange(turns * 5), np.arange(turns + 1) * 5, rng.uniform(0.4, 1.9, turns + 1))
    ahead = np.cumsum(rng.uniform(0.02, 0.45, turns * 5))
    loops = np.stack([ahead + radius * np.cos(angle), 1 + radius * rng.uniform(0.6, 1.4) * np.sin(angle)], axis=1)
    loops += rng.normal(0, 0.15, loops.shape)
    return np.concatenate([loops, loops[-1] + _tail(rng)])


def _ornaments(rng: np.random.Generator, strokes: list[Points]) -> list[Points]:
    """Underlines, bars and dots to go with `strokes`."""
    every = np.concatenate(strokes)
    (left, low), (right, high) = every.min(axis=0), every.max(axis=0)
    width = right - left
    added = []
    if rng.random() < 0.5:
        start, stop = left + width * rng.uniform(-0.1, 0.5), right + width * rng.uniform(-0.3, 0.2)
        y, tilt = min(low, -0.3) + rng.uniform(-0.5, 0.3), rng.normal(0, 0.35)
        line = [(start, y), (start + 0.3 * (stop - start), y + 0.2 * tilt), (stop, y + tilt)]
        kind = rng.integers(4)
        if kind == 1:  # there and back again
            line += [(stop - 0.3, y + tilt - 0.35), (start + 0.3 * width, y - 0.5), (start + 0.7 * width, y - 0.9)]
        elif kind == 2:  # a wave
            line = [(start + (stop - start) * part / 6, y + tilt * part / 6 + 0.3 * (-1) ** part) for part in range(7)]
        elif kind == 3:  # a second line below
            added.append(_shifted(np.array(line), width * rng.uniform(-0.1, 0.15), -rng.uniform(0.35, 0.6)))
        added.append(np.array(line))
    if rng.random() < 0.35:
        x, y, half = left + width * rng.uniform(0.15, 0.9), rng.uniform(0.9, high), rng.uniform(0.5, 2)
        added.append(np.array([(x - half, y), (x, y + rng.normal(0, 0.15)), (x + half, y + rng.normal(0, 0.4))]))
    for _ in range(rng.choice(4, p=[0.45, 0.3, 0.15, 0.1])):
        x, y = left + width * rng.uniform(0.15, 1.1), rng.choice([0.05, rng.uniform(1.3, max(high, 1.4))])
        added.append(np.array([(x, y), (x + 0.08, y - 0.05), (x + 0.1, y - 0.12)]))
    if rng.random() < 0.07:
        turn = np.linspace(0, 2.2 * np.pi, 10) + rng.uniform(0, 2 * np.pi)
        middle, radii = [(left + right) / 2, (low + high) / 2], [0.6 * width, 0.55 * (high - low) + 0.5]
        added.append(middle + np.stack([np.cos(turn), np.sin(turn)], axis=1) * radii)
    return added


def _cut_corners(control: Points, haste: float) -> Points:
    """Each inner point moved by `haste` of the way to the middle of its neighbours."""
    cut = control.copy()
    cut[1:-1] += haste * ((control[:-2] + control[2:]) / 2 - control[1:-1])
    return cut


def _slow_warp(rng: np.random.Generator, size: float) -> Callable[[Points], Points]:
    """A random smooth displacement along the line, of deviation about `size`."""
    pace, phase, weight = rng.uniform(0.25, 1.2, (3, 2)), rng.uniform(0, 2 * np.pi, (3, 2)), rng.normal(0, size, (3, 2))
    return lambda points: (np.sin(points[:, 0, None, None] * pace + phase) * weight).sum(axis=1)


def _tremor(rng: np.random.Generator, count: int, size: float) -> Points:
    """A fine wobble that changes direction every few points."""
    knots = np.arange(0, count + 4, 4)
    return np.stack([np.interp(np.arange(count), knots, rng.normal(0, size, len(knots))) for _ in range(2)], axis=1)


def _pressure(points: Points, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Heavy downwards and where the pen is slow, light upwards and where it is fast, running out at the ends: [n]."""
    step = np.gradient(points, axis=0)
    speed = np.hypot(step[:, 0], step[:, 1]) + 1e-6
    slow = np.clip(np.log(np.median(speed) / speed), -1.5, 1)
    pressure = 1 + hand.contrast * (0.6 * -step[:, 1] / speed + 0.4 * slow)
    knots = np.arange(0, len(points) + 20, 20)
    pressure = pressure + np.interp(np.arange(len(points)), knots, rng.normal(0, 0.1, len(knots)))
    if not hand.tremor:
        from_end = np.minimum(np.arange(len(points)), np.arange(len(points))[::-1])
        pressure = pressure * np.clip(0.45 + from_end / 12, 0, 1)
    return np.clip(np.convolve(np.pad(pressure, 3, mode="edge"), np.ones(7) / 7, mode="valid"), 0.35, 2)


def _table(text: str) -> dict[str, Points]:
    rows = (line.split() for line in text.strip().splitlines())
    return {name: np.array([point.split(",") for point in points], dtype=np.float64) for name, *points in rows}


LETTERS = _table(
    """
    a .85,.85 .45,1 .08,.5 .4,.02 .8,.45 .9,.95 .85,.2 1.1,.05
    c .75,.85 .4,1 .08,.5 .4,0 .85,.2
    d .75,.9 .35,.95 .08,.4 .4,.02 .75,.6 .95,2.1 .85,.3 1.1,.05
    e .2,.3 .65,.6 .6,.98 .25,.9 .12,.35 .4,0 .85,.2
    f .3,.6 .75,1.8 .55,2.2 .35,1.6 .3,-.6 .4,-1.2 .6,-.6 .4,.1 .9,.3
    g .8,.85 .4,1 .08,.5 .4,.05 .8,.6 .85,.9 .75,-.7 .4,-1.2 .2,-.8 .6,-.2 1.1,.2
    h .3,.7 .6,1.9 .4,2.15 .22,1.5 .2,0 .3,.6 .65,1 .8,.6 .8,.1 1.1,.1
    i .2,.5 .3,1 .3,.15 .6,.1
    k .3,.7 .55,1.9 .35,2.1 .2,1.4 .2,0 .3,.6 .75,.95 .35,.5 .8,.02 1.05,.15
    l .3,.7 .65,1.8 .45,2.2 .22,1.6 .25,.3 .5,0 .75,.2
    m .15,.9 .2,.05 .35,.8 .6,1 .68,.1 .85,.8 1.1,1 1.2,.1 1.45,.1
    n .15,.9 .2,.05 .4,.8 .7,1 .8,.1 1.1,.1
    o .5,1 .1,.55 .4,0 .8,.5 .5,1 .75,.85 1.1,.85
    p .25,.9 .2,-1.1 .25,.4 .55,1 .85,.5 .5,.02 1.05,.1
    r .2,.8 .3,1.05 .5,.85 .75,.9 .7,.2 1,.1
    s .3,.5 .55,1 .45,.65 .7,.3 .4,0 .2,.12 .95,.15
    t .25,.6 .4,1.8 .3,.4 .5,.02 .85,.2
    u .1,.95 .15,.25 .45,0 .75,.6 .8,.95 .8,.2 1.1,.1
    v .1,.9 .4,.05 .75,.9 1.05,.85
    y .1,.95 .2,.3 .5,.15 .8,.9 .75,-.6 .45,-1.2 .2,-.8 .6,-.2 1.1,.2
    z .1,.85 .7,.95 .15,.05 .6,0 .6,-.8 .3,-1.1 .3,-.7 .9,.1
    """
)

CAPITALS = _table(
    """
    A 0,0 .5,1.2 1.05,2.4 1.15,1.2 1.3,0 1,.8 .3,.8 .8,.95 1.7,.7
    B .3,2.2 .25,0 .2,1.5 .7,2.4 1.2,1.9 .6,1.2 1.3,.8 1,.05 .2,.1 1.5,.2
    C 1.3,1.9 .9,2.4 .2,1.6 .1,.6 .7,0 1.5,.4
    D .4,2.1 .3,.1 .1,.25 .8,0 1.6,1 1.1,2.3 .1,2.2 -.1,1.7 .4,1.8
    E 1.2,2 .7,2.4 .3,1.9 .8,1.3 .2,.8 .5,.05 1.4,.3
    G 1.2,2 .7,2.4 .1,1.4 .5,.5 1.2,1.2 1.25,.9 1.1,-.6 .5,-1 .4,-.5 1.5,.2
    H .2,2.3 .2,0 .1,1 .6,1.2 1.2,2.4 1.15,.1 1.6,.2
    J .2,2 .9,2.4 .8,.5 .5,-1 .1,-.8 .5,-.1 1.3,.3
    K .2,2.3 .2,0 .3,1 1.2,2.3 .4,1.1 1.2,.1 1.6,.2
    L .2,1.7 .7,2.4 .6,1.5 .3,.3 0,.1 .3,-.1 1,.1 1.7,.2
    M 0,0 .3,2.3 .7,.5 1.1,2.4 1.4,.2 1.8,.1
    R .3,2 .25,0 .1,1.6 .6,2.5 1.2,1.9 .5,1.1 1.5,.1
    S .2,.5 .9,1.6 1.2,2.2 .8,2.4 .5,1.8 1,.8 .6,.02 -.1,.3 1.4,.2
    T -.1,2 .5,2.4 1.3,2.2 .8,2 .6,.6 .3,0 -.1,.3 1.2,.4
    W 0,2.2 .4,0 .8,1.8 1.2,0 1.7,2.4 2,2.2
    Z .1,2.1 1.2,2.3 .1,.1 .7,-.1 .5,-1.1 .2,-.7 1.4,.3
    """
)
