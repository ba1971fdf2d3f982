"""Softmax over a dimension, its gradient, and its logarithm."""

from __future__ import annotations

import torch

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.elementwise import multiply, subtract
from fedstill_server.export.lowering.reductions import total
from fedstill_server.export.lowering.stacked import LoweringError, OperatorTable, StackedGraph


def softmax(graph: StackedGraph, x: Value, dimension: int, to_float: bool = False) -> Value:
    """exp(x) / sum(exp(x))."""
    return _by_row(graph, "Softmax", x, dimension, to_float=to_float)


def log_softmax(graph: StackedGraph, x: Value, dimension: int, to_float: bool = False) -> Value:
    """x - log(sum(exp(x)))."""
    return _by_row(graph, "LogSoftmax", x, dimension, to_float=to_float)


def _by_row(graph: StackedGraph, operator: str, x: Value, dimension: int, *, to_float: bool) -> Value:
    """ONNX Runtime computes it row by row where the dimension lies innermost."""
    if to_float:
        raise LoweringError(f"{operator} of half precision: graphs hold float32")
    at = dimension % len(x.shape)
    order = (*(place for place in x.order if place != at), at)
    lying = graph.reordered(x, order)
    return graph.emit(operator, [lying], shape=x.shape, order=order, stacked=x.stacked, axis=len(order))


def softmax_backward(
    graph: StackedGraph, gradient: Value, y: Value, dimension: int, dtype: torch.dtype
) -> Value:
    """y * (gradient - sum(gradient * y))."""
    mean = total(graph, multiply(graph, gradient, y), [dimension], keepdim=True)
    return multiply(graph, y, subtract(graph, gradient, mean))


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten._softmax.default: softmax,
    aten._log_softmax.default: log_softmax,
    aten._softmax_backward_data.default: softmax_backward,
}
