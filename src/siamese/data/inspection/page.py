"""The data report as a page: all that `siamese inspect` says, with pictures of what it is about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from siamese.console import log, track
from siamese.data.image_folder import ROLES
from siamese.data.inspection import image_statistics, near_duplicates, outliers
from siamese.data.inspection.image_statistics import BYTES_WORTH_A_PROCESS, opened
from siamese.data.inspection.outliers import KINDS, TINY, Group, Outlier, OutlierReport, owners_of
from siamese.data.inspection.report import DataReport, Survey, facts
from siamese.data.splits import SPLITS, quotas
from siamese.errors import InputError
from siamese.params import Params
from siamese.reporting import pages
from siamese.reporting.charts import BLUE, ORANGE, Axis, Bars, Mark, chart, nice_ticks
from siamese.reporting.pages import STYLE, Markup, data_uri, element, join, page, section, small, table
from siamese.storage import parallel
from siamese.storage.object_store import AnyPath

GENERATOR = "siamese inspect"
SHEET_IMAGES, SHEET_IDENTITIES, OF_EACH = 96, 32, 6  # images at most, identities at most, images of one
TWINS = 16  # groups of near-duplicates with pictures
LONE = 5  # outliers of a kind with pictures
THUMBNAIL = 112  # pixels of the longer side
LONGEST_NAME = 90  # characters
BINS = 40


def refuse(page_file: Path, data_folder: AnyPath, others: Iterable[AnyPath] = ()) -> None:
    """Says so where a page can't be written there without harm.

    Args:
        page_file: the page to be.
        data_folder: what the page is about.
        others: folders that are parts of it, too, as links may lead out of it.

    Raises:
        InputError: it isn't called .html, it would become part of the data, or another program's page is there.
    """
    pages.require_page_writable(page_file, GENERATOR)
    above = {_inode(folder) for folder in page_file.absolute().resolve().parents} - {None}
    if above & {_inode(folder) for folder in (data_folder, *others)}:
        raise InputError(f"{page_file}: would become part of the data in {data_folder}: name a file elsewhere")


def write(page_file: Path, report: DataReport, read: Survey, odd: OutlierReport, params: Params) -> None:
    """Writes the page, whole.

    Raises:
        InputError: see `refuse`; or the file can't be written.
    """
    refuse(page_file, read.folder, read.folders)
    text = render(report, read, odd, params)
    pages.write_page(page_file, text)
    log(f"wrote {page_file}")


def render(report: DataReport, read: Survey, odd: OutlierReport, params: Params) -> str:
    """The page as text: of bounded size, whatever the folder holds. Equal data and parameters give equal text."""
    sheet = contact_sheet(read, params)
    twins, lone = odd.groups[:TWINS], {kind: found[:LONE] for kind, found in odd.outliers.items()}
    wanted = {row for _, rows in sheet for row in rows}
    wanted |= {row for group in twins for row in group.shown}
    wanted |= {one.row for found in lone.values() for one in found}
    shown = _Shown(read, thumbnails(read, sorted(wanted), params.data.max_pixels))
    return page(
        "Data report",
        element("h1", "What this folder of images holds"),
        element("p", short(report.folder), class_="folder"),
        *_notes(report, odd),
        section("In short", _tiles(report, odd)),
        section("Near-duplicates", *_near_duplicates(odd, twins, shown)),
        section("Brightness and sharpness", *_brightness_and_sharpness(odd, lone, shown)),
        section("A sample of the images", _sheet(read, sheet, shown)),
        section("All facts", table([], [[name, short(text, 4 * LONGEST_NAME)] for name, text in facts(report)])),
        section("How this was found", *_method(params)),
        styles=(STYLE, Path(__file__).with_name("page.css")),
        generator=GENERATOR,
    )


def contact_sheet(read: Survey, params: Params) -> list[tuple[str, list[int]]]:
    """A seeded sample: names of identities (or roles), and rows of some images of each, `SHEET_IMAGES` or fewer.

    Of identities, each split shows its share, two at least where it has them.
    """
    rng = np.random.default_rng(params.catalog.seed)
    images = read.images
    if images.empty:
        return []
    column = images["role"] if read.found.layout == "roles" else images["identity"]
    rows_of = {str(name): list(rows) for name, rows in images.groupby(column, sort=True).indices.items()}
    if read.found.layout == "roles":
        chosen, of_each = [role for role in ROLES if role in rows_of], SHEET_IMAGES // len(ROLES)
    else:
        chosen, of_each = _sample_of_identities(read, rows_of, rng), OF_EACH
    while sum(min(len(rows_of[name]), of_each) for name in chosen) > SHEET_IMAGES:
        of_each -= 1
    return [(name, sorted(int(row) for row in rng.permutation(rows_of[name])[:of_each])) for name in chosen]


def _sample_of_identities(read: Survey, rows_of: Mapping[str, list[int]], rng: np.random.Generator) -> list[str]:
    names = list(rows_of)
    usual = int(np.median([len(rows) for rows in rows_of.values()]))
    room = min(SHEET_IMAGES // min(usual, OF_EACH), SHEET_IDENTITIES, len(names))
    order = [names[place] for place in rng.permutation(len(names))]
    if read.split is None:
        return sorted(order[:room])
    split_of = dict(zip(read.images["identity"], read.images["split"], strict=True))
    shares = [read.split[split]["identities"] / len(names) for split in SPLITS]
    wanted = dict(zip(SPLITS, quotas(room, shares, min(2, room // len(SPLITS))), strict=True))
    chosen = []
    for split in SPLITS:
        chosen += sorted([name for name in order if split_of[name] == split][: wanted[split]])
    return chosen


def thumbnails(read: Survey, rows: Sequence[int], max_pixels: int) -> dict[int, str]:
    """Small pictures of the rows as data URIs; an image that can't be decoded has none."""
    files = [read.folder / read.images["path"].iloc[row] for row in rows]
    processes = int(read.images["bytes"].iloc[list(rows)].sum()) // BYTES_WORTH_A_PROCESS
    drawn = parallel.parallel_map(partial(thumbnail, max_pixels=max_pixels), files, processes)
    found = zip(rows, track(drawn, "drawing pictures", total=len(files)), strict=True)
    return {row: drawing for row, drawing in found if drawing is not None}


