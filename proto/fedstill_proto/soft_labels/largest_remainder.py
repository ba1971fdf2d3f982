"""Probabilities as uint8 codes, by largest remainder (Hare's quota, as parliaments share out seats).

A row is cut into 255 equal shares. Each class gets the whole shares in its probability, and what is left over
goes one by one to the largest fractions. The codes of a row therefore add up to exactly 255, what is decoded
is a distribution as it stands, and no probability moves by as much as 1/255, however many classes there are.

Rounding each class on its own errs by half of that, but the sum of a row then drifts by up to classes/510,
and normalizing it again moves a large probability by as much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHARES = 255  # what the codes of a row add up to


def quantize(probabilities: npt.NDArray[np.float32], *, shares: int = SHARES) -> npt.NDArray[np.uint8]:
    """Quantize each row of `probabilities` [rows, n], normalized to 1 first; earlier columns win ties.

    Args:
        probabilities: Numbers of 0 and more.
        shares: What the codes of a row add up to.

    Returns:
        Codes uint8 [rows, n].
    """
    exact = np.clip(probabilities, 0, 1, dtype=np.float64)
    exact *= shares / np.add.reduce(exact, axis=1, keepdims=True)
    codes = np.floor(exact)
    left_over = shares - np.add.reduce(codes, axis=1, keepdims=True)  # [rows, 1], fewer than n
    by_fraction = np.argsort(codes - exact, axis=1, kind="stable")
    rank = np.empty_like(by_fraction)
    np.put_along_axis(rank, by_fraction, np.arange(codes.shape[1])[None, :], axis=1)
    codes += rank < left_over
    whole: npt.NDArray[np.uint8] = codes.astype(np.uint8)
    return whole


def dequantize(codes: npt.NDArray[np.uint8], *, shares: int = SHARES) -> npt.NDArray[np.float32]:
    """The probabilities that codes [rows, n] stand for."""
    return np.divide(codes, shares, dtype=np.float32)
