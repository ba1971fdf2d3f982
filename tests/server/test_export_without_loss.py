"""A simulator's training graph: the same students, and no loss."""

import numpy as np
import onnx
import pytest
from fedstill_client.model.trainer import Personalizer
from fedstill_proto.messages import Optimizer
from fedstill_server.export import build_artifact
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.export.without_loss import without_loss
from fedstill_sim.runner.stack_size import built, measured_plan

OPTIONS = ArtifactOptions(
    family="mlp-small",
    input_shape=(8, 8),
    classes=10,
    optimizer=Optimizer.MOMENTUM,
    soft_labels="dense",
    stack_size=3,
    step_rows=8,
)


@pytest.mark.parametrize("family", ["mlp-small", "cnn"])
def test_a_graph_without_loss_gives_the_same_bits(family):
    options = ArtifactOptions(**{**vars(OPTIONS), "family": family})
    artifact = build_artifact(options, verify=False)
    generator = np.random.default_rng(0)
    student = {
        spec.name: generator.normal(0, 0.1, spec.shape).astype(np.float32)
        for spec in artifact.manifest.parameters
    }
    plan = measured_plan(artifact.manifest, generator)

    (with_loss, loss), (silent, none) = (
        Personalizer(each).train(student, plan) for each in (artifact, without_loss(artifact))
    )

    assert np.isfinite(loss).all()
    assert np.isnan(none).all()
    assert all(np.array_equal(with_loss[name], silent[name]) for name in with_loss)


def test_what_only_the_loss_needs_is_gone_and_the_manifest_knows_the_new_graph():
    artifact = build_artifact(OPTIONS, verify=False)

    silent = without_loss(artifact)

    before, after = (onnx.load_from_string(each.training_graph).graph for each in (artifact, silent))
    assert [port.name for port in after.input] == [port.name for port in before.input]
    assert [port.name for port in after.output] == [
        port.name for port in before.output if port.name != "loss"
    ]
    operators = [node.op_type for node in after.node]
    assert "ReduceLogSum" in [node.op_type for node in before.node]
    assert "ReduceLogSum" not in operators  # logarithms are the loss's
    assert silent.manifest == silent.manifest.with_parts(silent.contents())


def test_a_simulator_builds_stacks_without_loss_and_one_device_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDSTILL_CACHE", str(tmp_path))

    outputs = {
        size: [port.name for port in onnx.load_from_string(artifact.training_graph).graph.output]
        for size in (1, 2)
        for artifact in [built(OPTIONS, size, verify=False)]
    }

    assert "loss" in outputs[1]
    assert "loss" not in outputs[2]