def thumbnail(file: AnyPath, max_pixels: int) -> str | None:
    """The image as a person sees it, `THUMBNAIL` pixels or fewer on its longer side, as a data URI."""
    image = opened(file, max_pixels, (2 * THUMBNAIL, 2 * THUMBNAIL))
    if image is None:
        return None
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    data = BytesIO()
    image.save(data, "JPEG", quality=85)
    return data_uri(data.getvalue(), "image/jpeg")


def short(text: str, most: int = LONGEST_NAME) -> str:
    """Text for a page: printable, and cut in its middle where it is too long."""
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2) :]}"


class _Shown:
    """The images of the page: their pictures, and what stands under them."""

    def __init__(self, read: Survey, pictures: Mapping[int, str]) -> None:
        self.pictures = pictures
        self.paths = list(read.images["path"])
        self.splits = [None if pd.isna(split) else str(split) for split in read.images["split"]]
        self.owners = owners_of(read.images)

    def frame(self, row: int) -> Markup:
        name = short(self.paths[row])
        if row not in self.pictures:
            return element("span", "can't be decoded", class_="frame small")
        return element("span", element("img", src=self.pictures[row], alt=name, title=name), class_="frame")

    def tag(self, row: int) -> Markup:
        return _tag(self.splits[row])


def _tag(split: str | None) -> Markup:
    return element("span", split, class_=f"tag {split}") if split else Markup()


def _notes(report: DataReport, odd: OutlierReport) -> Iterator[Markup]:
    """What needs doing, leaks first."""
    leaks = [warning for warning in report.warnings if warning.startswith("leak: ")]
    others = [warning for warning in report.warnings if warning not in leaks]
    if not report.trainable:
        others.insert(0, f"nothing can be trained on this folder: {report.why_not}")
    for lines, title, kind in ((leaks, "Leaks between splits", "note leak"), (others, "Warnings", "note")):
        if lines:
            items = [element("li", short(line.removeprefix("leak: "), 4 * LONGEST_NAME)) for line in lines]
            yield element("div", element("b", title), element("ul", *items), class_=kind, role="note")


