"""Logarithms, and functions that ONNX lacks or rounds in one or another way.

ONNX Runtime's kernels of Log, Sin, Cos, Asin, Acos and Atan treat the numbers at the end of a tensor apart:
the same number has other last bits there, so the result of one device would depend on the stack that it is
in. The polynomials are those of SLEEF (Shibata and Petrogalli, 2020, arXiv:2001.09258), of 3.5 units in the
last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.elementwise import (
    Operand,
    add,
    as_float,
    clamp,
    divide,
    equal,
    larger,
    less,
    multiply,
    promoted,
    subtract,
    where,
)
from fedstill_server.export.lowering.stacked import FLOAT, OperatorTable, StackedGraph

Function = Callable[[StackedGraph, Value], Value]
_SINE = (2.6083159809786593e-06, -0.00019810690719168633, 0.008333078585565090, -0.16666659712791443)
_ARC_TANGENT = (
    0.00282363896258175373077393,
    -0.0159569028764963150024414,
    0.0425049886107444763183594,
    -0.0748900920152664184570312,
    0.106347933411598205566406,
    -0.142027363181114196777344,
    0.199926957488059997558594,
    -0.333331018686294555664062,
)
_PI_IN_PARTS = (3.140625, 9.67502593994140625e-4, 1.509957990978376432e-7)
"""Multiples of the first two are exact in float32."""
_HUGE = 1e15  # its arc tangent is a right angle, and its square is no infinity


def logarithm(graph: StackedGraph, x: Value) -> Value:
    """The logarithm of a sum over a dimension of size 1, which does not depend on the place in the tensor."""
    (x,) = promoted(graph, x, least=FLOAT)
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


def logarithm_to(base: float) -> Function:
    def lower(graph: StackedGraph, x: Value) -> Value:
        return multiply(graph, logarithm(graph, x), 1.0 / math.log(base))

    return lower


def logarithm_of_one_plus(graph: StackedGraph, x: Value) -> Value:
    """log(1 + x), where the sum's rounding error is made up for to first order."""
    (x,) = promoted(graph, x, least=FLOAT)
    total = add(graph, x, 1.0)
    error = subtract(graph, subtract(graph, total, 1.0), x)
    return subtract(graph, logarithm(graph, total), divide(graph, error, larger(graph, total, 1e-30)))


def exponential_less_one(graph: StackedGraph, x: Value) -> Value:
    """exp(x) - 1 = exp(max(x, 0)) * 2 t / (1 + |t|), t = tanh(x / 2): exact near 0, too."""
    (x,) = promoted(graph, x, least=FLOAT)
    tanh = graph.elementwise("Tanh", [multiply(graph, x, 0.5)])
    size = add(graph, graph.elementwise("Abs", [tanh]), 1.0)
    growth = graph.elementwise("Exp", [larger(graph, x, 0.0)])
    return multiply(graph, growth, divide(graph, add(graph, tanh, tanh), size))


def power_of_two(graph: StackedGraph, x: Value) -> Value:
    (x,) = promoted(graph, x, least=FLOAT)
    return graph.elementwise("Exp", [multiply(graph, x, math.log(2.0))])


def sine(graph: StackedGraph, x: Value) -> Value:
    """(-1)^k sin(x - k pi), k the nearest whole number to x / pi; for |x| up to some thousands."""
    (x,) = promoted(graph, x, least=FLOAT)
    turns = graph.elementwise("Round", [multiply(graph, x, 1.0 / math.pi)])
    return _signed_sine(graph, x, turns, turns)


def cosine(graph: StackedGraph, x: Value) -> Value:
    """(-1)^k sin(x - (k - 1/2) pi), k the nearest whole number to x / pi + 1/2."""
    (x,) = promoted(graph, x, least=FLOAT)
    turns = graph.elementwise("Round", [add(graph, multiply(graph, x, 1.0 / math.pi), 0.5)])
    return _signed_sine(graph, x, subtract(graph, turns, 0.5), turns)


def _signed_sine(graph: StackedGraph, x: Value, turns: Value, parity: Value) -> Value:
    """The sine of x less `turns` half turns, negated where `parity` is odd."""
    rest = x
    for part in _PI_IN_PARTS:
        rest = subtract(graph, rest, multiply(graph, turns, part))
    half = graph.elementwise("Floor", [multiply(graph, parity, 0.5)])
    odd = subtract(graph, parity, add(graph, half, half))
    return multiply(graph, subtract(graph, 1.0, add(graph, odd, odd)), _odd(graph, _SINE, rest))


def arc_tangent(graph: StackedGraph, x: Value) -> Value:
    """2 atan(x / (1 + sqrt(1 + x^2))), whose argument is within 1."""
    (x,) = promoted(graph, x, least=FLOAT)
    x = clamp(graph, x, -_HUGE, _HUGE)
    root = graph.elementwise("Sqrt", [add(graph, multiply(graph, x, x), 1.0)])
    return _double_arc(graph, divide(graph, x, add(graph, root, 1.0)))


def arc_sine(graph: StackedGraph, x: Value) -> Value:
    """2 atan(x / (1 + sqrt(1 - x^2)))."""
    (x,) = promoted(graph, x, least=FLOAT)
    room = multiply(graph, subtract(graph, 1.0, x), add(graph, x, 1.0))
    root = graph.elementwise("Sqrt", [room])
    return _double_arc(graph, divide(graph, x, add(graph, root, 1.0)))


def arc_cosine(graph: StackedGraph, x: Value) -> Value:
    """A right angle less the arc sine."""
    return subtract(graph, math.pi / 2, arc_sine(graph, x))


def arc_tangent_of(graph: StackedGraph, y: Value, x: Value) -> Value:
    """The angle of the point (x, y)."""
    y, x = promoted(graph, y, x, least=FLOAT)
    behind = as_float(graph, less(graph, x, 0.0))
    upwards = subtract(graph, 1.0, multiply(graph, as_float(graph, less(graph, y, 0.0)), 2.0))
    turned = multiply(graph, multiply(graph, behind, upwards), math.pi)
    slope = divide(graph, y, x)
    flat = equal(graph, y, 0.0)
    return add(graph, where(graph, flat, multiply(graph, y, 0.0), arc_tangent(graph, slope)), turned)


def _double_arc(graph: StackedGraph, x: Value) -> Value:
    return multiply(graph, _odd(graph, _ARC_TANGENT, x), 2.0)


def _odd(graph: StackedGraph, coefficients: Sequence[float], x: Value) -> Value:
    """x + x^3 * polynomial(x^2), coefficients from the highest down."""
    square = multiply(graph, x, x)
    series: Operand = coefficients[0]
    for coefficient in coefficients[1:]:
        series = add(graph, multiply(graph, square, series), coefficient)
    return add(graph, x, multiply(graph, multiply(graph, square, x), series))


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.acos.default: arc_cosine,
    aten.asin.default: arc_sine,
    aten.atan.default: arc_tangent,
    aten.atan2.default: arc_tangent_of,
    aten.cos.default: cosine,
    aten.exp2.default: power_of_two,
    aten.expm1.default: exponential_less_one,
    aten.log.default: logarithm,
    aten.log10.default: logarithm_to(10.0),
    aten.log1p.default: logarithm_of_one_plus,
    aten.log2.default: logarithm_to(2.0),
    aten.sin.default: sine,
}
