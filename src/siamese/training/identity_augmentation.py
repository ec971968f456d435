"""Identities made of those there are, to train on: characters turned, faces blended."""

from __future__ import annotations

import numpy as np

from siamese.training.sampler import UNKNOWN


def with_rotations(codes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each image four times, turned by 0 to 3 quarters: codes, rows and turns, int [4 * images].

    A turned character is another one, so each turn of an identity has a code of its own; unknown stays unknown.
    """
    turns = np.repeat(np.arange(4, dtype=np.int8), len(codes))
    known = np.tile(codes, 4)
    return np.where(known == UNKNOWN, UNKNOWN, 4 * known + turns), np.tile(rows, 4), turns


def turned(pixels: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Images rotated by so many quarters of a turn, counterclockwise: uint8 [images, side, side, channels]."""
    if turns.any():
        pixels = pixels.copy()
        for quarters in range(1, 4):
            chosen = turns == quarters
            pixels[chosen] = np.rot90(pixels[chosen], quarters, axes=(1, 2))
    return pixels


def blended(pixels: np.ndarray, codes: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """A step's images with new identities, each between two of the step's: what sets people apart is learned from more
    people than there are. (Zhang et al. 2018, mixup, blends any two images, and their labels.)

    Each identity has another as its partner and a share, drawn uniformly up to `most`; into each of its images goes one
    of the partner's, by that share. Images of unknown identity stay as they are.

    Args:
        pixels: uint8 [images, *image_shape].
        codes: int [images], identities.
        most: largest share; 0: none is blended.

    Returns:
        uint8 [images, *image_shape].
    """
    identities, own = np.unique(codes, return_inverse=True)
    known = np.flatnonzero(identities != UNKNOWN)
    if not most or len(known) < 2:
        return pixels
    partners, shares = np.arange(len(identities)), np.zeros(len(identities))
    partners[known] = np.roll(known, rng.integers(1, len(known)))
    shares[known] = rng.uniform(0, most, len(known))
    members = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own))[:-1])
    found = np.arange(len(codes))
    for identity, partner in enumerate(partners):
        mine, theirs = members[identity], rng.permutation(members[partner])
        found[mine] = np.resize(theirs, len(mine)) if partner != identity else mine
    share = shares[own][:, None, None, None]
    return np.rint((1 - share) * pixels + share * pixels[found]).astype(np.uint8)
