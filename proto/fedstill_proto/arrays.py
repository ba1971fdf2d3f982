"""The array types that all of fedstill uses, and a student's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fedstill_proto.checks import MAX_UINT32, check_name
from fedstill_proto.errors import InvalidValue

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Parameters = dict[str, FloatArray]
"""A student's weights by name, float32, in the order of the model."""

Number = TypeVar("Number", np.float32, np.float64, np.uint8)
MAX_RANK = 8
_FEW_COLUMNS = 32
_VARIANCE = "running_var"


@dataclass(frozen=True)
class ParameterSpec:
    """Name and shape of one parameter array."""

    name: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if len(self.shape) > MAX_RANK or not all(1 <= size <= MAX_UINT32 for size in self.shape):
            raise InvalidValue("shape", f"{self.shape} is not a shape of up to {MAX_RANK} dimensions")

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def parameter_specs(parameters: Mapping[str, FloatArray]) -> tuple[ParameterSpec, ...]:
    """Name and shape of each parameter, in their order."""
    return tuple(ParameterSpec(name, array.shape) for name, array in parameters.items())


def is_running_statistic(name: str) -> bool:
    """Whether a parameter's name is torch's for a running mean or variance of batch normalization."""
    return name.rpartition(".")[2] in ("running_mean", _VARIANCE)


def with_variances(parameters: Parameters) -> Parameters:
    """The parameters, running variances below 0 as 0: what rounding, or somebody else, makes of them."""
    return {
        name: np.maximum(array, 0) if name.rpartition(".")[2] == _VARIANCE else array
        for name, array in parameters.items()
    }


def check_parameters(parameters: Parameters) -> None:
    """Raise InvalidValue unless these are finite float32 arrays with names that a graph may have."""
    for name, array in parameters.items():
        check_name("parameters", name)
        ParameterSpec(name, np.shape(array))
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            raise InvalidValue(f"parameters[{name}]", "not a float32 array")
        if not np.isfinite(array).all():
            raise InvalidValue(f"parameters[{name}]", "holds a value that is not finite")


def largest_of_rows(rows: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """The largest number of each row [..., 1] of rows [..., n], as `max`, which is slow where n is small."""
    if not 0 < rows.shape[-1] <= _FEW_COLUMNS:
        return np.asarray(rows.max(axis=-1, keepdims=True))
    largest = rows[..., :1].copy()
    for column in range(1, rows.shape[-1]):
        np.maximum(largest, rows[..., column : column + 1], out=largest)
    return largest


def smallest_of_rows(rows: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """The smallest number of each row [..., 1] of rows [..., n]."""
    if not 0 < rows.shape[-1] <= _FEW_COLUMNS:
        return np.asarray(rows.min(axis=-1, keepdims=True))
    smallest = rows[..., :1].copy()
    for column in range(1, rows.shape[-1]):
        np.minimum(smallest, rows[..., column : column + 1], out=smallest)
    return smallest
