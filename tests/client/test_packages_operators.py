"""Graphs that ONNX Runtime is never given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from fedstill_client.packages import PackageError, check_graph, check_package
from onnx import TensorProto, helper

from tests.client.package_samples import full_package

Change = Callable[[onnx.ModelProto], object]


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """x -> y, with weights w; one Add unless told otherwise."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    w = onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")
    nodes = nodes or (helper.make_node("Add", ["x", "w"], ["y"]),)
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], [w]), ir_version=10)


def refusal(graph: bytes) -> PackageError:
    with pytest.raises(PackageError) as caught:
        check_graph(graph)
    return caught.value


def test_students_as_they_are_exported_pass() -> None:
    check_package(full_package(1))
    check_graph(model().SerializeToString())
    check_graph(model(helper.make_node("Add", ["x", "w"], ["y"], domain="ai.onnx")).SerializeToString())


def nested() -> onnx.NodeProto:
    """An operator of the list that carries a graph with one that is not."""
    inner = helper.make_graph([helper.make_node("RandomNormal", [], ["r"], shape=[2])], "inner", [], [])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    node.attribute.append(helper.make_attribute("body", inner))
    return node


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("RandomUniform", [], ["y"], shape=[2]),
        helper.make_node("If", ["x"], ["y"]),
        helper.make_node("Loop", ["x"], ["y"]),
        helper.make_node("Add", ["x", "w"], ["y"], domain="evil.example"),
        helper.make_node("Gelu2", ["x"], ["y"], domain="com.microsoft"),
        helper.make_node("add", ["x", "w"], ["y"]),
        nested(),
    ],
    ids=["random", "if", "loop", "domain", "contrib", "case", "nested"],
)
def test_an_operator_that_is_not_on_the_list_is_refused(node: onnx.NodeProto) -> None:
    assert refusal(model(node).SerializeToString()).check == "operator"


def add_function(changed: onnx.ModelProto) -> None:
    add = helper.make_node("Add", ["a", "a"], ["b"])
    changed.functions.append(helper.make_function("", "Add", ["a"], ["b"], [add], []))


def add_external(changed: onnx.ModelProto) -> None:
    entry = changed.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../secret"


def set_location(changed: onnx.ModelProto) -> None:
    changed.graph.initializer[0].data_location = TensorProto.EXTERNAL


def add_external_constant(changed: onnx.ModelProto) -> None:
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    constant.data_location = TensorProto.EXTERNAL
    changed.graph.node.append(helper.make_node("Constant", [], ["c"], value=constant))


def add_sparse(changed: onnx.ModelProto) -> None:
    changed.graph.sparse_initializer.add().values.data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (add_function, "operator"),
        (lambda m: m.training_info.add(), "operator"),
        (lambda m: m.opset_import.append(helper.make_opsetid("evil.example", 1)), "operator"),
        (add_external, "graph"),
        (set_location, "graph"),
        (add_external_constant, "graph"),
        (add_sparse, "graph"),
        (lambda m: m.graph.initializer[0].dims.extend([1 << 20, 1 << 20]), "graph"),
        (lambda m: m.graph.initializer[0].dims.append(-1), "graph"),
        (lambda m: m.ClearField("graph"), "graph"),
        (lambda m: m.ClearField("ir_version"), "graph"),
    ],
    ids=[
        "function",
        "training-info",
        "foreign-domain",
        "external",
        "location",
        "external-constant",
        "sparse",
        "huge",
        "negative",
        "no-graph",
        "no-version",
    ],
)
def test_a_model_that_does_not_stand_for_itself_is_refused(change: Change, check: str) -> None:
    changed = model()
    change(changed)
    assert refusal(changed.SerializeToString()).check == check


@pytest.mark.parametrize("graph", [b"", b"\0", b"no graph at all", bytes(100)])
def test_bytes_that_are_no_model_are_refused(graph: bytes) -> None:
    assert refusal(graph).check == "graph"


def test_graphs_in_graphs_end_somewhere() -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    for _ in range(6):
        inner = helper.make_graph([node], "inner", [], [])
        node = helper.make_node("Add", ["x", "w"], ["y"])
        node.attribute.append(helper.make_attribute("body", inner))
    assert "deep" in refusal(model(node).SerializeToString()).problem
