"""Windows that move over a dimension: what each of their places reads, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.geometry import Geometry
from fedstill_server.export.lowering.stacked import StackedGraph


def cut(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int],
    starts: Sequence[int],
    lengths: Sequence[int],
    steps: Sequence[int] | None = None,
) -> Value:
    """`length` entries of each of the dimensions, from its start on, each a step behind the one before."""
    steps = steps or [1] * len(dimensions)
    shape = list(x.shape)
    for dimension, length in zip(dimensions, lengths, strict=True):
        shape[dimension] = length
    if tuple(shape) == x.shape:
        return x
    ends = [s + (n - 1) * step + 1 for s, n, step in zip(starts, lengths, steps, strict=True)]
    axes = [x.place(dimension) for dimension in dimensions]
    bounds = [graph.ints(starts), graph.ints(ends), graph.ints(axes)]
    if any(step != 1 for step in steps):
        bounds.append(graph.ints(steps))
    return graph.emit(
        "Slice", [x, *bounds], shape=tuple(shape), order=x.order, dtype=x.dtype, stacked=x.stacked
    )


def padded(
    graph: StackedGraph,
    x: Value,
    dimensions: Sequence[int],
    before: Sequence[int],
    behind: Sequence[int],
    value: float = 0.0,
) -> Value:
    """x with `value` before and behind the entries of the dimensions."""
    shape, pads = list(x.shape), np.zeros((2, 1 + len(x.shape)), np.int64)
    for dimension, first, last in zip(dimensions, before, behind, strict=True):
        shape[dimension] += first + last
        pads[:, x.place(dimension)] = first, last
    if not pads.any():
        return x
    operands: list[Value | str] = [x, graph.ints(pads.ravel().tolist())]
    if value:
        operands.append(graph.writer.constant(np.array(value, x.dtype)))
    return graph.emit("Pad", operands, shape=tuple(shape), order=x.order, dtype=x.dtype, stacked=x.stacked)


def strided(graph: StackedGraph, x: Value, form: Geometry, dimensions: Sequence[int] | None = None) -> Value:
    """The places (of all or the given dimensions) that a kernel of 1 with the form's strides reads."""
    chosen = [
        dimension
        for dimension in dimensions or range(2, form.rank + 2)
        if x.shape[dimension] != form.output[dimension - 2]
    ]
    lengths, steps = ([of[d - 2] for d in chosen] for of in (form.output, form.stride))
    return cut(graph, x, chosen, [0] * len(chosen), lengths, steps)


def spread(
    graph: StackedGraph,
    taps: Sequence[Value],
    dimension: int,
    *,
    step: int,
    length: int,
    dilation: int = 1,
) -> Value:
    """The sum of taps over the `length` places that they came from.

    Entry i of tap j belongs to place i * step + j * dilation. Each residue of the places modulo the step is
    summed by itself, then the residues are interleaved.
    """
    if step == 1 and len(taps) == 1 and taps[0].shape[dimension] == length:
        return taps[0]
    count = taps[0].shape[dimension]
    reach = max(length, (count - 1) * step + (len(taps) - 1) * dilation + 1)
    each = -(-reach // step)
    sums: list[Value | None] = [None] * step
    for tap, value in enumerate(taps):
        shift, residue = divmod(tap * dilation, step)
        placed = padded(graph, value, [dimension], [shift], [each - count - shift])
        before = sums[residue]
        sums[residue] = placed if before is None else graph.elementwise("Add", [before, placed])
    return cut(graph, _interleaved(graph, sums, dimension), [dimension], [0], [length])


def _interleaved(graph: StackedGraph, parts: Sequence[Value | None], dimension: int) -> Value:
    """Entry i of part j at i * parts + j; a missing part is zero."""
    given = next(part for part in parts if part is not None)
    if len(parts) == 1:
        return given
    behind = dimension + 1
    split = (*given.shape[:behind], 1, *given.shape[behind:])
    lying = graph.reshape(given, split)
    order = list(lying.order)
    order.remove(behind)
    order.insert(order.index(dimension) + 1, behind)
    lifted = [
        None if part is None else graph.reordered(graph.reshape(part, split), tuple(order)) for part in parts
    ]
    filled = [part for part in lifted if part is not None]
    if len(filled) == 1:  # zeros on both sides need no tensor of their own
        at = lifted.index(filled[0])
        whole = padded(graph, filled[0], [behind], [at], [len(parts) - 1 - at])
    else:
        zeros = np.zeros((graph.devices(given), *filled[0].places), given.dtype)
        names = [graph.writer.constant(zeros) if part is None else part.name for part in lifted]
        whole = graph.emit(
            "Concat",
            names,
            shape=(*given.shape[:behind], len(parts), *given.shape[behind:]),
            order=tuple(order),
            stacked=given.stacked,
            axis=filled[0].place(behind),
        )
    long = given.shape[dimension] * len(parts)
    return graph.reshape(whole, (*given.shape[:dimension], long, *given.shape[behind:]))
