"""The memory of a graph: what its weights take, and what its inner values take at once.

A value lives from the node that makes it to the last one that reads it. What reshapes shares memory with
what it reshapes. Weights and inputs are not among them.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from fedstill_server.inspection.graph.observed import Turn
from fedstill_server.inspection.graph.operators import VIEWS


def weight_bytes(graph: onnx.GraphProto) -> int:
    """Of all initializers, as the graph holds them."""
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in graph.initializer
    )


def peak_bytes(turn: Turn) -> tuple[int, str]:
    """The most that inner values take at once, and the operator at which that is, with the value it makes."""
    graph = turn.graph
    owner = _owners(graph)
    last = {owner[name]: len(graph.node) for name in (port.name for port in graph.output) if name in owner}
    for place, node in enumerate(graph.node):
        for name in node.input:
            if name in owner:
                last[owner[name]] = max(last.get(owner[name], place), place)
    alive: dict[str, int] = {}
    peak, largest = 0, ""
    for place, node in enumerate(graph.node):
        for name in node.output:
            if name and owner[name] == name:
                alive[name] = np.asarray(turn.values[name]).nbytes
        body = turn.bodies.get(place)
        inside = 0 if body is None else peak_bytes(body.turn)[0]
        now = sum(alive.values()) + inside
        if now > peak:
            peak, largest = now, f"{node.op_type} {node.output[0]}"
        for name in [name for name in alive if last.get(name, place) <= place]:
            del alive[name]
    return peak, largest


def _owners(graph: onnx.GraphProto) -> dict[str, str]:
    """For each value that a node makes, the value whose memory it is in."""
    owner: dict[str, str] = {}
    for node in graph.node:
        for name in node.output:
            if name:
                is_view = node.op_type in VIEWS and node.input[0] in owner
                owner[name] = owner[node.input[0]] if is_view else name
    return owner
