"""Recurrent layers as loops over the places of a row: ONNX's Scan, and for the gradients one the other way.

A Scan's own cost is a fraction of a microsecond for a place, and its graph is the same for any length. What
the gates read at a place stands in one matrix v = [x_t; 1; h_(t-1)], in memory [C, I + 1 + H, rows]; all
gradients of the weights are one product over all places of the gates' gradients with v. What the way back
takes from the way forth are factors: it is products and sums only.

    LSTM (Hochreiter and Schmidhuber, 1997)     i, f, o = sigmoid(..)   g = tanh(..)
                                                c <- i * g + f * c      h = o * tanh(c)
    GRU (Cho et al., 2014, arXiv:1406.1078)     r, z = sigmoid(..)      n = tanh(x_n + r * q), q = R_n h + b
                                                h <- n + z * (h - n)
    RNN (Elman, 1990)                           h <- tanh(..) or relu(..)

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

import fedstill_server.export.recurrent  # noqa: F401  (defines the operators)
from fedstill_server.export.graph import MICROSOFT, GraphWriter, Scan, ScanBody
from fedstill_server.export.layout import Order, Shape, Value, natural
from fedstill_server.export.lowering.stacked import FLOAT, OperatorTable, StackedGraph

_BY_PLACE: Order = (0, 2, 1)
"""The order of a value [T, B, width]: place by place, rows innermost."""
_SWAPPED: Order = (1, 0)


@dataclass(frozen=True)
class _Sizes:
    devices: int
    places: int
    rows: int
    inputs: int
    width: int

    @property
    def columns(self) -> int:
        """Of v."""
        return self.inputs + 1 + self.width

    @property
    def state(self) -> Shape:
        return (self.devices, self.width, self.rows)

    def of_gates(self, gates: int) -> Shape:
        return (self.devices, gates * self.width, self.rows)


@dataclass(frozen=True)
class _Elements:
    """Writes operators that work element by element on tensors of one shape."""

    writer: GraphWriter
    shape: Shape

    def __call__(self, operator: str, *names: str) -> str:
        return self.writer.node(operator, names, shape=self.shape)


@dataclass(frozen=True)
class _Gates:
    """Some gates of a layer, as one grouped convolution of what they read."""

    count: int
    columns: int
    weight: str  # [C * count * H, columns, 1]
    bias: str | None = None

    def __call__(self, body: ScanBody, sizes: _Sizes, read: str, activation: str | None = None) -> list[str]:
        operands = [body.reshape(read, (1, sizes.devices * self.columns, sizes.rows)), self.weight]
        if self.bias is not None:
            operands.append(self.bias)
        shape = (1, sizes.devices * self.count * sizes.width, sizes.rows)
        out = body.node("Conv", operands, shape=shape, group=sizes.devices, kernel_shape=[1])
        if activation is not None:
            out = body.node(activation, [out], shape=shape)
        out = body.reshape(out, sizes.of_gates(self.count))
        return body.split(out, [sizes.width] * self.count, axis=1) if self.count > 1 else [out]


@dataclass(frozen=True)
class _Weights:
    """The parameters of a layer, one of each for every device: w [G * H, I], r [G * H, H] and b."""

    writer: GraphWriter
    sizes: _Sizes
    w: str
    r: str
    b: str

    def reading_all(self, gates: Sequence[int], biases: Sequence[int]) -> _Gates:
        """Gates by number in w and r, and in b; they read v."""
        sizes, height = self.sizes, len(gates) * self.sizes.width
        parts = [
            self._rows(self.w, gates, (sizes.inputs,)),
            self.writer.reshape(self._rows(self.b, biases, ()), (sizes.devices, height, 1)),
            self._rows(self.r, gates, (sizes.width,)),
        ]
        weight = self.writer.node("Concat", parts, shape=(sizes.devices, height, sizes.columns), axis=2)
        return self._gates(weight, len(gates), sizes.columns)

    def reading(self, source: str, columns: int, gate: int, bias: int) -> _Gates:
        """One gate that reads only x, or only the state."""
        weight, biases = self._rows(source, [gate], (columns,)), self._rows(self.b, [bias], ())
        flat = self.writer.reshape(biases, (self.sizes.devices * self.sizes.width,))
        return self._gates(weight, 1, columns, flat)

    def _gates(self, weight: str, count: int, columns: int, bias: str | None = None) -> _Gates:
        shape = (self.sizes.devices * count * self.sizes.width, columns, 1)
        return _Gates(count, columns, self.writer.reshape(weight, shape), bias)

    def _rows(self, source: str, gates: Sequence[int], columns: Shape) -> str:
        return _rows(self.writer, self.sizes, source, gates, columns)


def _rows(writer: GraphWriter, sizes: _Sizes, source: str, gates: Sequence[int], columns: Shape) -> str:
    """The rows of some gates of a matrix [C, G * H, *columns], in this order."""
    parts = []
    for gate in gates:
        bounds = [
            writer.constant(np.array([at], np.int64))
            for at in (gate * sizes.width, (gate + 1) * sizes.width, 1)
        ]
        parts.append(writer.node("Slice", [source, *bounds], shape=(sizes.devices, sizes.width, *columns)))
    shape = (sizes.devices, len(gates) * sizes.width, *columns)
    return writer.node("Concat", parts, shape=shape, axis=1) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class _Read:
    """What a cell reads at a place."""

    body: ScanBody
    sizes: _Sizes
    x: str
    h: str
    c: str | None
    v: str


@dataclass(frozen=True)
class _Step:
    """What a cell makes of it: the new states, and what its factors are made of."""

    states: list[str]
    parts: list[str]


@dataclass(frozen=True)
class _Back:
    """What goes back from a place.

    Attributes:
        gates: The gradients before the activations of what reads the state, in the cell's order.
        past: What reaches the state before by itself: of c where there is one, else of h.
        aside: The gradient of a gate that reads no state.
    """

    gates: list[str]
    past: str | None = None
    aside: str | None = None


class _Lstm:
    states = 2
    order = (0, 1, 2, 3)  # of the gates' gradients, by torch's numbers of the gates
    in_b = in_w = in_r = (0, 1, 2, 3)  # which of them, with what goes aside, make the gradient of each

    def __init__(self, weights: _Weights) -> None:
        self._sigmoid = weights.reading_all([0, 1, 3], [0, 1, 3])
        self._tanh = weights.reading_all([2], [2])

    def step(self, e: _Elements, read: _Read) -> _Step:
        assert read.c is not None
        i, f, o = self._sigmoid(read.body, read.sizes, read.v, "Sigmoid")
        (g,) = self._tanh(read.body, read.sizes, read.v, "Tanh")
        new, old = e("Mul", i, g), e("Mul", f, read.c)
        c = e("Add", new, old)
        t = e("Tanh", c)
        h = e("Mul", o, t)
        return _Step([h, c], [i, f, o, g, new, old, t, h])

    @staticmethod
    def factors(e: _Elements, parts: Sequence[str]) -> list[str]:
        i, f, o, g, new, old, t, h = parts
        return [
            e("Sub", new, e("Mul", new, i)),  # g * i * (1 - i)
            e("Sub", old, e("Mul", old, f)),  # c * f * (1 - f)
            e("Sub", i, e("Mul", new, g)),  # i * (1 - g^2)
            e("Sub", h, e("Mul", h, o)),  # tanh(c) * o * (1 - o)
            e("Sub", o, e("Mul", h, t)),  # o * (1 - tanh(c)^2)
            f,
        ]

    @staticmethod
    def back(e: _Elements, dh: str, dc: str | None, factors: Sequence[str]) -> _Back:
        assert dc is not None
        of_i, of_f, of_g, of_o, of_c, f = factors
        dc = e("Add", e("Mul", dh, of_c), dc)
        gates = [e("Mul", dc, of_i), e("Mul", dc, of_f), e("Mul", dc, of_g), e("Mul", dh, of_o)]
        return _Back(gates, past=e("Mul", dc, f))


class _Gru:
    states = 1
    order = (2, 0, 1)
    in_b, in_w, in_r = (0, 1, 2, 3), (1, 2, 3), (1, 2, 0)

    def __init__(self, weights: _Weights) -> None:
        self._sigmoid = weights.reading_all([0, 1], [1, 2])
        self._of_state = weights.reading(weights.r, weights.sizes.width, 2, 0)
        self._of_x = weights.reading(weights.w, weights.sizes.inputs, 2, 3)

    def step(self, e: _Elements, read: _Read) -> _Step:
        r, z = self._sigmoid(read.body, read.sizes, read.v, "Sigmoid")
        (q,) = self._of_state(read.body, read.sizes, read.h)
        (x,) = self._of_x(read.body, read.sizes, read.x)
        let_through = e("Mul", r, q)
        n = e("Tanh", e("Add", x, let_through))
        kept = e("Mul", z, e("Sub", read.h, n))
        return _Step([e("Add", n, kept)], [r, z, n, let_through, kept])

    @staticmethod
    def factors(e: _Elements, parts: Sequence[str]) -> list[str]:
        r, z, n, let_through, kept = parts
        one = e.writer.constant(np.ones((1,) * len(e.shape), FLOAT))
        of_n = e("Mul", e("Sub", one, z), e("Sub", one, e("Mul", n, n)))
        of_r = e("Mul", of_n, e("Sub", let_through, e("Mul", let_through, r)))
        return [e("Mul", of_n, r), of_r, e("Sub", kept, e("Mul", kept, z)), of_n, z]

    @staticmethod
    def back(e: _Elements, dh: str, dc: str | None, factors: Sequence[str]) -> _Back:
        of_q, of_r, of_z, of_n, z = factors
        gates = [e("Mul", dh, of_q), e("Mul", dh, of_r), e("Mul", dh, of_z)]
        return _Back(gates, past=e("Mul", dh, z), aside=e("Mul", dh, of_n))


class _Rnn:
    states = 1
    order = in_b = in_w = in_r = (0,)
    activation = "Tanh"

    def __init__(self, weights: _Weights) -> None:
        self._gate = weights.reading_all([0], [0])

    def step(self, e: _Elements, read: _Read) -> _Step:
        (h,) = self._gate(read.body, read.sizes, read.v, self.activation)
        return _Step([h], [h])

    @staticmethod
    def factors(e: _Elements, parts: Sequence[str]) -> list[str]:
        (h,) = parts
        return [e("Sub", e.writer.constant(np.ones((1,) * len(e.shape), FLOAT)), e("Mul", h, h))]

    @staticmethod
    def back(e: _Elements, dh: str, dc: str | None, factors: Sequence[str]) -> _Back:
        return _Back([e("Mul", dh, factors[0])])


class _ReluRnn(_Rnn):
    activation = "Relu"

    @staticmethod
    def factors(e: _Elements, parts: Sequence[str]) -> list[str]:
        """1 where h > 0: the sign of what is never negative."""
        return [e("Sign", parts[0])]


_Cell = _Lstm | _Gru | _Rnn
_CELLS: dict[str, type[_Cell]] = {
    "lstm": _Lstm,
    "gru": _Gru,
    "rnn_tanh": _Rnn,
    "rnn_relu": _ReluRnn,
}


def recurrence(
    graph: StackedGraph, kind: str, is_reversed: bool, keeps: bool, x: Value, *others: Value
) -> list[Value | str]:
    """y [T, B, H] and the last c of x [T, B, I]; where it `keeps` them, v and the factors of all places."""
    h0, c0, w, r, b = others
    places, rows, inputs = x.shape
    sizes = _Sizes(graph.stack_size, places, rows, inputs, r.shape[1])
    writer = graph.writer
    cell = _CELLS[kind](_Weights(writer, sizes, *(_each(graph, value) for value in (w, r, b))))
    body = ScanBody(writer)
    h, *c = [body.place(name, sizes.state) for name in "hc"[: cell.states]]
    at = body.place("x", (sizes.devices, sizes.inputs, sizes.rows))
    one = writer.constant(np.ones((sizes.devices, 1, sizes.rows), FLOAT))
    v = body.node("Concat", [at, one, h], shape=(sizes.devices, sizes.columns, sizes.rows), axis=1)
    e = _Elements(body, sizes.state)
    after = cell.step(e, _Read(body, sizes, at, h, c[0] if c else None, v))
    # For one device factors of all places at once are fewer nodes; for many they would leave the cache.
    at_once = sizes.devices == 1
    given = [after.states[0]]
    if keeps:
        given += [v, *(after.parts if at_once else cell.factors(e, after.parts))]
    for each in (*after.states, *given):
        body.give(each)
    states = [_state(graph, value) for value in (h0, c0)[: cell.states]]
    found = writer.scan(
        Scan(body=body, states=states, scanned=[_by_place(graph, x)], is_reversed=is_reversed)
    )
    end, (y, *kept) = found[cell.states - 1], found[cell.states :]
    if keeps and at_once:
        whole = _Elements(writer, (sizes.places, *sizes.state))
        kept = [kept[0], *cell.factors(whole, kept[1:])]
    return [_of_devices(graph, y, (places, rows, sizes.width)), Value(end, h0.shape, _SWAPPED, FLOAT), *kept]


def recurrence_backward(
    graph: StackedGraph,
    kind: str,
    is_reversed: bool,
    dy: Value,
    dc_end: Value,
    kept: Sequence[str],
    w: Value,
    r: Value,
) -> list[Value]:
    """The gradients of x, h0, c0, w, r and b, from those of y and of the last c."""
    v, *factors = kept
    places, rows, width = dy.shape
    sizes = _Sizes(graph.stack_size, places, rows, w.shape[1], width)
    cell, writer = _CELLS[kind], graph.writer
    gates = len(cell.order)
    weights = _rows(writer, sizes, _each(graph, r), cell.order, (width,))
    shape = (sizes.devices, width, gates * width)
    transposed = writer.node("Transpose", [weights], shape=shape, perm=[0, 2, 1])
    body = ScanBody(writer)
    e = _Elements(body, sizes.state)
    later, *dc = [body.place(name, sizes.state) for name in ("dh", "dc")[: cell.states]]
    now = body.place("dy", sizes.state)
    dh = e("Add", later, now)
    inside = [body.place(f"factor_{number}", sizes.state) for number in range(len(factors))]
    back = cell.back(e, dh, dc[0] if dc else None, inside)
    of_gates = sizes.of_gates(gates)
    delta = body.node("Concat", back.gates, shape=of_gates, axis=1) if gates > 1 else back.gates[0]
    before = body.node("MatMul", [transposed, delta], shape=sizes.state)
    if cell.states == 1 and back.past is not None:
        before = e("Add", before, back.past)
    given = [before, *([back.past] if dc and back.past else []), delta, *([back.aside] if back.aside else [])]
    for each in given:
        body.give(each)
    zero = writer.constant(np.zeros(sizes.state, FLOAT))
    states = [zero, _state(graph, dc_end)][: cell.states]
    scan = Scan(
        body=body, states=states, scanned=[_by_place(graph, dy), *factors], is_reversed=not is_reversed
    )
    found = writer.scan(scan)
    ends, deltas = found[: cell.states], found[cell.states :]
    h0, c0 = (Value(end, (rows, width), _SWAPPED, FLOAT) for end in (ends[0], ends[-1]))
    rows_of = (sizes.places, sizes.devices, (gates + len(deltas) - 1) * width, rows)
    delta = writer.node("Concat", deltas, shape=rows_of, axis=2) if len(deltas) > 1 else deltas[0]
    return [_of_inputs(graph, sizes, cell, delta, w), h0, c0, *_of_weights(graph, sizes, cell, delta, v)]


def _of_inputs(graph: StackedGraph, sizes: _Sizes, cell: type[_Cell], delta: str, w: Value) -> Value:
    """The gradient of x: that of the gates [T, C, gates * H, rows], through w."""
    writer, height = graph.writer, len(cell.in_w) * sizes.width
    if len(cell.in_w) < len(cell.in_b):
        bounds = [graph.ints([at * sizes.width]) for at in (cell.in_w[0], cell.in_w[-1] + 1)]
        shape: Shape = (sizes.places, sizes.devices, height, sizes.rows)
        delta = writer.node("Slice", [delta, *bounds, graph.ints([2])], shape=shape)
    shape = (sizes.devices, sizes.inputs, height)
    transposed = writer.node("Transpose", [_each(graph, w)], shape=shape, perm=[0, 2, 1])
    shape = (sizes.places, sizes.devices, sizes.inputs, sizes.rows)
    dx = writer.node("MatMul", [transposed, delta], shape=shape)
    return _of_devices(graph, dx, (sizes.places, sizes.rows, sizes.inputs))


def _of_weights(
    graph: StackedGraph, sizes: _Sizes, cell: type[_Cell], delta: str, v: str
) -> tuple[Value, Value, Value]:
    """The gradients of w, r and b: one product over all places and rows."""
    writer, gates = graph.writer, len(cell.in_b)

    def side_by_side(name: str, height: int) -> str:
        flat = writer.reshape(name, (sizes.places, sizes.devices, height, sizes.rows))
        shape = (sizes.devices, height, sizes.places, sizes.rows)
        moved = writer.node("Transpose", [flat], shape=shape, perm=[1, 2, 0, 3])
        return writer.reshape(moved, (sizes.devices, height, sizes.places * sizes.rows))

    product = writer.node(
        "FusedMatMul",
        [side_by_side(delta, gates * sizes.width), side_by_side(v, sizes.columns)],
        shape=(sizes.devices, gates * sizes.width, sizes.columns),
        domain=MICROSOFT,
        transB=1,
    )
    w, b, r = writer.split(product, [sizes.inputs, 1, sizes.width], axis=2)
    found = []
    for name, columns, order in ((w, sizes.inputs, cell.in_w), (r, sizes.width, cell.in_r)):
        picked = order if order != cell.in_b else None
        name = name if picked is None else _rows(writer, sizes, name, picked, (columns,))
        found.append(Value(name, (len(order) * sizes.width, columns), natural(2), FLOAT))
    flat = writer.reshape(b, (sizes.devices, gates * sizes.width))
    return found[0], found[1], Value(flat, (gates * sizes.width,), natural(1), FLOAT)


def _each(graph: StackedGraph, value: Value) -> str:
    """A parameter in its natural order, one for every device."""
    value = graph.reordered(value, natural(len(value.shape)))
    if value.stacked:
        return value.name
    shape = (graph.stack_size, *value.shape)
    return graph.write("Expand", [value.name, graph.ints(shape)], shape=shape)


def _state(graph: StackedGraph, value: Value) -> str:
    """A state [rows, H] as it lies in a loop: [C, H, rows]."""
    return graph.reordered(graph.stacked(value), _SWAPPED).name


def _by_place(graph: StackedGraph, value: Value) -> str:
    """A value [T, rows, width] as a loop reads it: [T, C, width, rows]."""
    (places, rows, width), devices = value.shape, graph.stack_size
    lying = graph.reordered(graph.stacked(value), _BY_PLACE)
    if devices == 1:
        return graph.memory(lying, (places, 1, width, rows))
    name = graph.memory(lying, (devices, places, width, rows))
    return graph.write("Transpose", [name], shape=(places, devices, width, rows), perm=[1, 0, 2, 3])


def _of_devices(graph: StackedGraph, name: str, shape: Shape) -> Value:
    """What a loop gives, [T, C, width, rows], as a value [T, rows, width]."""
    (places, rows, width), devices = shape, graph.stack_size
    lying = (devices, places, width, rows)
    if devices == 1:
        return Value(graph.writer.reshape(name, lying), shape, _BY_PLACE, FLOAT)
    return Value(graph.write("Transpose", [name], shape=lying, perm=[1, 0, 2, 3]), shape, _BY_PLACE, FLOAT)


fedstill = torch.ops.fedstill
OPERATORS: OperatorTable = {
    fedstill.recurrence.default: recurrence,
    fedstill.recurrence_backward.default: recurrence_backward,
}
