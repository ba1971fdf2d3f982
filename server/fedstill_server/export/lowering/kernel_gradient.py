"""Gradients of convolution kernels: products with the input as each tap sees it (im2col)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from fedstill_server.export.graph import MICROSOFT
from fedstill_server.export.layout import Value, natural
from fedstill_server.export.lowering.geometry import Geometry, image_order
from fedstill_server.export.lowering.stacked import FLOAT, StackedGraph
from fedstill_server.export.lowering.windows import cut, padded, strided

_LONG = 2048
"""Places and rows from which the taps of one channel are taken one by one: all together leave the cache."""
_MUCH_TO_TURN = 64
"""Numbers of a kernel for each place and row, beyond which transposing its gradient costs what it saves."""


def kernel_gradient(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """[rows, filters, *output] and [rows, channels, *size] -> [filters, channels / groups, *kernel]."""
    order = image_order(form.rank)
    gradient, x = (graph.stacked(graph.reordered(value, order)) for value in (gradient, x))
    numbers = form.filters * form.channels // form.groups * form.taps
    length = math.prod(form.output) * x.shape[0]
    if form.is_pointwise:
        seen = [graph.memory(strided(graph, x, form), _seen_shape(graph, form, length))]
    elif form.is_depthwise and length >= _LONG:
        seen = _taps(graph, x, form)
    elif form.groups == 1 and form.rank == 2 and numbers <= _MUCH_TO_TURN * length:
        return _turned(graph, gradient, x, form)
    else:
        seen = [_expanded(graph, x, form, list(itertools.product(*map(range, form.kernel))))]
    return _product(graph, gradient, seen, form)


def _product(graph: StackedGraph, gradient: Value, seen: list[str], form: Geometry) -> Value:
    """gradient x seen^T for each group, one behind another where several are seen."""
    length = math.prod(form.output) * gradient.shape[0]
    parts, filters = graph.stack_size * form.groups, form.filters // form.groups
    numbers = form.channels // form.groups * form.taps
    flat = graph.memory(gradient, (parts, filters, length))
    products = [
        graph.write(
            "FusedMatMul",
            [flat, each],
            shape=(parts, filters, numbers // len(seen)),
            domain=MICROSOFT,
            transB=1,
        )
        for each in seen
    ]
    shape = (form.filters, form.channels // form.groups, *form.kernel)
    memory = (parts, filters, numbers)
    order = natural(len(shape))
    if len(seen) > 1:
        return graph.emit("Concat", products, shape=shape, order=order, memory=memory, axis=2)
    lying = (graph.stack_size, *shape)
    return Value(graph.writer.reshape(products[0], lying), shape, order, FLOAT)


def _turned(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """Expanded input x gradient^T: this way round the wide matrix is streamed and the narrow one packed."""
    kernel_height, kernel_width = form.kernel
    by_column = [(row, column) for column in range(kernel_width) for row in range(kernel_height)]
    expanded = _expanded(graph, x, form, by_column)
    length = math.prod(form.output) * x.shape[0]
    flat = graph.memory(gradient, (graph.stack_size, form.filters, length))
    product = graph.write(
        "FusedMatMul",
        [expanded, flat],
        shape=(graph.stack_size, form.channels * form.taps, form.filters),
        domain=MICROSOFT,
        transB=1,
    )
    memory = (graph.stack_size, form.channels, form.taps, form.filters)
    reading_order = np.arange(form.taps).reshape(kernel_width, kernel_height).T.ravel()
    lying = graph.emit(
        "Gather",
        [graph.writer.reshape(product, memory), graph.writer.constant(reading_order)],
        shape=(form.filters, form.channels, *form.kernel),
        order=(1, 2, 3, 0),
        memory=memory,
        axis=2,
    )
    return graph.reordered(lying, natural(4))


def _expanded(graph: StackedGraph, x: Value, form: Geometry, taps: Sequence[tuple[int, ...]]) -> str:
    """The input seen by each kernel tap: [C * groups, channels of a group * taps, places * rows].

    Entries of the last dimension are cut out first, where there is little to copy; then a Gather repeats
    whole rows of the image.
    """
    rank, rows = form.rank, x.shape[0]
    columns = _columns(graph, x, form)
    *others, width = columns[0].shape[2:]
    lines = math.prod(others)
    length = math.prod(form.output) * rows
    if len(columns) == 1 and lines == math.prod(form.output[:-1]) and len(taps) == 1:
        return graph.memory(columns[0], _seen_shape(graph, form, length))
    leading = (graph.stack_size, form.channels)
    shifted = columns[0].name
    if len(columns) > 1:
        extent = others[-1] if others else width
        more = (*others[:-1], len(columns) * extent, *((width,) if others else ()), rows)
        shifted = graph.write(
            "Concat", [column.name for column in columns], shape=(*leading, *more), axis=rank if others else 2
        )
    if not others:
        return graph.writer.reshape(shifted, _seen_shape(graph, form, length))
    seen = _lines_seen(form, others, len(columns), taps)
    gathered = graph.write(
        "Gather",
        [
            graph.writer.reshape(shifted, (*leading, lines * len(columns), width, rows)),
            graph.writer.constant(np.array(seen, np.int64)),
        ],
        shape=(*leading, len(seen), width, rows),
        axis=2,
    )
    return graph.writer.reshape(gathered, _seen_shape(graph, form, length))


def _columns(graph: StackedGraph, x: Value, form: Geometry) -> list[Value]:
    """The padded input, as each tap of the last dimension sees it there."""
    rank = form.rank
    around = padded(graph, x, range(2, rank + 2), form.padding, form.padding)
    return [
        cut(graph, around, [rank + 1], [tap * form.dilation[-1]], [form.output[-1]], [form.stride[-1]])
        for tap in range(form.kernel[-1])
    ]


def _lines_seen(
    form: Geometry, others: list[int], columns: int, taps: Sequence[tuple[int, ...]]
) -> list[int]:
    """Which lines of the shifted images each tap sees at each place but those of the last dimension."""
    extents = (*others[:-1], columns, others[-1])
    seen = []
    for *tap, column in taps:
        for spot in itertools.product(*map(range, form.output[:-1])):
            places = [
                at * stride + offset * dilation
                for at, offset, stride, dilation in zip(spot, tap, form.stride, form.dilation, strict=False)
            ]
            seen.append(int(np.ravel_multi_index((*places[:-1], column, places[-1]), extents)))
    return seen


def _taps(graph: StackedGraph, x: Value, form: Geometry) -> list[str]:
    """The input as each tap sees it, one by one."""
    rank = form.rank
    around = padded(graph, x, range(2, rank + 2), form.padding, form.padding)
    dimensions = list(range(2, rank + 2))
    length = math.prod(form.output) * x.shape[0]
    seen = []
    for tap in itertools.product(*map(range, form.kernel)):
        starts = [offset * dilation for offset, dilation in zip(tap, form.dilation, strict=True)]
        seen.append(cut(graph, around, dimensions, starts, form.output, form.stride))
    return [graph.memory(each, (graph.stack_size * form.groups, 1, length)) for each in seen]


def _seen_shape(graph: StackedGraph, form: Geometry, length: int) -> tuple[int, int, int]:
    return graph.stack_size * form.groups, form.channels // form.groups * form.taps, length
