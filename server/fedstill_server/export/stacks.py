"""What a stack of devices takes, and whether it gives each of them the bits that it gives itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from fedstill_proto.package.artifact import TRAINING_FILE, TrainingArtifact

from fedstill_server.export.graph_checks import step_manifest
from fedstill_server.export.reference import Arrays
from fedstill_server.export.trial import StudentStack, random_batch
from fedstill_server.families import initial_parameters

_BYTES = 4  # of a number
_STEPS = 3


def stack_bytes(artifact: TrainingArtifact) -> int:
    """At most about what training a stack takes: both sets of its state, and all that a step computes."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(artifact.training_graph)).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in values]
    return sum(map(math.prod, shapes)) * _BYTES


def same_bits(alone: TrainingArtifact, stack: TrainingArtifact) -> bool:
    """Whether the graph of a stack gives its first and its last device the bits of that of one alone: a few
    steps are tried.
    """
    alone, stack = (replace(each, manifest=step_manifest(each.manifest)) for each in (alone, stack))
    ours, theirs = alone.manifest, stack.manifest
    places = (0, theirs.stack_size - 1)
    students = [
        initial_parameters(ours.family, ours.input_shape, ours.classes, seed, target=ours.target)
        for seed in (0, 1)
    ]
    together = StudentStack(stack, TRAINING_FILE, dict(zip(places, students, strict=True)), threads=1)
    apart = [StudentStack(alone, TRAINING_FILE, {0: student}, threads=1) for student in students]
    for step in range(1, _STEPS + 1):
        batch = random_batch(theirs, step)
        losses = [one.step(_of_device(batch, place), step) for place, one in zip(places, apart, strict=True)]
        found = together.step(batch, step)[list(places)]
        if not np.array_equal(found, np.concatenate(losses), equal_nan=True):
            return False
    return all(
        np.array_equal(together.parameters[name][place], array[0], equal_nan=True)
        for place, one in zip(places, apart, strict=True)
        for name, array in one.parameters.items()
    )


def _of_device(batch: Arrays, device: int) -> Mapping[str, np.ndarray]:
    """One device's part of a batch, as a stack of one takes it."""
    return {
        name: array if name == "temperature" else array[device : device + 1] for name, array in batch.items()
    }
