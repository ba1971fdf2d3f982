"""A few numbers in place of thousands: the directions in which an adversary's own shadows differ most.

The basis is made of answers without noise and is orthonormal, so that noise of one deviation in each number
of an answer is noise of the same deviation in each number of the projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array


@dataclass(frozen=True, eq=False)
class Projection:
    """Onto k directions.

    Attributes:
        mean: What is subtracted first [d].
        basis: The directions [d, k], orthonormal, those with most variance first.
    """

    mean: Float64Array
    basis: Float64Array

    @classmethod
    def fit(cls, vectors: Float64Array, *, most: int) -> Projection:
        """The principal directions of vectors [n, d], `most` of them at most, and none without variance."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        values, left = np.linalg.eigh(centred @ centred.T)
        kept = [at for at in np.argsort(values)[::-1][:most] if values[at] > 1e-9 * max(values[-1], 1e-30)]
        basis = centred.T @ left[:, kept] / np.sqrt(values[kept])
        return cls(mean, np.linalg.qr(basis)[0] if len(kept) else np.zeros((len(mean), 0)))

    def of(self, vectors: Float64Array) -> Float64Array:
        """The projections [n, k] of vectors [n, d]."""
        return np.asarray((vectors - self.mean) @ self.basis)
