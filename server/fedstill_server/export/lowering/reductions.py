"""Sums, means and maxima over dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.stacked import StackedGraph


def reduced(
    graph: StackedGraph, operator: str, x: Value, dimensions: Sequence[int] | None, *, keepdim: bool
) -> Value:
    """A reduction over logical dimensions (None or none given: all); the others stay as they lie."""
    rank = len(x.shape)
    dropped = {dimension % rank for dimension in dimensions or range(rank)}
    axes = sorted(x.place(dimension) for dimension in dropped)
    kept = [dimension for dimension in range(rank) if dimension not in dropped]
    if keepdim:
        shape = tuple(1 if dimension in dropped else size for dimension, size in enumerate(x.shape))
        order = x.order
    else:
        shape = tuple(x.shape[dimension] for dimension in kept)
        order = tuple(kept.index(dimension) for dimension in x.order if dimension in kept)
    return graph.emit(
        operator,
        [x, graph.ints(axes)],
        shape=shape,
        order=order,
        stacked=x.stacked,
        keepdims=int(keepdim),
    )


def sum_all(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return reduced(graph, "ReduceSum", x, None, keepdim=False)


def sum_dimensions(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int] | None,
    keepdim: bool = False,
    **unused: object,
) -> Value:
    return reduced(graph, "ReduceSum", x, dimensions, keepdim=keepdim)


def mean_dimensions(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int] | None,
    keepdim: bool = False,
    **unused: object,
) -> Value:
    return reduced(graph, "ReduceMean", x, dimensions, keepdim=keepdim)


def maximum(graph: StackedGraph, x: Value, dimensions: Sequence[int] = (), keepdim: bool = False) -> Value:
    return reduced(graph, "ReduceMax", x, dimensions, keepdim=keepdim)


aten = torch.ops.aten
OPERATORS = {
    aten.sum.default: sum_all,
    aten.sum.dim_IntList: sum_dimensions,
    aten.mean.dim: mean_dimensions,
    aten.amax.default: maximum,
}
