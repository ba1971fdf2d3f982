"""Weights of few bits: values in blocks, each with a scale of its own. Server and device share this.

    value = (code - 2^(bits-1)) * scale,    scale = max |value| of the block / (2^(bits-1) - 1)

with codes in 1..2^bits - 1 (symmetric, after Jacob et al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import FloatArray

CodeArray = npt.NDArray[np.uint8]


def code_of_zero(bits: int) -> int:
    """The code that stands for 0."""
    return 1 << (bits - 1)


def block_scales(values: FloatArray, *, bits: int = 8) -> FloatArray:
    """The scale [...] of each block of values [..., block]."""
    return np.asarray(np.abs(values).max(axis=-1) / np.float32(code_of_zero(bits) - 1), np.float32)


def block_codes(values: FloatArray, scales: FloatArray, *, bits: int = 8) -> CodeArray:
    """The codes [..., block] of values [..., block], in steps of their blocks' scales [...]."""
    zero = code_of_zero(bits)
    steps = values / np.where(scales > 0, scales, np.float32(1))[..., None]
    return (np.clip(np.rint(steps), 1 - zero, zero - 1) + zero).astype(np.uint8)


def block_values(codes: CodeArray, scales: FloatArray, *, bits: int = 8) -> FloatArray:
    """The values [..., block] that codes and scales stand for."""
    return (codes.astype(np.float32) - code_of_zero(bits)) * scales[..., None]
