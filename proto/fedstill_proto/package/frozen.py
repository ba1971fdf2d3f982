"""Frozen weights: constants that a student's graphs read by name and do not hold, in a file of their own.

A graph of a stack of devices reads a constant behind a device dimension of 1, under a name that says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.graph_weights import with_weights

FROZEN_FILE = "frozen.safetensors"
PREFIX_FILE = "prefix.onnx"
"""What the student's frozen first part makes of examples: x [n, *input_shape] -> h [n, *prefix_shape]."""
STACKED = ".stacked"


def with_frozen(graph: bytes, frozen: Mapping[str, FloatArray]) -> bytes:
    """The graph with those of the constants that it reads."""
    read = {}
    for name, array in frozen.items():
        if _reads(graph, name):
            read[name] = array
        if _reads(graph, name + STACKED):
            read[name + STACKED] = array[None]
    return with_weights(graph, read) if read else graph


def _reads(graph: bytes, name: str) -> bool:
    """Whether a node has an input of this name: field 1 of a node, of so many bytes."""
    return b"\x0a" + bytes([min(len(name), 127)]) + name.encode() in graph
