"""Depthwise convolutions over small images, as dense products.

A kernel over one channel leaves a runtime little to multiply and much to copy. On an image of a few places it
is faster as a matrix [output places, input places], made from the kernel by a product with a table of which
tap joins which places. The matrix serves forward and backward; the gradient of the kernel is that of the
matrix, gathered by the same table.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from onnx import TensorProto

from fedstill_server.export.graph import MICROSOFT
from fedstill_server.export.layout import Value, natural
from fedstill_server.export.lowering.geometry import Geometry, image_order
from fedstill_server.export.lowering.stacked import StackedGraph

_PAIRS_FOR_A_TAP = 200
"""Pairs of places for each tap up to which the matrix is faster (measured; 8 x 8 places with 5 x 5 taps)."""


def is_small(form: Geometry) -> bool:
    """Whether a convolution is faster as a dense product."""
    pairs = math.prod(form.size) * math.prod(form.output)
    return form.is_depthwise and form.taps > 1 and pairs <= _PAIRS_FOR_A_TAP * form.taps


def product(graph: StackedGraph, x: Value, weight: Value, form: Geometry, *, adjoint: bool = False) -> Value:
    """The convolution, or with `adjoint` its gradient of the input."""
    rank = form.rank
    x = graph.reordered(x, image_order(rank))
    rows, multiplier = x.shape[0], form.filters // form.groups
    matrix = _matrix(graph, weight, form)
    here, there = (form.output, form.size) if adjoint else (form.size, form.output)
    widths = (multiplier, 1) if adjoint else (1, multiplier)
    stacked = x.stacked or weight.stacked
    read, made = (width * math.prod(places) for width, places in zip(widths, (here, there), strict=True))
    options: dict[str, Any] = {"domain": MICROSOFT, "transA": 1} if adjoint else {}
    return graph.emit(
        "FusedMatMul" if adjoint else "MatMul",
        [matrix, graph.memory(x, (graph.devices(x), form.groups, read, rows))],
        shape=(rows, form.groups * widths[1], *there),
        order=image_order(rank),
        memory=(graph.stack_size if stacked else 1, form.groups, made, rows),
        stacked=stacked,
        **options,
    )


def kernel_gradient(graph: StackedGraph, gradient: Value, x: Value, form: Geometry) -> Value:
    """All pairs of places, then the sum of those that a tap joins."""
    order = image_order(form.rank)
    gradient, x = (graph.stacked(graph.reordered(value, order)) for value in (gradient, x))
    rows, devices = x.shape[0], graph.devices(x)
    inputs, outputs = math.prod(form.size), math.prod(form.output)
    wide = form.filters // form.groups * outputs
    pairs = graph.write(
        "FusedMatMul",
        [
            graph.memory(gradient, (devices, form.groups, wide, rows)),
            graph.memory(x, (devices, form.groups, inputs, rows)),
        ],
        shape=(devices, form.groups, wide, inputs),
        domain=MICROSOFT,
        transB=1,
    )
    flat = graph.writer.reshape(pairs, (devices, form.filters, outputs * inputs))
    # The higher operand on the left: see kernel_gradient.py.
    upright = form.filters >= form.taps
    sizes = (form.filters, form.taps) if upright else (form.taps, form.filters)
    places = tuple(range(1, form.rank + 2))
    lying = graph.emit(
        "FusedMatMul",
        [flat, _table(graph, form)] if upright else [_table(graph, form), flat],
        shape=(form.filters, 1, *form.kernel),
        order=(0, *places) if upright else (*places, 0),
        memory=(devices, *sizes),
        domain=MICROSOFT,
        transB=1,
    )
    return graph.reordered(lying, natural(form.rank + 2))


def _matrix(graph: StackedGraph, weight: Value, form: Geometry) -> str:
    """[C, groups, filters of a group * output places, input places]."""
    devices = graph.devices(weight)
    kernels = graph.reordered(weight, natural(form.rank + 2))
    inputs, outputs = math.prod(form.size), math.prod(form.output)
    flat = graph.write(
        "MatMul",
        [graph.memory(kernels, (devices, form.filters, form.taps)), _table(graph, form)],
        shape=(devices, form.filters, outputs * inputs),
    )
    wide = form.filters // form.groups * outputs
    return graph.writer.reshape(flat, (devices, form.groups, wide, inputs))


def _table(graph: StackedGraph, form: Geometry) -> str:
    """[1, taps, output places * input places]: 1 where a tap joins them; made when the graph is loaded."""
    joined = np.full((math.prod(form.output), math.prod(form.size)), form.taps, np.int64)
    spots = itertools.product(*(range(n) for n in form.output))
    for row, spot in enumerate(spots):
        for tap, offset in enumerate(itertools.product(*(range(n) for n in form.kernel))):
            read = [
                s * stride + o * dilation - padding
                for s, o, stride, dilation, padding in zip(
                    spot, offset, form.stride, form.dilation, form.padding, strict=True
                )
            ]
            if all(0 <= place < size for place, size in zip(read, form.size, strict=True)):
                joined[row, np.ravel_multi_index(read, form.size)] = tap
    pairs = joined.size
    hit = graph.write(
        "Equal",
        [
            graph.writer.constant(joined.reshape(1, 1, pairs)),
            graph.writer.constant(np.arange(form.taps).reshape(1, -1, 1)),
        ],
        shape=(1, form.taps, pairs),
    )
    return graph.write("Cast", [hit], shape=(1, form.taps, pairs), to=int(TensorProto.FLOAT))