def _tiles(report: DataReport, odd: OutlierReport) -> Markup:
    alike, leaks = sum(len(group.rows) for group in odd.groups), sum(len(group.splits) > 1 for group in odd.groups)
    outlying = sum(map(len, odd.outliers.values()))
    sizes = report.sizes.get("median")
    whose = f"of {report.identities:,} identities" if report.layout == "identities" else "of one target and others"
    tiles = [
        ("usable images", f"{report.images:,}", whose),
        ("median size", f"{sizes[0]}×{sizes[1]}" if sizes else "–", "width × height in pixels"),
        ("rejected files", f"{report.rejected:,}", "see all facts, below"),
        ("near-duplicates", f"{alike:,}", f"groups: {len(odd.groups):,}, across splits: {leaks:,}"),
        ("outliers", f"{outlying:,}", "by brightness or sharpness"),
        ("trainable", "yes" if report.trainable else "no", "images of both kinds of pairs in every split"),
    ]
    drawn = [
        element("div", element("span", name), element("b", figure), element("span", under), class_="tile")
        for name, figure, under in tiles
    ]
    rows = [[split, *(f"{number:,}" for number in numbers.values())] for split, numbers in (report.split or {}).items()]
    split = table(["split", *next(iter((report.split or {}).values()))], rows) if report.split else Markup()
    return join(element("div", *drawn, class_="tiles"), split)


def _sheet(read: Survey, sheet: list[tuple[str, list[int]]], shown: _Shown) -> Markup:
    if not sheet:
        return element("p", "There is no usable image.")
    by_role = read.found.layout == "roles"
    figures = []
    for name, rows in sheet:
        held = [element("div", shown.frame(row), shown.tag(row) if by_role else "") for row in rows]
        title = element("figcaption", element("b", short(name)), "" if by_role else shown.tag(rows[0]))
        figures.append(element("figure", title, element("div", *held, class_="images")))
    many = len(read.images["identity"].unique())
    text = "Of each role" if by_role else f"Of {len(sheet)} of {many:,} identities"
    return join(
        small(f"{text} some images, drawn by lot (catalog.seed), upright and in their own shape."),
        element("div", *figures, class_="sheet"),
    )


def _near_duplicates(odd: OutlierReport, twins: Sequence[Group], shown: _Shown) -> Iterator[Markup]:
    if not odd.groups:
        yield element("p", "None: no image looks the same as another.")
        return
    images, groups = sum(len(group.rows) for group in odd.groups), len(odd.groups)
    text = f"{images:,} images look the same as another one, in {groups:,} {'groups' if groups > 1 else 'group'}."
    crossing = [(two, len(odd.across(*two))) for two in combinations(SPLITS, 2)]
    for (one, other), number in crossing:
        if number:
            text += f" {number:,} {'lies' if number == 1 else 'lie'} in {one} and {other}."
    two = sum(len(group.owners) > 1 for group in odd.groups)
    text += f" {two:,} lie under different identities." if two else " None lies under two identities."
    yield element("p", text)
    parts = (
        (
            "Leaks: across splits",
            "No two splits should share a picture. Keep one of them.",
            [group for group in twins if len(group.splits) > 1],
        ),
        (
            "Under different identities, in one split",
            "One of the identities is wrong, or they can't be told apart.",
            [group for group in twins if len(group.splits) < 2 and len(group.owners) > 1],
        ),
        (
            "Of one identity, in one split",
            "They do no harm, and teach nothing new. Photographs taken in a row look so, too.",
            [group for group in twins if len(group.splits) < 2 and len(group.owners) == 1],
        ),
    )
    for title, explained, found in parts:
        if found:
            yield element("h3", title)
            yield small(explained)
            yield element("div", *(_twins(group, shown) for group in found), class_="twins")
    if groups > len(twins):
        yield small(
            f"{groups - len(twins):,} more groups without pictures; `--json` names the first {outliers.LISTED}."
        )


def _twins(group: Group, shown: _Shown) -> Markup:
    if len(group.splits) > 1:
        title = f"{', '.join(group.splits[:-1])} and {group.splits[-1]}"
    else:
        title = "two identities" if len(group.owners) > 1 else "one identity"
    more = len(group.rows) - 2
    caption = element(
        "figcaption",
        element("b", title, class_="bad" if len(group.splits) > 1 else None),
        f", likeness {group.likeness:.3f}",
        f", {more:,} more like them" if more else "",
    )
    two = [
        element(
            "div",
            shown.frame(row),
            element("b", short(shown.owners[row])),
            shown.tag(row),
            element("span", short(shown.paths[row])),
        )
        for row in group.shown
    ]
    leak = "leak" if len(group.splits) > 1 else None
    return element("figure", caption, element("div", *two, class_="two"), class_=leak)


