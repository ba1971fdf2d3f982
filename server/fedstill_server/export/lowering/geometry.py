"""Sizes of a convolution, and how its operands lie for ONNX Runtime's Conv and ConvTranspose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fedstill_server.export.layout import Order, Shape, Value, natural
from fedstill_server.export.lowering.stacked import LoweringError, StackedGraph


class Settings(NamedTuple):
    """The arguments of aten's convolutions behind their tensors, in aten's order."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a convolution of `channels` into `filters`; a transposed one is its adjoint.

    Attributes:
        channels: Channels of the side that the kernel slides over.
        filters: Channels of the side that has one number for each place of the kernel.
        groups: Runs of channels that are convolved apart.
        size: Places of the first side, in each dimension.
        output: Places of the second side.
        kernel: Taps in each dimension.
        stride: How far the kernel moves.
        padding: Zeros before and behind the first side.
        dilation: How far taps are apart.
    """

    channels: int
    filters: int
    groups: int
    size: Shape
    output: Shape
    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape

    @property
    def rank(self) -> int:
        """Dimensions of the places: 2 for images."""
        return len(self.size)

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def is_pointwise(self) -> bool:
        """Whether each output reads one place, and no padding is read."""
        return self.taps == 1 and not any(self.padding)

    @property
    def is_depthwise(self) -> bool:
        """Whether each filter reads one channel alone."""
        return self.groups > 1 and self.channels == self.groups

    @property
    def full(self) -> Geometry:
        """The same with an output wherever the kernel fits; a transposed convolution may leave some out."""
        output = tuple(
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return replace(self, output=output)

    @property
    def reversed(self) -> Geometry:
        """The convolution without strides whose result is the gradient of this one's input."""
        padding = tuple(
            dilation * (kernel - 1) - padding
            for dilation, kernel, padding in zip(self.dilation, self.kernel, self.padding, strict=True)
        )
        return replace(
            self,
            channels=self.filters,
            filters=self.channels,
            size=self.output,
            output=self.size,
            padding=padding,
        )

    @property
    def whole_last(self) -> Geometry:
        """The same at every place of the last dimension, whatever the stride there."""
        return replace(self, stride=(*self.stride[:-1], 1)).full

    def attributes(self, *, rows: int, group: int) -> dict[str, Any]:
        """The attributes of a Conv or ConvTranspose over images whose rows lie innermost.

        Without a stride in the last dimension, it and the rows read as one, over which the kernel is dilated
        by rows: the runtime expands long rows fastest. Else the rows are a dimension of their own.
        """
        if self.stride[-1] == 1:
            last: Shape = (rows,)
            kernel, stride = self.kernel, self.stride
        else:
            last = (1, 1)
            kernel, stride = (*self.kernel, 1), (*self.stride, 1)
        dilation = (*self.dilation[:-1], *(self.dilation[-1] * last[0], *last[1:]))
        padding = (*self.padding[:-1], *(self.padding[-1] * last[0], *(0 for _ in last[1:])))
        attributes: dict[str, Any] = {
            "group": group,
            "kernel_shape": list(kernel),
            "dilations": list(dilation),
            "pads": [*padding, *padding],
        }
        if any(step != 1 for step in stride):
            attributes["strides"] = list(stride)
        return attributes

    def lying(self, places: Shape, rows: int) -> Shape:
        """Places and rows as dimensions of a Conv's operand."""
        return (*places[:-1], places[-1] * rows) if self.stride[-1] == 1 else (*places, rows)

    @property
    def missing(self) -> Shape:
        """Places of the first side that no place of the kernel reaches: ONNX's output_padding."""
        return tuple(
            size - ((output - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for size, output, stride, padding, dilation, kernel in zip(
                self.size, self.output, self.stride, self.padding, self.dilation, self.kernel, strict=True
            )
        )


def geometry_of(x: Value, weight: Value, settings: Settings) -> Geometry:
    """The geometry of aten's convolution of x [rows, channels, *places] with a weight."""
    kernel = weight.shape[2:]
    rank = len(kernel)
    if rank not in (1, 2, 3) or len(x.shape) != rank + 2:
        raise LoweringError(
            f"a convolution of {list(x.shape)} with kernels {list(weight.shape)}: only those over 1, 2 or 3 "
            "dimensions of places have a translation; give [rows, channels, places]"
        )
    stride, padding, dilation, more = (
        tuple(numbers) if len(numbers) == rank else (numbers[0],) * rank
        for numbers in (settings.stride, settings.padding, settings.dilation, settings.output_padding or (0,))
    )
    places = x.shape[2:]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if settings.transposed:
        size = tuple(
            (n - 1) * s - 2 * p + span + extra
            for n, s, p, span, extra in zip(places, stride, padding, spans, more, strict=True)
        )
        output, filters, channels = places, weight.shape[0], weight.shape[1] * settings.groups
    else:
        size, filters, channels = places, weight.shape[0], weight.shape[1] * settings.groups
        output = tuple(
            (n + 2 * p - span) // s + 1 for n, s, p, span in zip(places, stride, padding, spans, strict=True)
        )
    return Geometry(
        channels=channels,
        filters=filters,
        groups=settings.groups,
        size=size,
        output=output,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


def image_order(rank: int) -> Order:
    """The order of a batch of images [rows, channels, *places]: rows innermost."""
    return (*range(1, rank + 2), 0)


def flat_image(graph: StackedGraph, image: Value, geometry: Geometry, *, apart: bool) -> str:
    """An image as operand of a Conv: devices and channels as one dimension, or devices `apart` as a batch."""
    rank = geometry.rank
    image = graph.reordered(image if apart else graph.stacked(image), image_order(rank))
    rows, channels, *places = image.shape
    devices = graph.devices(image)
    leading = (devices, channels) if apart else (1, devices * channels)
    return graph.memory(image, (*leading, *geometry.lying(tuple(places), rows)))


def flat_kernel(graph: StackedGraph, weight: Value, geometry: Geometry) -> str:
    """The kernels of all devices, one behind another."""
    weight = graph.reordered(weight, natural(geometry.rank + 2))
    filters, channels, *kernel = weight.shape
    last = () if geometry.stride[-1] == 1 else (1,)
    return graph.memory(weight, (graph.devices(weight) * filters, channels, *kernel, *last))
