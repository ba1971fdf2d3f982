"""Constants that every device shares, and picking by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedstill_server.export.layout import Value, natural
from fedstill_server.export.lowering.stacked import FLOAT, INT, OperatorTable, StackedGraph


def arange(graph: StackedGraph, end: int, **unused: object) -> Value:
    return graph.constant(np.arange(end, dtype=np.int64))


def full(graph: StackedGraph, shape: Sequence[int], number: float, **unused: object) -> Value:
    return graph.constant(np.full(tuple(shape), number, INT if isinstance(number, int) else FLOAT))


def zeros_like(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return graph.constant(np.zeros(x.shape, x.dtype))


def ones_like(graph: StackedGraph, x: Value, **unused: object) -> Value:
    return graph.constant(np.ones(x.shape, x.dtype))


def full_like(graph: StackedGraph, x: Value, number: float, **unused: object) -> Value:
    return graph.constant(np.full(x.shape, number, x.dtype))


def zeros(graph: StackedGraph, shape: Sequence[int], **unused: object) -> Value:
    """One for each device: unlike other constants it may be a state that products read."""
    return graph.stacked(graph.constant(np.zeros(tuple(shape), FLOAT)))


def embedding(graph: StackedGraph, table: Value, words: Value, *unused: object) -> Value:
    """The rows [n, width] of a table that words [n] name."""
    indices = graph.reordered(graph.reshape(words, (*words.shape, 1)), natural(len(words.shape) + 1))
    shape = (*words.shape, table.shape[1])
    rows = graph.reordered(table, natural(2))
    return graph.emit("GatherND", [rows, indices], shape=shape, order=natural(len(shape)), batch_dims=1)


def embedding_backward(
    graph: StackedGraph, gradient: Value, words: Value, rows: int, *unused: object
) -> Value:
    """The gradients of a table's rows; a word that stands at several places gets the sum.

    ONNX Runtime's ScatterElements adds on one thread, in the order of the places; its ScatterND does not.
    """
    count, width = words.elements, gradient.shape[-1]
    places = graph.reordered(graph.reshape(gradient, (count, width)), natural(2))
    word = graph.reordered(graph.reshape(words, (count, 1)), natural(2))
    repeated = graph.constant(np.zeros((count, width), np.int64))
    named = graph.elementwise("Add", [word, repeated])
    table = zeros(graph, (rows, width))
    return graph.emit(
        "ScatterElements",
        [table, graph.reordered(named, natural(2)), places],
        shape=(rows, width),
        order=natural(2),
        axis=1,
        reduction="add",
    )


def gather(graph: StackedGraph, x: Value, dimension: int, indices: Value, **unused: object) -> Value:
    """x at `indices` along a dimension."""
    order = natural(len(x.shape))
    read = [graph.stacked(graph.reordered(value, order)) for value in (x, indices)]
    at = 1 + dimension % len(x.shape)
    return graph.emit("GatherElements", read, shape=indices.shape, order=order, dtype=x.dtype, axis=at)


def scatter(graph: StackedGraph, x: Value, dimension: int, indices: Value, values: Value) -> Value:
    """x with `values` written at `indices` along a dimension; the indices of a row are unique."""
    order = natural(len(x.shape))
    written = [graph.stacked(graph.reordered(value, order)) for value in (x, indices, values)]
    return graph.emit(
        "ScatterElements", written, shape=x.shape, order=order, axis=1 + dimension % len(x.shape)
    )


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.arange.default: arange,
    aten.embedding.default: embedding,
    aten.embedding_dense_backward.default: embedding_backward,
    aten.full.default: full,
    aten.zeros.default: zeros,
    aten.full_like.default: full_like,
    aten.zeros_like.default: zeros_like,
    aten.ones_like.default: ones_like,
    aten.gather.default: gather,
    aten.scatter.src: scatter,
}
