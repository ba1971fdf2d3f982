"""Max pooling over windows that tile the image, and its gradient.

The gradient goes to the first maximum of a window in reading order, as in torch (constant image regions
make ties common). A tournament decides it: along the width within each row of the window, then between the
rows. Each round compares what comes first with the maximum of what comes later, so no indices are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.convolution import IMAGE_ORDER
from fedstill_server.export.lowering.elementwise import cast
from fedstill_server.export.lowering.stacked import BOOL, LoweringError, OperatorTable, StackedGraph


def max_pool(
    graph: StackedGraph,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> tuple[Value, None]:
    """[rows, channels, height, width] -> [rows, channels, height // kh, width // kw], without indices."""
    _check_tiling(kernel, stride, padding, dilation, ceil_mode)
    x = graph.reordered(x, IMAGE_ORDER)
    rows, channels, height, width = x.shape
    whole = _cropped(graph, x, kernel)
    rows, channels, height, width = whole.shape
    by_column = graph.reshape(whole, (rows, channels, height, width // kernel[1], kernel[1]))
    columns = graph.unstack(by_column, 4)
    row_maxima = _later_maxima(graph, columns)[0]
    by_row = graph.reshape(row_maxima, (rows, channels, height // kernel[0], kernel[0], width // kernel[1]))
    return _later_maxima(graph, graph.unstack(by_row, 3))[0], None


def max_pool_backward(
    graph: StackedGraph,
    gradient: Value,
    x: Value,
    kernel: Sequence[int],
    *settings_and_indices: Any,
) -> Value:
    """The gradient of each window, at its first maximum."""
    stride, padding, dilation, ceil_mode, _ = settings_and_indices
    _check_tiling(kernel, stride, padding, dilation, ceil_mode)
    x = graph.reordered(x, IMAGE_ORDER)
    gradient = graph.reordered(gradient, IMAGE_ORDER)
    whole = _cropped(graph, x, kernel)
    rows, channels, height, width = whole.shape
    by_column = graph.reshape(whole, (rows, channels, height, width // kernel[1], kernel[1]))
    columns = graph.unstack(by_column, 4)  # [rows, channels, height, width // kw] each
    row_maxima = _later_maxima(graph, columns)[0]
    by_row = graph.reshape(row_maxima, (rows, channels, height // kernel[0], kernel[0], width // kernel[1]))
    row_gradients = _first_maximum(graph, graph.unstack(by_row, 3), gradient)
    row_gradient = graph.reshape(graph.stack(row_gradients, 3, by_row), row_maxima.shape)
    column_gradients = _first_maximum(graph, columns, row_gradient)
    routed = graph.reshape(graph.stack(column_gradients, 4, by_column), whole.shape)
    return _padded_to(graph, routed, x)


def _first_maximum(graph: StackedGraph, entrants: list[Value], prize: Value) -> list[Value]:
    """Hands the prize to the first of the largest entrants; the others get 0."""
    later = _later_maxima(graph, entrants)
    shares = []
    for entrant, rival in zip(entrants, later[1:], strict=False):
        wins = cast(
            graph, graph.elementwise("GreaterOrEqual", [entrant, rival], dtype=BOOL), dtype=torch.float32
        )
        share = graph.elementwise("Mul", [prize, wins])
        prize = graph.elementwise("Sub", [prize, share])
        shares.append(share)
    return [*shares, prize]


def _later_maxima(graph: StackedGraph, entrants: list[Value]) -> list[Value]:
    """For each entrant the maximum of itself and all later ones."""
    maxima = entrants[-1:]
    for entrant in reversed(entrants[:-1]):
        maxima.append(graph.elementwise("Max", [entrant, maxima[-1]]))
    return maxima[::-1]


def _cropped(graph: StackedGraph, x: Value, kernel: Sequence[int]) -> Value:
    """Without the rows and columns behind the last whole window."""
    rows, channels, *size = x.shape
    whole = [extent // step * step for extent, step in zip(size, kernel, strict=True)]
    if whole == size:
        return x
    return graph.emit(
        "Slice",
        [x, graph.ints([0, 0]), graph.ints(whole), graph.ints([x.place(2), x.place(3)])],
        shape=(rows, channels, *whole),
        order=x.order,
    )


def _padded_to(graph: StackedGraph, routed: Value, x: Value) -> Value:
    """Zeros for the rows and columns that belong to no window."""
    if routed.shape == x.shape:
        return routed
    missing = [0, *(x.shape[d] - routed.shape[d] for d in routed.order)]
    return graph.emit(
        "Pad", [routed, graph.ints([0] * len(missing) + missing)], shape=x.shape, order=routed.order
    )


def _check_tiling(
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> None:
    if (stride and list(stride) != list(kernel)) or any(padding) or set(dilation) != {1} or ceil_mode:
        raise LoweringError(
            f"max pooling of {list(kernel)} with stride {list(stride)}, padding {list(padding)}, "
            f"dilation {list(dilation)}, ceil mode {ceil_mode}: only windows that tile the image "
            "have a translation"
        )


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.max_pool2d_with_indices.default: max_pool,
    aten.max_pool2d_with_indices_backward.default: max_pool_backward,
}
