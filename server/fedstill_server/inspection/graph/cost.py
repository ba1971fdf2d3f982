"""The cost of a graph for some examples: its parameters, its arithmetic by operator, and its memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from fedstill_server.inspection.graph.memory import peak_bytes, weight_bytes
from fedstill_server.inspection.graph.observed import Turn, observe
from fedstill_server.inspection.graph.operators import CONTROL, work_of
from fedstill_server.inspection.graph.products import Shape, ShapedNode
from fedstill_server.inspection.graph.work import Work

_TABLE_READERS = ("Gather", "GatherBlockQuantized")


@dataclass(frozen=True, kw_only=True)
class OperatorCost:
    """All nodes of one operator: how many, and what one answer takes of them."""

    operator: str
    nodes: int
    multiply_adds: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class GraphCost:
    """What a graph costs.

    Attributes:
        examples: How many examples the arithmetic and the activations are for.
        parameters: Weights that the graph reads; a weight in codes counts each value once.
        table_parameters: Those that are looked up and never multiplied: embeddings.
        multiply_adds: Of all products.
        flops: Two of each multiply-add, and all other operations.
        operators: By operator, the dearest first.
        not_counted: Operators that are not known, and how many nodes; their work is in no figure.
        weights_bytes: Of weights and constants as the graph holds them.
        activations_bytes: The most that inner values take at once, in the order of the nodes; a runtime that
            overwrites inputs in place takes less.
        largest: The node at which that is.
    """

    examples: int
    parameters: int
    table_parameters: int
    multiply_adds: int
    flops: int
    operators: tuple[OperatorCost, ...]
    not_counted: tuple[tuple[str, int], ...]
    weights_bytes: int
    activations_bytes: int
    largest: str


def cost_of_graph(
    graph: bytes,
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    parameters: Mapping[str, int] | None = None,
) -> GraphCost:
    """Count what a graph costs for these inputs.

    Args:
        graph: A whole graph, with its weights.
        feeds: Its inputs by name, [n, ...] each.
        parameters: How many values each parameter has, by the name that the graph reads it by; None counts
            every floating-point initializer.

    Raises:
        InspectionError: ONNX Runtime does not run the graph.
    """
    turn = observe(graph, feeds)
    works: dict[str, Work] = {}
    nodes: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for name, work in _works(turn):
        nodes[name] += 1
        if work is None:
            unknown[name] += 1
        else:
            works[name] = works.get(name, Work()) + work
    counted = parameters if parameters is not None else _floats(turn.graph)
    total = sum(works.values(), Work())
    peak, largest = peak_bytes(turn)
    rows = next((len(array) for array in feeds.values() if array.ndim), 1)
    return GraphCost(
        examples=rows,
        parameters=sum(counted.values()),
        table_parameters=sum(counted[name] for name in _tables(turn.graph, counted)),
        multiply_adds=total.multiply_adds,
        flops=total.flops,
        operators=tuple(
            OperatorCost(operator=name, nodes=nodes[name], multiply_adds=one.multiply_adds, flops=one.flops)
            for name, one in sorted(works.items(), key=lambda item: -item[1].flops)
        ),
        not_counted=tuple(sorted(unknown.items())),
        weights_bytes=weight_bytes(turn.graph),
        activations_bytes=peak,
        largest=largest,
    )


def _works(turn: Turn, times: int = 1) -> Iterator[tuple[str, Work | None]]:
    """The operator of each node and what it computes, as often as it is run; None where it is not known."""
    for place, node in enumerate(turn.graph.node):
        domain = node.domain
        name = node.op_type if domain in ("", "ai.onnx") else f"{domain}.{node.op_type}"
        body = turn.bodies.get(place)
        if node.op_type in CONTROL and body is None:
            yield name, None
            continue
        work = work_of(_shaped(node, turn.values), domain=domain)
        yield name, None if work is None else work.times(times)
        if body is not None:
            yield from _works(body.turn, times * body.turns)


def _shaped(node: onnx.NodeProto, values: Mapping[str, npt.NDArray[Any]]) -> ShapedNode:
    def shape(name: str) -> Shape | None:
        return tuple(values[name].shape) if name in values else None

    return ShapedNode(
        operator=node.op_type,
        inputs=[shape(name) for name in node.input],
        outputs=[shape(name) for name in node.output],
        options={one.name: helper.get_attribute_value(one) for one in node.attribute},
    )


def _floats(graph: onnx.GraphProto) -> dict[str, int]:
    """The values of each floating-point initializer that is more than one number."""
    found = {}
    for tensor in graph.initializer:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if np.issubdtype(kind, np.floating) and math.prod(tensor.dims) > 1:
            found[tensor.name] = math.prod(tensor.dims)
    return found


def _tables(graph: onnx.GraphProto, parameters: Collection[str]) -> set[str]:
    """The parameters that only lookups read, as their first input."""
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            is_lookup = node.op_type in _TABLE_READERS and place == 0
            readers.setdefault(name, set()).add("lookup" if is_lookup else "other")
    return {name for name in parameters if readers.get(name) == {"lookup"}}
