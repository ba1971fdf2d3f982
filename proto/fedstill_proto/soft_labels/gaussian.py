"""The soft label of a number: a Gaussian, as its mean and log variance; how it travels, and the error.

Both are in standard units (see fedstill_proto.package.target), and each takes one int8, c from -127 to 127:

    mean           0.05 sinh(c asinh(8 / 0.05) / 127): -8 to 8, finer near 0; off by at most 2.4 % of itself
                   plus 0.0012; beyond 8 it is 8
    log variance   5 c / 127: -5 to 5; off by at most 0.02, 2 % of the variance

How far a student moved, the difference of two means and of two log variances, travels in the same codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.v1 import fedstill_pb2 as pb

_STEPS = 127
_MOST_MEAN, _FINE = 8.0, 0.05
_MOST_LOG_VARIANCE = 5.0
_STEP = math.asinh(_MOST_MEAN / _FINE) / _STEPS
NUMBERS = 2
"""Numbers of a row."""


@dataclass(frozen=True, eq=False)
class GaussianSoftLabels:
    """A Gaussian in each row: `values` float32 [rows, 2], its mean and its log variance."""

    values: FloatArray

    def __post_init__(self) -> None:
        values = self.values
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.shape[1:] != (NUMBERS,):
            raise InvalidValue("values", "not a float32 array [rows, 2]")
        if not np.isfinite(values).all():
            raise InvalidValue("values", "holds a value that is not finite")

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def classes(self) -> int:
        """Numbers of a row, as other soft labels have classes."""
        return NUMBERS

    def dense(self) -> FloatArray:
        """Mean and log variance [rows, 2]."""
        return self.values


def encode_gaussians(labels: GaussianSoftLabels) -> pb.SoftLabels:
    """The message of soft labels, rounded to their codes."""
    mean, log_variance = labels.values.astype(np.float64).T
    codes = np.stack([np.arcsinh(mean / _FINE) / _STEP, log_variance * (_STEPS / _MOST_LOG_VARIANCE)], axis=1)
    values = np.rint(np.clip(codes, -_STEPS, _STEPS)).astype(np.int8).tobytes()
    return pb.SoftLabels(
        encoding=pb.SOFT_LABEL_ENCODING_GAUSSIAN, rows=labels.rows, classes=NUMBERS, values=values
    )


def decode_gaussians(message: pb.SoftLabels, *, field: str) -> GaussianSoftLabels:
    """What `encode_gaussians` made; raises WireError, whose field starts with `field`."""
    if message.classes != NUMBERS or message.k or message.indices:
        raise WireError(f"{field}.classes", f"{message.classes}, a Gaussian has {NUMBERS} numbers")
    if len(message.values) != message.rows * NUMBERS:
        problem = f"{len(message.values)} bytes, expected {message.rows * NUMBERS} for {message.rows} rows"
        raise WireError(f"{field}.values", problem)
    codes = np.frombuffer(message.values, np.int8).reshape(message.rows, NUMBERS).astype(np.float64)
    if codes.size and codes.min() < -_STEPS:
        raise WireError(f"{field}.values", f"holds {codes.min():g}, codes are -{_STEPS} to {_STEPS}")
    mean = _FINE * np.sinh(codes[:, 0] * _STEP)
    log_variance = codes[:, 1] * (_MOST_LOG_VARIANCE / _STEPS)
    return GaussianSoftLabels(np.stack([mean, log_variance], axis=1).astype(np.float32))
