"""A side: what the processor reaches at best, by the product of two large square matrices.

python -m benchmarks.speed.peak DTYPE
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.speed.sides import answer

SIZE = 4096
TIMES = 3


def main() -> None:
    import tensorflow as tf

    dtype = tf.as_dtype(sys.argv[1])
    left, right = (tf.cast(tf.random.normal([SIZE, SIZE]), dtype) for _ in range(2))
    product = tf.function(tf.matmul)

    def work() -> dict[str, Any]:
        for _ in range(TIMES):
            product(left, right)[0, 0].numpy()
        return {"flop": TIMES * 2 * SIZE**3}

    answer(work)


if __name__ == "__main__":
    main()
