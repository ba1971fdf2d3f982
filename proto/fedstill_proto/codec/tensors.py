"""A student's parameters on the wire: as float32, or quantized to 8 or 4 bits in blocks of 64.

Quantized (codec/weight_blocks.py), a parameter is one long row, and a scale the upper half of a float32
(bfloat16): two bytes. Rounding twice is rounding once, so that server and device agree on what a device was
given, down to the last bit. A device answers with what its student moved from there, and the server adds that
to the very same numbers. Running statistics of batch normalization are few, and a variance that is rounded
to 0 makes a channel as large as its noise: they stay float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import (
    FloatArray,
    Parameters,
    ParameterSpec,
    check_parameters,
    is_running_statistic,
    with_variances,
)
from fedstill_proto.checks import check_name
from fedstill_proto.codec.weight_blocks import CodeArray, block_codes, block_scales, block_values
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import FLOAT_WEIGHTS, RoundTask
from fedstill_proto.v1 import fedstill_pb2 as pb

BLOCK = 64
_SCALE_BYTES = 2


def encode_tensors(parameters: Parameters, *, bits: int = FLOAT_WEIGHTS) -> list[pb.Tensor]:
    """Parameters as messages, in their order; bits: of a weight, or FLOAT_WEIGHTS."""
    return [_encoded(name, array, _bits_of(name, bits)) for name, array in parameters.items()]


def blank_tensors(parameters: Parameters, *, bits: int = FLOAT_WEIGHTS) -> list[pb.Tensor]:
    """Messages as long as those of `encode_tensors`, in which all numbers are zeros."""
    blank = []
    for name, array in parameters.items():
        data, scales = weight_bytes(ParameterSpec(name, array.shape), bits=bits)
        blank.append(pb.Tensor(name=name, shape=array.shape, data=bytes(data), scales=bytes(scales)))
    return blank


def decode_tensors(tensors: Iterable[pb.Tensor], field: str, *, bits: int = FLOAT_WEIGHTS) -> Parameters:
    """The parameters of messages; raises WireError, whose field starts with `field`."""
    parameters: Parameters = {}
    for index, tensor in enumerate(tensors):
        place = f"{field}[{index}]"
        try:
            check_name("name", tensor.name)
            if tensor.name in parameters:
                raise InvalidValue("name", f"{tensor.name!r} appears twice")
            spec = ParameterSpec(tensor.name, tuple(tensor.shape))
            expected = weight_bytes(spec, bits=bits)
            _check_length("data", tensor.data, expected.data, spec)
            _check_length("scales", tensor.scales, expected.scales, spec)
            parameters[tensor.name] = _decoded(tensor, spec, _bits_of(spec.name, bits))
        except InvalidValue as error:
            raise WireError(f"{place}.{error.field}", error.problem) from None
    return parameters


def decode_student(tensors: Iterable[pb.Tensor], field: str, *, bits: int = FLOAT_WEIGHTS) -> Parameters:
    """A whole student, whose running variances are none below 0; raises WireError as `decode_tensors`."""
    return with_variances(decode_tensors(tensors, field, bits=bits))


def received_student(parameters: Parameters) -> Parameters:
    """What `decode_student` makes of `encode_tensors`."""
    return with_variances({name: array.copy() for name, array in parameters.items()})


def rounded(parameters: Parameters, *, bits: int) -> Parameters:
    """The parameters as they arrive, when they are sent in so many bits."""
    if bits == FLOAT_WEIGHTS:
        return parameters
    return {
        name: array if _bits_of(name, bits) == FLOAT_WEIGHTS else _rounded(array, bits)
        for name, array in parameters.items()
    }


class WeightBytes(NamedTuple):
    """The bytes of a parameter's two fields."""

    data: int
    scales: int


