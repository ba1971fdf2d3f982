"""Operators that look at a tensor differently, or put parts of tensors together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from fedstill_server.export.layout import Value, rows_innermost
from fedstill_server.export.lowering.elementwise import add, converted, promoted
from fedstill_server.export.lowering.stacked import BOOL, INT, OperatorTable, StackedGraph


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
    if dimensions:
        dimensions[first], dimensions[second] = dimensions[second], dimensions[first]
    return x.permuted(dimensions)


def unsqueeze(graph: StackedGraph, x: Value, dimension: int) -> Value:
    at = dimension % (len(x.shape) + 1)
    return graph.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(graph: StackedGraph, x: Value, dimensions: int | Sequence[int] | None = None) -> Value:
    """x without those of the dimensions (None: of all) that are of size 1."""
    rank = len(x.shape)
    if dimensions is None:
        dimensions = range(rank)
    named = [dimensions] if isinstance(dimensions, int) else dimensions
    gone = {at % rank for at in named if rank and x.shape[at] == 1}
    return graph.reshape(x, tuple(size for at, size in enumerate(x.shape) if at not in gone)) if gone else x


def expand(graph: StackedGraph, x: Value, shape: Sequence[int], **unused: object) -> Value:
    """x repeated along dimensions of size 1, written out: whoever reads it may need its full size."""
    sizes = np.broadcast_shapes(x.shape, tuple(1 if size == -1 else size for size in shape))
    if sizes == x.shape:
        return x
    if len(sizes) == len(x.shape) == 4 and x.shape[2:] == (1, 1):
        # Of images, as from a mean over their places: they lie with the rows innermost.
        lying = rows_innermost(4)
        zeros = graph.constant(np.zeros(tuple(sizes[at] for at in lying), x.dtype))
        return add(graph, x, zeros.permuted([3, 0, 1, 2]))
    return add(graph, x, graph.constant(np.zeros(sizes, x.dtype)))


def expand_into(graph: StackedGraph, x: Value, shape: Sequence[int], dimensions: Sequence[int]) -> Value:
    """x whose dimensions become `dimensions` of a larger shape, along whose others it is repeated."""
    lying = [1] * len(shape)
    for at, size in zip(dimensions, x.shape, strict=True):
        lying[at] = size
    return expand(graph, graph.reshape(x, tuple(lying)), shape)


def repeat(graph: StackedGraph, x: Value, times: Sequence[int]) -> Value:
    """x so many times along each of its dimensions, new ones in front included."""
    whole = graph.reshape(x, (*(1,) * (len(times) - len(x.shape)), *x.shape))
    if math.prod(times) == 1:
        return whole
    shape = tuple(size * count for size, count in zip(whole.shape, times, strict=True))
    counts = graph.ints([1, *(times[dimension] for dimension in whole.order)])
    return graph.emit(
        "Tile", [whole, counts], shape=shape, order=whole.order, dtype=x.dtype, stacked=x.stacked
    )


def part(
    graph: StackedGraph,
    x: Value,
    dimension: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    """x[..., start:end:step, ...]; indices are as torch gives them, the end may lie behind the last."""
    at, numbers = _numbers(x.shape, dimension, start, end, step)
    shape = (*x.shape[:at], len(numbers), *x.shape[at + 1 :])
    if shape == x.shape:
        return x
    bounds = [graph.ints([numbers.start]), graph.ints([numbers.stop]), graph.ints([x.place(at)])]
    if step != 1:
        bounds.append(graph.ints([step]))
    return graph.emit("Slice", [x, *bounds], shape=shape, order=x.order, dtype=x.dtype, stacked=x.stacked)


def narrow(graph: StackedGraph, x: Value, dimension: int, start: int, length: int) -> Value:
    """`length` slices of a dimension, from `start` on."""
    return part(graph, x, dimension, start, start + length)


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
    at, numbers = _numbers(shape, dimension, start, end, step)
    return padded(graph, _spread(graph, gradient, at, step), at, numbers.start, shape[at])


def select(graph: StackedGraph, x: Value, dimension: int, index: int) -> Value:
    """The slice `index` of a dimension, without it."""
    at = dimension % len(x.shape)
    place = index % x.shape[at]
    return graph.reshape(part(graph, x, at, place, place + 1), (*x.shape[:at], *x.shape[at + 1 :]))


def select_backward(
    graph: StackedGraph, gradient: Value, shape: Sequence[int], dimension: int, index: int
) -> Value:
    at = dimension % len(shape)
    return padded(graph, unsqueeze(graph, gradient, at), at, index % shape[at], shape[at])


def padded(graph: StackedGraph, x: Value, dimension: int, before: int, size: int) -> Value:
    """x with zeros around it along a dimension, which becomes of `size`."""
    behind = size - before - x.shape[dimension]
    if not before and not behind:
        return x
    pads = [0] * (2 * (len(x.shape) + 1))
    pads[x.place(dimension)] = before
    pads[len(x.shape) + 1 + x.place(dimension)] = behind
    shape = (*x.shape[:dimension], size, *x.shape[dimension + 1 :])
    return graph.emit(
        "Pad", [x, graph.ints(pads)], shape=shape, order=x.order, dtype=x.dtype, stacked=x.stacked
    )


def _spread(graph: StackedGraph, x: Value, dimension: int, step: int) -> Value:
    """x with step - 1 zeros between its slices along a dimension."""
    if step == 1:
        return x
    count = x.shape[dimension]
    apart = padded(graph, unsqueeze(graph, x, dimension + 1), dimension + 1, 0, step)
    joined = graph.reshape(apart, (*x.shape[:dimension], count * step, *x.shape[dimension + 1 :]))
    return part(graph, joined, dimension, 0, (count - 1) * step + 1)


def part_replaced(
    graph: StackedGraph,
    x: Value,
    source: Value,
    dimension: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    """x with `source` in the place of x[..., start:end:step, ...]."""
    at, numbers = _numbers(x.shape, dimension, start, end, step)
    length = x.shape[at]
    taken = np.arange(length)
    taken[numbers.start : numbers.stop : step] = np.arange(len(numbers)) + length
    if step == 1:
        parts = [part(graph, x, at, 0, numbers.start), source, part(graph, x, at, numbers.stop, length)]
        return concatenate(graph, [each for each in parts if each.shape[at]], at)
    return taken_along(graph, concatenate(graph, [x, source], at), at, taken)


def select_replaced(graph: StackedGraph, x: Value, source: Value, dimension: int, index: int) -> Value:
    """x with `source` as the slice `index` of a dimension."""
    at = dimension % len(x.shape)
    place = index % x.shape[at]
    return part_replaced(graph, x, unsqueeze(graph, source, at), at, place, place + 1)


def taken_along(graph: StackedGraph, x: Value, dimension: int, places: np.ndarray) -> Value:
    """The slices of x that stand at known places of a dimension."""
    shape = (*x.shape[:dimension], len(places), *x.shape[dimension + 1 :])
    indices = graph.writer.constant(np.asarray(places, np.int64))
    axis = x.place(dimension)
    return graph.emit(
        "Gather", [x, indices], shape=shape, order=x.order, dtype=x.dtype, stacked=x.stacked, axis=axis
    )


def picked(graph: StackedGraph, x: Value, places: np.ndarray) -> Value:
    """The numbers of x at known places of its flat form, in the places' shape."""
    flat = taken_along(graph, graph.reshape(x, (x.elements,)), 0, places.reshape(-1))
    return graph.reshape(flat, places.shape)


