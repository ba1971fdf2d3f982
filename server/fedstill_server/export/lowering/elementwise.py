"""Operators that work element by element, with broadcasting.

A result must not depend on where in a stack its device stands. ONNX Runtime's Log, Sin, Cos, Asin, Acos and
Atan round a number in one or another way depending on its place in the tensor; these are written with
operators that do not (see `lowering/transcendental.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.stacked import (
    BOOL,
    FLOAT,
    INT,
    OperatorTable,
    StackedGraph,
    element_type,
)

Operand = Value | float | int
_CODES = {FLOAT: TensorProto.FLOAT, INT: TensorProto.INT64, BOOL: TensorProto.BOOL}
_RANKS = (BOOL, INT, FLOAT)  # torch computes in the highest type of its operands
_LOGICAL = {"Add": "Or", "Max": "Or", "Mul": "And", "Min": "And"}


def operand(graph: StackedGraph, value: Operand, *, like: Value) -> Value:
    """A Python number as a constant of the type of the tensor that it meets."""
    return value if isinstance(value, Value) else graph.constant(np.array(value, like.dtype))


def converted(graph: StackedGraph, x: Value, dtype: np.dtype[Any]) -> Value:
    """x as numbers of another type."""
    if x.dtype == dtype:
        return x
    return graph.elementwise("Cast", [x], dtype=dtype, to=int(_CODES[dtype]))


def promoted(graph: StackedGraph, *operands: Operand, least: np.dtype[Any] = BOOL) -> list[Value]:
    """Operands in the type that torch computes in, which is at least `least`."""
    rank = max(_RANKS.index(least), *(_RANKS.index(_type_of(each)) for each in operands))
    dtype = _RANKS[rank]
    return [
        converted(graph, each, dtype) if isinstance(each, Value) else graph.constant(np.array(each, dtype))
        for each in operands
    ]


def _type_of(value: Operand) -> np.dtype[Any]:
    if isinstance(value, Value):
        return value.dtype
    return BOOL if isinstance(value, bool) else INT if isinstance(value, int) else FLOAT


def unary(operator: str) -> Callable[[StackedGraph, Value], Value]:
    """An operator that keeps the type of its operand."""

    def lower(graph: StackedGraph, x: Value) -> Value:
        return graph.elementwise(operator, [x])

    return lower


def real(operator: str) -> Callable[[StackedGraph, Value], Value]:
    """A function of real numbers: whole ones are converted first."""

    def lower(graph: StackedGraph, x: Value) -> Value:
        return graph.elementwise(operator, promoted(graph, x, least=FLOAT))

    return lower


def binary(
    operator: str, *, least: np.dtype[Any] = BOOL
) -> Callable[[StackedGraph, Operand, Operand], Value]:
    def lower(graph: StackedGraph, left: Operand, right: Operand) -> Value:
        values = promoted(graph, left, right, least=least)
        of_booleans = values[0].dtype == BOOL
        return graph.elementwise(_LOGICAL.get(operator, operator) if of_booleans else operator, values)

    return lower


def compare(
    operator: str, *, least: np.dtype[Any] = INT
) -> Callable[[StackedGraph, Operand, Operand], Value]:
    def lower(graph: StackedGraph, left: Operand, right: Operand) -> Value:
        return graph.elementwise(operator, promoted(graph, left, right, least=least), dtype=BOOL)

    return lower


def logical(operator: str) -> Callable[..., Value]:
    """An operator of truth values; a number is true unless it is 0."""

    def lower(graph: StackedGraph, *operands: Operand) -> Value:
        values = [
            converted(graph, each, BOOL) if isinstance(each, Value) else graph.constant(np.array(each, BOOL))
            for each in operands
        ]
        return graph.elementwise(operator, values, dtype=BOOL)

    return lower


def bitwise(operator: str) -> Callable[..., Value]:
    """An operator of bits: of truth values, or of whole numbers."""

    def lower(graph: StackedGraph, *operands: Operand) -> Value:
        values = promoted(graph, *operands)
        of_booleans = values[0].dtype == BOOL
        return graph.elementwise(operator if of_booleans else f"Bitwise{operator}", values)

    return lower


add_, subtract_, multiply, divide = (
    binary("Add"),
    binary("Sub"),
    binary("Mul"),
    binary("Div", least=FLOAT),
)
smaller, larger = binary("Min"), binary("Max")
equal, less, greater = compare("Equal", least=BOOL), compare("Less"), compare("Greater")
negative = logical("Not")


def add(graph: StackedGraph, left: Operand, right: Operand, alpha: float = 1) -> Value:
    return add_(graph, left, _times(graph, right, alpha))


def subtract(graph: StackedGraph, left: Operand, right: Operand, alpha: float = 1) -> Value:
    return subtract_(graph, left, _times(graph, right, alpha))


def reverse_subtract(graph: StackedGraph, left: Value, right: Operand, alpha: float = 1) -> Value:
    return subtract(graph, right, left, alpha)


def _times(graph: StackedGraph, value: Operand, factor: float) -> Operand:
    if factor == 1:
        return value
    return multiply(graph, value, factor) if isinstance(value, Value) else value * factor


def unequal(graph: StackedGraph, left: Value, right: Operand) -> Value:
    return negative(graph, equal(graph, left, right))


def clamp(graph: StackedGraph, x: Value, low: Operand | None = None, high: Operand | None = None) -> Value:
    """x within limits, either of which may be missing."""
    x = x if low is None else larger(graph, x, low)
    return x if high is None else smaller(graph, x, high)


def clamp_max(graph: StackedGraph, x: Value, high: Operand) -> Value:
    return clamp(graph, x, high=high)


def divide_rounding(
    graph: StackedGraph, left: Operand, right: Operand, *, rounding_mode: str | None = None
) -> Value:
    """A quotient, as it is, rounded down ("floor") or towards 0 ("trunc")."""
    if rounding_mode is None:
        return divide(graph, left, right)
    left, right = promoted(graph, left, right, least=INT)
    if left.dtype == FLOAT:
        quotient = divide(graph, left, right)
        return graph.elementwise("Floor", [quotient]) if rounding_mode == "floor" else trunc(graph, quotient)
    if rounding_mode == "floor":
        left = subtract(graph, left, graph.elementwise("Mod", [left, right]))
    return graph.elementwise("Div", [left, right])  # of whole numbers: rounded towards 0


def truncated_remainder(graph: StackedGraph, left: Operand, right: Operand) -> Value:
    """What is left of a division rounded towards 0: it has the sign of `left`."""
    return graph.elementwise("Mod", promoted(graph, left, right, least=INT), fmod=1)


def remainder(graph: StackedGraph, left: Operand, right: Operand) -> Value:
    """What is left of a division rounded down: it has the sign of `right`."""
    left, right = promoted(graph, left, right, least=INT)
    if left.dtype == INT:
        return graph.elementwise("Mod", [left, right])
    rest = truncated_remainder(graph, left, right)
    opposed = as_float(graph, less(graph, multiply(graph, rest, right), 0.0))
    return add(graph, rest, multiply(graph, opposed, right))


def sign(graph: StackedGraph, x: Value) -> Value:
    """-1, 0 or 1. ONNX Runtime's Sign is slower."""
    if x.dtype == BOOL:
        return x
    above, below = (converted(graph, compared(graph, x, 0), x.dtype) for compared in (greater, less))
    return subtract(graph, above, below)


