"""Operators that only look at a tensor differently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.stacked import OperatorTable, StackedGraph


def view(graph: StackedGraph, x: Value, shape: Sequence[int]) -> Value:
    sizes = list(shape)
    if -1 in sizes:
        known = 1
        for size in sizes:
            known *= size if size != -1 else 1
        sizes[sizes.index(-1)] = x.elements // known
    return graph.reshape(x, tuple(sizes))


def transpose_matrix(graph: StackedGraph, x: Value) -> Value:
    return x.permuted(tuple(range(len(x.shape)))[::-1])


def permute(graph: StackedGraph, x: Value, dimensions: Sequence[int]) -> Value:
    return x.permuted([dimension % len(x.shape) for dimension in dimensions])


def transpose(graph: StackedGraph, x: Value, first: int, second: int) -> Value:
    dimensions = list(range(len(x.shape)))
    dimensions[first], dimensions[second] = dimensions[second], dimensions[first]
    return x.permuted(dimensions)


def unsqueeze(graph: StackedGraph, x: Value, dimension: int) -> Value:
    at = dimension % (len(x.shape) + 1)
    return graph.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(graph: StackedGraph, x: Value, dimension: int) -> Value:
    at = dimension % len(x.shape)
    return graph.reshape(x, (*x.shape[:at], *x.shape[at + 1 :])) if x.shape[at] == 1 else x


def expand(graph: StackedGraph, x: Value, shape: Sequence[int], **unused: object) -> Value:
    """x repeated along dimensions of size 1, written out: whoever reads it may need its full size."""
    sizes = np.broadcast_shapes(x.shape, tuple(1 if size == -1 else size for size in shape))
    if sizes == x.shape:
        return x
    return graph.elementwise("Add", [x, graph.constant(np.zeros(sizes, x.dtype))])


def same(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return x


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.view.default: view,
    aten._unsafe_view.default: view,
    aten.reshape.default: view,
    aten.t.default: transpose_matrix,
    aten.permute.default: permute,
    aten.transpose.int: transpose,
    aten.unsqueeze.default: unsqueeze,
    aten.squeeze.dim: squeeze,
    aten.expand.default: expand,
    aten.detach.default: same,
    aten.alias.default: same,
    aten.clone.default: same,
    aten.lift_fresh_copy.default: same,
}
