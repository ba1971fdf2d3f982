"""The values of a graph's every edge for some examples: ONNX Runtime computes them, and nothing is guessed.

Shape inference knows ONNX's own operators and gives up where a size hangs on data; a run knows all of them,
those of `com.microsoft` too. Bodies of loops and branches are run as graphs of their own, on what their
first turn is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, inliner, numpy_helper

from fedstill_server.inspection.errors import InspectionError

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """A graph as it is run: once, or as the body of a node.

    Attributes:
        graph: Its nodes and initializers.
        values: Of every edge that a node has made or read, by name.
        bodies: What each node with a body runs, by the node's place.
    """

    graph: onnx.GraphProto
    values: Mapping[str, Array]
    bodies: Mapping[int, Body]


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """The body of a loop or the branch that was taken; `turns` is how often it is run."""

    turn: Turn
    turns: int


def observe(graph: bytes, feeds: Mapping[str, Array]) -> Turn:
    """Run a graph and keep the value of every edge.

    Args:
        graph: A whole graph, with its weights.
        feeds: Its inputs by name.

    Raises:
        InspectionError: ONNX Runtime does not run it.
    """
    model = inliner.inline_local_functions(onnx.load_from_string(graph))
    return _observed(model, feeds)


def _observed(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> Turn:
    graph = model.graph
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    given = {port.name for port in graph.output}
    made = [name for node in graph.node for name in node.output if name and name not in given]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    del shown.graph.value_info[:]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_outputs()]
        answers = session.run(names, dict(feeds))
    except Exception as error:  # ONNX Runtime's kinds have no base of their own
        raise InspectionError(f"graph: ONNX Runtime does not run it: {str(error)[:300]}") from None
    values: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= dict(feeds)
    values |= {name: np.asarray(value) for name, value in zip(names, answers, strict=True)}
    bodies = {
        place: body
        for place, node in enumerate(graph.node)
        if (body := _body_of(node, model, values)) is not None
    }
    return Turn(graph=graph, values=values, bodies=bodies)


def _body_of(node: onnx.NodeProto, model: onnx.ModelProto, values: Mapping[str, Array]) -> Body | None:
    """What a Scan, a Loop or an If runs; None for every other node, and a loop of unknown length."""
    options: dict[str, Any] = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    given = [values[name] if name else None for name in node.input]
    if node.op_type == "If" and given[0] is not None:
        branch = options["then_branch" if bool(given[0]) else "else_branch"]
        return Body(turn=_observed(*_as_model(branch, model, {}, values)), turns=1)
    if node.op_type == "Scan":
        count = options["num_scan_inputs"]
        states, scanned = given[: len(given) - count], given[len(given) - count :]
        axes = options.get("scan_input_axes", [0] * count)
        turns = 0 if scanned[0] is None else scanned[0].shape[axes[0]]
        first = [
            np.take(array, 0, axis=axis)
            for array, axis in zip(scanned, axes, strict=True)
            if array is not None
        ]
        return _loop(options["body"], model, [*states, *first], values, turns=turns)
    if node.op_type == "Loop":
        scans = [values[name] for name in node.output[len(given) - 2 :] if name]
        turns = len(scans[0]) if scans else 0 if given[0] is None else int(given[0])
        condition = np.array(True) if given[1] is None else given[1]
        return _loop(
            options["body"], model, [np.array(0, np.int64), condition, *given[2:]], values, turns=turns
        )
    return None


def _loop(
    body: onnx.GraphProto,
    model: onnx.ModelProto,
    given: list[Any],
    values: Mapping[str, Array],
    *,
    turns: int,
) -> Body | None:
    if turns < 1:
        return None
    feeds = {port.name: array for port, array in zip(body.input, given, strict=True)}
    return Body(turn=_observed(*_as_model(body, model, feeds, values)), turns=turns)


def _as_model(
    body: onnx.GraphProto, model: onnx.ModelProto, feeds: Mapping[str, Array], values: Mapping[str, Array]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A body as a model, which takes what it reads of the graph around it as further inputs."""
    own = {name for node in body.node for name in node.output} | {one.name for one in body.initializer}
    own |= {port.name for port in body.input}
    around = {name: values[name] for name in _read_by(body) if name not in own and name in values}
    given = {**feeds, **around}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.CopyFrom(body)
    del made.graph.input[:], made.graph.value_info[:]
    made.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in given.items()
    )
    return made, given


def _read_by(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that nodes of a graph read, those in bodies of bodies too."""
    for node in graph.node:
        yield from (name for name in node.input if name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read_by(attribute.g)
    yield from (port.name for port in graph.output)
