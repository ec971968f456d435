"""What each network, by its name in params.yaml, sees and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """`image`: height, width and channels of what the network sees, 1 channel being grey; no two networks' differ in
    these and agree in their product. `units`: of an embedding."""

    image: tuple[int, int, int]
    units: int


IMAGE_SHAPE = (100, 100, 3)  # of the specification
EMBEDDING_UNITS = 4096
SIZES = {
    "specification": Sizes(IMAGE_SHAPE, EMBEDDING_UNITS),
    "convolutional": Sizes((48, 48, 1), 512),
    "residual": Sizes((64, 64, 1), 512),
    "pooled": Sizes((64, 64, 1), 512),
}
