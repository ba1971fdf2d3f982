"""Students that drop at random: what is dropped is a device's own, in every stack and after a restart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fedstill_client.model.batches import PrivateStack, plan_batches
from fedstill_client.model.order import device_ids
from fedstill_client.model.step import StepArrays
from fedstill_client.model.trainer import Personalizer, PersonalizerState
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact
from fedstill_server.export import ArtifactOptions, ExportError, build_artifact
from fedstill_server.export.gate import verify_artifact
from fedstill_server.families import FAMILIES, initial_parameters
from torch import Tensor, nn
from torch.nn import functional


class Dropped(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(2, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(x))  # type: ignore[no-any-return]


class Everything(nn.Module):
    """All ways to drop, one after another, over [rows, 2, 4]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)
        self.channels, self.alpha = nn.Dropout1d(0.4), nn.AlphaDropout(0.2)
        self.features = nn.FeatureAlphaDropout(0.2)
        self.layers = nn.GRU(4, 3, 2, batch_first=True, dropout=0.3)
        self.output = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.features(self.alpha(self.channels(x)))
        if self.training:  # a path of a residual network
            x = x + x * x.new_empty(len(x), 1, 1).bernoulli_(0.7).div_(0.7) + 0.1 * torch.rand(4)
        x = functional.scaled_dot_product_attention(x, x, x, dropout_p=0.2 if self.training else 0.0)
        return self.output(self.layers(x)[0].flatten(1))  # type: ignore[no-any-return]


class Noisy(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        return self.output(x + torch.randn_like(x) if self.training else x)  # type: ignore[no-any-return]


class Always(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        return self.output(functional.dropout(x))  # type: ignore[no-any-return]


@pytest.fixture(scope="module", autouse=True)
def _families() -> None:
    for name, network in (
        ("dropped", Dropped),
        ("everything", Everything),
        ("always", Always),
        ("noisy", Noisy),
    ):
        FAMILIES.register(name, network)


def _artifact(family: str, stack_size: int, *, shape: tuple[int, ...] = (2,)) -> TrainingArtifact:
    options = ArtifactOptions(
        family=family,
        input_shape=shape,
        classes=2,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="none",
        stack_size=stack_size,
        step_rows=2,
    )
    return build_artifact(options, verify=False)


def test_a_step_drops_as_torch_does() -> None:
    artifact = _artifact("everything", 2, shape=(2, 4))
    manifest = artifact.manifest

    verify_artifact(artifact, threads=(1,), steps=3)
    assert manifest.uniforms[0].shape == (2, 2, 2, 2)  # of attention: rows, heads, places, places
    assert StudentManifest.from_json(manifest.to_json()).uniforms == manifest.uniforms


class _OneRow:
    """A step on the row (1, 1) with uniform numbers 0.25 and 0.75."""

    seed = 0

    def start(self, into: StepArrays) -> None:
        into.clear(temperature=1.0)

    def fill(self, step: int, into: StepArrays) -> None:
        into.x[0, 0] = 1
        into.hard_weight[0, 0] = 1
        into.lr[0] = 1
        into.uniforms["uniform.0"][0, 0] = 0.25, 0.75


def test_what_is_below_the_probability_is_dropped() -> None:
    """The first input is dropped, the second doubled: of two classes alike, half of 2 goes to the label's."""
    personalizer = Personalizer(_artifact("dropped", 1))
    personalizer.begin(PersonalizerState.start({"output.weight": np.zeros((2, 2), np.float32)}))

    personalizer.take(_OneRow(), 0, 1)

    weight = personalizer.state().parameters["output.weight"][0]
    np.testing.assert_array_equal(weight, [[0, 1], [0, -1]])


def test_a_student_that_drops_in_its_answers_is_refused() -> None:
    with pytest.raises(ExportError, match="only in training"):
        _artifact("always", 1)


def test_other_randomness_is_refused_by_its_name() -> None:
    with pytest.raises(FedstillError, match="randn_like"):
        _artifact("noisy", 1)


def _trained(names: list[str], *, pause: int | None = None) -> np.ndarray:
    """The weights of these devices after two epochs, or of an interrupted training of them."""
    artifact = _artifact("dropped", len(names))
    x = np.random.default_rng(0).normal(size=(len(names), 4, 2)).astype(np.float32)
    x[:] = x[0]
    private = PrivateStack(x, np.zeros((len(names), 4), np.int64), np.full(len(names), 4))
    training = TrainingPlan(
        epochs=2,
        batch_size=2,
        learning_rate=0.1,
        optimizer=Optimizer.MOMENTUM,
        temperature=1.0,
        soft_weight=0.0,
        seed=3,
    )
    task = RoundTask("run", 1, "dropped", training, SummaryRequest(SummaryKind.NONE))
    plan = plan_batches(private, device_ids(names), task, manifest=artifact.manifest)
    personalizer = Personalizer(artifact)
    start = initial_parameters("dropped", (2,), 2, 0)
    personalizer.begin(
        PersonalizerState.start({n: np.repeat(a[None], len(names), 0) for n, a in start.items()})
    )
    if pause is not None:
        personalizer.take(plan, 0, pause)
        state, personalizer = personalizer.state(), Personalizer(artifact)
        personalizer.begin(state)
    personalizer.take(plan, pause or 0, plan.steps)
    return personalizer.state().parameters["output.weight"]


def test_a_device_drops_the_same_in_every_stack_and_after_a_restart() -> None:
    together = _trained(["a", "b", "c"])

    np.testing.assert_array_equal(_trained(["b"])[0], together[1])
    np.testing.assert_array_equal(_trained(["b"], pause=1)[0], together[1])
    assert not np.array_equal(together[0], together[1])
