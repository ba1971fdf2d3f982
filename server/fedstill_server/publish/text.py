"""The package of a student of text: graphs of one word at a time, and its weights only once."""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.package_weights import graph_weights

from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.streaming import export_block, export_step
from fedstill_server.export.weightless import without_weights
from fedstill_server.publish.weights_apart import with_weights_apart


def as_text_package(package: StudentPackage) -> StudentPackage:
    """The package that devices get of a student of text, from one whose graphs hold weights."""
    manifest, parameters = package.manifest, package.parameters
    step = export_step(
        family=manifest.family,
        input_shape=manifest.input_shape,
        classes=manifest.classes,
        parameters=parameters,
    )
    block = None
    if step is not None and step[0].can_go_back:
        block = export_block(
            family=manifest.family,
            input_shape=manifest.input_shape,
            classes=manifest.classes,
            parameters=parameters,
        )
    in_codes = [weight.parameter for weight in manifest.quantized]
    step_int8 = block_int8 = None
    if step is not None and package.int8_graph is not None:
        step_int8 = quantize_student(step[1], parameters, only=in_codes)
    if block is not None and step_int8 is not None:
        block_int8 = quantize_student(block, parameters, only=in_codes)
    whole = with_weights_apart(package)
    names = {*parameters, *graph_weights(parameters, manifest.quantized)}
    return replace(
        whole,
        manifest=replace(whole.manifest, streaming=None if step is None else step[0]),
        step_graph=None if step is None else without_weights(step[1], names),
        step_int8_graph=None if step_int8 is None else without_weights(step_int8.graph, names),
        block_graph=None if block is None else without_weights(block, names),
        block_int8_graph=None if block_int8 is None else without_weights(block_int8.graph, names),
    )
