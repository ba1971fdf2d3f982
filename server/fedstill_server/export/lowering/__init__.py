"""Lowers a captured graph of one device to an ONNX graph of C devices.

Every aten operator has one small function `(graph, *arguments) -> Value` in the file of its kind; to support
another operator, write one. An operator that has none is an error that names it.
"""

from __future__ import annotations

import operator
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
    reductions,
    softmax,
    tables,
    views,
)
from fedstill_server.export.lowering.stacked import (
    BOOL,
    FLOAT,
    INT,
    LoweringError,
    OperatorTable,
    StackedGraph,
)
from fedstill_server.export.ports import CapturedGraph

__all__ = ["LoweringError", "lower"]

OPERATORS: OperatorTable = {
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **pooling.OPERATORS,
    **products.OPERATORS,
    **reductions.OPERATORS,
    **softmax.OPERATORS,
    **tables.OPERATORS,
    **views.OPERATORS,
}
_DTYPES: dict[torch.dtype, np.dtype[Any]] = {torch.float32: FLOAT, torch.int64: INT, torch.bool: BOOL}


def lower(captured: CapturedGraph, *, stack_size: int, name: str) -> bytes:
    """The ONNX model of a stack: inputs and outputs of the captured graph, behind a device dimension."""
    graph = StackedGraph(name, stack_size=stack_size)
    ports = iter(captured.inputs)
    values: dict[Node, Any] = {}
    for node in captured.module.graph.nodes:
        if node.op == "placeholder":
            port = next(ports)
            if port.constant is not None:
                values[node] = graph.constant(np.asarray(port.constant), name=port.name)
                continue
            values[node] = graph.input(
                port.name,
                port.shape,
                _DTYPES[port.dtype],
                stacked=port.per_device,
                is_state=port.is_state,
            )
        elif node.op == "get_attr":
            values[node] = graph.constant(_attribute(captured, node))
        elif node.op == "output":
            for output, source in zip(captured.outputs, node.args[0], strict=True):
                graph.output(output, values[source])
        else:
            values[node] = _lowered(graph, node, values)
    return graph.writer.model()


def _lowered(graph: StackedGraph, node: Node, values: dict[Node, Any]) -> Any:
    arguments: Any = torch.fx.map_arg(node.args, lambda source: values[source])
    options: Any = torch.fx.map_arg(node.kwargs, lambda source: values[source])
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    if node.target not in OPERATORS:
        raise LoweringError(
            f"operator {node.target} (of {node.name}) has no translation to ONNX; add one in export/lowering"
        )
    value = OPERATORS[node.target](graph, *arguments, **options)
    if isinstance(value, Value) and value.shape != tuple(node.meta["val"].shape):
        raise LoweringError(
            f"operator {node.target} (of {node.name}) was lowered to shape {list(value.shape)}, "
            f"but torch gives {list(node.meta['val'].shape)}: its translation does not cover this form"
        )
    return value


def _attribute(captured: CapturedGraph, node: Node) -> np.ndarray:
    tensor: Any = captured.module
    for part in str(node.target).split("."):
        tensor = getattr(tensor, part)
    return np.asarray(tensor.detach().numpy())
