"""Map of embeddings: principal components lay them on a plane, where each image is a mark.

Methods that keep neighbours together (t-SNE, UMAP) draw tidier groups, but the distances between them mean nothing, and
noise gets groups, too. Of principal components it can be said how much of the variance is in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from siamese.reporting.charts import BLACK, BLUE, GREEN, GREY, ORANGE
from siamese.reporting.pages import Markup, element


@dataclass(frozen=True, eq=False)
class Plane:
    """Where points lie, float64 [points, 2], and which share of their variance each axis shows; 0 if none varies."""

    points: np.ndarray
    shares: tuple[float, float]


def onto_plane(points: np.ndarray) -> Plane:
    """The points on the plane in which they vary most, their mean at (0, 0), the axis of more variance first.

    An axis may point either way: here the dimension that weighs most in it weighs positively.

    Args:
        points: float [points, dimensions]; at least one.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    found, shares = np.zeros((len(points), 2)), [0.0, 0.0]
    total = float((sizes**2).sum())
    for axis in range(min(2, len(sizes)) if total else 0):
        towards = np.sign(axes[axis][np.argmax(np.abs(axes[axis]))])
        found[:, axis] = towards * left[:, axis] * sizes[axis]
        shares[axis] = float(sizes[axis] ** 2 / total)
    return Plane(found, (shares[0], shares[1]))


