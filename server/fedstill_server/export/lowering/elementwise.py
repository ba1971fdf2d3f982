"""Operators that work element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.stacked import (
    BOOL,
    FLOAT,
    INT,
    LoweringError,
    OperatorTable,
    StackedGraph,
)

Operand = Value | float | int
_DTYPES: dict[torch.dtype | None, np.dtype[Any]] = {torch.float32: FLOAT, torch.int64: INT, torch.bool: BOOL}


def operand(graph: StackedGraph, value: Operand, *, like: Value) -> Value:
    """A Python number as a constant of the type of the tensor that it meets."""
    return value if isinstance(value, Value) else graph.constant(np.array(value, like.dtype))


def unary(operator: str) -> Callable[[StackedGraph, Value], Value]:
    def lower(graph: StackedGraph, x: Value) -> Value:
        return graph.elementwise(operator, [x])

    return lower


def binary(operator: str) -> Callable[[StackedGraph, Operand, Operand], Value]:
    def lower(graph: StackedGraph, left: Operand, right: Operand) -> Value:
        like = left if isinstance(left, Value) else right
        assert isinstance(like, Value)
        return graph.elementwise(
            operator, [operand(graph, left, like=like), operand(graph, right, like=like)]
        )

    return lower


def add(graph: StackedGraph, left: Value, right: Operand, *, alpha: float = 1) -> Value:
    return graph.elementwise("Add", [left, _times(graph, operand(graph, right, like=left), alpha)])


def subtract(graph: StackedGraph, left: Value, right: Operand, *, alpha: float = 1) -> Value:
    return graph.elementwise("Sub", [left, _times(graph, operand(graph, right, like=left), alpha)])


def reverse_subtract(graph: StackedGraph, left: Value, right: Operand, alpha: float = 1) -> Value:
    return graph.elementwise("Sub", [operand(graph, right, like=left), _times(graph, left, alpha)])


def _times(graph: StackedGraph, value: Value, factor: float) -> Value:
    return value if factor == 1 else graph.elementwise("Mul", [value, operand(graph, factor, like=value)])


def equal(graph: StackedGraph, left: Value, right: Operand) -> Value:
    return graph.elementwise("Equal", [left, operand(graph, right, like=left)], dtype=BOOL)


def less(graph: StackedGraph, left: Value, right: Operand) -> Value:
    return graph.elementwise("Less", [left, operand(graph, right, like=left)], dtype=BOOL)


def clamp_min(graph: StackedGraph, x: Value, low: float) -> Value:
    return graph.elementwise("Max", [x, operand(graph, low, like=x)])


def relu_backward(graph: StackedGraph, gradient: Value, y: Value, threshold: float) -> Value:
    """Lets the gradient pass where y > threshold. Where would be slower than Cast and Mul."""
    passes = graph.elementwise("Greater", [y, operand(graph, threshold, like=y)], dtype=BOOL)
    return graph.elementwise("Mul", [gradient, cast(graph, passes, dtype=torch.float32)])


def sigmoid_backward(graph: StackedGraph, gradient: Value, y: Value) -> Value:
    """gradient * y * (1 - y)."""
    slope = graph.elementwise("Mul", [y, reverse_subtract(graph, y, 1.0)])
    return graph.elementwise("Mul", [gradient, slope])


def tanh_backward(graph: StackedGraph, gradient: Value, y: Value) -> Value:
    """gradient * (1 - y^2)."""
    slope = reverse_subtract(graph, graph.elementwise("Mul", [y, y]), 1.0)
    return graph.elementwise("Mul", [gradient, slope])


def logarithm(graph: StackedGraph, x: Value) -> Value:
    """The logarithm of a sum over a dimension of size 1.

    ONNX Runtime's Log rounds a number in one or another way, depending on where in the tensor it stands;
    this does not.
    """
    devices = graph.stack_size if x.stacked else 1
    column = graph.memory(x, (devices * x.elements, 1))
    return graph.emit(
        "ReduceLogSum",
        [column, graph.ints([1])],
        shape=x.shape,
        order=x.order,
        memory=(devices * x.elements,),
        stacked=x.stacked,
        keepdims=0,
    )


def cast(graph: StackedGraph, x: Value, *, dtype: torch.dtype | None = None, **unused: object) -> Value:
    if dtype not in _DTYPES:
        raise LoweringError(f"a cast to {dtype}: graphs hold float32, int64 and bool")
    target = _DTYPES[dtype]
    if x.dtype == target:
        return x
    to = {FLOAT: TensorProto.FLOAT, INT: TensorProto.INT64, BOOL: TensorProto.BOOL}[target]
    return graph.elementwise("Cast", [x], dtype=target, to=int(to))


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.abs.default: unary("Abs"),
    aten.exp.default: unary("Exp"),
    aten.log.default: logarithm,
    aten.neg.default: unary("Neg"),
    aten.reciprocal.default: unary("Reciprocal"),
    aten.relu.default: unary("Relu"),
    aten.sigmoid.default: unary("Sigmoid"),
    aten.sqrt.default: unary("Sqrt"),
    aten.tanh.default: unary("Tanh"),
    aten.add.Tensor: add,
    aten.sub.Tensor: subtract,
    aten.rsub.Scalar: reverse_subtract,
    aten.mul.Tensor: binary("Mul"),
    aten.mul.Scalar: binary("Mul"),
    aten.div.Tensor: binary("Div"),
    aten.div.Scalar: binary("Div"),
    aten.sigmoid_backward.default: sigmoid_backward,
    aten.tanh_backward.default: tanh_backward,
    aten.maximum.default: binary("Max"),
    aten.minimum.default: binary("Min"),
    aten.eq.Tensor: equal,
    aten.eq.Scalar: equal,
    aten.lt.Tensor: less,
    aten.lt.Scalar: less,
    aten.clamp_min.default: clamp_min,
    aten.threshold_backward.default: relu_backward,
    aten._to_copy.default: cast,
}
