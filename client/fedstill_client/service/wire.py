"""Arrays in the agent's messages: bounded, and checked before anything reads them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.v1 import agent_pb2 as pb

MESSAGE_LIMIT_BYTES = 16 << 20
_RANK_LIMIT = 8
_TYPES: dict[int, np.dtype[Any]] = {
    pb.ELEMENT_TYPE_FLOAT32: np.dtype("<f4"),
    pb.ELEMENT_TYPE_INT64: np.dtype("<i8"),
    pb.ELEMENT_TYPE_UINT8: np.dtype("u1"),
}
ELEMENT_NUMBERS = {
    "float32": pb.ELEMENT_TYPE_FLOAT32,
    "int64": pb.ELEMENT_TYPE_INT64,
    "uint8": pb.ELEMENT_TYPE_UINT8,
}
ELEMENT_NAMES = {number: name for name, number in ELEMENT_NUMBERS.items()}


def encode_array(array: npt.ArrayLike, field: str) -> pb.AgentArray:
    """float32 for real numbers, int64 for whole ones, uint8 for bytes; raises InvalidValue for all else."""
    given = np.asarray(array)
    if given.dtype == np.uint8:
        number = pb.ELEMENT_TYPE_UINT8
    elif given.dtype.kind in "iu":
        number = pb.ELEMENT_TYPE_INT64
    elif given.dtype.kind == "f":
        number = pb.ELEMENT_TYPE_FLOAT32
    else:
        raise InvalidValue(field, f"is of type {given.dtype}; give floats or integers")
    if given.nbytes > MESSAGE_LIMIT_BYTES:
        raise InvalidValue(field, f"{given.nbytes} bytes; send {MESSAGE_LIMIT_BYTES} at most at a time")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused on arrival
        data = np.ascontiguousarray(given, _TYPES[number]).tobytes()
    return pb.AgentArray(element_type=number, shape=given.shape, data=data)


def decode_array(message: pb.AgentArray, field: str) -> npt.NDArray[Any]:
    """The array, finite and not writable; raises WireError with the place of what is wrong."""
    kind = _TYPES.get(message.element_type)
    if kind is None:
        raise WireError(f"{field}.element_type", f"{message.element_type} is none of float32, int64, uint8")
    shape = tuple(message.shape)
    if len(shape) > _RANK_LIMIT:
        raise WireError(f"{field}.shape", f"{len(shape)} dimensions, more than {_RANK_LIMIT}")
    expected = math.prod(shape) * kind.itemsize
    if len(message.data) != expected:
        raise WireError(
            f"{field}.data", f"{len(message.data)} bytes; {list(shape)} of {kind.name} are {expected}"
        )
    array = np.frombuffer(message.data, kind).reshape(shape)
    if kind.kind == "f" and not np.isfinite(array).all():
        place = np.unravel_index(int(np.argmin(np.isfinite(array).ravel())), shape)
        raise WireError(f"{field}{[int(i) for i in place]}", "is not a finite number")
    return array
