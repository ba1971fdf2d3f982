"""Students with batch normalization: what a step does, what a stack does, and what travels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fedstill_client.model.step import StepArrays
from fedstill_client.model.trainer import Personalizer, PersonalizerState
from fedstill_proto.codec.tensors import Moves, rounded
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, build_artifact, export_student
from fedstill_server.families import FAMILIES, build_student, initial_parameters
from fedstill_server.families.features import normalization_parameters
from torch import nn


class Normalized(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.output = nn.Linear(1, classes)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.output(self.norm(x))


@pytest.fixture(scope="module", autouse=True)
def _family() -> None:
    FAMILIES.register("normalized", Normalized)


def _options(stack_size: int) -> ArtifactOptions:
    return ArtifactOptions(
        family="normalized",
        input_shape=(1,),
        classes=2,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="dense",
        stack_size=stack_size,
        step_rows=4,
    )


def _artifact(stack_size: int) -> TrainingArtifact:
    return build_artifact(_options(stack_size), verify=stack_size == 1)


class _TwoRows:
    """A step in which device d learns from d + 1 and d + 3; the last of several devices waits."""

    seed = 0

    def __init__(self, devices: int) -> None:
        self._devices = devices

    def start(self, into: StepArrays) -> None:
        pass

    def fill(self, step: int, into: StepArrays) -> None:
        into.x[:] = 100  # padding
        working = max(self._devices - 1, 1)
        for device in range(working):
            into.x[device, :2, 0] = device + 1, device + 3
        into.hard_weight[:working, :2] = 0.5
        into.lr[:working] = 0.1


def _stepped(devices: int) -> PersonalizerState:
    personalizer = Personalizer(_artifact(devices))
    start = initial_parameters("normalized", (1,), 2, 0)
    personalizer.begin(
        PersonalizerState.start({n: np.broadcast_to(a, (devices, *a.shape)) for n, a in start.items()})
    )
    personalizer.take(_TwoRows(devices), 0, 1)
    return personalizer.state()


def test_statistics_are_of_the_rows_that_weigh() -> None:
    """Of 1 and 3 the mean is 2 and the unbiased variance 2: a tenth of them goes into 0 and 1."""
    state = _stepped(1)
    assert state.parameters["norm.running_mean"] == pytest.approx(0.2)
    assert state.parameters["norm.running_var"] == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert "norm.running_mean.momentum" not in state.slots
    assert "norm.weight.momentum" in state.slots


def test_a_stack_gives_each_device_the_bits_that_it_has_alone_and_leaves_a_waiting_one() -> None:
    alone, stack = _stepped(1).parameters, _stepped(3).parameters
    start = initial_parameters("normalized", (1,), 2, 0)
    for name, array in alone.items():
        np.testing.assert_array_equal(stack[name][0], array[0])
        np.testing.assert_array_equal(stack[name][2], start[name])
    assert stack["norm.running_mean"][1] == pytest.approx(0.3)


def test_an_answer_uses_the_running_statistics_that_a_device_puts_in() -> None:
    import onnxruntime as ort

    parameters = initial_parameters("normalized", (1,), 2, 0)
    parameters |= {
        "norm.running_mean": np.array([2], np.float32),
        "norm.running_var": np.array([4], np.float32),
    }
    parameters["output.weight"] = np.array([[1], [0]], np.float32)
    parameters["output.bias"] = np.zeros(2, np.float32)
    manifest, graph = export_student(family="normalized", input_shape=(1,), classes=2, parameters=parameters)
    assert manifest.buffers == ("norm.running_mean", "norm.running_var")
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"x": np.array([[2], [6]], np.float32)})[0]
    np.testing.assert_allclose(logits[:, 0], [0, (6 - 2) / 2], atol=1e-5)


def test_the_rule_of_fedbn_names_weights_and_running_statistics() -> None:
    assert normalization_parameters(build_student("normalized", (1,), 2)) == (
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
    )


def test_running_statistics_travel_whole_and_variances_are_none_below_zero() -> None:
    """In 8 bits .001 beside 100 would be 0; a device's move of -3 would make a variance of -1."""
    given = {name: np.array([100, value], np.float32) for name, value in (("w", 0.001), ("n.running_var", 2))}
    arrived = rounded({"n.running_mean": np.array([100, 0.001], np.float32), "w": given["w"]}, bits=8)
    assert arrived["n.running_mean"][1] == np.float32(0.001)
    assert arrived["w"][1] == 0
    sent = {"w": given["w"], "n.running_var": np.array([100, -1], np.float32)}
    moves = Moves(given, 8)
    np.testing.assert_array_equal(moves.decode(moves.encode(sent), "x")["n.running_var"], [100, 0])


def test_statistics_of_a_batch_alone_are_refused() -> None:
    """An answer would depend on the examples that come with it."""

    def net(classes: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(1, track_running_stats=False), nn.Linear(1, classes))

    FAMILIES.register("of-batches", net)
    with pytest.raises(FedstillError, match="batch normalization without running statistics"):
        build_artifact(replace(_options(1), family="of-batches"), verify=False)


class WrittenThroughAView(nn.Module):
    """A pool over everything and a ReLU in place behind a permutation, as pictures' networks have them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(4, classes)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = self.conv(x).permute(0, 2, 3, 1)
        return self.output(self.pool(self.act(x).permute(0, 3, 1, 2)).flatten(1))


def test_changes_in_place_of_a_view_are_made_anew() -> None:
    FAMILIES.register("in-place", WrittenThroughAView)
    build_artifact(replace(_options(1), family="in-place", input_shape=(1, 5, 5)))
