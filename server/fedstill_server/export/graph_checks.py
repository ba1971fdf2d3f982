"""Reads the graphs of an artifact: exactly the promised ports, and nothing that must not ship."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx
import torch
from fedstill_proto.arrays import ParameterSpec
from fedstill_proto.package.artifact import (
    FORWARD_FILE,
    PREFIX_FILE,
    TRAINING_FILE,
    StudentManifest,
    TrainingArtifact,
)
from onnx import helper

from fedstill_server.export.capture import StepBatch, slot_ports, state_ports
from fedstill_server.export.errors import GateError
from fedstill_server.export.graph import MICROSOFT, OPSET, with_nested
from fedstill_server.export.optimizers import RULES
from fedstill_server.export.ports import Port
from fedstill_server.families import build_student

_RANDOM_OPERATORS = {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomUniform"}


def check_graphs(artifact: TrainingArtifact) -> None:
    """Raise GateError for a graph with other ports than promised, or with something that must not ship."""
    manifest = artifact.manifest
    step = step_manifest(manifest)
    types = {"float32": torch.float32, "int64": torch.int64}
    student = build_student(step.family, step.input_shape, step.classes, target=manifest.target)
    state = state_ports(student) + slot_ports(student, manifest.optimizer)
    batch = StepBatch(
        input_shape=manifest.read_shape,
        classes=step.classes,
        soft_labels=manifest.soft_labels,
        k=manifest.k,
        rows=manifest.step_rows,
        label_shape=manifest.label_shape,
        input_type=types[manifest.read_type],
        target=manifest.target,
    )
    scalars = [Port(name, (), per_device=False) for name in RULES[manifest.optimizer].scalars]
    uniforms = [Port(port.name, port.shape) for port in manifest.uniforms]
    inputs = state + batch.ports + [Port("lr", ())] + scalars + uniforms
    outputs = [Port(f"{port.name}.new", port.shape) for port in state] + [Port("loss", ())]
    training = parsed_graph(TRAINING_FILE, artifact.training_graph)
    _check_ports(manifest, TRAINING_FILE, "input", training.graph.input, inputs)
    _check_ports(manifest, TRAINING_FILE, "output", training.graph.output, outputs)
    forward = parsed_graph(FORWARD_FILE, artifact.forward_graph)
    rows = _rows(forward)
    answers = [Port("logits", (rows, *manifest.label_shape, manifest.classes))]
    if manifest.feature_width:
        answers.append(Port("features", (rows, manifest.feature_width)))
    student = build_student(manifest.family, manifest.input_shape, manifest.classes, target=manifest.target)
    inputs = [*state_ports(student), Port("x", (rows, *manifest.read_shape))]
    _check_ports(manifest, FORWARD_FILE, "input", forward.graph.input, inputs)
    _check_ports(manifest, FORWARD_FILE, "output", forward.graph.output, answers)
    if artifact.prefix_graph is not None:
        parsed_graph(PREFIX_FILE, artifact.prefix_graph)


def step_manifest(manifest: StudentManifest) -> StudentManifest:
    """The manifest of what a training graph sees: of `vocabulary.step_size` words, where it has a
    vocabulary.
    """
    vocabulary = manifest.vocabulary
    if vocabulary is None:
        return manifest
    size = vocabulary.step_size
    parameters = tuple(
        ParameterSpec(spec.name, (size, *spec.shape[1:])) if spec.name in vocabulary.tables else spec
        for spec in manifest.parameters
    )
    return replace(manifest, classes=size, parameters=parameters, vocabulary=None)


def parsed_graph(name: str, graph: bytes) -> onnx.ModelProto:
    """The model, if every node of it may run on a device."""
    model = onnx.load_from_string(graph)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("") != OPSET or set(opsets) - {"", MICROSOFT}:
        raise GateError(
            f"{name}: operator sets {opsets}; only ONNX's own at {OPSET} and {MICROSOFT} may ship"
        )
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise GateError(f"{name}: weights in another file; an artifact is whole in itself")
    for node in with_nested(model.graph.node):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        # ScatterElements adds on one thread; ScatterND on several at once, and loses what collides.
        if node.op_type == "ScatterND" and attributes.get("reduction", b"none") != b"none":
            raise GateError(
                f"{name}: {node.op_type} {node.name or node.output[0]!r} adds to what it scatters to, "
                "in an order that depends on threads"
            )
        if node.op_type in _RANDOM_OPERATORS:
            raise GateError(f"{name}: {node.op_type} is random; seeds must be inputs")
        holds = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)
        if holds and node.op_type != "Scan":
            raise GateError(f"{name}: {node.op_type} holds a graph; only Scan may, which ends by itself")
    return model


def _rows(forward: onnx.ModelProto) -> int:
    """Examples of one forward pass: what x has behind the device dimension."""
    shapes = [port.type.tensor_type.shape.dim for port in forward.graph.input if port.name == "x"]
    if len(shapes) != 1 or len(shapes[0]) < 2:
        raise GateError(f"{FORWARD_FILE}: has no input x [devices, rows, ...]")
    return int(shapes[0][1].dim_value)


def _check_ports(
    manifest: StudentManifest,
    name: str,
    kind: str,
    found: Iterable[onnx.ValueInfoProto],
    expected: list[Port],
) -> None:
    shapes = {port.name: [manifest.stack_size if port.per_device else 1, *port.shape] for port in expected}
    present = {item.name: [d.dim_value for d in item.type.tensor_type.shape.dim] for item in found}
    if present != shapes:
        differing = sorted({*present} ^ {*shapes}) or [n for n in shapes if present[n] != shapes[n]]
        raise GateError(f"{name}: {kind}s {differing} are not as the manifest says")
