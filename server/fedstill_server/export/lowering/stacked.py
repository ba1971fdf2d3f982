"""An ONNX graph in which every value carries C devices: the few moves that all operators are written with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from fedstill_proto.errors import FedstillError

from fedstill_server.export.graph import GraphWriter
from fedstill_server.export.layout import (
    Order,
    Shape,
    Value,
    natural,
    rows_innermost,
    split_groups,
    substance,
)

FLOAT = np.dtype(np.float32)
INT = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)
_TYPES = {torch.bool: BOOL, torch.float32: FLOAT, torch.float64: FLOAT} | dict.fromkeys(
    (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64), INT
)

_FEW = 4096  # numbers that a file may hold once for every device
_MANY, _SHORT, _LONG_RUN = 1 << 14, 64, 256
"""Numbers of a result from which runs count, of a run that is short, and of one that is long enough."""

OperatorTable = dict[Any, Callable[..., Any]]
"""The function `(graph, *arguments) -> Value` that writes each aten operator."""


class LoweringError(FedstillError):
    """An operator of a student has no translation to ONNX, or not in this form."""


def element_type(dtype: torch.dtype) -> np.dtype[Any]:
    """How a graph holds numbers of a type of torch's: float64 as float32, any whole numbers as int64."""
    if dtype not in _TYPES:
        raise LoweringError(f"numbers of type {dtype}: graphs hold float32, int64 and bool")
    return _TYPES[dtype]


