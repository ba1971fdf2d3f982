"""The package of a student with a table of words: graphs of one word at a time, and its weights only once.

All graphs read the same weights, as 8-bit codes and scales where a linear layer or the table of words has
them: a device trains from, and answers with, the student that the codes stand for.
"""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.package_weights import graph_weights
from fedstill_proto.package.quantization import dequantized

from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.streaming import export_step
from fedstill_server.export.weightless import without_weights


def as_text_package(package: StudentPackage) -> StudentPackage:
    """The package that devices get of a student with a table of words, from one whose graphs hold weights."""
    manifest, parameters = package.manifest, package.parameters
    step = export_step(
        family=manifest.family,
        input_shape=manifest.input_shape,
        classes=manifest.classes,
        parameters=parameters,
    )
    in_codes = [weight.parameter for weight in manifest.quantized]
    step_int8 = None
    if step is not None and package.int8_graph is not None:
        step_int8 = quantize_student(step[1], parameters, only=in_codes)
    names = {*parameters, *graph_weights(parameters, manifest.quantized)}

    def apart(graph: bytes | None) -> bytes | None:
        return None if graph is None else without_weights(graph, names)

    return replace(
        package,
        manifest=replace(manifest, streaming=None if step is None else step[0], external_weights=True),
        parameters={**parameters, **dequantized(parameters, manifest.quantized)},
        inference_graph=without_weights(package.inference_graph, names),
        int8_graph=apart(package.int8_graph),
        step_graph=apart(None if step is None else step[1]),
        step_int8_graph=apart(None if step_int8 is None else step_int8.graph),
    )