def trunc(graph: StackedGraph, x: Value) -> Value:
    """x rounded towards 0."""
    if x.dtype != FLOAT:
        return x
    size = graph.elementwise("Floor", [graph.elementwise("Abs", [x])])
    return multiply(graph, sign(graph, x), size)


def rounded(operator: str) -> Callable[[StackedGraph, Value], Value]:
    """An operator that leaves whole numbers as they are."""

    def lower(graph: StackedGraph, x: Value) -> Value:
        return graph.elementwise(operator, [x]) if x.dtype == FLOAT else x

    return lower


def rsqrt(graph: StackedGraph, x: Value) -> Value:
    (x,) = promoted(graph, x, least=FLOAT)
    return graph.elementwise("Reciprocal", [graph.elementwise("Sqrt", [x])])


def erfc(graph: StackedGraph, x: Value) -> Value:
    return subtract(graph, 1.0, real("Erf")(graph, x))


def power(graph: StackedGraph, base: Operand, exponent: Operand) -> Value:
    """base^exponent; small whole exponents are products."""
    if isinstance(base, Value) and not isinstance(exponent, Value):
        if exponent in (1, 2, 3, 4):
            (factor,) = promoted(graph, base, least=_type_of(exponent))
            return reduce(lambda left, right: multiply(graph, left, right), [factor] * int(exponent))
        if exponent in _ROOTS:
            return _ROOTS[exponent](graph, *promoted(graph, base, least=FLOAT))
        if exponent == 0:
            return graph.constant(np.ones(base.shape, FLOAT if _type_of(exponent) == FLOAT else base.dtype))
    return graph.elementwise("Pow", promoted(graph, base, exponent, least=INT))


