"""Sources of random bits for noise: the operating system on devices and servers, a seed in the simulator."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

RandomBits = Callable[[int], npt.NDArray[np.uint64]]
"""So many fair and independent 64-bit numbers, other ones at each call."""


def system_bits(count: int) -> npt.NDArray[np.uint64]:
    """The operating system's randomness: nobody who knows a seed can take the noise away again."""
    return np.frombuffer(secrets.token_bytes(8 * count), "<u8").astype(np.uint64)


def seeded_bits(seed: int, *names: object) -> RandomBits:
    """The same numbers for the same seed and names. Protects nothing: for simulations and tests alone."""
    document = repr((seed, *names)).encode()
    key = np.frombuffer(hashlib.sha256(document).digest()[:16], "<u8")
    stream = np.random.Philox(key=key)
    return lambda count: np.asarray(stream.random_raw(count), np.uint64)
