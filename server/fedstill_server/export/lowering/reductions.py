"""Sums, products, means and extremes over dimensions, and running sums and products.

Sums are products with a vector of ones: ONNX Runtime's ReduceSum adds in another order for a single device
than for a stack, while its matrix product treats each device by itself, and a result must not depend on the
stack it is in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fedstill_server.export.layout import Order, Shape, Value
from fedstill_server.export.lowering.elementwise import as_float, converted, multiply
from fedstill_server.export.lowering.stacked import (
    BOOL,
    FLOAT,
    INT,
    OperatorTable,
    StackedGraph,
    element_type,
)


def total(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
    weight: float = 1.0,
) -> Value:
    """`weight` times the sum over logical dimensions (None or none given: all).

    A sum of whole numbers or truth values is a whole number, unless `dtype` is another.
    """
    if dtype is not None:
        x = converted(graph, x, element_type(dtype))
    if x.dtype != FLOAT:
        return _reduced(graph, "ReduceSum", converted(graph, x, INT), dimensions, keepdim)
    if not x.shape:
        return multiply(graph, x, weight)
    dropped = _dropped(x, dimensions)
    run = _first_run(x, dropped)
    summed = _sum_run(graph, x, run, weight)
    if len(run) < len(dropped):
        rest = [dimension for dimension in dropped if dimension not in run]
        summed = total(graph, summed, rest, keepdim=True)
    return summed if keepdim else graph.reshape(summed, _kept_shape(x, dropped))


def mean(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Value:
    elements = math.prod(x.shape[dimension] for dimension in _dropped(x, dimensions))
    return total(graph, as_float(graph, x), dimensions, keepdim, weight=1.0 / elements)


def extreme(operator: str) -> Callable[..., Value]:
    """The largest or the smallest number over dimensions (None or none given: all)."""

    def lower(
        graph: StackedGraph,
        x: Value,
        dimensions: Sequence[int] | int | None = None,
        keepdim: bool = False,
    ) -> Value:
        whole = x if x.dtype != BOOL else converted(graph, x, INT)
        return converted(graph, _reduced(graph, operator, whole, dimensions, keepdim), x.dtype)

    return lower


maximum, minimum = extreme("ReduceMax"), extreme("ReduceMin")


def place_of_extreme(operator: str) -> Callable[..., Value]:
    """The place of the first of the largest or smallest numbers (no dimension given: among all)."""

    def lower(graph: StackedGraph, x: Value, dimension: int | None = None, keepdim: bool = False) -> Value:
        if dimension is None:
            found = lower(graph, graph.reshape(x, (x.elements,)), 0)
            return graph.reshape(found, (1,) * len(x.shape) if keepdim else ())
        if not x.shape:
            return graph.constant(np.zeros((), np.int64))
        return _reduced(graph, operator, x, [dimension], keepdim, axis=x.place(dimension))

    return lower


def extreme_and_place(best: str, place: str) -> Callable[..., tuple[Value, Value]]:
    """The largest or smallest number along a dimension, and its place."""

    def lower(graph: StackedGraph, x: Value, dimension: int, keepdim: bool = False) -> tuple[Value, Value]:
        return (
            extreme(best)(graph, x, [dimension], keepdim),
            place_of_extreme(place)(graph, x, dimension, keepdim),
        )

    return lower


def any_true(
    graph: StackedGraph, x: Value, dimensions: Sequence[int] | int | None = None, keepdim: bool = False
) -> Value:
    """Whether any is true, or not 0."""
    return maximum(graph, converted(graph, x, BOOL), dimensions, keepdim)


def all_true(
    graph: StackedGraph, x: Value, dimensions: Sequence[int] | int | None = None, keepdim: bool = False
) -> Value:
    return minimum(graph, converted(graph, x, BOOL), dimensions, keepdim)


def product(
    graph: StackedGraph,
    x: Value,
    dimension: int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Value:
    """The product along a dimension (None: of all), in halves: its order does not depend on the stack."""
    if dtype is not None or x.dtype == BOOL:
        x = converted(graph, x, INT if dtype is None else element_type(dtype))
    if dimension is None:
        return product(graph, graph.reshape(x, (x.elements,)), 0)
    if not x.shape:
        return x
    kept = tuple(size for at, size in enumerate(x.shape) if at != dimension % len(x.shape))
    factors = graph.unstack(x, dimension % len(x.shape))
    if not factors:
        return graph.constant(np.ones(kept, x.dtype))
    while len(factors) > 1:
        pairs = zip(factors[::2], factors[1::2], strict=False)
        rest = factors[-1:] if len(factors) % 2 else []
        factors = [multiply(graph, left, right) for left, right in pairs] + rest
    at = dimension % len(x.shape)
    return graph.reshape(factors[0], (*kept[:at], 1, *kept[at:])) if keepdim else factors[0]


def running_sum(graph: StackedGraph, x: Value, dimension: int, *, dtype: torch.dtype | None = None) -> Value:
    """The sum of all numbers up to each place of a dimension."""
    x = converted(graph, x, element_type(dtype) if dtype else FLOAT if x.dtype == FLOAT else INT)
    if not x.shape:
        return x
    axis = graph.writer.constant(np.array(x.place(dimension), np.int64))
    return graph.emit("CumSum", [x, axis], shape=x.shape, order=x.order, dtype=x.dtype, stacked=x.stacked)


def running_product(
    graph: StackedGraph, x: Value, dimension: int, *, dtype: torch.dtype | None = None
) -> Value:
    """The product of all numbers up to each place of a dimension."""
    x = converted(graph, x, element_type(dtype) if dtype else FLOAT if x.dtype == FLOAT else INT)
    if not x.shape:
        return x
    at = dimension % len(x.shape)
    products: list[Value] = []
    for factor in graph.unstack(x, at):
        products.append(multiply(graph, products[-1], factor) if products else factor)
    return graph.stack(products, at, x)


def _reduced(
    graph: StackedGraph,
    operator: str,
    x: Value,
    dimensions: Sequence[int] | int | None,
    keepdim: bool,
    **attributes: Any,
) -> Value:
    """A reduction whose result does not depend on the order of its operands."""
    if not x.shape:
        return x
    dropped = _dropped(x, dimensions)
    inputs: list[Value | str] = [x]
    if "axis" not in attributes:
        inputs.append(graph.ints(sorted(x.place(dimension) for dimension in dropped)))
    reduced = graph.emit(
        operator,
        inputs,
        shape=_ones_at(x.shape, dropped),
        order=x.order,
        dtype=INT if "axis" in attributes else x.dtype,
        stacked=x.stacked,
        keepdims=1,
        **attributes,
    )
    return reduced if keepdim else graph.reshape(reduced, _kept_shape(x, dropped))


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


def _dropped(x: Value, dimensions: Sequence[int] | int | None) -> list[int]:
    rank = len(x.shape)
    if isinstance(dimensions, int):
        dimensions = [dimensions]
    return sorted({dimension % rank for dimension in dimensions or range(rank)})


def _ones_at(shape: Shape, dropped: Sequence[int]) -> Shape:
    return tuple(1 if dimension in dropped else size for dimension, size in enumerate(shape))


def _kept_shape(x: Value, dropped: Sequence[int]) -> Shape:
    return tuple(size for dimension, size in enumerate(x.shape) if dimension not in dropped)


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.sum.default: total,
    aten.sum.dim_IntList: total,
    aten.mean.default: mean,
    aten.mean.dim: mean,
    aten.amax.default: maximum,
    aten.amin.default: minimum,
    aten.max.default: maximum,
    aten.max.dim: extreme_and_place("ReduceMax", "ArgMax"),
    aten.min.default: minimum,
    aten.min.dim: extreme_and_place("ReduceMin", "ArgMin"),
    aten.argmax.default: place_of_extreme("ArgMax"),
    aten.argmin.default: place_of_extreme("ArgMin"),
    aten.any.default: any_true,
    aten.any.dim: any_true,
    aten.any.dims: any_true,
    aten.all.default: all_true,
    aten.all.dim: all_true,
    aten.all.dims: all_true,
    aten.prod.default: product,
    aten.prod.dim_int: product,
    aten.cumsum.default: running_sum,
    aten.cumprod.default: running_product,
}
