"""Constants that every device shares, and picking by index."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch

from fedstill_server.export.layout import Value, natural
from fedstill_server.export.lowering.elementwise import (
    add,
    compare,
    converted,
    multiply,
    remainder,
    unequal,
    where,
)
from fedstill_server.export.lowering.stacked import (
    BOOL,
    FLOAT,
    INT,
    LoweringError,
    OperatorTable,
    StackedGraph,
    element_type,
)
from fedstill_server.export.lowering.views import expand, padded, part, squeeze, taken_along


def arange(graph: StackedGraph, end: float, *, dtype: torch.dtype | None = None, **unused: object) -> Value:
    return arange_by_step(graph, 0, end, dtype=dtype)


def arange_by_step(
    graph: StackedGraph,
    start: float,
    end: float,
    step: float = 1,
    *,
    dtype: torch.dtype | None = None,
    **unused: object,
) -> Value:
    numbers = torch.arange(start, end, step, dtype=dtype)
    return graph.constant(numbers.numpy().astype(element_type(numbers.dtype)))


def full(
    graph: StackedGraph,
    shape: Sequence[int],
    number: float,
    *,
    dtype: torch.dtype | None = None,
    **unused: object,
) -> Value:
    return graph.constant(np.full(tuple(shape), number, element_type(dtype) if dtype else _type_of(number)))


def single(graph: StackedGraph, number: float, **options: Any) -> Value:
    """A tensor of one number, without dimensions."""
    return full(graph, (), number, **options)


def _type_of(number: float) -> np.dtype[Any]:
    return BOOL if isinstance(number, bool) else INT if isinstance(number, int) else FLOAT


def filled_like(number: float) -> Callable[..., Value]:
    def lower(graph: StackedGraph, x: Value, *, dtype: torch.dtype | None = None, **unused: object) -> Value:
        return full_like(graph, x, number, dtype=dtype)

    return lower


def full_like(
    graph: StackedGraph, x: Value, number: float, *, dtype: torch.dtype | None = None, **unused: object
) -> Value:
    return graph.constant(np.full(x.shape, number, element_type(dtype) if dtype else x.dtype))


def zeros(
    graph: StackedGraph, shape: Sequence[int], *, dtype: torch.dtype | None = None, **unused: object
) -> Value:
    """One for each device: unlike other constants it may be a state that products read."""
    return graph.stacked(graph.constant(np.zeros(tuple(shape), element_type(dtype) if dtype else FLOAT)))


def ones(
    graph: StackedGraph, shape: Sequence[int], *, dtype: torch.dtype | None = None, **unused: object
) -> Value:
    return full(graph, shape, 1, dtype=dtype or torch.float32)


def empty(
    graph: StackedGraph,
    shape: Sequence[int],
    *unused: object,
    dtype: torch.dtype | None = None,
    **more: object,
) -> Value:
    """Whatever was to be written over: zeros."""
    return full(graph, shape, 0, dtype=dtype or torch.float32)


def emptied(
    graph: StackedGraph,
    x: Value,
    shape: Sequence[int],
    *unused: object,
    dtype: torch.dtype | None = None,
    **more: object,
) -> Value:
    return graph.constant(np.zeros(tuple(shape), element_type(dtype) if dtype else x.dtype))


def filled(graph: StackedGraph, x: Value, number: float | Value) -> Value:
    """x's shape and type with one number everywhere."""
    if isinstance(number, Value):
        return expand(graph, converted(graph, number, x.dtype), x.shape)
    return full_like(graph, x, number)


def copied(graph: StackedGraph, x: Value, source: Value, *unused: object) -> Value:
    """`source` in x's shape and type."""
    return expand(graph, converted(graph, source, x.dtype), x.shape)


