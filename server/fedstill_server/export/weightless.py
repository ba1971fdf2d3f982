"""Takes the weights out of graphs: a package with several graphs of a student holds its weights once."""

from __future__ import annotations

from collections.abc import Collection

import onnx


def without_weights(graph: bytes, weights: Collection[str]) -> bytes:
    """The graph without the initializers of these names; `package.graph_weights` puts them back.

    The exporter's notes on where nodes and values came from go as well: they are most of a graph without
    weights.
    """
    model = onnx.load_from_string(graph)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    del model.graph.initializer[:], model.graph.value_info[:], model.metadata_props[:]
    model.graph.initializer.extend(kept)
    for noted in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    return model.SerializeToString(deterministic=True)
