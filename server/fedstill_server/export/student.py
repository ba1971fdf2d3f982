"""Exports a finished student as a graph that any ONNX runtime can run, with its weights inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from fedstill_proto.artifact import INFERENCE_FILE, GraphPort, StudentManifest
from fedstill_proto.messages import Optimizer, Parameters, ParameterSpec

from fedstill_server.export.errors import ExportError
from fedstill_server.export.graph import OPSET
from fedstill_server.families import build_student


def export_student(
    *, family: str, input_shape: Sequence[int], classes: int, parameters: Parameters
) -> tuple[StudentManifest, bytes]:
    """The inference graph `x [batch, *input_shape] -> logits [batch, classes]` and what describes it.

    The initializers have the names of the parameters, so that a device can put its own weights in their
    place.
    """
    student = build_student(family, input_shape, classes)
    load_parameters(student, parameters)
    student.eval()
    with _quiet_exporter():
        program = torch.onnx.export(
            student,
            (torch.zeros(2, *input_shape),),
            dynamo=True,
            input_names=["x"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    check_weights_stay_weights(model.graph, parameters)
    graph = model.SerializeToString(deterministic=True)
    manifest = StudentManifest(
        family=family,
        classes=classes,
        input_shape=tuple(input_shape),
        parameters=tuple(ParameterSpec(name, array.shape) for name, array in parameters.items()),
        optimizer=Optimizer.SGD,
        soft_labels="none",
        opset=OPSET,
        inputs=(GraphPort("x", (-1, *input_shape), "float32"),),
        outputs=(GraphPort("logits", (-1, classes), "float32"),),
    )
    return manifest.with_parts({INFERENCE_FILE: graph}), graph


def load_parameters(student: torch.nn.Module, parameters: Mapping[str, np.ndarray]) -> None:
    """Puts weights into a student; they must be exactly the student's."""
    own = {name: tuple(value.shape) for name, value in student.named_parameters()}
    given = {name: tuple(array.shape) for name, array in parameters.items()}
    if own != given:
        differing = sorted(own.items() ^ given.items())
        raise ExportError(
            f"these are not the student's parameters; name and shape differ in {differing[:4]} "
            f"({len(differing)} in all). Use those of the same family, input shape and number of classes."
        )
    with torch.no_grad():
        for name, value in student.named_parameters():
            value.copy_(torch.from_numpy(np.array(parameters[name])))


def check_weights_stay_weights(graph: onnx.GraphProto, parameters: Mapping[str, np.ndarray]) -> None:
    """Refuses a node that computes on weights alone.

    ONNX Runtime folds such a node into a constant, and may go on using it when a device has put its own
    weights in place.
    """
    constants = {tensor.name for tensor in graph.initializer}
    missing = sorted(parameters.keys() - constants)
    if missing:
        raise ExportError(
            f"the inference graph has no weights named {missing}; a device could not replace them"
        )
    for node in graph.node:
        if parameters.keys() & set(node.input) and constants.issuperset(node.input):
            raise ExportError(
                f"{node.op_type} {node.name!r} of the inference graph computes on weights alone"
            )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps torch.onnx from reporting every optional package that is not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
