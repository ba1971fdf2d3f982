"""The gate: what it must not let through."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import onnx
import pytest
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, GateError, Tolerance, build_artifact, verify_artifact
from onnx import helper, numpy_helper

Change = Callable[[onnx.GraphProto], None]


@functools.cache
def sound() -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family="mlp-small",
            input_shape=(6,),
            classes=4,
            optimizer=Optimizer.MOMENTUM,
            soft_labels="dense",
            stack_size=2,
            step_rows=5,
        ),
        verify=False,
    )


def tampered(change: Change) -> TrainingArtifact:
    model = onnx.load_from_string(sound().training_graph)
    change(model.graph)
    return replace(sound(), training_graph=model.SerializeToString())


def node_of(graph: onnx.GraphProto, output: str) -> onnx.NodeProto:
    return next(node for node in graph.node if output in node.output)


def scale_constants(graph: onnx.GraphProto) -> None:
    """Momentum 0.9 becomes 0.9001."""
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size == 1 and abs(float(array.reshape(-1)[0]) - 0.9) < 1e-6:
            tensor.CopyFrom(numpy_helper.from_array((array * 1.0001).astype(array.dtype), tensor.name))


def add_scatter(graph: onnx.GraphProto) -> None:
    graph.node.append(
        helper.make_node("ScatterND", ["x", "labels", "x"], ["scattered"], name="embedding", reduction="add")
    )


def add_random(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[2]))


def add_branch(graph: onnx.GraphProto) -> None:
    empty = helper.make_graph([], "empty", [], [])
    graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=empty, else_branch=empty))


def put_weights_outside(graph: onnx.GraphProto) -> None:
    graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def drop_loss(graph: onnx.GraphProto) -> None:
    del graph.output[-1]


def swap_inputs(graph: onnx.GraphProto) -> None:
    """The update goes uphill: velocity * lr - parameter."""
    node = node_of(graph, "output.bias.new")
    node.input[:] = reversed(node.input)


def skip_an_update(graph: onnx.GraphProto) -> None:
    node = node_of(graph, "hidden.bias.new")
    node.CopyFrom(helper.make_node("Identity", ["hidden.bias"], ["hidden.bias.new"]))


def halve_the_temperature(graph: onnx.GraphProto) -> None:
    graph.initializer.append(helper.make_tensor("half", onnx.TensorProto.FLOAT, [1], [0.5]))
    for node in graph.node:
        node.input[:] = ["cooled" if name == "temperature" else name for name in node.input]
    graph.node.insert(0, helper.make_node("Mul", ["temperature", "half"], ["cooled"]))


def test_a_sound_artifact_passes() -> None:
    report = verify_artifact(sound())

    assert report.gradients.artifact < 1e-6
    assert report.logits.artifact < 1e-6
    assert 0 < report.parameters.float32 < 1e-4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (add_scatter, r"ScatterND 'embedding' adds"),
        (add_random, "RandomNormal is random"),
        (add_branch, "If holds a graph"),
        (put_weights_outside, "in another file"),
        (drop_loss, r"outputs \['loss'\]"),
    ],
)
def test_what_must_not_ship_is_refused_unrun(change: Change, reason: str) -> None:
    with pytest.raises(GateError, match=reason):
        verify_artifact(tampered(change))


@pytest.mark.parametrize("change", [scale_constants, swap_inputs, skip_an_update])
def test_a_step_that_is_a_little_wrong_is_refused(change: Change) -> None:
    with pytest.raises(GateError, match=r"(losses|parameters) differ .* must not ship"):
        verify_artifact(tampered(change))


def test_a_wrong_gradient_is_refused() -> None:
    with pytest.raises(GateError, match="gradients differ"):
        verify_artifact(tampered(halve_the_temperature))


def test_a_foreign_operator_set_is_refused() -> None:
    model = onnx.load_from_string(sound().forward_graph)
    model.opset_import.append(helper.make_opsetid("org.example", 1))

    with pytest.raises(GateError, match=r"org\.example"):
        verify_artifact(replace(sound(), forward_graph=model.SerializeToString()))


def test_a_manifest_of_another_artifact_is_refused() -> None:
    other = replace(sound().manifest, step_rows=7)

    with pytest.raises(GateError, match=r"inputs .*hard_weight.* manifest"):
        verify_artifact(replace(sound(), manifest=other))


def test_the_tolerance_is_kept() -> None:
    with pytest.raises(GateError, match="gradients differ"):
        verify_artifact(sound(), tolerance=Tolerance(never=1e-9))
