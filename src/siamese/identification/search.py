"""Probes compared with a gallery: every score exactly, or in a very large one the best candidates' exactly.

The score of two embeddings is sigmoid(sum_i w_i |a_i - b_i| + c), the head's weights w and its bias c. Written as array
operations, the differences of a gallery would go to memory and come back twice; the loops here read each embedding
once, and keep the sums in registers.

A gallery of millions is searched in two steps. `Coarse` holds a byte for each of the units that decide most; its sums
choose candidates. Their scores are then computed from their whole embeddings: what is reported is exact, and what
approximation can cost is a candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from siamese.models.scoring import Head
from siamese.storage.parallel import available

_ROWS_AT_ONCE = 2048  # of a gallery: what a thread takes next
_SEEN = 10_000  # embeddings from which `Coarse` learns what the units' values are
_LEVELS = 255


def scores(head: Head, probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The score of each probe with each embedding of a gallery.

    Args:
        probes: float32 [probes, units].
        gallery: float32 or float16 [embeddings, units]; may be mapped from a file.

    Returns:
        float32 [probes, embeddings].
    """
    probes = np.ascontiguousarray(probes, np.float32)
    sums = np.empty((len(probes), len(gallery)), np.float32)

    def part(rows: slice) -> None:
        found = np.empty((len(probes), rows.stop - rows.start), np.float32)
        _loops().weighted(np.ascontiguousarray(gallery[rows], np.float32), probes, head.weights, found)
        sums[:, rows] = found

    _in_threads(part, len(gallery))
    return _sigmoid(sums + np.float32(head.bias))


@dataclass(frozen=True, eq=False)
class Coarse:
    """A gallery's embeddings by some of their units, each a byte.

    Attributes:
        units: int64 [n], which ones.
        low, step: float32 [n], of each: the value that byte 0 stands for, and from one byte to the next.
        codes: uint8 [embeddings, n].
    """

    units: np.ndarray
    low: np.ndarray
    step: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, head: Head, gallery: np.ndarray, units: int, codes: np.ndarray | None = None) -> Coarse:
        """The `units` units whose differences move the score most: by weight and by mean distance from the middle.

        Args:
            gallery: float32 or float16 [embeddings, units].
            units: how many. The more, the fewer candidates are needed: a network whose head has weights of both signs,
                as a short training leaves them, needs half of its units for 1 candidate in 1000 to be enough.
            codes: where to write them, uint8 [embeddings, units], such as a file mapped into memory; None: in memory.
        """
        some = np.linspace(0, len(gallery) - 1, min(_SEEN, len(gallery))).astype(np.int64)
        seen = gallery[some]
        centre = seen.mean(axis=0, dtype=np.float32)
        moved = np.abs(seen - centre).mean(axis=0) * np.abs(head.weights)
        chosen = np.sort(np.argsort(-moved, kind="stable")[:units])
        low, high = np.quantile(seen[:, chosen].astype(np.float32), [0.001, 0.999], axis=0).astype(np.float32)
        step = np.where(high > low, (high - low) / _LEVELS, 1).astype(np.float32)
        made = cls(chosen, low, step, np.empty((len(gallery), len(chosen)), np.uint8) if codes is None else codes)
        _in_threads(lambda rows: made._fill(gallery, rows), len(gallery))
        return made

    def candidates(self, head: Head, probe: np.ndarray, count: int) -> np.ndarray:
        """The rows of the `count` embeddings that seem most like a probe, float32 [units]: int64 [count], in no order.

        `count` or fewer, where the gallery is smaller.
        """
        weights = head.weights[self.units] * self.step
        code = (probe[self.units] - self.low) / self.step
        sums = np.empty(len(self.codes), np.float32)
        _in_threads(lambda rows: _loops().coarse(self.codes[rows], code, weights, sums[rows]), len(sums))
        if count >= len(sums):
            return np.arange(len(sums))
        return np.argpartition(sums, len(sums) - count)[-count:]

    def _fill(self, gallery: np.ndarray, rows: slice) -> None:
        levels = np.round((gallery[rows][:, self.units] - self.low) / self.step)
        self.codes[rows] = np.clip(levels, 0, _LEVELS).astype(np.uint8)


def best(
    head: Head, probe: np.ndarray, gallery: np.ndarray, count: int, coarse: Coarse, candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of a gallery that are most like a probe, among the candidates that `coarse` finds.

    Args:
        probe: float32 [units].
        gallery: float32 or float16 [embeddings, units]; may be mapped from a file, of which only candidates are read.
        count: how many, at most as many as `candidates`.

    Returns:
        Their rows, int64 [count], and exact scores, float32 [count], the highest first, of equal ones the lower row.
    """
    rows = np.sort(coarse.candidates(head, probe, candidates))
    found = scores(head, probe[None], gallery[rows])[0]
    order = np.argsort(-found, kind="stable")[:count]
    return rows[order], found[order]


def _in_threads(part: Callable[[slice], None], rows: int) -> None:
    """Calls `part` for parts of so many rows, in as many threads as there are processors to use."""
    parts = [slice(start, min(start + _ROWS_AT_ONCE, rows)) for start in range(0, rows, _ROWS_AT_ONCE)]
    with ThreadPoolExecutor(available()) as pool:
        for _ in pool.map(part, parts):
            pass


def _sigmoid(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    result: np.ndarray = expit(x)
    return result


@dataclass(frozen=True)
class _Loops:
    weighted: Any
    coarse: Any


@cache
def _loops() -> _Loops:
    """Compiled at first use, some half a second: numba is not imported by what never searches."""
    import numba
    from numba import types

    def given(dtype: Any, dimensions: int) -> Any:
        return types.Array(dtype, dimensions, "C", readonly=True)  # so are mapped files, and what TensorFlow gives

    # fastmath lets sums be taken in any order, without which they can't be vectorised. Four rows at a time share what
    # they are compared with, and keep memory busy; past the last row it is computed again, in the same order.
    @numba.njit(
        types.void(given(types.float32, 2), given(types.float32, 2), given(types.float32, 1), types.float32[:, ::1]),
        nogil=True,
        fastmath=True,
    )
    def weighted(gallery: Any, probes: Any, weights: Any, sums: Any) -> None:
        last = gallery.shape[0] - 1
        for a in range(0, last + 1, 4):
            b, c, d = min(a + 1, last), min(a + 2, last), min(a + 3, last)
            for probe in range(probes.shape[0]):
                total_a = total_b = total_c = total_d = np.float32(0)
                for unit in range(gallery.shape[1]):
                    asked, weight = probes[probe, unit], weights[unit]
                    total_a += weight * abs(gallery[a, unit] - asked)
                    total_b += weight * abs(gallery[b, unit] - asked)
                    total_c += weight * abs(gallery[c, unit] - asked)
                    total_d += weight * abs(gallery[d, unit] - asked)
                sums[probe, d], sums[probe, c], sums[probe, b], sums[probe, a] = total_d, total_c, total_b, total_a

    @numba.njit(
        types.void(given(types.uint8, 2), given(types.float32, 1), given(types.float32, 1), types.float32[::1]),
        nogil=True,
        fastmath=True,
    )
    def coarse(codes: Any, probe: Any, weights: Any, sums: Any) -> None:
        for row in range(codes.shape[0]):
            total = np.float32(0)
            for unit in range(codes.shape[1]):
                total += weights[unit] * abs(np.float32(codes[row, unit]) - probe[unit])
            sums[row] = total

    return _Loops(weighted, coarse)
