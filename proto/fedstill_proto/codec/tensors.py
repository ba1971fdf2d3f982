"""A student's parameters on the wire."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fedstill_proto.arrays import Parameters, ParameterSpec
from fedstill_proto.checks import check_name
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.v1 import fedstill_pb2 as pb


def encode_tensors(parameters: Parameters) -> list[pb.Tensor]:
    """Parameters as messages, in their order."""
    return [
        pb.Tensor(name=name, shape=array.shape, data=array.astype("<f4", copy=False).tobytes())
        for name, array in parameters.items()
    ]


def decode_tensors(tensors: Iterable[pb.Tensor], field: str) -> Parameters:
    """The parameters of messages; raises WireError, whose field starts with `field`."""
    parameters: Parameters = {}
    for index, tensor in enumerate(tensors):
        place = f"{field}[{index}]"
        try:
            check_name("name", tensor.name)
            if tensor.name in parameters:
                raise InvalidValue("name", f"{tensor.name!r} appears twice")
            spec = ParameterSpec(tensor.name, tuple(tensor.shape))
        except InvalidValue as error:
            raise WireError(f"{place}.{error.field}", error.problem) from None
        if len(tensor.data) != 4 * spec.size:
            problem = f"{len(tensor.data)} bytes, expected {4 * spec.size} for {spec.shape}"
            raise WireError(f"{place}.data", problem)
        # A copy: the array outlives the message, is aligned, and may be written to.
        parameters[tensor.name] = np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(spec.shape)
    return parameters