def diagonal(graph: StackedGraph, x: Value, offset: int = 0, first: int = 0, second: int = 1) -> Value:
    return picked(graph, x, np.diagonal(_places(x.shape), offset, first, second))


def diagonal_replaced(
    graph: StackedGraph, x: Value, source: Value, offset: int = 0, first: int = 0, second: int = 1
) -> Value:
    """x with `source` as a diagonal."""
    return _replaced(graph, x, source, np.diagonal(_places(x.shape), offset, first, second))


def _replaced(graph: StackedGraph, x: Value, source: Value, at: np.ndarray) -> Value:
    """x with the numbers of `source` at known places of its flat form."""
    flat = np.arange(x.elements)
    flat[at.reshape(-1)] = np.arange(at.size) + x.elements
    both = concatenate(graph, [graph.reshape(x, (x.elements,)), graph.reshape(source, (source.elements,))])
    return picked(graph, both, flat.reshape(x.shape))


def unfold(graph: StackedGraph, x: Value, dimension: int, size: int, step: int) -> Value:
    """Windows of a dimension, whose places become the last dimension."""
    at = dimension % len(x.shape)
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(x.shape[at]), size)[::step]
    shape = (*x.shape[:at], *windows.shape, *x.shape[at + 1 :])
    taken = graph.reshape(taken_along(graph, x, at, windows.reshape(-1)), shape)
    others = [dimension for dimension in range(len(shape)) if dimension != at + 1]
    return taken.permuted([*others, at + 1])


