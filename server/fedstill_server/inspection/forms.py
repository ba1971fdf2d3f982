"""The forms of a package's graph that are compared, each whole: any ONNX runtime opens it as it is."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.artifact import StudentPackage

from fedstill_server.distill.quantization import dynamic_int8, static_int8
from fedstill_server.export.opened import open_graph
from fedstill_server.inspection.corruption import Answer
from fedstill_server.inspection.options import DYNAMIC, FLOAT32, INT8, STATIC

_CALIBRATION_ROWS = 256
_ROWS_AT_ONCE = 256  # a transformer keeps much of each


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphForm:
    """One form of the graph.

    Attributes:
        name: float32, int8, dynamic or static.
        graph: The graph with its weights.
        stored_bytes: What it takes in a package or as a file: without weights that the package has anyway.
    """

    name: str
    graph: bytes
    stored_bytes: int


def forms_of(package: StudentPackage, wanted: Collection[str], calibration: FloatArray) -> list[GraphForm]:
    """The forms that are wanted and that there are; float32 is always the first.

    Args:
        package: The student's.
        wanted: Names of forms.
        calibration: Examples [n, *input_shape] that ranges of activations are found by.
    """
    whole = package.whole(package.inference_graph)
    weights = 4 * sum(math.prod(spec.shape) for spec in package.manifest.parameters)
    held = weights if package.manifest.external_weights else 0
    forms = [GraphForm(name=FLOAT32, graph=whole, stored_bytes=len(package.inference_graph) + held)]
    if INT8 in wanted and package.int8_graph is not None:
        graph = package.whole(package.int8_graph, int8=True)
        forms.append(GraphForm(name=INT8, graph=graph, stored_bytes=len(graph)))
    if DYNAMIC in wanted:
        graph = dynamic_int8(whole)
        forms.append(GraphForm(name=DYNAMIC, graph=graph, stored_bytes=len(graph)))
    if STATIC in wanted:
        graph = static_int8(whole, calibration[:_CALIBRATION_ROWS])
        forms.append(GraphForm(name=STATIC, graph=graph, stored_bytes=len(graph)))
    return forms


def answering(graph: bytes, *, threads: int = 1) -> Answer:
    """What answers examples [n, *input_shape] with logits [n, ...]."""
    session = open_graph(graph, threads=threads)

    def answer(x: FloatArray) -> FloatArray:
        if len(x) <= _ROWS_AT_ONCE:
            logits: FloatArray = session.run(["logits"], {"x": x})[0]
            return logits
        starts = range(0, len(x), _ROWS_AT_ONCE)
        return np.concatenate([answer(x[start : start + _ROWS_AT_ONCE]) for start in starts])

    return answer
