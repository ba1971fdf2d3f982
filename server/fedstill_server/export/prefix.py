"""Cuts a student where its frozen first part ends: examples go through that once, and not once a step.

What depends on the examples x and on frozen weights alone is the same in every step and for every student of
a family. Where everything that trains sees of an example goes through one value h of that part (a common
dominator of all edges that leave it; Cooper, Harvey and Kennedy 2001, "A simple, fast dominance algorithm"),
the graphs are cut there: they read h in place of x. The graph from x to h is a part of the inference graph,
in which that value is found by what it is: by the numbers that an example has there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper
from torch import Tensor, nn
from torch.fx import Node, map_arg

from fedstill_server.export.graph import MICROSOFT, OPSET
from fedstill_server.export.ports import CapturedGraph, Port
from fedstill_server.families.state import student_state

MOST_VALUES = 4096
"""Of h, or four times those of an example, if that is more: what is kept for each example."""

_WORK = ("convolution", "addmm", "mm", "bmm", "embedding")


@dataclass(frozen=True, eq=False)
class Cut:
    """A student that is cut.

    Attributes:
        shape: Of h, for one example.
        prefix: The graph x [n, *input_shape] -> h [n, *shape], for any n.
        step: The training step, which reads h as its input "x".
        forward: The forward pass, which does so, too.
    """

    shape: tuple[int, ...]
    prefix: bytes
    step: CapturedGraph
    forward: CapturedGraph


def cut(
    student: nn.Module, step: CapturedGraph, forward: CapturedGraph, inference: bytes, x: Tensor
) -> Cut | None:
    """Cut a student's graphs where its frozen first part ends.

    Args:
        student: The student, with the weights that the inference graph has.
        step: Its captured training step.
        forward: Its captured forward pass.
        inference: Its inference graph, whole.
        x: Different examples [n, *input_shape], at least as many as the graphs have rows.

    Returns:
        What is cut latest; None where there is nothing to gain, or no one place that all goes through.
    """
    places, others = _places(step), _places(forward)
    if not places or not others:
        return None
    values, other_values = (
        _values(captured, among, x) for captured, among in ((step, places), (forward, others))
    )
    for place in places:
        example = values[place][0]
        same = next((other for other in others if _are_alike(other_values[other][0], example)), None)
        prefix = None if same is None else _prefix_graph(student, inference, x[:2], values[place][:2])
        if same is not None and prefix is not None:
            shape = tuple(example.shape)
            return Cut(shape, prefix, _without(step, place), _without(forward, same))
    return None


def _places(captured: CapturedGraph) -> list[Node]:
    """The values that all that a graph makes of x goes through, the latest first; only frozen ones."""
    ports = iter(captured.inputs)
    above: dict[Node, Node] = {}  # the nearest value that all of a value's paths from x go through
    depth: dict[Node, int] = {}
    works: set[Node] = set()  # there is a product with weights before it
    shared: set[Node] = set()  # depends on nothing that trains
    leaving: list[Node] = []
    x: Node | None = None
    for node in captured.module.graph.nodes:
        if node.op == "placeholder":
            port = next(ports)
            if port.name == "x":
                x, depth[node] = node, 0
            if port.name == "x" or port.constant is not None:
                shared.add(node)
            continue
        inputs = node.all_input_nodes
        if node.op == "output" or not shared.issuperset(inputs):
            leaving += [each for each in inputs if each in depth]
            continue
        shared.add(node)
        of_x = [each for each in inputs if each in depth]
        if of_x:
            above[node] = _common(of_x, above, depth)
            depth[node] = depth[above[node]] + 1
            if any(each in works for each in of_x) or _is_work(node):
                works.add(node)
    if x is None or not leaving:
        return []
    rows, example = x.meta["val"].shape[0], x.meta["val"].shape[1:]
    most = max(MOST_VALUES, 4 * math.prod(example))
    place, found = _common(leaving, above, depth), []
    while place is not x:
        value: Any = place.meta.get("val")
        is_made = isinstance(value, Tensor) and value.dtype == torch.float32 and value.ndim > 1
        if is_made and place in works and value.shape[0] == rows and math.prod(value.shape[1:]) <= most:
            found.append(place)
        place = above[place]
    return found


def _common(nodes: list[Node], above: dict[Node, Node], depth: dict[Node, int]) -> Node:
    """The latest value that all paths to these nodes go through."""
    first, *others = nodes
    for other in others:
        while first is not other:
            if depth[first] >= depth[other]:
                first = above[first]
            else:
                other = above[other]
    return first


def _is_work(node: Node) -> bool:
    return str(node.target).split(".")[-2:][0] in _WORK


def _values(captured: CapturedGraph, places: list[Node], x: Tensor) -> dict[Node, Tensor]:
    """What examples are at some places of a graph."""
    ports = iter(captured.inputs)
    known: dict[Node, Any] = {}
    with torch.no_grad():
        for node in captured.module.graph.nodes:
            if node.op == "placeholder":
                port = next(ports)
                if port.name == "x":
                    known[node] = x[: port.shape[0]]
                elif port.constant is not None:
                    known[node] = port.constant
            elif node.op == "get_attr":
                known[node] = _attribute(captured, node)
            elif node.op == "call_function" and all(each in known for each in node.all_input_nodes):
                target: Any = node.target
                known[node] = target(
                    *map_arg(node.args, known.__getitem__), **map_arg(node.kwargs, known.__getitem__)
                )
            if len(known.keys() & set(places)) == len(places):
                break
    return {place: known[place] for place in places}


def _attribute(captured: CapturedGraph, node: Node) -> Any:
    found: Any = captured.module
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found


def _are_alike(one: Tensor, other: Tensor) -> bool:
    """Whether they are the same value, computed in two ways."""
    scale = float(other.abs().max()) if other.numel() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-5 * max(scale, 1e-3))


def _without(captured: CapturedGraph, place: Node) -> CapturedGraph:
    """The graph that reads at `place` what was x; what leads there is gone."""
    graph = captured.module.graph
    x = next(
        node
        for node, port in zip(graph.find_nodes(op="placeholder"), captured.inputs, strict=True)
        if port.name == "x"
    )
    place.replace_all_uses_with(x)
    x.meta = dict(place.meta)
    graph.eliminate_dead_code()
    shape = tuple(place.meta["val"].shape)
    inputs = tuple(
        Port("x", shape, per_device=port.per_device) if port.name == "x" else port for port in captured.inputs
    )
    return replace(captured, inputs=inputs)


def _prefix_graph(student: nn.Module, inference: bytes, x: Tensor, h: Tensor) -> bytes | None:
    """The part of the inference graph from x to the value that is h for the examples x; None without any."""
    model = onnx.load_from_string(inference)
    own = student_state(student).tensors
    before: set[str] = set()  # what x and frozen weights decide
    constants = {tensor.name for tensor in model.graph.initializer} - own.keys()
    for node in model.graph.node:
        if {*before, *constants, "x", ""}.issuperset(node.input):
            before.update(node.output)
    found = _found(model, sorted(before), x, h)
    return None if found is None else _part(model, found, tuple(h.shape[1:]))


def _found(model: onnx.ModelProto, names: list[str], x: Tensor, h: Tensor) -> str | None:
    """The value with these numbers; one of another shape will do."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers = dict(zip(names, opened.run(names, {"x": x.numpy()}), strict=True))
    wanted = h.numpy()
    alike = [name for name, value in answers.items() if _holds(value, wanted)]
    return min(alike, key=lambda name: answers[name].shape != wanted.shape, default=None)


def _holds(value: Any, wanted: np.ndarray) -> bool:
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.size != wanted.size:
        return False
    return value.shape[0] == len(wanted) and _are_alike(
        torch.from_numpy(value.reshape(wanted.shape)), torch.from_numpy(wanted)
    )


def _part(model: onnx.ModelProto, found: str, shape: tuple[int, ...]) -> bytes:
    """The graph x -> h that ends with the value `found`."""
    needed, nodes = {found}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.reverse()
    target = onnx.numpy_helper.from_array(np.array([-1, *shape], np.int64), "h.shape")
    nodes.append(helper.make_node("Reshape", [found, "h.shape"], ["h"]))
    graph = helper.make_graph(
        nodes,
        "frozen first part",
        [port for port in model.graph.input if port.name == "x"],
        [helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, ["batch", *shape])],
        initializer=[*(t for t in model.graph.initializer if t.name in needed), target],
    )
    for noted in graph.node:
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    made = helper.make_model(
        graph,
        producer_name="fedstill",
        ir_version=model.ir_version,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
    )
    return made.SerializeToString(deterministic=True)
