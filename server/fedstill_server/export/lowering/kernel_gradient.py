"""Gradients of convolution kernels: products with the input as each tap sees it (im2col)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from fedstill_server.export.graph import MICROSOFT
from fedstill_server.export.layout import Order, Value, natural
from fedstill_server.export.lowering.geometry import Geometry, image_order
from fedstill_server.export.lowering.stacked import FLOAT, StackedGraph
from fedstill_server.export.lowering.windows import cut, padded, strided

_MUCH_TO_TURN = 64
"""Numbers of a kernel for each place and row, beyond which transposing its gradient costs what it saves."""


_FEW_SPOTS = 1024
"""Spots that all taps of a kernel see together, whose numbers a file may hold."""

_WIDE, _ONE_BLOCK = 1024, 128
"""Columns of a product that stay many when threads share them, and terms that are added in one go."""


def kernel_gradient(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """[rows, filters, *output] and [rows, channels, *size] -> [filters, channels / groups, *kernel]."""
    order = image_order(form.rank)
    gradient, x = (graph.stacked(graph.reordered(value, order)) for value in (gradient, x))
    numbers = form.filters * form.channels // form.groups * form.taps
    length = math.prod(form.output) * x.shape[0]
    if form.is_pointwise:
        seen = graph.memory(strided(graph, x, form), _seen_shape(graph, form, length))
        return _product(graph, gradient, seen, form)
    if _is_shifted(form) and form.is_depthwise:
        return _by_tap(graph, gradient, x, form)
    if form.rank == 1 or (numbers <= _MUCH_TO_TURN * length and _is_shifted(form) and _copies_less(form)):
        return _by_line(graph, gradient, x, form)
    high = form.channels * form.taps >= form.filters
    if numbers <= _MUCH_TO_TURN * length and form.groups == 1 and form.rank == 2 and high:
        return _turned(graph, gradient, x, form)
    seen = _expanded(graph, x, form, list(itertools.product(*map(range, form.kernel))))
    return _product(graph, gradient, seen, form)


def _is_shifted(form: Geometry) -> bool:
    """Whether what a tap reads is the image, shifted: no strides, and no tap that reads padding only."""
    return all(
        stride == 1 and padding < output and dilation * (kernel - 1) - padding < size
        for stride, padding, output, dilation, kernel, size in zip(
            form.stride, form.padding, form.output, form.dilation, form.kernel, form.size, strict=True
        )
    )


def _copies_less(form: Geometry) -> bool:
    """Whether shifting the image along its lines and the gradient across them copies less."""
    channels, filters = form.channels // form.groups, form.filters // form.groups
    width = form.kernel[-1]
    shifted = width * channels + form.taps // width * filters
    return 3 * shifted < 2 * (width + form.taps) * channels


def _shifts(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> tuple[list[str], list[str]]:
    """The gradient for each tap but of the last dimension, and the input for each tap of the last.

    A tap's product of shifted input and gradient is that of the input shifted along the last dimension and
    the gradient shifted back along the others.
    """
    parts, rank = graph.stack_size * form.groups, form.rank
    length = math.prod(form.size[:-1]) * form.output[-1] * x.shape[0]
    lines = []
    for tap in itertools.product(*map(range, form.kernel[:-1])):
        before = [t * d - p for t, d, p in zip(tap, form.dilation, form.padding, strict=False)]
        behind = [n - o - b for n, o, b in zip(form.size, form.output, before, strict=False)]
        moved = padded(graph, gradient, range(2, rank + 1), before, behind)
        lines.append(graph.memory(moved, (parts, form.filters // form.groups, length)))
    if form.stride[-1] != 1:
        size = (parts, form.channels // form.groups, length)
        return lines, [graph.memory(column, size) for column in _columns(graph, x, form)]
    columns = []
    for column in range(form.kernel[-1]):
        start = form.padding[-1] - column * form.dilation[-1]
        moved = padded(graph, x, [rank + 1], [start], [form.output[-1] - form.size[-1] - start])
        columns.append(graph.memory(moved, (parts, form.channels // form.groups, length)))
    return lines, columns


def _by_tap(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """One product for each tap, where there is one channel."""
    lines, columns = _shifts(graph, gradient, x, form)
    parts, filters = graph.stack_size * form.groups, form.filters // form.groups
    products = [
        graph.write("FusedMatMul", [line, column], shape=(parts, filters, 1), domain=MICROSOFT, transB=1)
        for line in lines
        for column in columns
    ]
    shape = (form.filters, 1, *form.kernel)
    memory = (parts, filters, form.taps)
    return graph.emit("Concat", products, shape=shape, order=natural(len(shape)), memory=memory, axis=2)


def _by_line(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """One product for each tap but of the last dimension, with the input for all taps of the last."""
    lines, columns = _shifts(graph, gradient, x, form)
    parts, filters = graph.stack_size * form.groups, form.filters // form.groups
    channels, wide = form.channels // form.groups, form.channels // form.groups * form.kernel[-1]
    length = math.prod(form.size[:-1]) * form.output[-1] * x.shape[0]
    seen = _joined(graph, columns, (parts, wide, length))
    upright = _is_upright(filters, wide, length) and wide < _WIDE
    sizes = (parts, filters, wide)
    products = [_each(graph, line, seen, sizes, upright=upright) for line in lines]
    each, other = (filters, wide) if upright else (wide, filters)
    name = _joined(graph, products, (parts, len(lines) * each, other))
    shape = (form.groups, filters, channels, *form.kernel)
    outer, last = tuple(range(3, 2 + form.rank)), 2 + form.rank
    return _finished(graph, name, shape, (0, *outer, 1, last, 2) if upright else (0, *outer, last, 2, 1))


def _joined(graph: StackedGraph, names: list[str], shape: tuple[int, ...]) -> str:
    """Tensors one behind another, for each part."""
    return graph.write("Concat", names, shape=shape, axis=1) if len(names) > 1 else names[0]


def _product(graph: StackedGraph, gradient: Value, seen: str, form: Geometry) -> Value:
    """gradient x seen^T for each group."""
    length = math.prod(form.output) * gradient.shape[0]
    parts, filters = graph.stack_size * form.groups, form.filters // form.groups
    flat = graph.memory(gradient, (parts, filters, length))
    wide = form.channels // form.groups * form.taps
    upright = _is_upright(filters, wide, length)
    name = _each(graph, flat, seen, (parts, filters, wide), upright=upright)
    shape = (form.groups, filters, form.channels // form.groups, *form.kernel)
    inner = tuple(range(2, 3 + form.rank))
    return _finished(graph, name, shape, (0, 1, *inner) if upright else (0, *inner, 1))


def _is_upright(filters: int, wide: int, length: int) -> bool:
    """Whether a product has the gradient on the left, and seen^T on the right.

    The runtime's threads share the columns of a product that is wider than high, and add up a narrow share in
    another order. A product whose shares would be narrow has its wide operand on the left.
    """
    return wide <= filters or wide >= _WIDE or length <= _ONE_BLOCK


def _each(
    graph: StackedGraph, gradient: str, seen: str, sizes: tuple[int, int, int], *, upright: bool
) -> str:
    """gradient x seen^T [parts, filters, wide] of each part, or its transpose."""
    parts, filters, wide = sizes
    operands, shape = ([gradient, seen], sizes) if upright else ([seen, gradient], (parts, wide, filters))
    return graph.write("FusedMatMul", operands, shape=shape, domain=MICROSOFT, transB=1)


def _finished(graph: StackedGraph, name: str, shape: tuple[int, ...], order: Order) -> Value:
    """The gradient [groups, filters, channels, *kernel] of each device, which lies in `order`."""
    lying = (graph.stack_size, *(shape[dimension] for dimension in order))
    found = Value(graph.writer.reshape(name, lying), shape, order, FLOAT)
    return graph.reshape(graph.reordered(found, natural(len(shape))), (shape[0] * shape[1], *shape[2:]))


def _turned(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """Expanded input x gradient^T: this way round the wide matrix is streamed and the narrow one packed."""
    kernel_height, kernel_width = form.kernel
    is_small = form.taps * math.prod(form.output) <= _FEW_SPOTS
    by_column = [(row, column) for column in range(kernel_width) for row in range(kernel_height)]
    expanded = _spot_by_spot(graph, x, form) if is_small else _expanded(graph, x, form, by_column)
    length = math.prod(form.output) * x.shape[0]
    flat = graph.memory(gradient, (graph.stack_size, form.filters, length))
    product = graph.write(
        "FusedMatMul",
        [expanded, flat],
        shape=(graph.stack_size, form.channels * form.taps, form.filters),
        domain=MICROSOFT,
        transB=1,
    )
    if is_small:
        return _finished(graph, product, (1, form.filters, form.channels, *form.kernel), (0, 2, 3, 4, 1))
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


def _spot_by_spot(graph: StackedGraph, x: Value, form: Geometry) -> str:
    """The input seen by each kernel tap in reading order, as `_expanded` gives it, in one Gather.

    A spot of the padding is a spot of zeros behind those of the image.
    """
    rows, spots = x.shape[0], math.prod(form.size)
    leading = (graph.stack_size, form.channels)
    nothing = graph.writer.constant(np.zeros((*leading, 1, rows), FLOAT))
    image = graph.memory(x, (*leading, spots, rows))
    padded_image = graph.write("Concat", [image, nothing], shape=(*leading, spots + 1, rows), axis=2)
    seen = []
    for tap in itertools.product(*map(range, form.kernel)):
        for spot in itertools.product(*map(range, form.output)):
            place = [
                at * stride + offset * dilation - padding
                for at, offset, stride, dilation, padding in zip(
                    spot, tap, form.stride, form.dilation, form.padding, strict=True
                )
            ]
            inside = all(0 <= at < size for at, size in zip(place, form.size, strict=True))
            seen.append(int(np.ravel_multi_index(place, form.size)) if inside else spots)
    gathered = graph.write(
        "Gather",
        [padded_image, graph.writer.constant(np.array(seen, np.int64))],
        shape=(*leading, len(seen), rows),
        axis=2,
    )
    return graph.writer.reshape(gathered, _seen_shape(graph, form, math.prod(form.output) * rows))


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


def _seen_shape(graph: StackedGraph, form: Geometry, length: int) -> tuple[int, int, int]:
    return graph.stack_size * form.groups, form.channels // form.groups * form.taps, length
