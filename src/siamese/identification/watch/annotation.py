"""Boxes, names and scores on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from siamese.identification.identify import Answer
from siamese.identification.watch.regions import Box

KNOWN, UNKNOWN = (0, 140, 60), (190, 40, 40)  # a frame's colour, and what a label is written on
_LEAST_LETTERS = 14  # pixels high
_PICTURE_A_LETTER = 28  # how many letters' heights a picture is high


def annotated(pixels: np.ndarray, boxes: Sequence[Box], answers: Sequence[Answer]) -> np.ndarray:
    """A copy of a picture, uint8 [height, width, 3], RGB, with each answer's box, name and score."""
    drawn = pixels.copy()
    letters = max(_LEAST_LETTERS, pixels.shape[0] // _PICTURE_A_LETTER)
    for box, answer in zip(boxes, answers, strict=True):
        known = answer.identity is not None
        colour = KNOWN if known else UNKNOWN
        _frame(drawn, box, max(2, letters // 7), colour)
        text = f"{answer.identity if known else 'unknown'} {answer.score:.2f}"
        patch = _label(text, letters, colour)
        left, top = box[0], box[1] - len(patch) if box[1] >= len(patch) else box[1]  # above the box, or inside
        room = drawn[top : top + len(patch), left : left + patch.shape[1]]
        room[:] = patch[: room.shape[0], : room.shape[1]]
    return drawn


def _frame(drawn: np.ndarray, box: Box, thick: int, colour: tuple[int, int, int]) -> None:
    left, top, width, height = box
    inside = drawn[top : top + height, left : left + width]
    inside[:thick] = inside[-thick:] = colour
    inside[:, :thick] = inside[:, -thick:] = colour


@lru_cache(256)
def _label(text: str, letters: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Text on a coloured ground: uint8 [height, width, 3]. By Pillow, which has letters beyond ASCII."""
    font = ImageFont.load_default(letters)
    left, top, right, bottom = font.getbbox(text)
    margin = letters // 4
    patch = Image.new("RGB", (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin), colour)
    ImageDraw.Draw(patch).text((margin - left, margin - top), text, "white", font)
    return np.asarray(patch)
