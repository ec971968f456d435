"""Pictures with something in them, each of its own seed, and ways to make near-duplicates of one."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance


def picture(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """Shapes of many colours on a slope of grey: like a photograph, seen from far away."""
    rng = np.random.default_rng([7, seed])
    slope = np.linspace(rng.integers(40, 120), rng.integers(120, 200), width * height).reshape(height, width)
    image = Image.fromarray(slope.astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.integers(0, [width, height])
        w, h = rng.integers([width // 10, height // 10], [width // 3, height // 3])
        draw.ellipse((int(x - w), int(y - h), int(x + w), int(y + h)), fill=tuple(rng.integers(30, 225, 3).tolist()))
    return image


def strokes(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """A line written on white paper."""
    rng = np.random.default_rng([11, seed])
    image = Image.new("RGB", (width, height), (250, 250, 250))
    points = rng.integers([width // 6, height // 6], [5 * width // 6, 5 * height // 6], (8, 2))
    ImageDraw.Draw(image).line([tuple(point) for point in points.tolist()], fill=(20, 20, 60), width=4, joint="curve")
    return image


def encoded(image: Image.Image, format: str = "PNG", **how: int) -> bytes:
    data = BytesIO()
    image.save(data, format, **how)
    return data.getvalue()


def as_jpeg(image: Image.Image) -> Image.Image:
    return Image.open(BytesIO(encoded(image, "JPEG", quality=50))).convert("RGB")


def resized(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 2 // 3, image.height * 2 // 3))


def brightened(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image).astype(int) + 20, 0, 255).astype(np.uint8))


def less_contrast(image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(0.7)


def cropped(image: Image.Image) -> Image.Image:
    x, y = round(0.02 * image.width), round(0.02 * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


def all_of_it(image: Image.Image) -> Image.Image:
    return as_jpeg(brightened(resized(cropped(image))))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as JPEG": as_jpeg,
    "resized": resized,
    "brighter": brightened,
    "less contrast": less_contrast,
    "cropped by 2 % a side": cropped,
    "all of it": all_of_it,
}
