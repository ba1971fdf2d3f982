"""Training artifacts of students of text: what they compute, and what they ask for."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
import pytest
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, ExportError, build_artifact


def build(**changes: Any) -> TrainingArtifact:
    """Rows of 5 words out of 37, of which a step sees 11."""
    options: dict[str, Any] = {
        "family": "gru",
        "input_shape": (5,),
        "classes": 37,
        "optimizer": Optimizer.SGD,
        "soft_labels": "none",
        "stack_size": 2,
        "step_rows": 3,
        "step_vocabulary": 11,
    }
    return build_artifact(ArtifactOptions(**{**options, **changes}), verify=False)


def test_ports_are_the_contract() -> None:
    artifact = build(soft_labels="top-k", k=3)

    training = ort.InferenceSession(artifact.training_graph, providers=["CPUExecutionProvider"])
    forward = ort.InferenceSession(artifact.forward_graph, providers=["CPUExecutionProvider"])

    shapes = {port.name: port.shape for port in training.get_inputs()}
    assert shapes["embedding.weight"] == [2, 11, 64]
    assert shapes["x"] == shapes["labels"] == shapes["hard_weight"] == shapes["soft_weight"] == [2, 3, 5]
    assert shapes["soft_indices"] == shapes["soft_probabilities"] == [2, 3, 5, 3]
    assert {port.name: port.type for port in training.get_inputs()}["x"] == "tensor(int64)"
    assert {port.name: port.shape for port in forward.get_inputs()}["embedding.weight"] == [2, 37, 64]
    assert [port.shape for port in forward.get_outputs()] == [[2, 64, 5, 37]]


def test_the_manifest_tells_what_a_step_sees() -> None:
    manifest = build().manifest

    assert manifest.vocabulary is not None
    assert (manifest.vocabulary.size, manifest.vocabulary.step_size) == (37, 11)
    assert manifest.vocabulary.tables == ("embedding.weight",)
    assert manifest.input_type == "int64"
    assert manifest.label_shape == manifest.input_shape == (5,)
    assert {spec.name: spec.shape for spec in manifest.parameters}["embedding.weight"] == (37, 64)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"step_vocabulary": None}, "gru needs step_vocabulary"),
        ({"step_vocabulary": 38}, "give 2 to 37 words"),
        ({"soft_labels": "top-k", "k": 11}, "k = 11; a step of 11 words"),
        ({"family": "mlp-small"}, "mlp-small has no table of words"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ExportError, match=named):
        build(**options)
