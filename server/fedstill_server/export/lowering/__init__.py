"""Lowers a captured graph of one device to an ONNX graph of C devices.

Every aten operator has one small function `(graph, *arguments) -> Value` in the file of its kind; to support
another operator, write one. An operator that has none is an error that names it.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering import (
    convolution,
    elementwise,
    pooling,
    products,
    recurrent,
    reductions,
    resampling,
    softmax,
    tables,
    transcendental,
    views,
)
from fedstill_server.export.lowering.stacked import (
    FLOAT,
    LoweringError,
    OperatorTable,
    StackedGraph,
    element_type,
)
from fedstill_server.export.ports import CapturedGraph

__all__ = ["LoweringError", "MissingOperator", "lower", "missing_operators"]

OPERATORS: OperatorTable = {
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **pooling.OPERATORS,
    **products.OPERATORS,
    **recurrent.OPERATORS,
    **reductions.OPERATORS,
    **resampling.OPERATORS,
    **softmax.OPERATORS,
    **tables.OPERATORS,
    **transcendental.OPERATORS,
    **views.OPERATORS,
}
_FRAME = re.compile(r'File "([^"]+)", line (\d+)[^\n]*\n?[ ]*([^\n]*)')
_NOT_OF_THE_NETWORK = ("/torch/", "/fedstill_server/")
_MOST_KNOWN = 1 << 20  # numbers of a constant


@dataclass(frozen=True)
class MissingOperator:
    """An operator of a captured graph that no graph of a device can have.

    Attributes:
        operator: Its name in torch.
        count: How often it stands in the graph.
        place: The first line of the network's code that made one; empty where it is not known.
        reason: What is in the way: no translation at all, or none for this form.
    """

    operator: str
    count: int
    place: str
    reason: str

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.operator}{times}{self.place and f' at {self.place}'}: {self.reason}"


def lower(captured: CapturedGraph, *, stack_size: int, name: str) -> bytes:
    """The ONNX model of a stack: inputs and outputs of the captured graph, behind a device dimension.

    Raises:
        LoweringError: Names every operator that is missing.
    """
    graph, missing = _written(captured, stack_size, name)
    if missing:
        raise LoweringError(
            f"{name}: {len(missing)} kinds of operators have no translation to ONNX, or not in their form; "
            "write the network without:\n" + "\n".join(f"  {each}" for each in missing)
        )
    return graph.writer.model()


def missing_operators(captured: CapturedGraph) -> list[MissingOperator]:
    """All operators of a captured graph that keep it from becoming one of ONNX, the most frequent first."""
    return _written(captured, 1, "trial")[1]


def _written(
    captured: CapturedGraph, stack_size: int, name: str
) -> tuple[StackedGraph, list[MissingOperator]]:
    """The graph, which is whole if nothing is missing."""
    graph = StackedGraph(name, stack_size=stack_size)
    ports = iter(captured.inputs)
    values: dict[Node, Any] = {}
    missing: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in captured.module.graph.nodes:
        if node.op == "placeholder":
            port = next(ports)
            if port.constant is not None:
                array = np.asarray(port.constant).astype(element_type(port.dtype), copy=False)
                values[node] = graph.constant(array, name=port.name)
                continue
            values[node] = graph.input(
                port.name,
                port.shape,
                element_type(port.dtype),
                stacked=port.per_device,
                is_state=port.is_state,
            )
        elif node.op == "get_attr":
            values[node] = graph.constant(_attribute(captured, node))
        elif node.op == "output":
            for output, source in zip(captured.outputs, node.args[0], strict=True):
                graph.output(output, values[source])
        else:
            try:
                values[node] = _lowered(graph, node, values)
            except LoweringError as error:
                missing[str(node.target), str(error)].append(node)
                values[node] = _stand_in(graph, node)
    found = [
        MissingOperator(operator, len(nodes), next(filter(None, map(place_of, nodes)), ""), reason)
        for (operator, reason), nodes in missing.items()
    ]
    return graph, sorted(found, key=lambda each: -each.count)


def place_of(node: Node) -> str:
    """The line of the network's code that a node comes from; empty where the capture has not noted it.

    An operator of the backward pass comes from the line that made what it reads.
    """
    nodes = [node]
    for _ in range(3):
        for each in nodes:
            frames = _FRAME.findall(each.meta.get("stack_trace") or "")
            own = [frame for frame in frames if not any(part in frame[0] for part in _NOT_OF_THE_NETWORK)]
            if own:
                file, line, code = own[-1]
                return f"{file}, line {line}{code and f': {code}'}"
        nodes = [source for each in nodes for source in each.all_input_nodes]
    return ""


def _lowered(graph: StackedGraph, node: Node, values: dict[Node, Any]) -> Any:
    arguments: Any = torch.fx.map_arg(node.args, lambda source: values[source])
    options: Any = torch.fx.map_arg(node.kwargs, lambda source: values[source])
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    if node.target not in OPERATORS:
        raise LoweringError("no translation")
    try:
        value = OPERATORS[node.target](graph, *arguments, **options)
    except TypeError as error:
        raise LoweringError(f"its translation does not cover this form ({error})") from error
    if isinstance(value, Value):
        if value.shape != tuple(node.meta["val"].shape):
            raise LoweringError(
                f"was lowered to shape {list(value.shape)}, but torch gives "
                f"{list(node.meta['val'].shape)}: its translation does not cover this form"
            )
        _remember(graph, node, value, arguments, options)
    return value


def _remember(graph: StackedGraph, node: Node, value: Value, arguments: Any, options: Any) -> None:
    """Lets the graph know what is computed from constants only, for operators that index by it."""
    if value.stacked or graph.known(value) is not None or value.elements > _MOST_KNOWN:
        return
    read: list[Value] = []
    torch.utils._pytree.tree_map_only(Value, read.append, (arguments, options))
    arrays = {each: graph.known(each) for each in read}
    if any(array is None for array in arrays.values()):
        return
    tensors = {each: torch.from_numpy(np.ascontiguousarray(array).copy()) for each, array in arrays.items()}
    given, named = torch.utils._pytree.tree_map_only(Value, tensors.__getitem__, (arguments, options))
    result = node.target(*given, **named)  # type: ignore[operator]
    graph.know(value, result.numpy().astype(value.dtype))


def _stand_in(graph: StackedGraph, node: Node) -> Any:
    """Something of a missing result's form, so that what reads it can be looked at, too."""

    def value(tensor: torch.Tensor) -> Value:
        try:
            dtype = element_type(tensor.dtype)
        except LoweringError:
            dtype = FLOAT
        name = graph.writer.unused_name("missing")
        return graph.input(name, tuple(tensor.shape), dtype, stacked=True, is_state=False)

    return torch.utils._pytree.tree_map_only(torch.Tensor, value, node.meta["val"])


def _attribute(captured: CapturedGraph, node: Node) -> np.ndarray:
    tensor: Any = captured.module
    for part in str(node.target).split("."):
        tensor = getattr(tensor, part)
    array = np.asarray(tensor.detach().numpy())
    return array.astype(element_type(tensor.dtype), copy=False)
