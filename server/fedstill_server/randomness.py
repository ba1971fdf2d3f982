"""Every random choice follows from (seed, round, purpose), never from a generator that keeps running.

So a run that was killed and resumed draws what it would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(seed: int, round_number: int, purpose: str) -> int:
    """63 bits that no other round and no other purpose shares."""
    digest = hashlib.sha256(f"{seed}/{round_number}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, round_number: int, purpose: str) -> np.random.Generator:
    """A generator for one purpose of one round."""
    return np.random.default_rng(derived_seed(seed, round_number, purpose))
