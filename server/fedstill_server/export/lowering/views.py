"""Operators that only look at a tensor differently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.stacked import LoweringError, OperatorTable, StackedGraph


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


def part(
    graph: StackedGraph,
    x: Value,
    dimension: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    """x[..., start:end, ...]; indices are as torch gives them, the end may lie behind the last."""
    at, numbers = _numbers(x.shape, dimension, start, end, step)
    shape = (*x.shape[:at], len(numbers), *x.shape[at + 1 :])
    bounds = [graph.ints([numbers.start]), graph.ints([numbers.stop]), graph.ints([x.place(at)])]
    return graph.emit("Slice", [x, *bounds], shape=shape, order=x.order, dtype=x.dtype, stacked=x.stacked)


def part_backward(
    graph: StackedGraph,
    gradient: Value,
    shape: Sequence[int],
    dimension: int,
    start: int | None,
    end: int | None,
    step: int,
) -> Value:
    """The gradient of the whole: zeros around that of the part."""
    whole = tuple(shape)
    at, numbers = _numbers(whole, dimension, start, end, step)
    pads = [0] * (2 * (len(whole) + 1))
    pads[gradient.place(at)] = numbers.start
    pads[len(whole) + 1 + gradient.place(at)] = whole[at] - numbers.stop
    return graph.emit(
        "Pad",
        [gradient, graph.ints(pads)],
        shape=whole,
        order=gradient.order,
        stacked=gradient.stacked,
    )


def split(graph: StackedGraph, x: Value, size: int, dimension: int = 0) -> list[Value]:
    """Parts of `size`, the last of which may be smaller."""
    whole = x.shape[dimension]
    return [part(graph, x, dimension, start, start + size) for start in range(0, whole, size)]


def unbind(graph: StackedGraph, x: Value, dimension: int = 0) -> list[Value]:
    """The slices of a dimension, without it."""
    return graph.unstack(x, dimension % len(x.shape))


def _numbers(
    shape: Sequence[int], dimension: int, start: int | None, end: int | None, step: int
) -> tuple[int, range]:
    at = dimension % len(shape)
    if step != 1:
        raise LoweringError(f"a slice with step {step}: only those without gaps have a translation")
    return at, range(*slice(start, end).indices(shape[at]))


def concatenate(graph: StackedGraph, values: Sequence[Value], dimension: int = 0) -> Value:
    first, at = values[0], dimension % len(values[0].shape)
    lying = [graph.stacked(graph.reordered(value, first.order)) for value in values]
    length = sum(value.shape[at] for value in values)
    shape = (*first.shape[:at], length, *first.shape[at + 1 :])
    return graph.emit(
        "Concat", lying, shape=shape, order=first.order, dtype=first.dtype, axis=first.place(at)
    )


def stack(graph: StackedGraph, values: Sequence[Value], dimension: int = 0) -> Value:
    """The opposite of `unbind`."""
    at = dimension % (len(values[0].shape) + 1)
    return concatenate(graph, [unsqueeze(graph, value, at) for value in values], at)


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
    aten.cat.default: concatenate,
    aten.expand.default: expand,
    aten.slice.Tensor: part,
    aten.split.Tensor: split,
    aten.unbind.int: unbind,
    aten.stack.default: stack,
    aten.slice_backward.default: part_backward,
    aten.detach.default: same,
    aten.alias.default: same,
    aten.clone.default: same,
    aten.lift_fresh_copy.default: same,
}