_ROOTS: dict[float, Callable[[StackedGraph, Value], Value]] = {
    0.5: unary("Sqrt"),
    -0.5: rsqrt,
    -1.0: unary("Reciprocal"),
}


def where(graph: StackedGraph, condition: Value, yes: Operand, no: Operand) -> Value:
    """`yes` where the condition holds, else `no`.

    ONNX Runtime's Where is slow, and knows no truth values.
    """
    left, right = promoted(graph, yes, no)
    condition = converted(graph, condition, BOOL)
    if left.dtype == BOOL:
        both = logical("And")
        return logical("Or")(
            graph, both(graph, condition, left), both(graph, negative(graph, condition), right)
        )
    numbers = [_single_number(graph, value) for value in (left, right)]
    if left.dtype == FLOAT and None not in numbers:
        return _one_of_two(graph, condition, *numbers)  # type: ignore[arg-type]
    return graph.elementwise("Where", [condition, left, right], dtype=left.dtype)


def _one_of_two(graph: StackedGraph, condition: Value, yes: float, no: float) -> Value:
    mask = as_float(graph, condition)
    chosen = multiply(graph, mask, yes) if yes else None
    if no == 0:
        return chosen or multiply(graph, mask, 0.0)
    other = multiply(graph, subtract(graph, 1.0, mask), no)
    return add(graph, chosen, other) if chosen else other


def _single_number(graph: StackedGraph, value: Value) -> float | None:
    """The finite number that a constant holds everywhere, where it takes none of its shape."""
    array = graph.known(value)
    if array is None or value.elements != 1 or value.shape or not math.isfinite(array.flat[0]):
        return None
    return float(array.flat[0])


def masked_fill(graph: StackedGraph, x: Value, mask: Value, number: Operand) -> Value:
    return where(graph, mask, number, x)


def relu_backward(graph: StackedGraph, gradient: Value, y: Value, threshold: float) -> Value:
    """Lets the gradient pass where y > threshold. Where would be slower than Cast and Mul."""
    return multiply(graph, gradient, as_float(graph, greater(graph, y, threshold)))


def sigmoid_backward(graph: StackedGraph, gradient: Value, y: Value) -> Value:
    """gradient * y * (1 - y)."""
    slope = graph.elementwise("Mul", [y, reverse_subtract(graph, y, 1.0)])
    return graph.elementwise("Mul", [gradient, slope])


def tanh_backward(graph: StackedGraph, gradient: Value, y: Value) -> Value:
    """gradient * (1 - y^2)."""
    slope = reverse_subtract(graph, graph.elementwise("Mul", [y, y]), 1.0)
    return graph.elementwise("Mul", [gradient, slope])


def as_float(graph: StackedGraph, x: Value) -> Value:
    return converted(graph, x, FLOAT)


def cast(graph: StackedGraph, x: Value, dtype: torch.dtype | None = None, **unused: object) -> Value:
    """x as numbers of a type of torch's: float64 becomes float32, other whole numbers int64."""
    return x if dtype is None else converted(graph, x, element_type(dtype))


def not_a_number(graph: StackedGraph, x: Value) -> Value:
    return graph.elementwise("IsNaN", [as_float(graph, x)], dtype=BOOL)