def as_strided(
    graph: StackedGraph, x: Value, shape: Sequence[int], strides: Sequence[int], offset: int | None = None
) -> Value:
    """A view of the numbers of x as they lie one after another."""
    places = _strided_places(shape, strides, offset)
    if np.array_equal(places.reshape(-1), np.arange(x.elements)):
        return graph.reshape(x, tuple(shape))
    return picked(graph, x, places)


def as_strided_replaced(
    graph: StackedGraph,
    x: Value,
    source: Value,
    shape: Sequence[int],
    strides: Sequence[int],
    offset: int | None = None,
) -> Value:
    """x with `source` in the place of such a view of it."""
    return _replaced(graph, x, source, _strided_places(shape, strides, offset))


def _strided_places(shape: Sequence[int], strides: Sequence[int], offset: int | None) -> np.ndarray:
    places = np.full(tuple(shape), offset or 0)
    for at, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        places += (np.arange(size) * stride).reshape(-1, *(1,) * (len(shape) - at - 1))
    return places


def flip(graph: StackedGraph, x: Value, dimensions: Sequence[int]) -> Value:
    for dimension in dimensions:
        at = dimension % len(x.shape)
        x = taken_along(graph, x, at, np.arange(x.shape[at])[::-1])
    return x


def roll(graph: StackedGraph, x: Value, shifts: Sequence[int], dimensions: Sequence[int] = ()) -> Value:
    """x moved along its dimensions (none given: along its flat form), round the end."""
    if not dimensions:
        flat = graph.reshape(x, (x.elements,))
        return graph.reshape(roll(graph, flat, shifts, [0]), x.shape)
    for shift, dimension in zip(shifts, dimensions, strict=True):
        at = dimension % len(x.shape)
        first = -shift % x.shape[at]
        if first:
            x = concatenate(graph, [part(graph, x, at, first), part(graph, x, at, 0, first)], at)
    return x


def pad(graph: StackedGraph, x: Value, widths: Sequence[int], number: float = 0) -> Value:
    """x with a number around it; widths are given from the last dimension, and a negative one cuts."""
    before, behind = [0] * len(x.shape), [0] * len(x.shape)
    for at, (low, high) in enumerate(zip(widths[::2], widths[1::2], strict=True), start=1):
        dimension = len(x.shape) - at
        x = part(graph, x, dimension, max(-low, 0), x.shape[dimension] - max(-high, 0))
        before[dimension], behind[dimension] = max(low, 0), max(high, 0)
    if not any(before + behind):
        return x
    shape = tuple(map(sum, zip(before, x.shape, behind, strict=True)))
    pads = [0, *(before[d] for d in x.order), 0, *(behind[d] for d in x.order)]
    dtype, whole = x.dtype, converted(graph, x, INT) if x.dtype == BOOL else x
    inputs: list[Value | str] = [whole, graph.ints(pads)]
    if number:
        inputs.append(graph.writer.constant(np.array(number, whole.dtype)))
    around = graph.emit("Pad", inputs, shape=shape, order=x.order, dtype=whole.dtype, stacked=x.stacked)
    return converted(graph, around, dtype)


