"""Takes frozen weights out of graphs: all graphs of a student read them from one file, which holds each once.

A constant is known by its content: `frozen.<digest>`. The graphs of a stack hold it behind a device dimension
of 1, which is no other content (see `fedstill_proto.package.frozen`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import numpy as np
import onnx
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.frozen import STACKED
from onnx import TensorProto, numpy_helper

from fedstill_server.export.weightless import without_weights

LEAST_VALUES = 256
"""Smaller constants stay in the graphs."""


def constants_apart(
    graphs: Mapping[str, bytes], *, stacked: Collection[str] = (), weights: Collection[str] = ()
) -> tuple[dict[str, bytes], Parameters]:
    """Graphs without their larger constants, and these.

    Args:
        graphs: By name.
        stacked: The names of those with a device dimension.
        weights: The initializers that devices replace; they stay.

    Returns:
        The graphs, and what they now read from outside, by name.
    """
    frozen: Parameters = {}
    without = {}
    for name, graph in graphs.items():
        model = onnx.load_from_string(graph)
        renamed: dict[str, str] = {}
        for tensor in model.graph.initializer:
            array = _constant(tensor, weights)
            if array is None:
                continue
            array, suffix = (array[0], STACKED) if name in stacked and array.shape[0] == 1 else (array, "")
            digest = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()[:16]
            frozen[f"frozen.{digest}"] = array
            renamed[tensor.name] = f"frozen.{digest}{suffix}"
        without[name] = _renamed(model, renamed) if renamed else graph
    return without, {name: frozen[name] for name in sorted(frozen)}


def _constant(tensor: TensorProto, weights: Collection[str]) -> np.ndarray | None:
    """A constant that is worth a place of its own."""
    if tensor.name in weights or tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST_VALUES:
        return None
    array: np.ndarray = numpy_helper.to_array(tensor)
    return array if np.isfinite(array).all() else None


def _renamed(model: onnx.ModelProto, renamed: Mapping[str, str]) -> bytes:
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return without_weights(model.SerializeToString(), renamed)
