"""The built-in sample: pen signatures drawn by a program, a stand-in for real data.

It lets the whole pipeline run, and be tested, where there are no images of one's own. What is measured on it says
nothing about real signatures, so `STAND_IN` stands wherever results on it are shown.
`siamese.data.synthetic.handwriting` decides the strokes; here they become ink on paper under uneven light, seen by a
camera or a scanner, in files of mixed sizes and formats. `handwriting.NATURAL` is the one place that makes it harder
or easier.

Each image has a generator of its own, seeded by what the image is: (seed, writer, image). So writer 7 of a seed is the
same person, to the byte, in a folder of 8 or of 8,000 identities and in either layout (with the same numpy and Pillow;
other versions may round a pixel differently).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from siamese.console import track
from siamese.data.synthetic import handwriting
from siamese.data.synthetic.handwriting import NATURAL, Trace, Variation
from siamese.errors import InputError
from siamese.params import SampleParams
from siamese.storage.files import atomic_folder

STAND_IN = "procedurally drawn signatures, a stand-in for real data"

SUFFIXES = {".jpg": 0.4, ".jpeg": 0.15, ".JPG": 0.1, ".png": 0.2, ".bmp": 0.15}
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP"}
GREY_SHARE = 0.15
MOST_PIXELS = 400 * 300
MOST_PIXELS_BMP = 32_000  # uncompressed, about 100 KB
MOST_TARGET_IMAGES = 1000  # a role
FINENESS = 3  # strokes are drawn this many times larger, then averaged: antialiasing

PAPERS = ((252, 252, 250), (247, 241, 224), (228, 228, 226), (232, 239, 247), (246, 235, 200), (222, 214, 198))
RULES = ((150, 170, 205), (170, 170, 170), (205, 160, 160), (90, 90, 95))


class Purpose(IntEnum):
    """What a generator is for: the second number of its seed."""

    WRITER = 0
    GENUINE = 1
    FORGERY = 2
    FORGER = 3
    MISREADING = 4


@dataclass(frozen=True)
class Job:
    """One image to draw."""

    stem: str  # path in the folder, without suffix
    writer: int  # whose signature
    image: int  # which one of them
    forger: int | None = None  # whose hand imitates it; None: the writer's own


def run(folder: Path, params: SampleParams) -> None:
    """Draws a new image folder: the step as DVC and Kubeflow call it.

    Raises:
        InputError: `folder` holds files already (they may be a user's), is no folder, or can't be written.
    """
    refuse_used(folder)
    total = sum(1 for _ in jobs(params))
    with atomic_folder(folder.resolve(), own=[]) as beside:
        for job in track(jobs(params), "drawing signatures", total):
            suffix, content = draw(job, params.seed)
            file = beside / f"{job.stem}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        refuse_used(folder)  # drawing takes a while: something may have been put there


def refuse_used(folder: Path) -> None:
    """Nothing where `folder` is free or empty.

    Raises:
        InputError: it is neither.
    """
    try:
        free = not any(folder.iterdir()) if folder.is_dir() else not (folder.exists() or folder.is_symlink())
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror}): name a new folder") from None
    if not free:
        raise InputError(f"{folder}: is there already, and no file is ever replaced: name a new folder")


def jobs(params: SampleParams) -> Iterator[Job]:
    """Every image of the folder, in the order drawn.

    Layout `identities`: `writer-000/000`, …: `images` signatures of each of `identities` writers. With forgeries, also
    `images` imitations of each by one other writer, in a folder of their own, `writer-007.forged-by-writer-003/000`, …:
    what another hand wrote is another identity.

    Layout `roles`: writer 0 is the target. `anchor/` and `positive/` each hold half of images x identities of the
    target's signatures, rounded up, at most 1000 a role, no image in both; `negative/` holds `images` of each of the
    other identities, with forgeries also one imitation of the target by each of them.
    """
    if params.layout == "roles":
        yield from _role_jobs(params)
        return
    for writer in range(params.identities):
        for image in range(params.images):
            yield Job(f"{identity_name(writer)}/{image:03d}", writer, image)
    if params.forgeries:
        for writer in range(params.identities):
            forger = forger_of(writer, params.seed)
            for image in range(params.images):
                yield Job(f"{identity_name(writer, forger)}/{image:03d}", writer, image, forger)


def _role_jobs(params: SampleParams) -> Iterator[Job]:
    target = 0
    for number in range(min(-(-params.images * params.identities // 2), MOST_TARGET_IMAGES)):
        yield Job(f"anchor/{number:03d}", target, 2 * number)
        yield Job(f"positive/{number:03d}", target, 2 * number + 1)
    for writer in range(1, params.identities):
        for image in range(params.images):
            yield Job(f"negative/{identity_name(writer)}-{image:03d}", writer, image)
        if params.forgeries:
            yield Job(f"negative/{identity_name(target, forger=writer)}-000", target, 0, forger=writer)


def identity_name(writer: int, forger: int | None = None) -> str:
    """The identity, as its folder is called: `writer-007`, or `writer-007.forged-by-writer-003`."""
    return f"writer-{writer:03d}" + ("" if forger is None else f".forged-by-writer-{forger:03d}")


def forger_of(writer: int, seed: int) -> int:
    """Who imitates `writer`: one of the writers before, whatever number follows; writer 1 imitates writer 0."""
    return 1 if writer == 0 else int(np.random.default_rng([seed, Purpose.FORGER, writer]).integers(writer))


def draw(job: Job, seed: int, variation: Variation = NATURAL) -> tuple[str, bytes]:
    """One image file: its suffix and its bytes."""
    hand, signature = _writer(job.writer, seed)
    rng = np.random.default_rng([seed, Purpose.GENUINE, job.writer, job.image])
    if job.forger is not None:
        learning = np.random.default_rng([seed, Purpose.MISREADING, job.writer, job.forger])
        hand, signature = handwriting.forging(_writer(job.forger, seed)[0]), handwriting.misread(signature, learning)
        rng = np.random.default_rng([seed, Purpose.FORGERY, job.writer, job.forger, job.image])
    suffix = str(rng.choice(list(SUFFIXES), p=list(SUFFIXES.values())))
    traces = handwriting.write(signature, hand, rng, variation)
    size, strokes = place(traces, rng, variation, MOST_PIXELS_BMP if suffix == ".bmp" else MOST_PIXELS)
    pen = hand.pen * np.exp(rng.normal(0, variation.pen))
    ink = handwriting.ink_from(rng) if rng.random() < variation.other_pen else hand.ink
    pixels = photograph(ink_coverage(size, strokes, pen), ink, rng, variation)
    return suffix, encode(pixels, FORMATS[suffix.lower()], rng)


def _writer(writer: int, seed: int) -> tuple[handwriting.Hand, list[handwriting.Points]]:
    rng = np.random.default_rng([seed, Purpose.WRITER, writer])
    return handwriting.hand_of(rng), handwriting.signature_of(rng)


def place(
    traces: list[Trace], rng: np.random.Generator, variation: Variation, most_pixels: int
) -> tuple[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]]:
    """Cuts a picture around the strokes, with margins that vary.

    Returns:
        Width and height, 120 x 60 to 400 x 300 pixels; and for each stroke its points [n, 2] in pixels, y down, and its
        pressure times pixels an x-height [n].
    """
    every = np.concatenate([trace.points for trace in traces])
    low, high = every.min(axis=0) - 0.2, every.max(axis=0) + 0.2
    margins = rng.uniform(0, variation.placement, (2, 2)) * (high - low).max()
    low, high = low - margins[0], high + margins[1]
    wanted = np.exp(rng.uniform(np.log(140), np.log(400)))
    extent = high - low
    scale = min(wanted / extent[0], 300 / extent[1], np.sqrt(most_pixels / extent.prod()))
    size = np.maximum(np.round(extent * scale), [120, 60]).astype(int)
    corner = (low + high) / 2 + size / scale * [-0.5, 0.5]
    strokes = [((trace.points - corner) * [scale, -scale], trace.pressure * scale) for trace in traces]
    return (int(size[0]), int(size[1])), strokes


def ink_coverage(size: tuple[int, int], strokes: list[tuple[np.ndarray, np.ndarray]], pen: float) -> np.ndarray:
    """How much of each pixel the strokes cover: float32 [height, width] in [0, 1]."""
    canvas = Image.new("L", (size[0] * FINENESS, size[1] * FINENESS))
    brush = ImageDraw.Draw(canvas)
    for points, pressure in strokes:
        widths = np.maximum(pen * pressure, 0.9) * FINENESS
        path = (points * FINENESS).tolist()
        for start, stop, width in zip(path[:-1], path[1:], widths[:-1].tolist(), strict=True):
            brush.line((*start, *stop), fill=255, width=round(width))
        for (x, y), half in zip(path, (widths / 2).tolist(), strict=True):  # round ends and joints
            brush.ellipse((x - half, y - half, x + half, y + half), fill=255)
    return np.asarray(canvas.reduce(FINENESS), dtype=np.float32) / 255


def photograph(
    coverage: np.ndarray, ink: tuple[int, int, int], rng: np.random.Generator, variation: Variation
) -> np.ndarray:
    """Ink on paper as a camera or a scanner sees it: uint8 [height, width, 3]."""
    height, width = coverage.shape
    paper = np.array(PAPERS[rng.integers(len(PAPERS))], dtype=np.float32)
    paper = 255 - (255 - paper) * np.float32(variation.paper)
    grain = _smooth_noise(rng, (height, width), 3) * 2.0 + rng.normal(0, rng.uniform(0.5, 2.5), (height, width))
    sheet = paper + (grain * variation.paper).astype(np.float32)[..., None]
    if rng.random() < variation.ruled:
        lines, colour = _rules(rng, height, width)
        sheet += (np.array(colour, dtype=np.float32) - sheet) * lines[..., None]

    opacity = rng.uniform(0.7, 1.0) * (1 - rng.uniform(0, 0.35) * np.clip(_smooth_noise(rng, (height, width), 2), 0, 1))
    covered = (coverage * opacity).astype(np.float32)[..., None]
    page = sheet * (1 - covered * (1 - np.array(ink, dtype=np.float32) / 255))

    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    fall = rng.normal(0, 0.06, 2)
    light = 1 - variation.paper * (rng.uniform(0, 0.22) + fall[0] * across + fall[1] * down)
    seen = np.clip(page * light.astype(np.float32)[..., None], 0, 255).astype(np.uint8)
    blurred = Image.fromarray(seen).filter(ImageFilter.GaussianBlur(rng.uniform(0, variation.blur)))
    return np.asarray(blurred)


def encode(pixels: np.ndarray, file_format: str, rng: np.random.Generator) -> bytes:
    """A file's bytes, some of them grey, JPEG in mixed quality."""
    picture = Image.fromarray(pixels)
    if rng.random() < GREY_SHARE:
        picture = picture.convert("L")
    options = {"quality": int(rng.integers(40, 96))} if file_format == "JPEG" else {}
    content = io.BytesIO()
    picture.save(content, file_format, **options)
    return content.getvalue()


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], coarseness: int) -> np.ndarray:
    """Blotches some `coarseness` pixels wide, deviation about 1: float32 [height, width]."""
    coarse = rng.normal(0, 1, (shape[0] // coarseness + 1, shape[1] // coarseness + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _rules(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Printed lines: how much of each pixel they cover, float32 [height, width], and their colour."""
    lines = np.zeros((height, width), dtype=np.float32)
    if rng.random() < 0.5:  # one line to sign on, drawn through or dotted
        row = int(height * rng.uniform(0.6, 0.95))
        lines[row, :: rng.integers(1, 4)] = rng.uniform(0.5, 1)
    else:  # ruled or squared paper
        pitch = int(rng.integers(14, 60))
        lines[rng.integers(pitch) :: pitch] = rng.uniform(0.4, 0.8)
        if rng.random() < 0.4:
            lines[:, rng.integers(pitch) :: pitch] = rng.uniform(0.4, 0.8)
    return lines, RULES[rng.integers(len(RULES))]
