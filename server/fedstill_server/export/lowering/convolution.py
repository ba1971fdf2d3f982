"""Convolutions over the whole stack, in memory [C, channels, height, width, rows].

A stack is one grouped convolution with C groups. With the rows of a batch innermost, width and rows read as
one dimension of width * rows, over which a kernel is dilated by rows and padded by rows for each column: so
one two-dimensional Conv serves all examples of all devices, and ONNX Runtime expands it block by block in
cache. The gradient of the input is the ConvTranspose of the same form. The gradient of the kernel is a
product with the expanded input (im2col), built from a few long copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from fedstill_server.export.graph import MICROSOFT
from fedstill_server.export.layout import Order, Value, natural
from fedstill_server.export.lowering.reductions import total
from fedstill_server.export.lowering.stacked import LoweringError, OperatorTable, StackedGraph

IMAGE_ORDER: Order = (1, 2, 3, 0)
"""The order of a batch of images [rows, channels, height, width]: rows innermost."""


@dataclass(frozen=True)
class _Geometry:
    """Sizes of a convolution with stride 1."""

    devices: int
    rows: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: tuple[int, int]
    padding: tuple[int, int]

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the result."""
        return (
            self.height + 2 * self.padding[0] - self.kernel[0] + 1,
            self.width + 2 * self.padding[1] - self.kernel[1] + 1,
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the Conv or ConvTranspose over [1, devices * channels, height, width * rows]."""
        vertical, horizontal = self.padding[0], self.padding[1] * self.rows
        return {
            "group": self.devices,
            "kernel_shape": list(self.kernel),
            "dilations": [1, self.rows],
            "pads": [vertical, horizontal, vertical, horizontal],
        }


class _Settings(NamedTuple):
    """The arguments of aten's convolutions behind their tensors, in aten's order."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


def convolution(graph: StackedGraph, x: Value, weight: Value, bias: Value | None, *settings: Any) -> Value:
    """[rows, channels, height, width] * [filters, channels, kh, kw] -> [rows, filters, height', width']."""
    sizes = _geometry(graph, x, weight, _Settings(*settings))
    operands = [_flat_image(graph, x), _flat_kernel(graph, weight)]
    if bias is not None:
        operands.append(graph.memory(bias, (sizes.devices * sizes.filters,)))
    height, width = sizes.output
    return graph.emit(
        "Conv",
        operands,
        shape=(sizes.rows, sizes.filters, height, width),
        order=IMAGE_ORDER,
        memory=(1, sizes.devices * sizes.filters, height, width * sizes.rows),
        **sizes.attributes,
    )


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
    sizes = _geometry(graph, x, weight, _Settings(*settings))
    gradient = graph.reordered(gradient, IMAGE_ORDER)
    return (
        _input_gradient(graph, gradient, weight, sizes) if wanted[0] else None,
        _kernel_gradient(graph, gradient, x, sizes) if wanted[1] else None,
        total(graph, gradient, (0, 2, 3)) if wanted[2] else None,
    )


def _input_gradient(graph: StackedGraph, gradient: Value, weight: Value, sizes: _Geometry) -> Value:
    return graph.emit(
        "ConvTranspose",
        [_flat_image(graph, gradient), _flat_kernel(graph, weight)],
        shape=(sizes.rows, sizes.channels, sizes.height, sizes.width),
        order=IMAGE_ORDER,
        memory=(1, sizes.devices * sizes.channels, sizes.height, sizes.width * sizes.rows),
        **sizes.attributes,
    )


def _kernel_gradient(graph: StackedGraph, gradient: Value, x: Value, sizes: _Geometry) -> Value:
    """Expanded input x gradient^T: this way round the wide matrix is streamed and the narrow one packed."""
    expanded = _expanded(graph, x, sizes)
    taps = sizes.channels * sizes.kernel[0] * sizes.kernel[1]
    height, width = sizes.output
    flat = graph.memory(gradient, (sizes.devices, sizes.filters, height * width * sizes.rows))
    product = graph.write(
        "FusedMatMul",
        [expanded, flat],
        shape=(sizes.devices, taps, sizes.filters),
        domain=MICROSOFT,
        transB=1,
    )
    kernel_height, kernel_width = sizes.kernel
    by_column = graph.writer.reshape(
        product, (sizes.devices, sizes.channels, kernel_width * kernel_height, sizes.filters)
    )
    reading_order = np.arange(kernel_width * kernel_height).reshape(kernel_width, kernel_height).T.ravel()
    lying = graph.emit(
        "Gather",
        [by_column, graph.writer.constant(reading_order)],
        shape=(sizes.filters, sizes.channels, *sizes.kernel),
        order=(1, 2, 3, 0),
        memory=(sizes.devices, sizes.channels, kernel_width * kernel_height, sizes.filters),
        axis=2,
    )
    return graph.reordered(lying, natural(4))


def _expanded(graph: StackedGraph, x: Value, sizes: _Geometry) -> str:
    """The input seen by each kernel tap: [C, channels * kw * kh, height' * width' * rows].

    Shifted columns are cut out first, where there is little to copy; then a Gather repeats whole rows of
    the image.
    """
    devices, channels, rows = sizes.devices, sizes.channels, sizes.rows
    (kernel_height, kernel_width), (vertical, horizontal) = sizes.kernel, sizes.padding
    height, width = sizes.output
    padded_height = sizes.height + 2 * vertical
    image = graph.memory(
        graph.reordered(x, IMAGE_ORDER), (devices, channels, sizes.height, sizes.width, rows)
    )
    padded = graph.write(
        "Pad",
        [image, graph.ints([0, 0, vertical, horizontal, 0] * 2)],
        shape=(devices, channels, padded_height, sizes.width + 2 * horizontal, rows),
    )
    cut_shape = (devices, channels, padded_height, width, rows)
    columns = [
        graph.write(
            "Slice",
            [padded, graph.ints([tap]), graph.ints([tap + width]), graph.ints([3])],
            shape=cut_shape,
        )
        for tap in range(kernel_width)
    ]
    shifted_shape = (devices, channels, kernel_width * padded_height, width, rows)
    shifted = graph.write("Concat", columns, shape=shifted_shape, axis=2)
    seen = [  # rows of the shifted images, by kernel column, kernel row, row of the result
        column * padded_height + tap + row
        for column in range(kernel_width)
        for tap in range(kernel_height)
        for row in range(height)
    ]
    gathered = graph.write(
        "Gather",
        [shifted, graph.writer.constant(np.array(seen, np.int64))],
        shape=(devices, channels, len(seen), width, rows),
        axis=2,
    )
    taps = channels * kernel_height * kernel_width
    return graph.writer.reshape(gathered, (devices, taps, height * width * rows))


def _geometry(graph: StackedGraph, x: Value, weight: Value, settings: _Settings) -> _Geometry:
    stride, padding, dilation, transposed, _, groups = settings
    if len(x.shape) != 4 or transposed or groups != 1 or set(stride) != {1} or set(dilation) != {1}:
        raise LoweringError(
            f"convolution of {list(x.shape)} with stride {list(stride)}, dilation {list(dilation)}, "
            f"{groups} groups, transposed {transposed}: only plain 2-d ones with stride and dilation 1 "
            "have a translation"
        )
    rows, channels, height, width = x.shape
    filters, _, kernel_height, kernel_width = weight.shape
    return _Geometry(
        devices=graph.stack_size,
        rows=rows,
        channels=channels,
        height=height,
        width=width,
        filters=filters,
        kernel=(kernel_height, kernel_width),
        padding=(padding[0], padding[1]),
    )


def _flat_image(graph: StackedGraph, image: Value) -> str:
    """Devices and channels as one dimension, columns and rows of the batch as another."""
    image = graph.reordered(image, IMAGE_ORDER)
    rows, channels, height, width = image.shape
    return graph.memory(image, (1, graph.stack_size * channels, height, width * rows))


def _flat_kernel(graph: StackedGraph, weight: Value) -> str:
    weight = graph.reordered(weight, natural(4))
    filters, channels, height, width = weight.shape
    return graph.memory(weight, (graph.stack_size * filters, channels, height, width))


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
}
