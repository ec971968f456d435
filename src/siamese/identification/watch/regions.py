"""Where in a frame to look: everywhere, at one place, or at faces."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from siamese.errors import InputError
from siamese.identification.watch.video import opencv

Box = tuple[int, int, int, int]  # left, top, width, height, in pixels

CASCADE = "haarcascade_frontalface_default.xml"
_SMALLEST_FACE = 40  # pixels: below, the network would see little
_SCALE, _NEIGHBOURS = 1.1, 5


class Region(Protocol):
    """Where to look."""

    def find(self, pixels: np.ndarray) -> list[Box]:
        """The places in a frame, uint8 [height, width, 3], RGB, from left to right."""


class WholeFrame:
    """The frame itself."""

    def find(self, pixels: np.ndarray) -> list[Box]:
        return [(0, 0, pixels.shape[1], pixels.shape[0])]


class OnePlace:
    """The same place in every frame, as far as it lies in it."""

    def __init__(self, text: str) -> None:
        """
        Args:
            text: left, top, width and height in pixels, such as `100,50,200,200`.

        Raises:
            InputError: it's something else.
        """
        try:
            left, top, width, height = map(int, text.split(","))
        except ValueError:
            left = top = width = height = -1
        if left < 0 or top < 0 or width < 1 or height < 1:
            raise InputError(f"--region {text}: must be left,top,width,height in pixels, such as 100,50,200,200")
        self._box = left, top, width, height

    def find(self, pixels: np.ndarray) -> list[Box]:
        left, top, width, height = self._box
        right, bottom = min(left + width, pixels.shape[1]), min(top + height, pixels.shape[0])
        if left >= right or top >= bottom:
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise InputError(f"--region {left},{top},{width},{height}: lies outside a frame of {size}: give another")
        return [(left, top, right - left, bottom - top)]


class Faces:
    """Upright faces seen from the front, by the cascade of Viola and Jones that OpenCV's package carries."""

    def __init__(self) -> None:
        """
        Raises:
            InputError: OpenCV isn't installed, or not with its cascades.
        """
        cv2 = opencv()
        self._cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
        if self._cascade.empty():
            raise InputError(f"--faces: this OpenCV carries no {CASCADE}: pip install opencv-python-headless")

    def find(self, pixels: np.ndarray) -> list[Box]:
        cv2 = opencv()
        grey = cv2.equalizeHist(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        smallest = (_SMALLEST_FACE, _SMALLEST_FACE)
        found = self._cascade.detectMultiScale(grey, _SCALE, _NEIGHBOURS, minSize=smallest)
        return sorted((int(x), int(y), int(w), int(h)) for x, y, w, h in found)