def split(graph: StackedGraph, x: Value, size: int, dimension: int = 0) -> list[Value]:
    """Parts of `size`, the last of which may be smaller."""
    whole = x.shape[dimension]
    return [part(graph, x, dimension, start, start + size) for start in range(0, whole, size)]


def split_by_sizes(graph: StackedGraph, x: Value, sizes: Sequence[int], dimension: int = 0) -> list[Value]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [part(graph, x, dimension, *bounds) for bounds in itertools.pairwise(ends)]


def unbind(graph: StackedGraph, x: Value, dimension: int = 0) -> list[Value]:
    """The slices of a dimension, without it."""
    return graph.unstack(x, dimension % len(x.shape))


def _numbers(
    shape: Sequence[int], dimension: int, start: int | None, end: int | None, step: int
) -> tuple[int, range]:
    at = dimension % len(shape)
    return at, range(*slice(start, end, step).indices(shape[at]))


def _places(shape: Sequence[int]) -> np.ndarray:
    """The place of each number in the flat form."""
    return np.arange(math.prod(shape)).reshape(tuple(shape))


def concatenate(graph: StackedGraph, values: Sequence[Value], dimension: int = 0) -> Value:
    values = promoted(graph, *(value for value in values if value.shape != (0,)))
    if len(values) == 1:
        return values[0]
    first, at = values[0], dimension % len(values[0].shape)
    stacked = any(value.stacked for value in values)
    lying = [graph.reordered(value, first.order) for value in values]
    if stacked:
        lying = [graph.stacked(value) for value in lying]
    length = sum(value.shape[at] for value in values)
    shape = (*first.shape[:at], length, *first.shape[at + 1 :])
    return graph.emit(
        "Concat",
        lying,
        shape=shape,
        order=first.order,
        dtype=first.dtype,
        stacked=stacked,
        axis=first.place(at),
    )


def stack(graph: StackedGraph, values: Sequence[Value], dimension: int = 0) -> Value:
    """The opposite of `unbind`."""
    at = dimension % (len(values[0].shape) + 1)
    return concatenate(graph, [unsqueeze(graph, value, at) for value in values], at)


def same(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return x


aten, prims = torch.ops.aten, torch.ops.prims
OPERATORS: OperatorTable = {
    aten.view.default: view,
    aten._unsafe_view.default: view,
    aten._reshape_alias.default: view,
    aten.reshape.default: view,
    aten.as_strided.default: as_strided,
    aten.as_strided_scatter.default: as_strided_replaced,
    aten.as_strided_copy.default: as_strided,
    aten.view_copy.default: view,
    aten.permute_copy.default: permute,
    aten.unbind_copy.int: unbind,
    aten.narrow_copy.default: narrow,
    aten.t.default: transpose_matrix,
    aten.permute.default: permute,
    aten.transpose.int: transpose,
    aten.unsqueeze.default: unsqueeze,
    aten.squeeze.default: squeeze,
    aten.squeeze.dim: squeeze,
    aten.squeeze.dims: squeeze,
    aten.cat.default: concatenate,
    aten.expand.default: expand,
    aten.repeat.default: repeat,
    aten.slice.Tensor: part,
    aten.slice_backward.default: part_backward,
    aten.slice_scatter.default: part_replaced,
    aten.select.int: select,
    aten.select_backward.default: select_backward,
    aten.select_scatter.default: select_replaced,
    aten.diagonal.default: diagonal,
    aten.diagonal_scatter.default: diagonal_replaced,
    aten.unfold.default: unfold,
    aten.flip.default: flip,
    aten.roll.default: roll,
    aten.constant_pad_nd.default: pad,
    aten.split.Tensor: split,
    aten.split_with_sizes.default: split_by_sizes,
    aten.unsafe_split.Tensor: split,
    aten.unsafe_split_with_sizes.default: split_by_sizes,
    aten.unbind.int: unbind,
    aten.stack.default: stack,
    aten.detach.default: same,
    aten.alias.default: same,
    aten.clone.default: same,
    aten.contiguous.default: same,
    aten.lift_fresh.default: same,
    aten.lift_fresh_copy.default: same,
    prims.broadcast_in_dim.default: expand_into,
    prims.view_of.default: same,
}
