"""How a vector is clipped, put on a grid, and noised: the Gaussian mechanism in whole numbers.

    sent = grid(clip(v)) + discrete Gaussian,    |clip(v)|_2 <= C,    sigma = 2 C z

Another private set can move a clipped vector by 2 C at most, whatever the data were and are. One release is
rho-zCDP with rho = (2 C)^2 / (2 sigma^2) = 1 / (2 z^2): only the noise multiplier z counts. A larger clip
comes with proportionally more noise; it is worse or better for accuracy, and nothing for privacy.

The grid has SIGMA_STEPS steps in a sigma. A clipped vector is rounded to whole steps, and shrunk until its
squared norm, a whole number, is at most that of C: the bound holds exactly, and not up to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import Float64Array
from fedstill_proto.errors import InvalidValue
from fedstill_proto.privacy.discrete_gaussian import LARGEST_NOISE, SIGMA_STEPS, discrete_gaussian
from fedstill_proto.privacy.random_bits import RandomBits

Steps = npt.NDArray[np.int64]

LEAST_MULTIPLIER, MOST_MULTIPLIER = 0.05, 256.0
_SHRINK = 1 - 1e-9


@dataclass(frozen=True)
class Noising:
    """The Gaussian mechanism on a grid.

    Attributes:
        clip: The L2 norm C that a vector is clipped to.
        noise_multiplier: z, sigma in units of 2 C.
    """

    clip: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clip", 1e-6, 1e6),
            ("noise_multiplier", LEAST_MULTIPLIER, MOST_MULTIPLIER),
        ):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and low <= value <= high):
                raise InvalidValue(name, f"{value!r} is not a number in {low:g} to {high:g}")

    @property
    def rho(self) -> float:
        """The zCDP cost of one release."""
        return 1 / (2 * self.noise_multiplier**2)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise on a number, in units of the vector."""
        return 2 * self.clip * self.noise_multiplier

    @property
    def step(self) -> float:
        """A step of the grid, in units of the vector."""
        return self.sigma / SIGMA_STEPS

    @property
    def most_square(self) -> int:
        """The largest squared norm of a clipped vector, in steps."""
        return math.floor((SIGMA_STEPS / (2 * self.noise_multiplier)) ** 2)

    @property
    def most_steps(self) -> int:
        """The largest number, either way, that a noised vector can hold."""
        return math.isqrt(self.most_square) + LARGEST_NOISE

    def on_grid(self, vector: Float64Array) -> Steps:
        """Clip `vector` [d] and round it to whole steps; one that is not finite becomes all zeros."""
        if not np.isfinite(vector).all():
            return np.zeros(vector.shape, np.int64)
        norm = _norm(vector)
        exact = vector.astype(np.float64) * (min(1.0, self.clip / norm) if norm > 0 else 0.0) / self.step
        steps = np.rint(exact).astype(np.int64)
        while (square := _square(steps)) > self.most_square:
            exact *= math.sqrt(self.most_square / square) * _SHRINK
            steps = np.trunc(exact).astype(np.int64)
        return steps

    def noised(self, vector: Float64Array, *, bits: RandomBits) -> Steps:
        """What a device sends for `vector` [d]: whole steps."""
        return self.on_grid(vector) + discrete_gaussian(vector.size, bits=bits)

    def values(self, steps: Steps) -> Float64Array:
        """Steps in units of the vector."""
        return np.asarray(steps * self.step, np.float64)


def _norm(vector: Float64Array) -> float:
    """The L2 norm, without overflow for any finite numbers that a broken student gives."""
    largest = float(np.abs(vector).max(initial=0.0))
    return 0.0 if largest == 0 else largest * float(np.linalg.norm(vector / largest))


def _square(steps: Steps) -> int:
    """The squared norm, exactly: steps are below 2^17, and there are fewer than 2^29 of them."""
    return int((steps * steps).sum())