class StackedGraph:
    """Writes nodes over [C, ...] tensors and keeps track of how each lies in memory."""

    def __init__(self, name: str, *, stack_size: int) -> None:
        self.writer = GraphWriter(name)
        self.stack_size = stack_size
        self._constants: dict[str, np.ndarray] = {}

    def input(self, name: str, shape: Shape, dtype: np.dtype[Any], *, stacked: bool, is_state: bool) -> Value:
        leading = self.stack_size if stacked else 1
        self.writer.input(name, dtype, [leading, *shape])
        return Value(name, shape, natural(len(shape)), dtype, stacked, is_state, is_input=True)

    def output(self, name: str, value: Value) -> None:
        """Writes a value out in its logical order."""
        value = self.stacked(self.reordered(value, natural(len(value.shape))))
        self.writer.output(name, value.name, value.dtype, [self.stack_size, *value.shape])

    def constant(self, array: np.ndarray, *, name: str = "") -> Value:
        """A tensor that all devices share; with a name, the graph's initializer has that name."""
        name = self.writer.constant(array.reshape(1, *array.shape), name=name)
        self._constants[name] = array
        return Value(name, array.shape, natural(array.ndim), array.dtype, stacked=False)

    def know(self, value: Value, array: np.ndarray) -> None:
        """Remembers what a value holds that is computed from constants only."""
        self._constants[value.name] = array.transpose(value.order)

    def known(self, value: Value) -> np.ndarray | None:
        """The array behind a constant; None for what is computed from inputs."""
        array = self._constants.get(value.name)
        if array is None:
            return None
        return array.reshape(value.places).transpose(np.argsort(value.order))

    def devices(self, value: Value) -> int:
        """The device dimension of a value's tensor."""
        return self.stack_size if value.stacked else 1

    def stacked(self, value: Value) -> Value:
        """A shared tensor repeated for every device, for operators that do not broadcast."""
        if value.stacked:
            return value
        array = self.known(value)
        few = array is not None and (array.size <= _FEW or (array == array.flat[0]).all())
        if array is not None and few and value.order == natural(len(value.shape)):
            name = self.writer.constant(np.broadcast_to(array, (self.stack_size, *array.shape)))
        else:
            shape = self._memory_shape(value.places, stacked=True)
            name = self.write("Expand", [value.name, self.ints(shape)], shape=shape)
        return replace(value, name=name, stacked=True, is_state=False, is_input=False)

    def write(
        self, operator: str, inputs: Sequence[str], *, shape: Shape, domain: str = "", **attributes: Any
    ) -> str:
        """Adds a node on tensors as they lie; `shape` is that of its output in memory."""
        return self.writer.node(operator, inputs, shape=shape, domain=domain, **attributes)

    def memory(self, value: Value, shape: Shape) -> str:
        """The tensor of a value under another shape of its memory."""
        return self.writer.reshape(value.name, shape)

    def emit(
        self,
        operator: str,
        inputs: Sequence[Value | str],
        *,
        shape: Shape,
        order: Order,
        memory: Shape | None = None,
        dtype: np.dtype[Any] = FLOAT,
        stacked: bool = True,
        **attributes: Any,
    ) -> Value:
        """Add a node whose output is a `shape` lying in `order`; the node itself may give it as `memory`.

        `attributes` are the node's; a `domain` among them is where its operator comes from.
        """
        names = [item.name if isinstance(item, Value) else item for item in inputs]
        lying = self._memory_shape(tuple(shape[dimension] for dimension in order), stacked=stacked)
        name = self.write(operator, names, shape=memory or lying, **attributes)
        return Value(self.writer.reshape(name, lying), shape, order, dtype, stacked)

    def ints(self, numbers: Sequence[int]) -> str:
        """The name of a constant int64 vector: axes, starts, sizes."""
        return self.writer.constant(np.array(numbers, np.int64))

    def placed(self, value: Value, *, places: Shape, shape: Shape, order: Order) -> Value:
        """The same bytes under another shape: a Reshape, or nothing when the sizes already agree."""
        name = self.writer.reshape(value.name, self._memory_shape(places, stacked=value.stacked))
        return replace(value, name=name, shape=shape, order=order)

    def reordered(self, value: Value, order: Order) -> Value:
        """The value with its dimensions in memory in `order`; moves data only if it must."""
        if value.order == order:
            return value
        places = tuple(value.shape[dimension] for dimension in order)
        if substance(value.shape, value.order) == substance(value.shape, order):
            return self.placed(value, places=places, shape=value.shape, order=order)
        permutation = [0] + [1 + value.order.index(dimension) for dimension in order]
        lying = self._memory_shape(places, stacked=value.stacked)
        name = self.writer.node("Transpose", [value.name], shape=lying, perm=permutation)
        return replace(value, name=name, order=order, is_input=False, is_state=False)

    def reshape(self, value: Value, shape: Shape) -> Value:
        """A logical reshape. Keeps the memory as it lies where the merged dimensions lie side by side."""
        groups = split_groups(value.shape, shape)
        lying = substance(value.shape, value.order)
        sequence: list[tuple[int, list[int]]] = []
        for before, after in groups:
            big = [dimension for dimension in before if value.shape[dimension] > 1]
            positions = [lying.index(dimension) for dimension in big]
            if positions and positions != list(range(positions[0], positions[0] + len(positions))):
                return self.reshape(self.reordered(value, _together(value, groups)), shape)
            sequence.append((positions[0] if positions else -1, after))
        order = tuple(dimension for _, after in sorted(sequence) for dimension in after)
        places = tuple(shape[dimension] for dimension in order)
        return self.placed(value, places=places, shape=shape, order=order)

    def broadcast(self, values: Sequence[Value]) -> tuple[list[Value], Shape, Order]:
        """Brings operands to one rank and one order, so that ONNX's broadcasting is the logical one."""
        shape = np.broadcast_shapes(*(value.shape for value in values))
        rank = len(shape)
        padded = [self._padded(value, rank) for value in values]
        order = _common_order(padded, shape)
        return [self._arranged(value, order) for value in padded], shape, order

    def elementwise(
        self, operator: str, values: Sequence[Value], *, dtype: np.dtype[Any] | None = None, **attributes: Any
    ) -> Value:
        """One number from the numbers at the same place, broadcasting as torch does."""
        arranged, shape, order = self.broadcast(values)
        arranged = [self._lengthened(value, shape, order) for value in arranged]
        names, memory = self.writer.before_reshape([value.name for value in arranged])
        return self.emit(
            operator,
            names,
            shape=shape,
            order=order,
            memory=memory,
            dtype=values[0].dtype if dtype is None else dtype,
            stacked=any(value.stacked for value in values),
            **attributes,
        )

    def _lengthened(self, value: Value, shape: Shape, order: Order) -> Value:
        """An operand that is repeated in short runs (a number for each row, say), repeated some way already:
        the runtime goes through long runs many times faster.
        """
        places, whole = list(value.places), [shape[dimension] for dimension in order]
        run, at = 1, len(places)
        while at and places[at - 1] == whole[at - 1]:
            at -= 1
            run *= places[at]
        if not 1 < run < _SHORT or math.prod(whole) < max(_MANY, _SHORT * value.elements):
            return value
        while at and run < _LONG_RUN:
            at -= 1
            places[at] = whole[at]
            run *= places[at]
        memory = self._memory_shape(tuple(places), stacked=value.stacked)
        longer = [places[order.index(dimension)] for dimension in range(len(order))]
        name = self.write("Expand", [value.name, self.ints(memory)], shape=memory)
        return replace(value, name=name, shape=tuple(longer), is_state=False, is_input=False)

    def unstack(self, value: Value, dimension: int) -> list[Value]:
        """The slices of a dimension, without it."""
        outer, parts, inner = self._around(value, dimension)
        flat = self.memory(value, (outer, parts * inner))
        shape, order = _without(value.shape, value.order, dimension)
        return [
            self.emit(
                "Slice",
                [flat, self.ints([part * inner]), self.ints([(part + 1) * inner]), self.ints([1])],
                shape=shape,
                order=order,
                memory=(outer, inner),
                dtype=value.dtype,
                stacked=value.stacked,
            )
            for part in range(parts)
        ]

    def stack(self, values: Sequence[Value], dimension: int, like: Value) -> Value:
        """The opposite of `unstack`: the result lies as `like` does."""
        if any(value.stacked for value in values):
            values, like = [self.stacked(value) for value in values], replace(like, stacked=True)
        outer, parts, inner = self._around(like, dimension)
        _, order = _without(like.shape, like.order, dimension)
        flat = [self.memory(self.reordered(value, order), (outer, inner)) for value in values]
        return self.emit(
            "Concat",
            flat,
            shape=like.shape,
            order=like.order,
            memory=(outer, parts * inner),
            dtype=values[0].dtype,
            stacked=values[0].stacked,
            axis=1,
        )

    def _around(self, value: Value, dimension: int) -> tuple[int, int, int]:
        """Elements before, in and behind a dimension in memory."""
        at = value.place(dimension)
        lying = self._memory_shape(value.places, stacked=value.stacked)
        return math.prod(lying[:at]), lying[at], math.prod(lying[at + 1 :])

    def _padded(self, value: Value, rank: int) -> Value:
        """Adds leading dimensions of size 1, logically; their place in memory is decided by `_arranged`."""
        missing = rank - len(value.shape)
        order = (*range(missing), *(dimension + missing for dimension in value.order))
        return replace(value, shape=(1,) * missing + value.shape, order=order)

    def _arranged(self, value: Value, order: Order) -> Value:
        """A padded operand in the common order, its tensor given the full rank."""
        if value.elements == 1 and not value.stacked:
            return value  # broadcasts as it is, whatever its rank
        full_rank = self.placed(value, places=value.places, shape=value.shape, order=value.order)
        return self.reordered(full_rank, order)

    def _memory_shape(self, places: Shape, *, stacked: bool) -> Shape:
        return (self.stack_size if stacked else 1, *places)