def weight_bytes(spec: ParameterSpec, *, bits: int) -> WeightBytes:
    """How many bytes a parameter takes."""
    if _bits_of(spec.name, bits) == FLOAT_WEIGHTS:
        return WeightBytes(4 * spec.size, 0)
    return WeightBytes(-(-spec.size * bits // 8), _SCALE_BYTES * _blocks(spec.size))


def _bits_of(name: str, bits: int) -> int:
    return FLOAT_WEIGHTS if is_running_statistic(name) else bits


@dataclass(frozen=True, eq=False)
class Moves:
    """How a student travels that was made of one that both sides have.

    Attributes:
        given: The one that both sides have.
        bits: Of a weight's move.
    """

    given: Parameters
    bits: int

    @classmethod
    def of(cls, task: RoundTask) -> Moves | None:
        """How an answer of kind PARAMETERS to a decoded task travels; None where it is the whole student."""
        return None if task.weight_bits == FLOAT_WEIGHTS else cls(task.parameters, task.weight_bits)

    def encode(self, student: Parameters) -> list[pb.Tensor]:
        """What a student has moved, as messages; raises InvalidValue where that is no float32."""
        with np.errstate(over="ignore"):
            moved = {name: array - self.given[name] for name, array in student.items()}
        check_parameters(moved)
        return encode_tensors(moved, bits=self.bits)

    def received(self, student: Parameters) -> Parameters:
        """What `decode` makes of `encode`; raises InvalidValue as both."""
        with np.errstate(over="ignore", invalid="ignore"):
            moved = {name: array - self.given[name] for name, array in student.items()}
            check_parameters(moved)
            arrived = rounded(moved, bits=self.bits)
            return with_variances({name: self.given[name] + array for name, array in arrived.items()})

    def decode(self, tensors: Iterable[pb.Tensor], field: str) -> Parameters:
        """The student of `encode`; raises WireError."""
        moved = decode_tensors(tensors, field, bits=self.bits)
        for index, (name, array) in enumerate(moved.items()):
            if name not in self.given or array.shape != self.given[name].shape:
                raise WireError(f"{field}[{index}]", f"{name} {array.shape} is no parameter of the task")
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused with its name
            return with_variances({name: self.given[name] + array for name, array in moved.items()})


def _encoded(name: str, array: FloatArray, bits: int) -> pb.Tensor:
    if bits == FLOAT_WEIGHTS:
        data = array.astype("<f4", copy=False).tobytes()
        return pb.Tensor(name=name, shape=array.shape, data=data)
    codes, scales = _quantized(array, bits)
    flat = codes.reshape(-1)[: array.size]
    data = _nibbles(flat) if bits == 4 else flat.tobytes()
    upper = (scales.view(np.uint32) >> 16).astype("<u2")
    return pb.Tensor(name=name, shape=array.shape, data=data, scales=upper.tobytes())


def _decoded(tensor: pb.Tensor, spec: ParameterSpec, bits: int) -> FloatArray:
    if bits == FLOAT_WEIGHTS:
        # A copy: the array outlives the message, is aligned, and may be written to.
        return np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(spec.shape)
    scales = (np.frombuffer(tensor.scales, "<u2").astype(np.uint32) << 16).view(np.float32)
    if not (np.isfinite(scales) & ~np.signbit(scales)).all():
        raise InvalidValue("scales", "holds one that is no length: negative, or not finite")
    packed = np.frombuffer(tensor.data, np.uint8)
    flat = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)
    if flat[spec.size :].any():
        raise InvalidValue("data", "a number behind the last")
    codes = np.zeros(len(scales) * BLOCK, np.uint8)
    codes[: spec.size] = flat[: spec.size]
    if not codes[: spec.size].all():
        raise InvalidValue("data", "holds the code 0, which stands for nothing")
    with np.errstate(over="ignore"):  # what is not finite is refused with its name
        return _whole(codes.reshape(-1, BLOCK), scales, spec.shape, bits)


def _rounded(array: FloatArray, bits: int) -> FloatArray:
    codes, scales = _quantized(array, bits)
    return _whole(codes, scales, array.shape, bits)


def _quantized(array: FloatArray, bits: int) -> tuple[CodeArray, FloatArray]:
    """Codes [blocks, 64] and scales [blocks] of an array, whose last block is filled up with zeros."""
    padded = np.zeros(_blocks(array.size) * BLOCK, np.float32)
    padded[: array.size] = array.reshape(-1)
    values = padded.reshape(-1, BLOCK)
    scales = _of_two_bytes(block_scales(values, bits=bits))
    return block_codes(values, scales, bits=bits), scales


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _whole(codes: CodeArray, scales: FloatArray, shape: tuple[int, ...], bits: int) -> FloatArray:
    values = block_values(codes, scales, bits=bits).reshape(-1)
    return np.ascontiguousarray(values[: int(np.prod(shape))].reshape(shape))


def _of_two_bytes(scales: FloatArray) -> FloatArray:
    """The nearest numbers whose lower half is 0; those too small for all their digits become 0."""
    bits = scales.view(np.uint32)
    nearest: npt.NDArray[np.uint32] = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    values = nearest.view(np.float32)
    return np.where(values < np.finfo(np.float32).tiny, np.float32(0), values)


def _nibbles(codes: CodeArray) -> bytes:
    """Codes of 4 bits in bytes, the first in the lower half."""
    even = np.concatenate([codes, np.zeros(len(codes) % 2, np.uint8)])
    packed: CodeArray = even[::2] | (even[1::2] << 4)
    return packed.tobytes()


def _check_length(name: str, data: bytes, expected: int, spec: ParameterSpec) -> None:
    if len(data) != expected:
        raise InvalidValue(name, f"{len(data)} bytes, expected {expected} for {spec.shape}")
