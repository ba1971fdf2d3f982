"""A package whose graphs hold no weights: all stand in its parameters, once, and not once in each graph.

All graphs read the same weights, as 8-bit codes and scales where a linear layer or a table of words has them:
a device trains from, and answers with, the student that the codes stand for.
"""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.package_weights import graph_weights
from fedstill_proto.package.quantization import dequantized

from fedstill_server.export.weightless import without_weights

MANY_WEIGHTS = 1 << 22
"""From so many on, a student of sub-words is packed so: beneath, no file is large."""


def with_weights_apart(package: StudentPackage) -> StudentPackage:
    """The package with its weights outside of its graphs; it has an 8-bit graph, or all stay float32."""
    manifest, parameters = package.manifest, package.parameters
    names = {*parameters, *graph_weights(parameters, manifest.quantized)}

    def apart(graph: bytes | None) -> bytes | None:
        return None if graph is None else without_weights(graph, names)

    return replace(
        package,
        manifest=replace(manifest, external_weights=True),
        parameters={**parameters, **dequantized(parameters, manifest.quantized)},
        inference_graph=without_weights(package.inference_graph, names),
        int8_graph=apart(package.int8_graph),
        step_graph=apart(package.step_graph),
        step_int8_graph=apart(package.step_int8_graph),
        block_graph=apart(package.block_graph),
        block_int8_graph=apart(package.block_int8_graph),
    )
