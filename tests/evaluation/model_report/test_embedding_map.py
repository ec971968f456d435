"""The map of embeddings: which images it shows, and where it puts them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from page_reader import Page

from siamese.evaluation.model_report import embedding_map
from siamese.evaluation.model_report.embedding_map import HEIGHT, IDENTITIES, IMAGES, THUMBNAIL, WIDTH, Plane


def images(counts: dict[str | None, int]) -> pd.DataFrame:
    rows = [(f"{name}-{n:03}", name) for name, count in counts.items() for n in range(count)]
    return pd.DataFrame(rows, columns=["image_id", "identity"])


def numbers(html: str, tag: str, *names: str) -> np.ndarray:
    found = re.findall(rf"<{tag} [^>]*>", html)
    return np.array([[float(re.search(rf' {name}="([-\d.]+)"', one)[1]) for name in names] for one in found])


def drawn(counts: dict[str | None, int], points: np.ndarray) -> str:
    shown = embedding_map.choose(images(counts), seed=0)
    return embedding_map.draw(shown, Plane(points, (0.5, 0.25)), dict.fromkeys(shown.image_ids, "data:image/png,"))


def test_identities_with_most_images_are_shown() -> None:
    """20 identities of 1 to 20 images: the last 12 have 9 or more; at most 144 / 12 = 12 of each are shown."""
    shown = embedding_map.choose(images({f"who-{n:02}": n for n in range(1, 21)}), seed=0)
    assert shown.names == [f"who-{n:02}" for n in range(9, 21)]
    assert np.bincount(shown.owners).tolist() == [9, 10, 11, *[12] * 9]
    assert all(
        image.startswith(f"{shown.names[owner]}-") for image, owner in zip(shown.image_ids, shown.owners, strict=True)
    )


def test_of_equals_the_seed_decides() -> None:
    listed = images({f"who-{n:02}": 3 for n in range(40)})
    names = {tuple(embedding_map.choose(listed, seed).names) for seed in range(5)}
    assert len(names) == 5 and all(len(found) == IDENTITIES for found in names)
    again = listed.sample(frac=1, random_state=1)
    assert embedding_map.choose(again, 3).image_ids == embedding_map.choose(listed, 3).image_ids


def test_role_folders_show_the_target_and_others() -> None:
    shown = embedding_map.choose(images({"target": 200, None: 300}), seed=0)
    assert shown.names == ["target"]
    assert (shown.owners == 0).sum() == (shown.owners == -1).sum() == IMAGES
    html = embedding_map.draw(
        shown,
        Plane(np.random.default_rng(0).normal(size=(2 * IMAGES, 2)), (0.5, 0.2)),
        dict.fromkeys(shown.image_ids, ""),
    )
    assert "identity unknown" in Page(html).text


def test_a_mark_an_image_on_one_scale() -> None:
    """A square of side 4: equally long both ways on the page, upright, and as large as the height allows."""
    points = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    page = drawn({"a": 4}, points)
    svg = page.partition("</svg>")[0]
    (x, y) = numbers(svg, "circle", "cx", "cy").T
    assert len(x) == 4
    side = HEIGHT - 2 * embedding_map.MARGIN
    assert x[1] - x[0] == y[0] - y[2] == side
    assert (x[0] + x[1]) / 2 == WIDTH / 2 and (y[0] + y[2]) / 2 == HEIGHT / 2


def test_more_identities_than_colours_have_two_shapes() -> None:
    """Twelve identities of an image each: 6 round marks and 6 square ones; and as many keys."""
    page = drawn({f"who-{n:02}": 1 for n in range(12)}, np.random.default_rng(0).normal(size=(12, 2)))
    svg = page.partition("</svg>")[0]
    assert len(re.findall("<circle", svg)) == 6
    assert len(re.findall(r'<rect x="[-\d.]+" y="[-\d.]+" width="10"', svg)) == 6
    assert Page(page).every("class").count("key") == 12


def test_thumbnails_lie_inside_and_not_over_each_other() -> None:
    rng = np.random.default_rng(2)
    page = drawn({f"who-{n:02}": 8 for n in range(12)}, rng.normal(size=(96, 2)))
    boxes = numbers(page, "image", "x", "y")
    assert 6 <= len(boxes) <= 12
    assert (boxes >= 0).all() and (boxes + THUMBNAIL <= (WIDTH, HEIGHT)).all()
    apart = np.abs(boxes[:, None] - boxes).max(axis=2)
    assert apart[~np.eye(len(boxes), dtype=bool)].min() > THUMBNAIL


@pytest.mark.parametrize("many", [1, 3])
def test_points_in_one_place_are_drawn_in_the_middle(many: int) -> None:
    page = drawn({"a": many}, np.zeros((many, 2)))
    assert (numbers(page.partition("</svg>")[0], "circle", "cx", "cy") == (WIDTH / 2, HEIGHT / 2)).all()
