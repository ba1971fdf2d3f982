"""The way that a noised mean shift shows: how much of it is the devices', and how much is noise.

The server knows the standard deviation s of the noise in each cell of the mean shift d [n, K]; what it does
with it costs no privacy. As in public_logits.py, a Gaussian kernel k carries d to all rows. There the rows'
own noise counts as much as what they say; here the privacy noise comes on top of it (Rasmussen and Williams
2006, eq. 2.25, with a prior variance v that is told from d itself):

    way = k (k + (1 + s^2 / v) I)^-1 d,    v = mean d^2 - s^2, at least its standard error under noise alone

Noise alone would leave a mean square of s^2 |k (k + ..)^-1 (I - 1/n)|_F^2 / P in it. What there is beyond
that is the devices':

    share = max(0, 1 - noise / mean way^2)

and a step along the way is made shorter by sqrt(share) (the positive part of James and Stein 1961): where
the noise says more than the devices, the fleet stays where it is.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.soft_labels import FloatArray, IntArray

from fedstill_server.aggregation import Float64Array
from fedstill_server.methods.row_kernel import kernel_of


def way_through_noise(
    shift: Float64Array, x: FloatArray, rows: IntArray, *, noise: float, width: float
) -> tuple[Float64Array, float]:
    """The way [P, classes] of the shifts [n, classes] of `rows` [n] of x [P, *shape], and the share.

    noise: standard deviation in each cell, before the means over classes and rows were taken off.
    """
    count, classes = shift.shape
    centred = noise * noise * (1 - 1 / classes)
    of_signal = float(np.mean(shift * shift)) - centred * (1 - 1 / count)
    least = centred * np.sqrt(2 / shift.size)
    carried = _carrying(x, rows, ridge=1 + noise * noise / max(of_signal, least), width=width)
    way: Float64Array = carried @ shift
    less_mean = carried - carried.mean(axis=1, keepdims=True)
    of_noise = centred * float((less_mean * less_mean).sum()) / len(x)
    present = float(np.mean(way * way))
    return way, max(0.0, 1 - of_noise / present) if present > 0 else 0.0


def _carrying(x: FloatArray, rows: IntArray, *, ridge: float, width: float) -> Float64Array:
    """The matrix [P, n] that carries the shifts of n rows to all P."""
    if width == 0 or len(rows) < 2:
        alone = np.zeros((len(x), len(rows)))
        alone[rows, np.arange(len(rows))] = 1
        return alone
    kernel = kernel_of(x, rows, width=width)
    within = kernel[rows] + ridge * np.eye(len(rows))
    return np.asarray(np.linalg.solve(within, kernel.T).T, np.float64)
