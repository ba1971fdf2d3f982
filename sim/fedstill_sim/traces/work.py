"""What a round costs a device in arithmetic: FLOP of training and of answering, counted in its own graph.

A forward pass is counted in the products of matrices and convolutions of the graph that the device runs; a
step of training is three times that: the backward pass is two (Kaplan et al. 2020, arXiv 2001.08361, section
2.1; FedScale assumes the same).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.config.fleet import FleetConfig

BACKWARD = 2.0  # of a forward pass
_PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "Conv", "ConvTranspose")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RoundArithmetic:
    """The arithmetic of one round by device, in GFLOP [devices].

    Attributes:
        training: Of its steps on private and public examples.
        answering: Of its answers to public examples.
    """

    training: Floats
    answering: Floats

    @property
    def total(self) -> Floats:
        """Both [devices]."""
        return self.training + self.answering

    @classmethod
    def of(
        cls, forward_gflop: Floats, examples: IntArray, fleet: FleetConfig, *, public: int
    ) -> RoundArithmetic:
        """The work that a run's configuration asks for.

        Args:
            forward_gflop: GFLOP of one example through each device's student [devices].
            examples: The private examples of each device [devices].
            fleet: The run's configuration.
            public: How many public examples there are.
        """
        batch = fleet.training.batch_size
        steps = np.ceil(examples / batch) * fleet.training.epochs
        # Beside each private batch stands one of public examples, where the fleet's soft labels are learned.
        learned = 2 if public and fleet.training.soft_weight > 0 else 1
        answered = min(public, fleet.public_batch or public)
        return cls(
            training=(1 + BACKWARD) * forward_gflop * steps * batch * learned,
            answering=forward_gflop * answered,
        )


def forward_gflop(artifact: TrainingArtifact) -> float:
    """GFLOP of one example in a forward pass of a student.

    Products whose shapes the graph does not tell, as in a loop over time, count as two FLOP a parameter.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(artifact.whole(artifact.forward_graph)), data_prop=True
    )
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    flop = sum(_flop_of(node, shapes) for node in model.graph.node if node.op_type in _PRODUCTS)
    x = shapes.get("x") or [1, 1]
    rows = max(math.prod(x[:2]), 1)  # [devices of a stack, examples, ...]
    return max(flop / rows, 2.0 * artifact.manifest.parameter_count) / 1e9


def _flop_of(node: object, shapes: dict[str, list[int]]) -> float:
    first, second = (shapes.get(name, []) for name in node.input[:2])  # type: ignore[attr-defined]
    out = shapes.get(node.output[0], [])  # type: ignore[attr-defined]
    if not out or not second or 0 in out or 0 in second:
        return 0.0
    if node.op_type.startswith("Conv"):  # type: ignore[attr-defined]
        # The weights are [out, in of a group, *kernel]; transposed ones [in, out of a group, *kernel].
        spread = first if node.op_type == "ConvTranspose" else out  # type: ignore[attr-defined]
        return 2.0 * math.prod(spread) * math.prod(second[1:])
    return 2.0 * math.prod(out) * (first[-1] if first else 0)
