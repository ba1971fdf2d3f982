"""How near public rows are to each other: the Gaussian kernel by which shifts reach the rows nearby."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray


def kernel_of(x: FloatArray, rows: IntArray, *, width: float) -> Float64Array:
    """exp(-|x - x_r|^2 / (2 (width median)^2)) of all rows of x [P, *shape] and `rows` [n]: [P, n].

    The median is that of the distances between `rows`, of which there are two or more.
    """
    flat = x.reshape(len(x), -1).astype(np.float64)
    squares = (flat * flat).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[rows] - 2 * flat @ flat[rows].T, 0)  # [P, n], squared
    between = np.sqrt(distances[rows][np.triu_indices(len(rows), 1)])
    scale = width * float(np.median(between)) or 1.0  # rows that are all the same have no distance
    kernel: Float64Array = np.exp(distances / (-2 * scale * scale))
    return kernel
