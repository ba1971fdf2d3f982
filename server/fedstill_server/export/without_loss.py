"""Training graphs that do not say their loss, for who does not read it.

What a step changes of a student comes from the gradient of its loss, never from the loss: of a small student
that distils, the loss alone takes a third of the step.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
from fedstill_proto.package.artifact import TRAINING_FILE, TrainingArtifact

from fedstill_server.export.graph import read_names, without_dead_nodes

LOSS = "loss"


def without_loss(artifact: TrainingArtifact) -> TrainingArtifact:
    """The artifact with a training graph of the same bits that has no output "loss"."""
    model = onnx.load_from_string(artifact.training_graph)
    graph = model.graph
    outputs = [port for port in graph.output if port.name != LOSS]
    nodes = without_dead_nodes(list(graph.node), outputs)
    needed = {port.name for port in outputs}.union(*map(read_names, nodes))
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.output[:], graph.node[:], graph.initializer[:]
    graph.output.extend(outputs)
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    silent = replace(artifact, training_graph=model.SerializeToString(deterministic=True))
    files = {**artifact.contents(), TRAINING_FILE: silent.training_graph}
    return replace(silent, manifest=artifact.manifest.with_parts(files))