def nearest_is_own(points: np.ndarray, owners: np.ndarray) -> float | None:
    """How often the nearest other point has the same owner: a share; None where no point has another of its owner.

    Points alone of their owner, and those without one, aren't asked, but may be the nearest.

    Args:
        points: float [points, dimensions].
        owners: int [points], -1: none.
    """
    points = points.astype(np.float64)
    squares = (points**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(apart, np.inf)
    asked = np.array([owner >= 0 and int((owners == owner).sum()) > 1 for owner in owners], bool)
    if not asked.any():
        return None
    return float((owners[apart.argmin(axis=1)] == owners)[asked].mean())


IDENTITIES = 12  # shown, at most: as many as there are marks
IMAGES = 144  # shown, at most, of all identities together; as many again whose identity is unknown
WIDTH, HEIGHT, MARGIN = 900, 540, 34
THUMBNAIL = 46
COLOURS = (BLUE, ORANGE, GREEN, "#8a3fb5", "#b3870b", BLACK)  # each first round, then square
UNKNOWN = GREY


@dataclass(frozen=True, eq=False)
class Shown:
    """The images of the picture.

    Attributes:
        image_ids: [images].
        names: of the identities, sorted.
        owners: int64 [images], which of `names`; -1: unknown.
    """

    image_ids: list[str]
    names: list[str]
    owners: np.ndarray


def choose(images: pd.DataFrame, seed: int) -> Shown:
    """Which images to show: of the identities that have most, some each; and some of unknown identity.

    Args:
        images: image_id, identity (missing where unknown).
        seed: decides between identities with equally many images, and which of an identity's are shown.
    """
    rng = np.random.default_rng([seed, 1])
    images = images.sort_values("image_id")
    of_identity = {str(name): list(rows.image_id) for name, rows in images.groupby("identity", sort=True)}
    by_lot = [list(of_identity)[place] for place in rng.permutation(len(of_identity))]
    names = sorted(sorted(by_lot, key=lambda name: -len(of_identity[name]))[:IDENTITIES])
    owned = [_some(of_identity[name], IMAGES // len(names), rng) for name in names]
    unknown = _some(list(images.image_id[images.identity.isna()]), IMAGES, rng)
    owners = np.repeat([*range(len(names)), -1], [*map(len, owned), len(unknown)])
    return Shown([image_id for some in (*owned, unknown) for image_id in some], names, owners)


def draw(shown: Shown, plane: Plane, pictures: dict[str, str]) -> Markup:
    """The picture with its legend.

    Args:
        plane: where the images lie.
        pictures: images as data URIs, by image_id.
    """
    x, y = _on_paper(plane.points)
    marks = [_mark(owner, x[row], y[row], _name(shown, owner)) for row, owner in enumerate(shown.owners)]
    # Those of unknown identity lie under the others.
    marks = [marks[row] for row in np.argsort(shown.owners >= 0, kind="stable")]
    axes = [f"axis {number}: {100 * share:.0f} % of the variance" for number, share in enumerate(plane.shares, 1)]
    turned = f"rotate(-90 14 {HEIGHT / 2:g})"
    drawing = element(
        "svg",
        element("rect", x=1, y=1, width=WIDTH - 2, height=HEIGHT - 2, fill="none", class_="grid"),
        element("text", axes[0], x=WIDTH / 2, y=HEIGHT - 10, text_anchor="middle", class_="axis"),
        element("text", axes[1], x=14, y=HEIGHT / 2, text_anchor="middle", class_="axis", transform=turned),
        *(_thumbnail(shown, row, box, pictures) for row, box in _thumbnails(shown, x, y)),
        *marks,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="Embedding in two dimensions",
    )
    there = [*range(len(shown.names)), *([-1] if (shown.owners < 0).any() else [])]
    keys = [element("span", _swatch(owner), _name(shown, owner), class_="key") for owner in there]
    return element("figure", drawing, element("figcaption", *keys), class_="chart map")


def _some(image_ids: list[str], most: int, rng: np.random.Generator) -> list[str]:
    return sorted(image_ids[place] for place in rng.permutation(len(image_ids))[:most])


def _name(shown: Shown, owner: int) -> str:
    return shown.names[owner] if owner >= 0 else "identity unknown"


def _on_paper(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points lie in the drawing: both axes have one scale, or distances would be bent."""
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (room / np.maximum(high - low, 1e-12)).min() if (high > low).any() else 0.0
    placed = (points - (low + high) / 2) * scale
    return WIDTH / 2 + placed[:, 0], HEIGHT / 2 - placed[:, 1]


def _mark(owner: int, x: float, y: float, title: str) -> Markup:
    fill = UNKNOWN if owner < 0 else COLOURS[owner % len(COLOURS)]
    told = element("title", title)
    if owner < len(COLOURS):
        return element("circle", told, cx=x, cy=y, r=5.5 if owner >= 0 else 4, fill=fill, class_="mark")
    return element("rect", told, x=x - 5, y=y - 5, width=10, height=10, fill=fill, class_="mark")


def _swatch(owner: int) -> Markup:
    return element("svg", _mark(owner, 8, 8, ""), viewBox="0 0 16 16", width="16", height="16", aria_hidden="true")


def _thumbnails(shown: Shown, x: np.ndarray, y: np.ndarray) -> list[tuple[int, tuple[float, float]]]:
    """Of each identity one image, as near its middle as it may be without lying over another's: row, and upper left."""
    placed: list[tuple[int, tuple[float, float]]] = []
    for owner in range(len(shown.names)):
        rows = np.flatnonzero(shown.owners == owner)
        off = np.hypot(x[rows] - x[rows].mean(), y[rows] - y[rows].mean())
        for row in rows[np.argsort(off.round(6), kind="stable")]:
            left = min(x[row] + 4, WIDTH - THUMBNAIL - 2)
            top = max(y[row] - 4 - THUMBNAIL, 2)
            apart = (max(abs(left - there[0]), abs(top - there[1])) for _, there in placed)
            if all(distance > THUMBNAIL + 3 for distance in apart):
                placed.append((int(row), (float(left), float(top))))
                break
    return placed


def _thumbnail(shown: Shown, row: int, box: tuple[float, float], pictures: dict[str, str]) -> Markup:
    size = {"x": box[0], "y": box[1], "width": THUMBNAIL, "height": THUMBNAIL}
    image = element("image", href=pictures[shown.image_ids[row]], **size)
    colour = COLOURS[shown.owners[row] % len(COLOURS)]
    return element("g", image, element("rect", fill="none", stroke=colour, stroke_width=1.5, **size))
