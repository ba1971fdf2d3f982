"""Constants that every device shares, and picking by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedstill_server.export.layout import Value, natural
from fedstill_server.export.lowering.stacked import FLOAT, INT, OperatorTable, StackedGraph


def arange(graph: StackedGraph, end: int, **unused: object) -> Value:
    return graph.constant(np.arange(end, dtype=np.int64))


def full(graph: StackedGraph, shape: Sequence[int], number: float, **unused: object) -> Value:
    return graph.constant(np.full(tuple(shape), number, INT if isinstance(number, int) else FLOAT))


def zeros_like(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return graph.constant(np.zeros(x.shape, x.dtype))


def ones_like(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return graph.constant(np.ones(x.shape, x.dtype))


def full_like(graph: StackedGraph, x: Value, number: float, **unused: object) -> Value:
    return graph.constant(np.full(x.shape, number, x.dtype))


def scatter(graph: StackedGraph, x: Value, dimension: int, indices: Value, values: Value) -> Value:
    """x with `values` written at `indices` along a dimension; the indices of a row are unique."""
    order = natural(len(x.shape))
    written = [graph.stacked(graph.reordered(value, order)) for value in (x, indices, values)]
    return graph.emit(
        "ScatterElements", written, shape=x.shape, order=order, axis=1 + dimension % len(x.shape)
    )


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.arange.default: arange,
    aten.full.default: full,
    aten.full_like.default: full_like,
    aten.zeros_like.default: zeros_like,
    aten.ones_like.default: ones_like,
    aten.scatter.src: scatter,
}
