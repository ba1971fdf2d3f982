"""Convolutions over the whole stack, in memory [C, channels, height, width, rows].

A stack is one grouped convolution with C groups for each of its own. With the rows of a batch innermost,
width and rows read as one dimension of width * rows, over which a kernel is dilated by rows and padded by
rows for each column: so one two-dimensional Conv serves all examples of all devices, and ONNX Runtime expands
it block by block in cache. A convolution that strides over the width has the rows as a third dimension, of
kernel 1. The gradient of the input is the ConvTranspose of the same form, and a transposed convolution is the
adjoint of a plain one: what is forward of the one is backward of the other. Kernels that all devices share
(frozen ones) have the devices as a batch instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedstill_server.export.graph import MICROSOFT
from fedstill_server.export.layout import Order, Value
from fedstill_server.export.lowering import depthwise
from fedstill_server.export.lowering.geometry import (
    Geometry,
    Settings,
    flat_image,
    flat_kernel,
    geometry_of,
    image_order,
)
from fedstill_server.export.lowering.kernel_gradient import kernel_gradient
from fedstill_server.export.lowering.reductions import total
from fedstill_server.export.lowering.stacked import OperatorTable, StackedGraph
from fedstill_server.export.lowering.windows import cut, padded, spread, strided

IMAGE_ORDER: Order = image_order(2)
_LARGE = 1 << 20  # numbers
_WORTH_TURNING = 512
"""Places and rows from which a kernel is transposed before its product: reading it transposed is slower."""


def convolution(graph: StackedGraph, x: Value, weight: Value, bias: Value | None, *settings: Any) -> Value:
    """[rows, channels, *places] * [filters, channels / groups, *kernel] -> [rows, filters, *places']."""
    options = Settings(*settings)
    form = geometry_of(x, weight, options)
    fused = bias if bias is not None and bias.stacked == weight.stacked else None
    if options.transposed:
        y = _adjoint(graph, x, weight, form)
        fused = None
    elif depthwise.is_small(form):
        y = depthwise.product(graph, x, weight, form)
        fused = None
    else:
        y = _correlation(graph, x, weight, fused, form)
    if bias is None or fused is not None:
        return y
    return graph.elementwise("Add", [y, graph.reshape(bias, (*bias.shape, *(1,) * form.rank))])


def convolution_backward(
    graph: StackedGraph,
    gradient: Value,
    x: Value,
    weight: Value,
    bias_sizes: Sequence[int] | None,
    *settings_and_wanted: Any,
) -> tuple[Value | None, Value | None, Value | None]:
    """Gradients of input, kernel and bias, each only if the last argument of aten's wants it."""
    *settings, wanted = settings_and_wanted
    options = Settings(*settings)
    form = geometry_of(x, weight, options)
    gradient = graph.reordered(gradient, image_order(form.rank))
    places = tuple(range(2, form.rank + 2))
    return (
        _input_gradient(graph, gradient, weight, form, options) if wanted[0] else None,
        _kernel_gradient(graph, gradient, x, form, options) if wanted[1] else None,
        total(graph, gradient, (0, *places)) if wanted[2] else None,
    )


def _input_gradient(
    graph: StackedGraph, gradient: Value, weight: Value, form: Geometry, options: Settings
) -> Value:
    if options.transposed:
        return _correlation(graph, gradient, weight, None, form)
    if depthwise.is_small(form):
        return depthwise.product(graph, gradient, weight, form, adjoint=True)
    return _adjoint(graph, gradient, weight, form)


def _kernel_gradient(
    graph: StackedGraph, gradient: Value, x: Value, form: Geometry, options: Settings
) -> Value:
    if options.transposed:  # what slides over the result's gradient is x
        return kernel_gradient(graph, x, gradient, form)
    if depthwise.is_small(form):
        return depthwise.kernel_gradient(graph, gradient, x, form)
    return kernel_gradient(graph, gradient, x, form)


def _correlation(graph: StackedGraph, x: Value, weight: Value, bias: Value | None, form: Geometry) -> Value:
    """The plain convolution."""
    if form.output != form.full.output:
        places = range(2, form.rank + 2)
        whole = _correlation(graph, x, weight, bias, form.full)
        return cut(graph, whole, places, [0] * form.rank, form.output)
    if form.is_pointwise:
        x = strided(graph, graph.reordered(x, image_order(form.rank)), form)
        form = replace(form, size=form.output, stride=(1,) * form.rank)
    if form.rank == 3 and form.stride[-1] != 1:  # the runtime has no fourth dimension for the rows
        whole = _correlation(graph, x, weight, bias, form.whole_last)
        return strided(graph, whole, form, dimensions=(4,))
    rows, shared = x.shape[0], not weight.stacked
    operands = [flat_image(graph, x, form, apart=shared), flat_kernel(graph, weight, form)]
    devices = graph.devices(weight)
    if bias is not None:
        operands.append(graph.memory(bias, (devices * form.filters,)))
    leading = (graph.devices(x), form.filters) if shared else (1, devices * form.filters)
    return graph.emit(
        "Conv",
        operands,
        shape=(rows, form.filters, *form.output),
        order=image_order(form.rank),
        memory=(*leading, *form.lying(form.output, rows)),
        stacked=x.stacked or weight.stacked,
        **form.attributes(rows=rows, group=devices * form.groups),
    )


def _adjoint(graph: StackedGraph, y: Value, weight: Value, form: Geometry) -> Value:
    """[rows, filters, *output] -> [rows, channels, *size]: the transposed convolution."""
    if form.output != form.full.output:
        left_out = [full - given for full, given in zip(form.full.output, form.output, strict=True)]
        y = padded(graph, y, range(2, form.rank + 2), [0] * form.rank, left_out)
        form = form.full
    if form.is_pointwise:
        return _pointwise_adjoint(graph, y, weight, form)
    if form.rank == 3 and form.stride[-1] != 1:
        y = spread(graph, [y], 4, step=form.stride[-1], length=form.whole_last.output[-1])
        form = form.whole_last
    if _is_large(form, y.shape[0]):
        return _correlation(graph, y, _turned(graph, weight, form), None, form.reversed)
    rows, shared = y.shape[0], not weight.stacked
    devices = graph.devices(weight)
    leading = (graph.devices(y), form.channels) if shared else (1, devices * form.channels)
    attributes = form.attributes(rows=rows, group=devices * form.groups)
    if any(form.missing):
        *others, last = form.missing
        attributes["output_padding"] = [*others, last * rows] if form.stride[-1] == 1 else [*others, last, 0]
    return graph.emit(
        "ConvTranspose",
        [flat_image(graph, y, form, apart=shared), flat_kernel(graph, weight, form)],
        shape=(rows, form.channels, *form.size),
        order=image_order(form.rank),
        memory=(*leading, *form.lying(form.size, rows)),
        stacked=y.stacked or weight.stacked,
        **attributes,
    )


def _is_large(form: Geometry, rows: int) -> bool:
    """Whether the runtime's ConvTranspose, which writes what all taps give before it adds, leaves the cache.

    The convolution with the kernel turned around does not, and turning it must cost little.
    """
    written = form.channels // form.groups * form.taps * math.prod(form.output) * rows
    weights = form.channels // form.groups * form.filters * form.taps
    whole = all(step == 1 for step in form.stride) and min(form.reversed.padding) >= 0
    return whole and written >= _LARGE and weights * 8 <= written


def _turned(graph: StackedGraph, weight: Value, form: Geometry) -> Value:
    """The kernel of the reversed convolution: filters and channels swapped, the taps in reverse."""
    grouped = (form.groups, form.filters // form.groups, form.channels // form.groups, form.taps)
    weight = graph.reshape(graph.reordered(weight, tuple(range(form.rank + 2))), grouped)
    swapped = graph.reordered(weight.permuted((0, 2, 1, 3)), (0, 1, 2, 3))
    backwards = graph.writer.constant(np.arange(form.taps)[::-1])
    shape = swapped.shape
    turned = graph.emit(
        "Gather", [swapped, backwards], shape=shape, order=(0, 1, 2, 3), stacked=weight.stacked, axis=4
    )
    return graph.reshape(turned, (form.channels, form.filters // form.groups, *form.kernel))


def _pointwise_adjoint(graph: StackedGraph, y: Value, weight: Value, form: Geometry) -> Value:
    """Of kernel 1: products of [channels, filters] for each group, spread over the places that were read."""
    y = graph.reordered(y, image_order(form.rank))
    rows, places = y.shape[0], y.elements // y.shape[1]
    grouped = (form.groups, form.filters // form.groups, form.channels // form.groups)
    kernel = graph.reshape(weight, grouped)
    lying = (graph.devices(y), form.groups, form.filters // form.groups, places)
    operands: list[Value | str] = [kernel, graph.memory(y, lying)]
    devices = graph.stack_size if y.stacked or weight.stacked else 1
    options: dict[str, Any] = {
        "shape": (rows, form.channels, *form.output),
        "order": image_order(form.rank),
        "memory": (devices, form.groups, form.channels // form.groups, places),
        "stacked": y.stacked or weight.stacked,
    }
    if places >= _WORTH_TURNING:
        operands[0] = graph.reordered(kernel.permuted((0, 2, 1)), (0, 1, 2))
        spots = graph.emit("MatMul", operands, **options)
    else:
        operands[0] = graph.reordered(kernel, (0, 1, 2))
        spots = graph.emit("FusedMatMul", operands, domain=MICROSOFT, transA=1, **options)
    for dimension, (step, size) in enumerate(zip(form.stride, form.size, strict=True), start=2):
        spots = spread(graph, [spots], dimension, step=step, length=size)
    return spots


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
}
