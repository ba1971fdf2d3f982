"""The forward graph's second output: what a student's last layer reads, whatever its family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from fedstill_client.model.forward import Forward
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.errors import GateError
from fedstill_server.export.gate import verify_artifact
from fedstill_server.families import FamilyError, build_student, initial_parameters
from fedstill_server.families.features import feature_width
from onnx import helper

SHAPE, CLASSES = (8, 8), 3


def built(family: str, *, stack_size: int = 1, verify: bool = True) -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=SHAPE,
            classes=CLASSES,
            optimizer=Optimizer.SGD,
            soft_labels="none",
            stack_size=stack_size,
            step_rows=4,
            features=True,
        ),
        verify=verify,
    )


@pytest.mark.parametrize("family", ["mlp-small", "cnn-norm", "mlp-12-5"])
def test_features_are_what_makes_the_logits(family: str) -> None:
    artifact = built(family)  # and the gate has held the features against torch in float64
    student = initial_parameters(family, SHAPE, CLASSES, 1)
    x = np.random.default_rng(0).normal(size=(70, *SHAPE)).astype(np.float32)

    answers = Forward(artifact).shared_outputs({name: array[None] for name, array in student.items()}, x)

    features = answers["features"][0]
    assert features.shape == (70, artifact.manifest.feature_width)
    logits = features @ student["output.weight"].T + student["output.bias"]
    np.testing.assert_allclose(answers["logits"][0], logits, atol=1e-5)
    assert StudentManifest.from_json(artifact.manifest.to_json()) == artifact.manifest


def test_widths_differ_by_family() -> None:
    widths = {f: feature_width(build_student(f, SHAPE, CLASSES)) for f in ("mlp-small", "mlp-wide", "cnn")}
    assert widths == {"mlp-small": 64, "mlp-wide": 256, "cnn": 64}


def test_a_student_without_a_last_layer_has_none() -> None:
    with pytest.raises(FamilyError, match="no features"):
        feature_width(build_student("gru", (4,), 5))


def test_wrong_features_do_not_pass_the_gate() -> None:
    artifact = built("mlp-small", verify=False)
    model = onnx.load_from_string(artifact.forward_graph)
    node = next(node for node in model.graph.node if "features" in node.output)
    node.output[list(node.output).index("features")] = "right"
    for other in model.graph.node:
        other.input[:] = ["right" if name == "features" else name for name in other.input]
    model.graph.node.append(helper.make_node("Neg", ["right"], ["features"]))

    with pytest.raises(GateError, match="logits differ"):
        verify_artifact(replace(artifact, forward_graph=model.SerializeToString()))

    with pytest.raises(GateError, match=r"output.*features"):
        verify_artifact(replace(artifact, manifest=replace(artifact.manifest, feature_width=0)))
