"""Which public rows a device knows something about (Selective-FD: Shao et al. 2023, arXiv 2304.01731).

A row is answered if it looks like the device's own examples, and if its student is sure enough of it. How
much a row z_k looks like them is the ratio of two densities, that of the n own examples x_i over that of the
m asked rows, by kernel least squares (KuLSIF: Kanamori et al. 2012). At the rows themselves its closed form
is

    w = (K / m + lambda I)^-1 b,    K_kj = k(z_k, z_j),    b_k = mean_i k(z_k, x_i)

with lambda = min(n, m)^-0.9, a Gaussian kernel k, and the rows' median distance as its width. The mean of w
is about 1: a row with w = 1 is as common among the device's examples as among the public ones. How unsure a
student is, its ambiguity, is the entropy of softmax(logits) over that of a uniform distribution, 0 to 1.

The authors' code compares with uniform noise in the space of inputs, and sets the threshold at a quartile of
the ratios of held-out own examples. Noise is far from any picture; public rows are what is to be told apart,
and a ratio to them has a scale of its own, so that the threshold is a plain number of the task.
"""

from __future__ import annotations

import math

import numpy as np
from fedstill_proto.arrays import BoolArray, Float64Array, FloatArray
from fedstill_proto.messages import RowSelection


def selected_rows(
    selection: RowSelection, logits: FloatArray, rows: FloatArray, own: FloatArray
) -> BoolArray:
    """Which of the `rows` [m, *shape], of `logits` [m, K], a device with examples `own` answers: [m]."""
    chosen = ambiguity(logits) <= selection.most_ambiguity
    if selection.least_density_ratio > 0:
        chosen &= density_ratios(own, rows) >= selection.least_density_ratio
    return chosen


def ambiguity(logits: FloatArray) -> Float64Array:
    """Entropy of softmax(logits [m, K]) as a share of log K, [m]."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_p = shifted - log_total
    entropy: Float64Array = -(np.exp(log_p) * log_p).sum(axis=1)
    return entropy / math.log(max(logits.shape[1], 2))


def density_ratios(own: FloatArray, rows: FloatArray) -> Float64Array:
    """How much denser the device's examples `own` [n, *shape] lie at each of the `rows` [m, *shape], [m]."""
    if len(own) == 0:
        return np.zeros(len(rows))
    x, z = (part.reshape(len(part), -1).astype(np.float64) for part in (own, rows))
    between = _squared_distances(z, z)
    width = _median_distance(between)
    kernel = np.exp(between / (-2 * width * width))
    attraction = np.exp(_squared_distances(z, x) / (-2 * width * width)).mean(axis=1)  # [m] b
    strength = min(len(x), len(z)) ** -0.9
    ratios = np.linalg.solve(kernel / len(z) + strength * np.eye(len(z)), attraction)
    return np.asarray(np.maximum(ratios, 0))


def _squared_distances(a: Float64Array, b: Float64Array) -> Float64Array:
    distances = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(distances, 0))


def _median_distance(squared: Float64Array) -> float:
    """The median distance of all pairs of rows; 1 where all rows are the same."""
    pairs = squared[np.triu_indices(len(squared), 1)]
    return float(np.sqrt(np.median(pairs))) or 1.0 if len(pairs) else 1.0