def _brightness_and_sharpness(
    odd: OutlierReport, lone: Mapping[str, Sequence[Outlier]], shown: _Shown
) -> Iterator[Markup]:
    if len(odd.brightness) > 1:
        yield element(
            "div",
            _histogram("Brightness", "mean luminance: 0 black, 255 white", odd.brightness),
            _histogram("Sharpness", "logarithm (base 10) of sharpness", np.log10(odd.sharpness + TINY)),
            class_="charts",
        )
    if not any(lone.values()):
        yield element("p", "No image stands out.")
    for kind, found in lone.items():
        if found:
            number = len(odd.outliers[kind])
            first = f" The {len(found)} most extreme:" if number > len(found) else ""
            yield element("h3", f"{kind.capitalize()}: {number:,}")
            yield small(f"{KINDS[kind]}{first}")
            yield element("div", *(_lone(kind, one, shown) for one in found), class_="lone")


def _lone(kind: str, one: Outlier, shown: _Shown) -> Markup:
    names = {"blank": "contrast", "dark": "brightness", "bright": "brightness"}
    number = f"{one.value:.1f}" if kind in names else f"{one.value:.3g}"
    lines = [
        element("b", f"{names.get(kind, 'sharpness')} {number}"),
        element("span", f"z {one.z:+.1f}") if one.z is not None else "",
        element("span", short(shown.paths[one.row])),
        element("span", shown.tag(one.row)),
    ]
    return element("figure", shown.frame(one.row), element("figcaption", *lines))


def _histogram(title: str, label: str, values: np.ndarray) -> Markup:
    """How many images lie where, and the marks beyond which one stands out."""
    values = values.astype(np.float64)
    away = image_statistics.OUTLYING * image_statistics.robust_spread(values)
    low, high = float(values.min()), float(values.max())
    margin = (high - low) / 5 or 1.0
    limits = [float(np.median(values)) + end * away for end in (-1, 1)]
    limits = [limit for limit in limits if away and low - margin < limit < high + margin]
    low, high = min([low, *limits]) - margin / 5, max([high, *limits]) + margin / 5
    heights, edges = np.histogram(values, BINS, (low, high))
    top = int(heights.max())
    return chart(
        title,
        Axis(label, low, high, nice_ticks(low, high), percent=False),
        Axis("images", 0, 1.05 * top, [tick for tick in nice_ticks(0, top) if tick == int(tick)], percent=False),
        [
            Bars("images", BLUE, edges, heights.astype(np.float64)),
            *(
                Mark(f"stands out {'below' if limit < np.median(values) else 'above'}", ORANGE, limit)
                for limit in limits
            ),
        ],
    )


def _method(params: Params) -> Iterator[Markup]:
    yield element(
        "p",
        "Every image was decoded as a person sees it, squeezed to the 100 × 100 pixels of the network, and looked at "
        "in grey. The files themselves were not changed.",
    )
    yield element(
        "p",
        "Near-duplicates: perceptual hashes of 64 bits (pHash: the 8 × 8 lowest frequencies of the cosine transform "
        f"against their median; Krawetz, 2011) that differ in {near_duplicates.NEAR} bits or fewer propose pairs. "
        "Their "
        "pixels decide: from a correlation of "
        f"{near_duplicates.SAME} on, at {near_duplicates.PICTURE_SIDE} × {near_duplicates.PICTURE_SIDE}, one moved "
        "and stretched over the "
        "other by a few per cent (Lucas and Kanade, 1981), two images are near-duplicates, and their correlation is "
        "the likeness shown. That finds pictures encoded anew, in another size, brighter or darker, or with a little "
        "cut from their margins (2 % as a rule, 3 % mostly); not ones turned, mirrored or cut more. Blank images are "
        "left out. Groups are joined by pairs that share an image.",
    )
    yield element(
        "p",
        "Brightness is the mean luminance. Sharpness is the variance of the Laplacian (Pech-Pacheco and others, 2000) "
        "over the variance of the luminance. An image stands out where z = 0.6745 (x - median) / MAD, of brightness or "
        f"of the logarithm of sharpness, is beyond ±{image_statistics.OUTLYING} (Iglewicz and Hoaglin, 1993). It is "
        "blank where "
        f"its luminance has a standard deviation below {image_statistics.BLANK:g} of 255.",
    )
    shares = params.catalog
    yield element(
        "p",
        f"Splits as `siamese catalog` makes them: train {shares.train:g}, test {shares.test:g}, validation "
        f"{shares.validation:g}, seed {shares.seed}.",
    )


def _inode(folder: AnyPath) -> tuple[int, int] | None:
    try:
        status = os.stat(str(folder))
    except OSError:
        return None
    return status.st_dev, status.st_ino
