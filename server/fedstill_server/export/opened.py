"""Graphs as devices run them: by ONNX Runtime, on the processor, with one thread."""

from __future__ import annotations

import onnxruntime as ort
from fedstill_proto.arrays import FloatArray


def open_graph(graph: bytes, *, threads: int = 1) -> ort.InferenceSession:
    """A session of a graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of weights that may be replaced
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def logits_of_graph(graph: bytes, x: FloatArray) -> FloatArray:
    """What an inference graph answers to examples [n, *input_shape]."""
    logits: FloatArray = open_graph(graph).run(["logits"], {"x": x})[0]
    return logits
