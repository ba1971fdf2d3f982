"""Matrix products, as one batched product over the stack.

ONNX Runtime's CPU kernel packs its right operand and streams the left one, and a FusedMatMul reads either
operand transposed. A product of activations and parameters is therefore written with the parameters on the
left, which makes the examples of a batch the innermost dimension of the result. A whole linear layer is a
grouped convolution with kernel 1, whose bias (and the ReLU behind it, which ONNX Runtime fuses) costs no
pass of its own. Only the logits of a whole table of words lie as their rows do: softmax, labels and soft
labels go along the words.
"""

from __future__ import annotations

from typing import Any

import torch

from fedstill_server.export.graph import MICROSOFT
from fedstill_server.export.layout import Order, Value
from fedstill_server.export.lowering.elementwise import add, multiply
from fedstill_server.export.lowering.stacked import OperatorTable, StackedGraph

_NATURAL: Order = (0, 1)
_SWAPPED: Order = (1, 0)
_EACH: Order = (0, 1, 2)
_EACH_SWAPPED: Order = (0, 2, 1)


def product(graph: StackedGraph, left: Value, right: Value) -> Value:
    """[m, k] x [k, n] -> [m, n]."""
    shape = (left.shape[0], right.shape[1])
    reads_table = right.is_state and right.order == _SWAPPED  # a linear layer without bias
    if right.is_state and not left.is_state and not reads_table:
        swapped = _batched(graph, right.permuted(_SWAPPED), left.permuted(_SWAPPED), shape=shape[::-1])
        return swapped.permuted(_SWAPPED)
    return _batched(graph, left, right, shape=shape)


def _batched(graph: StackedGraph, left: Value, right: Value, *, shape: tuple[int, int]) -> Value:
    """The product written in this order; the result lies in its natural order."""
    transposed: dict[str, Any] = {
        "transA": int(left.order == _SWAPPED),
        "transB": int(right.order == _SWAPPED),
    }
    stacked = left.stacked or right.stacked
    if not any(transposed.values()):
        return graph.emit("MatMul", [left, right], shape=shape, order=_NATURAL, stacked=stacked)
    return graph.emit(
        "FusedMatMul",
        [left, right],
        shape=shape,
        order=_NATURAL,
        stacked=stacked,
        domain=MICROSOFT,
        **transposed,
    )


def each_product(graph: StackedGraph, left: Value, right: Value) -> Value:
    """[b, m, k] x [b, k, n] -> [b, m, n], each of the b by itself."""
    left, right = (_matrices(graph, value) for value in (left, right))
    transposed: dict[str, Any] = {
        "transA": int(left.order == _EACH_SWAPPED),
        "transB": int(right.order == _EACH_SWAPPED),
    }
    operands = [graph.stacked(left), graph.stacked(right)]
    shape = (left.shape[0], left.shape[1], right.shape[2])
    if not any(transposed.values()):
        return graph.emit("MatMul", operands, shape=shape, order=_EACH)
    return graph.emit("FusedMatMul", operands, shape=shape, order=_EACH, domain=MICROSOFT, **transposed)


def _matrices(graph: StackedGraph, value: Value) -> Value:
    """Matrices that lie one after another, as they are or transposed."""
    return value if value.order == _EACH_SWAPPED else graph.reordered(value, _EACH)


def product_plus(
    graph: StackedGraph, bias: Value, left: Value, right: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    """beta * bias + alpha * left x right."""
    if beta != 1 or alpha != 1:
        whole = multiply(graph, product(graph, left, right), alpha)
        return add(graph, whole, bias, beta) if beta else whole
    if bias.is_state and right.is_state and bias.shape == right.shape[1:]:
        return _linear_layer(graph, bias, left, right)
    return add(graph, product(graph, left, right), bias)


def _linear_layer(graph: StackedGraph, bias: Value, left: Value, right: Value) -> Value:
    (rows, inputs), outputs, devices = left.shape, right.shape[1], graph.stack_size
    operands = [
        graph.memory(graph.reordered(left, _SWAPPED), (1, devices * inputs, rows)),
        graph.memory(graph.reordered(right, _SWAPPED), (devices * outputs, inputs, 1)),
        graph.memory(bias, (devices * outputs,)),
    ]
    return graph.emit(
        "Conv",
        operands,
        shape=(rows, outputs),
        order=_SWAPPED,
        memory=(1, devices * outputs, rows),
        group=devices,
        kernel_shape=[1],
    )


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.mm.default: product,
    aten.addmm.default: product_plus,
    aten.bmm.default: each_product,
}