def embedding(graph: StackedGraph, table: Value, words: Value, *unused: object) -> Value:
    """The rows [n, width] of a table that words [n] name."""
    known = graph.known(words)
    if known is not None:
        return _known_rows(graph, table, known)
    shape = (*words.shape, table.shape[1])
    rows = graph.reordered(table, natural(2))
    if not table.stacked:
        named = graph.memory(
            graph.reordered(words, natural(len(words.shape))), (graph.stack_size, *words.shape)
        )
        flat = graph.memory(rows, table.shape)
        return graph.emit("Gather", [flat, named], shape=shape, order=natural(len(shape)), axis=0)
    indices = graph.reordered(graph.reshape(words, (*words.shape, 1)), natural(len(words.shape) + 1))
    return graph.emit("GatherND", [rows, indices], shape=shape, order=natural(len(shape)), batch_dims=1)


def _known_rows(graph: StackedGraph, table: Value, words: np.ndarray) -> Value:
    """The rows that known words name: a part of the table, where they follow one another."""
    first, count = (int(words.flat[0]) if words.size else 0), words.size
    if np.array_equal(words.reshape(-1), np.arange(first, first + count)):
        rows = part(graph, table, 0, first, first + count)
    else:
        rows = taken_along(graph, table, 0, words.reshape(-1))
    return graph.reshape(rows, (*words.shape, table.shape[1]))


def embedding_backward(
    graph: StackedGraph,
    gradient: Value,
    words: Value,
    rows: int,
    padding: int = -1,
    scale_by_frequency: bool = False,
) -> Value:
    """The gradients of a table's rows; a word that stands at several places gets the sum.

    ONNX Runtime's ScatterElements adds on one thread, in the order of the places; its ScatterND does not.
    The row of the word `padding`, if there is one, gets none.
    """
    if scale_by_frequency:
        raise LoweringError("an embedding whose gradient is scaled by frequency has no translation")
    count, width = words.elements, gradient.shape[-1]
    known = graph.known(words)
    places = graph.reordered(graph.reshape(gradient, (count, width)), natural(2))
    if known is not None and padding < 0:
        first = int(known.flat[0]) if known.size else 0
        if np.array_equal(known.reshape(-1), np.arange(first, first + count)):
            return padded(graph, places, 0, first, rows)
    word = graph.reordered(graph.reshape(words, (count, 1)), natural(2))
    if padding >= 0:
        seen = converted(graph, unequal(graph, word, padding), FLOAT)
        places = graph.reordered(multiply(graph, places, seen), natural(2))
    repeated = graph.constant(np.zeros((count, width), np.int64))
    named = graph.elementwise("Add", [word, repeated])
    table = zeros(graph, (rows, width))
    return graph.emit(
        "ScatterElements",
        [table, graph.stacked(graph.reordered(named, natural(2))), graph.stacked(places)],
        shape=(rows, width),
        order=natural(2),
        axis=1,
        reduction="add",
    )


def gather(graph: StackedGraph, x: Value, dimension: int, indices: Value, **unused: object) -> Value:
    """x at `indices` along a dimension."""
    if not x.shape:
        return expand(graph, x, indices.shape)
    order = natural(len(x.shape))
    read = [graph.stacked(graph.reordered(value, order)) for value in (x, indices)]
    at = 1 + dimension % len(x.shape)
    return graph.emit("GatherElements", read, shape=indices.shape, order=order, dtype=x.dtype, axis=at)


def scatter(graph: StackedGraph, x: Value, dimension: int, indices: Value, values: Value | float) -> Value:
    """x with `values` written at `indices` along a dimension; the indices of a row are unique."""
    return _scattered(graph, x, dimension, indices, values)


def scatter_add(graph: StackedGraph, x: Value, dimension: int, indices: Value, values: Value) -> Value:
    """x with `values` added at `indices` along a dimension."""
    return _scattered(graph, x, dimension, indices, values, reduction="add")


