"""The way that a noised mean shift shows: how far it reaches, and how much of it is noise.

The server knows the standard deviation s of the noise in each cell of the mean shift d [n, K]; what it does
with d costs no privacy. As in public_logits.py, a Gaussian kernel k carries d to all rows, the mean of a
Gaussian process (Rasmussen and Williams 2006, eq. 2.25). There the rows' own noise counts as much as what
they say; here the privacy noise comes on top of it:

    way = k (k + (1 + s^2 / v) I)^-1 d,    cov d = v (k + I) + s^2 I

The prior variance v and the width of k are those under which d is likeliest (eq. 2.30; widths from the usual
one up, VARIANCES and WIDTHS below): the more noise, the more rows speak together. Noise alone would leave a
mean square of s^2 |k (k + ..)^-1 (I - 1/n)|_F^2 / P in the way. What there is beyond that is the devices':

    share = max(0, 1 - noise / mean way^2)

and a step along the way is made shorter by sqrt(share) (the positive part of James and Stein 1961): where
the noise says more than the devices, the fleet stays where it is.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray

from fedstill_server.methods.row_kernel import kernel_of

WIDTHS = (1.0, 1.5, 2.0, 3.0, 4.5)  # times the usual one
VARIANCES = tuple(10 ** (exponent / 4) for exponent in range(-16, 17))  # times that of the noise


def way_through_noise(
    shift: Float64Array, x: FloatArray, rows: IntArray, *, noise: float, width: float
) -> tuple[Float64Array, float]:
    """The way [P, classes] of the shifts [n, classes] of `rows` [n] of x [P, *shape], and the share.

    noise: standard deviation in each cell, before the means over classes and rows were taken off. width: 0
    carries nothing to other rows.
    """
    if width == 0 or len(rows) < 2:
        carried = np.zeros((len(x), len(rows)))
        carried[rows, np.arange(len(rows))] = 1
    else:
        kernels = [kernel_of(x, rows, width=width * wider) for wider in WIDTHS]
        likeliest = max(
            (_likelihood(kernel[rows], shift, noise), place) for place, kernel in enumerate(kernels)
        )
        (_, ratio), place = likeliest
        within = kernels[place][rows] + (1 + 1 / ratio) * np.eye(len(rows))
        carried = np.asarray(np.linalg.solve(within, kernels[place].T).T, np.float64)
    way: Float64Array = carried @ shift
    less_mean = carried - carried.mean(axis=1, keepdims=True)
    of_noise = noise * noise * (1 - 1 / shift.shape[1]) * float((less_mean * less_mean).sum()) / len(x)
    present = float(np.mean(way * way))
    return way, max(0.0, 1 - of_noise / present) if present > 0 else 0.0


def _likelihood(kernel: Float64Array, shift: Float64Array, noise: float) -> tuple[float, float]:
    """The largest log-likelihood of the shift under a kernel [n, n], and its v / s^2."""
    values, vectors = np.linalg.eigh(kernel)
    along = vectors.T @ shift
    squares = (along * along).sum(axis=1) / (noise * noise)  # [n], each of K - 1 numbers
    found = []
    for ratio in VARIANCES:
        expected = ratio * (np.maximum(values, 0) + 1) + 1
        logs = (shift.shape[1] - 1) * np.log(expected) + squares / expected
        found.append((-0.5 * float(logs.sum()), ratio))
    return max(found)