def infinite(graph: StackedGraph, x: Value) -> Value:
    return graph.elementwise("IsInf", [as_float(graph, x)], dtype=BOOL)


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.abs.default: unary("Abs"),
    aten.acosh.default: real("Acosh"),
    aten.asinh.default: real("Asinh"),
    aten.atanh.default: real("Atanh"),
    aten.bitwise_not.default: bitwise("Not"),
    aten.ceil.default: rounded("Ceil"),
    aten.cosh.default: real("Cosh"),
    aten.erf.default: real("Erf"),
    aten.erfc.default: erfc,
    aten.exp.default: real("Exp"),
    aten.floor.default: rounded("Floor"),
    aten.isinf.default: infinite,
    aten.isnan.default: not_a_number,
    aten.logical_not.default: negative,
    aten.neg.default: unary("Neg"),
    aten.reciprocal.default: real("Reciprocal"),
    aten.relu.default: unary("Relu"),
    aten.round.default: rounded("Round"),
    aten.rsqrt.default: rsqrt,
    aten.sigmoid.default: real("Sigmoid"),
    aten.sign.default: sign,
    aten.sinh.default: real("Sinh"),
    aten.sqrt.default: real("Sqrt"),
    aten.tan.default: real("Tan"),
    aten.tanh.default: real("Tanh"),
    aten.trunc.default: trunc,
    aten.add.Tensor: add,
    aten.add.Scalar: add,
    aten.sub.Tensor: subtract,
    aten.sub.Scalar: subtract,
    aten.rsub.Tensor: reverse_subtract,
    aten.rsub.Scalar: reverse_subtract,
    aten.mul.Tensor: multiply,
    aten.mul.Scalar: multiply,
    aten.div.Tensor: divide,
    aten.div.Scalar: divide,
    aten.div.Tensor_mode: divide_rounding,
    aten.div.Scalar_mode: divide_rounding,
    aten.fmod.Tensor: truncated_remainder,
    aten.fmod.Scalar: truncated_remainder,
    aten.remainder.Tensor: remainder,
    aten.remainder.Scalar: remainder,
    aten.remainder.Scalar_Tensor: remainder,
    aten.pow.Tensor_Tensor: power,
    aten.pow.Tensor_Scalar: power,
    aten.pow.Scalar: power,
    aten.sigmoid_backward.default: sigmoid_backward,
    aten.tanh_backward.default: tanh_backward,
    aten.threshold_backward.default: relu_backward,
    aten.maximum.default: larger,
    aten.minimum.default: smaller,
    aten.fmax.default: larger,
    aten.fmin.default: smaller,
    aten.clamp.default: clamp,
    aten.clamp.Tensor: clamp,
    aten.clamp_min.default: clamp,
    aten.clamp_min.Tensor: clamp,
    aten.clamp_max.default: clamp_max,
    aten.clamp_max.Tensor: clamp_max,
    aten.eq.Tensor: equal,
    aten.eq.Scalar: equal,
    aten.ne.Tensor: unequal,
    aten.ne.Scalar: unequal,
    aten.lt.Tensor: less,
    aten.lt.Scalar: less,
    aten.le.Tensor: compare("LessOrEqual"),
    aten.le.Scalar: compare("LessOrEqual"),
    aten.gt.Tensor: greater,
    aten.gt.Scalar: greater,
    aten.ge.Tensor: compare("GreaterOrEqual"),
    aten.ge.Scalar: compare("GreaterOrEqual"),
    aten.logical_and.default: logical("And"),
    aten.logical_or.default: logical("Or"),
    aten.logical_xor.default: logical("Xor"),
    aten.bitwise_and.Tensor: bitwise("And"),
    aten.bitwise_and.Scalar: bitwise("And"),
    aten.bitwise_or.Tensor: bitwise("Or"),
    aten.bitwise_or.Scalar: bitwise("Or"),
    aten.bitwise_xor.Tensor: bitwise("Xor"),
    aten.bitwise_xor.Scalar: bitwise("Xor"),
    aten.where.self: where,
    aten.where.ScalarOther: where,
    aten.where.ScalarSelf: where,
    aten.where.Scalar: where,
    aten.masked_fill.Scalar: masked_fill,
    aten.masked_fill.Tensor: masked_fill,
    aten._to_copy.default: cast,
}