def _together(value: Value, groups: Sequence[tuple[list[int], list[int]]]) -> Order:
    """An order in which the dimensions of each group lie side by side: where rows stay apart, the places of
    the others are kept, else the natural one.
    """
    if any(0 in before and len(before) > 1 for before, _ in groups):
        return natural(len(value.shape))
    first = {d: min(value.order.index(e) for e in before) for before, _ in groups for d in before}
    return tuple(sorted(first, key=lambda dimension: (first[dimension], dimension)))


def _without(shape: Shape, order: Order, dimension: int) -> tuple[Shape, Order]:
    """Shape and order of what is left when a dimension goes."""
    kept = [d for d in range(len(shape)) if d != dimension]
    return tuple(shape[d] for d in kept), tuple(kept.index(d) for d in order if d != dimension)


def _common_order(values: Sequence[Value], shape: Shape) -> Order:
    """The order of the largest operand; states first, then what is computed, then inputs.

    Dimensions that the largest operand does not have are put where `rows_innermost` would have them.
    """
    leader = max(values, key=lambda v: (v.elements, v.is_state, not v.is_input and v.stacked))
    lying = substance(leader.shape, leader.order)
    default = rows_innermost(len(shape))
    if all(shape[dimension] == 1 or leader.shape[dimension] > 1 for dimension in default):
        unit = tuple(dimension for dimension in leader.order if dimension not in lying)
        return (*unit, *lying) if unit else leader.order
    in_turn = iter(lying)
    return tuple(next(in_turn) if dimension in lying else dimension for dimension in default)