def scatter_reduce(
    graph: StackedGraph,
    x: Value,
    dimension: int,
    indices: Value,
    values: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Value:
    """x with `values` added to, multiplied with or compared with what stands at `indices`."""
    if reduce not in _REDUCTIONS or not include_self:
        raise LoweringError(
            f"scatter_reduce {reduce!r} with include_self={include_self}: only "
            f"{', '.join(map(repr, _REDUCTIONS))} with include_self=True have a translation"
        )
    return _scattered(graph, x, dimension, indices, values, reduction=_REDUCTIONS[reduce])


_REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


def _scattered(
    graph: StackedGraph, x: Value, dimension: int, indices: Value, values: Value | float, **attributes: Any
) -> Value:
    if not x.shape:
        x, indices = (graph.reshape(each, (1,)) for each in (x, indices))
        values = graph.reshape(values, (1,)) if isinstance(values, Value) else values
        return graph.reshape(_scattered(graph, x, 0, indices, values, **attributes), ())
    order = natural(len(x.shape))
    if not isinstance(values, Value):
        values = graph.constant(np.full(indices.shape, values, x.dtype))
    for at, size in enumerate(indices.shape):
        values = part(graph, values, at, 0, size)
    written = [graph.stacked(graph.reordered(value, order)) for value in (x, indices, values)]
    return graph.emit(
        "ScatterElements",
        written,
        shape=x.shape,
        order=order,
        dtype=x.dtype,
        axis=1 + dimension % len(x.shape),
        **attributes,
    )


def index_select(graph: StackedGraph, x: Value, dimension: int, indices: Value) -> Value:
    """The slices of x that stand at `indices` of a dimension."""
    if not x.shape:
        return x
    return index(
        graph, x, [*[None] * (dimension % len(x.shape)), graph.reshape(indices, (indices.elements,))]
    )


def index(graph: StackedGraph, x: Value, indices: Sequence[Value | None]) -> Value:
    """x[indices]: numbers of places along some dimensions, which broadcast against each other."""
    chosen = _Chosen(graph, x, indices)
    if chosen.known is not None and len(chosen.dimensions) == 1:
        (at,) = chosen.dimensions
        taken = taken_along(graph, x, at, chosen.known.reshape(-1))
        return graph.reshape(taken, (*x.shape[:at], *chosen.shape, *x.shape[at + 1 :]))
    matrix = graph.reshape(x.permuted(chosen.in_front), (chosen.places, chosen.rest))
    count = math.prod(chosen.shape)
    if chosen.known is not None:
        rows = taken_along(graph, matrix, 0, chosen.known.reshape(-1))
    else:
        assert chosen.flat is not None
        named = graph.reordered(graph.reshape(chosen.flat, (count, 1)), natural(2))
        rows = graph.emit(
            "GatherND",
            [graph.stacked(graph.reordered(matrix, natural(2))), graph.stacked(named)],
            shape=(count, chosen.rest),
            order=natural(2),
            dtype=x.dtype,
            batch_dims=1,
        )
    return graph.reshape(rows, (*chosen.shape, *chosen.other_sizes)).permuted(chosen.back)


def index_put(
    graph: StackedGraph,
    x: Value,
    indices: Sequence[Value | None],
    values: Value,
    accumulate: bool = False,
) -> Value:
    """x with `values` written, or added, at x[indices]; of several for one place the last is written."""
    mask = indices[0]
    if mask is not None and mask.dtype == BOOL:
        return _masked_put(graph, x, indices, values, accumulate=accumulate)
    chosen = _Chosen(graph, x, indices)
    matrix = graph.reshape(x.permuted(chosen.in_front), (chosen.places, chosen.rest))
    whole = expand(graph, values, chosen.result)
    into = np.argsort(chosen.back)
    written = graph.reshape(whole.permuted([int(at) for at in into]), (math.prod(chosen.shape), chosen.rest))
    named = graph.constant(chosen.known) if chosen.known is not None else chosen.flat
    assert named is not None
    rows = add(
        graph,
        graph.reshape(named, (math.prod(chosen.shape), 1)),
        graph.constant(np.zeros(written.shape, INT)),
    )
    put = _scattered(graph, matrix, 0, rows, written, **({"reduction": "add"} if accumulate else {}))
    return graph.reshape(put, (*(x.shape[at] for at in chosen.in_front),)).permuted(
        [int(at) for at in np.argsort(chosen.in_front)]
    )


def _masked_put(
    graph: StackedGraph, x: Value, indices: Sequence[Value | None], values: Value, *, accumulate: bool
) -> Value:
    """x with one number where a mask holds."""
    mask = indices[0]
    if len(indices) != 1 or mask is None or values.elements != 1 or accumulate:
        raise LoweringError("writing at a mask: only one number has a translation; use torch.where")
    lying = graph.reshape(mask, (*mask.shape, *(1,) * (len(x.shape) - len(mask.shape))))
    return where(graph, lying, graph.reshape(values, ()), x)


class _Chosen:
    """Places that indices name: of the dimensions they are for, brought to the front and made flat."""

    def __init__(self, graph: StackedGraph, x: Value, indices: Sequence[Value | None]) -> None:
        named = {at: value for at, value in enumerate(indices) if value is not None}
        if any(value.dtype == BOOL for value in named.values()):
            raise LoweringError("x[mask] has as many numbers as the mask is true for: use torch.where")
        self.dimensions = list(named)
        others = [at for at in range(len(x.shape)) if at not in named]
        self.in_front = [*self.dimensions, *others]
        self.shape = np.broadcast_shapes(*(value.shape for value in named.values()))
        self.places = math.prod(x.shape[at] for at in self.dimensions)
        self.other_sizes = tuple(x.shape[at] for at in others)
        self.rest = math.prod(self.other_sizes)
        first, last = self.dimensions[0], self.dimensions[-1]
        together = last - first + 1 == len(self.dimensions)
        before = first if together else 0  # torch puts them in front where others stand between them
        rank = len(self.shape)
        self.back = [
            *range(rank, rank + before),
            *range(rank),
            *range(rank + before, rank + len(others)),
        ]
        sizes = (*self.shape, *self.other_sizes)
        self.result = tuple(sizes[at] for at in self.back)
        strides = [math.prod(x.shape[later] for later in named if later > at) for at in named]
        arrays = [graph.known(value) for value in named.values()]
        self.known: np.ndarray | None = None
        self.flat: Value | None = None
        if all(array is not None for array in arrays):
            wrapped = (array % x.shape[at] for at, array in zip(named, arrays, strict=True))  # type: ignore[operator]
            parts = [array * stride for array, stride in zip(wrapped, strides, strict=True)]
            self.known = np.broadcast_to(sum(parts), self.shape)
        else:
            flat = [
                multiply(graph, remainder(graph, value, x.shape[at]), stride)
                if stride != 1
                else remainder(graph, value, x.shape[at])
                for (at, value), stride in zip(named.items(), strides, strict=True)
            ]
            self.flat = expand(graph, reduce(lambda a, b: add(graph, a, b), flat), self.shape)


def largest(
    graph: StackedGraph, x: Value, count: int, dimension: int = -1, largest: bool = True, ordered: bool = True
) -> tuple[Value, Value]:
    """The `count` largest (or smallest) numbers along a dimension in their order, and their places.

    Of equal numbers the first comes first.
    """
    if not x.shape:
        return x, graph.constant(np.zeros((), np.int64))
    at = dimension % len(x.shape)
    shape = (*x.shape[:at], count, *x.shape[at + 1 :])
    lying = graph.stacked(x)
    places = tuple(shape[d] for d in x.order)
    names = graph.writer.nodes(
        "TopK",
        [lying.name, graph.ints([count])],
        shape=(graph.stack_size, *places),
        outputs=2,
        axis=x.place(at),
        largest=int(largest),
        sorted=1,
    )
    numbers, indices = (
        Value(name, shape, x.order, dtype) for name, dtype in zip(names, (x.dtype, INT), strict=True)
    )
    return numbers, indices


def sort(graph: StackedGraph, x: Value, dimension: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """All numbers along a dimension in their order, and their places; equal ones keep theirs."""
    count = x.shape[dimension] if x.shape else 1
    return largest(graph, x, count, dimension, descending)


def stable_sort(
    graph: StackedGraph, x: Value, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Value, Value]:
    return sort(graph, x, dim, descending)


def smallest_but(
    graph: StackedGraph, x: Value, place: int, dimension: int = -1, keepdim: bool = False
) -> tuple[Value, Value]:
    """The number at a place, from 1, of the order along a dimension, and where it stands."""
    if not x.shape:
        return x, graph.constant(np.zeros((), np.int64))
    ordered = largest(graph, x, place, dimension, False)
    last = tuple(part(graph, each, dimension, place - 1, place) for each in ordered)
    if keepdim:
        return last[0], last[1]
    return squeeze(graph, last[0], dimension), squeeze(graph, last[1], dimension)


def median(graph: StackedGraph, x: Value, dimension: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    """The middle number along a dimension, or the lower one of two, and where it stands."""
    count = x.shape[dimension] if x.shape else 1
    return smallest_but(graph, x, (count + 1) // 2, dimension, keepdim)


def median_of_all(graph: StackedGraph, x: Value) -> Value:
    return median(graph, graph.reshape(x, (x.elements,)))[0]


def running_extreme(*, is_better: Callable[..., Value]) -> Callable[..., tuple[Value, Value]]:
    """The largest or smallest number up to each place of a dimension, and where it stands: the last one."""

    def lower(graph: StackedGraph, x: Value, dimension: int) -> tuple[Value, Value]:
        if not x.shape:
            return x, graph.constant(np.zeros((), np.int64))
        at = dimension % len(x.shape)
        numbers: list[Value] = []
        places: list[Value] = []
        for place, number in enumerate(graph.unstack(x, at)):
            here = graph.constant(np.full(number.shape, place))
            if numbers:
                takes = is_better(graph, number, numbers[-1])
                number = where(graph, takes, number, numbers[-1])
                here = where(graph, takes, here, places[-1])
            numbers.append(number)
            places.append(here)
        return graph.stack(numbers, at, x), graph.stack(places, at, x)

    return lower


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.arange.default: arange,
    aten.arange.start: arange_by_step,
    aten.arange.start_step: arange_by_step,
    aten.copy.default: copied,
    aten.embedding.default: embedding,
    aten.embedding_dense_backward.default: embedding_backward,
    aten.empty.memory_format: empty,
    aten.empty_permuted.default: empty,
    aten.empty_strided.default: empty,
    aten.empty_like.default: filled_like(0),
    aten.fill.Scalar: filled,
    aten.fill.Tensor: filled,
    aten.full.default: full,
    aten.full_like.default: full_like,
    aten.gather.default: gather,
    aten.index.Tensor: index,
    aten.index_put.default: index_put,
    aten.index_select.default: index_select,
    aten.ones.default: ones,
    aten.ones_like.default: filled_like(1),
    aten.scalar_tensor.default: single,
    aten.scatter.src: scatter,
    aten.scatter.value: scatter,
    aten.scatter_add.default: scatter_add,
    aten.scatter_reduce.two: scatter_reduce,
    aten.cummax.default: running_extreme(is_better=compare("GreaterOrEqual")),
    aten.cummin.default: running_extreme(is_better=compare("LessOrEqual")),
    aten.kthvalue.default: smallest_but,
    aten.median.default: median_of_all,
    aten.median.dim: median,
    aten.new_empty_strided.default: emptied,
    aten._efficientzerotensor.default: empty,
    aten.sort.default: sort,
    aten.sort.stable: stable_sort,
    aten.topk.default: largest,
    aten.zeros.default: zeros,
    aten.zeros_like.default: filled_like(0),
}
