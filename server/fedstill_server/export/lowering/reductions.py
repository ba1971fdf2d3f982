"""Sums, means and maxima over dimensions.

Sums are products with a vector of ones: ONNX Runtime's ReduceSum adds in another order for a single device
than for a stack, while its matrix product treats each device by itself, and a result must not depend on the
stack it is in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from fedstill_server.export.layout import Order, Shape, Value
from fedstill_server.export.lowering.stacked import FLOAT, OperatorTable, StackedGraph


def total(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    weight: float = 1.0,
    **unused: object,
) -> Value:
    """`weight` times the sum over logical dimensions (None or none given: all)."""
    dropped = _dropped(x, dimensions)
    run = _first_run(x, dropped)
    summed = _sum_run(graph, x, run, weight)
    if len(run) < len(dropped):
        rest = [dimension for dimension in dropped if dimension not in run]
        summed = total(graph, summed, rest, keepdim=True)
    return summed if keepdim else graph.reshape(summed, _kept_shape(x, dropped))


def mean(
    graph: StackedGraph, x: Value, dimensions: Sequence[int] | None, keepdim: bool = False, **unused: object
) -> Value:
    elements = math.prod(x.shape[dimension] for dimension in _dropped(x, dimensions))
    return total(graph, x, dimensions, keepdim, weight=1.0 / elements)


def maximum(graph: StackedGraph, x: Value, dimensions: Sequence[int] = (), keepdim: bool = False) -> Value:
    dropped = _dropped(x, dimensions)
    axes = sorted(x.place(dimension) for dimension in dropped)
    largest = graph.emit(
        "ReduceMax",
        [x, graph.ints(axes)],
        shape=_ones_at(x.shape, dropped),
        order=x.order,
        stacked=x.stacked,
        keepdims=1,
    )
    return largest if keepdim else graph.reshape(largest, _kept_shape(x, dropped))


def _sum_run(graph: StackedGraph, x: Value, run: Order, weight: float) -> Value:
    """The sum over dimensions that lie side by side, which stay as dimensions of size 1."""
    devices = graph.stack_size if x.stacked else 1
    first, last = x.place(run[0]), x.place(run[-1])
    places = (devices, *x.places)
    outer, summed = math.prod(places[1:first]), math.prod(places[first : last + 1])
    inner = math.prod(places[last + 1 :])
    if inner == 1:
        matrix = graph.memory(x, (devices, outer, summed))
        operands = [
            matrix,
            _ones(graph, (devices, summed, 1), weight),
        ]  # one vector each: else one product for all
        memory: Shape = (devices, outer, 1)
    else:
        matrix = graph.memory(x, (devices * outer, summed, inner))
        operands = [_ones(graph, (1, 1, summed), weight), matrix]
        memory = (devices * outer, 1, inner)
    shape = _ones_at(x.shape, run)
    return graph.emit("MatMul", operands, shape=shape, order=x.order, memory=memory, stacked=x.stacked)


def _first_run(x: Value, dropped: Sequence[int]) -> Order:
    """The first of the dropped dimensions in memory, with those that follow it directly."""
    places = [place for place, dimension in enumerate(x.order) if dimension in dropped]
    length = 1
    while length < len(places) and places[length] == places[0] + length:
        length += 1
    return tuple(x.order[place] for place in places[:length])


def _ones(graph: StackedGraph, shape: Shape, weight: float) -> str:
    return graph.writer.constant(np.full(shape, weight, FLOAT))


def _dropped(x: Value, dimensions: Sequence[int] | None) -> list[int]:
    rank = len(x.shape)
    return sorted({dimension % rank for dimension in dimensions or range(rank)})


def _ones_at(shape: Shape, dropped: Sequence[int]) -> Shape:
    return tuple(1 if dimension in dropped else size for dimension, size in enumerate(shape))


def _kept_shape(x: Value, dropped: Sequence[int]) -> Shape:
    return tuple(size for dimension, size in enumerate(x.shape) if dimension not in dropped)


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.sum.default: total,
    aten.sum.dim_IntList: total,
    aten.mean.dim: mean,
    aten.amax.default: maximum,
}
