"""Puts weights into a graph that has none: bytes behind its bytes, without reading it.

Two protobuf messages one after another are read as one that holds the lists of both: a model followed by a
model of nothing but initializers is the model with these initializers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fedstill_proto.errors import InvalidValue
from fedstill_proto.v1 import onnx_outline_pb2 as pb

_ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int64": 7}  # ONNX's TensorProto.DataType


def with_weights(graph: bytes, weights: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """The graph with these initializers; raises InvalidValue for one that nothing in the graph reads."""
    model = pb.Model()
    for name, array in weights.items():
        if name.encode() not in graph:
            raise InvalidValue("weights", f"the graph reads nothing named {name!r}; export the student again")
        model.graph.initializer.add(
            name=name,
            dims=array.shape,
            data_type=_ELEMENT_TYPES[array.dtype.name],
            raw_data=np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes(),
        )
    return graph + model.SerializeToString()


def with_weights_instead(graph: bytes, weights: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """The graph with these initializers in place of its own of the same names; it is read for that."""
    model = pb.Model.FromString(graph)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return with_weights(model.SerializeToString(), weights)
